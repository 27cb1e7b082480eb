import { faultTest } from './in-test.ts'
import { killFault } from './kill.ts'

faultTest('nothing acknowledged is lost or doubled by kill -9 under mixed load', killFault)
