import { faultTest } from './in-test.ts'
import { subscribersFault } from './subscribers.ts'

faultTest(
  'of a thousand subscribers those that do not read are cut, all others get everything',
  subscribersFault,
)
