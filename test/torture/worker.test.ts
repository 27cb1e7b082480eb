import { faultTest } from './in-test.ts'
import { workerFault } from './worker.ts'

faultTest('a worker that fails costs its own batch a retry and nobody else anything', workerFault)
