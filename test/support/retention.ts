import { setImmediate } from 'node:timers/promises'
import { Retention, type RetentionPolicy } from '../../src/ingest/retention.ts'
import { createLogger } from '../../src/log.ts'
import { createMetrics } from '../../src/metrics.ts'
import type { Store } from '../../src/store/interfaces.ts'
import { FakeClock } from './fake-clock.ts'
import { eventually, waitTimeoutMs } from './waiting.ts'

export const hourMs = 3_600_000

/** Retention that waits by a clock of its own; off unless the policy says otherwise. */
export function newRetention(
  store: Store,
  clock: FakeClock,
  policy: Partial<RetentionPolicy>,
): Retention {
  const services = { store, clock, log: createLogger('silent'), metrics: createMetrics() }
  return new Retention(services, { hours: 0, bytes: 0, ...policy })
}

/** One look of retention at `nowMs`, to its end. */
export async function retain(
  store: Store,
  nowMs: number,
  policy: Partial<RetentionPolicy>,
): Promise<void> {
  const clock = new FakeClock(nowMs)
  const retention = newRetention(store, clock, policy)
  retention.start()
  await eventually(async () => clock.nextMs ?? undefined, 'the end of the look')
  await retention.close()
}

/** Stops retention once it has begun and before it is done. */
export async function retainPartly(
  store: Store,
  clock: FakeClock,
  hasBegun: () => boolean,
): Promise<void> {
  const retention = newRetention(store, clock, { hours: 1 })
  retention.start()
  const deadlineMs = performance.now() + waitTimeoutMs
  while (!hasBegun() && performance.now() < deadlineMs) await setImmediate()
  await retention.close()
}
