import { faultTest } from './in-test.ts'
import { stopFault } from './stop.ts'

faultTest('SIGTERM under load loses nothing, answers or closes cleanly, and exits 0', stopFault)
