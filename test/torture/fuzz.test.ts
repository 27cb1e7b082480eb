import { fuzzFault } from './fuzz.ts'
import { faultTest } from './in-test.ts'

faultTest('no body, however nasty, is answered with a 5xx but 503, or ends the server', fuzzFault)
