import { faultTest } from './in-test.ts'
import { memoryFault } from './memory.ts'

faultTest(
  'large bodies at a slow store are refused in time, and memory keeps its bound',
  memoryFault,
)
