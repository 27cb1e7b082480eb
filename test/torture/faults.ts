import { diskFullFault } from './disk-full.ts'
import { exposureFault } from './exposure.ts'
import type { Fault } from './fault.ts'
import { flushFault } from './flush.ts'
import { fuzzFault } from './fuzz.ts'
import { killFault } from './kill.ts'
import { mediaFault } from './media.ts'
import { memoryFault } from './memory.ts'
import { resumeFault } from './resume.ts'
import { scanFault } from './scan.ts'
import { segmentsFault } from './segments.ts'
import { stopFault } from './stop.ts'
import { subscribersFault } from './subscribers.ts'
import { workerFault } from './worker.ts'

/** In the order of the report. */
export const faults: readonly Fault[] = [
  killFault,
  mediaFault,
  flushFault,
  workerFault,
  diskFullFault,
  memoryFault,
  resumeFault,
  subscribersFault,
  segmentsFault,
  fuzzFault,
  scanFault,
  exposureFault,
  stopFault,
]
