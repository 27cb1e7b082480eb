import { faultTest } from './in-test.ts'
import { mediaFault } from './media.ts'

faultTest('a job on a file survives kill -9 and ends as an undisturbed one', mediaFault)
