import { faultTest } from './in-test.ts'
import { scanFault } from './scan.ts'

faultTest('what is scanned is what JSON.parse and the checks of records make of it', scanFault)
