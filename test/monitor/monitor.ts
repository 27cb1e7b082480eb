import { randomBytes } from 'node:crypto'
import type { TestContext } from 'node:test'
import type { TenantEventData, TenantEventName } from '../../src/contracts/events.ts'
import { tenantEvents } from '../../src/contracts/events.ts'
import { limits } from '../../src/limits.ts'
import { createLogger } from '../../src/log.ts'
import { MemoryGauge } from '../../src/memory.ts'
import { Announcer } from '../../src/monitor/announcer.ts'
import { Health, type HealthParts } from '../../src/monitor/health.ts'
import { TrafficMeter } from '../../src/monitor/traffic.ts'
import type { Transaction } from '../../src/store/interfaces.ts'
import { openStore } from '../../src/store/store.ts'
import { conforming } from '../support/client.ts'
import { FakeClock } from '../support/fake-clock.ts'
import { temporaryFolder } from '../support/server.ts'
import { eventually } from '../support/waiting.ts'

export type SearchState = ReturnType<HealthParts['search']>

/** The monitor over a real store, with a clock that the test winds. */
export async function openMonitor(t: TestContext, options: { maxBytes?: number } = {}) {
  const clock = new FakeClock()
  const path = await temporaryFolder(t)
  const store = openStore({
    path,
    durability: 'commit',
    maxBytes: options.maxBytes ?? 1 << 30,
    now: () => clock.now(),
  })
  const memory = new MemoryGauge({ bytesMax: limits.memoryMiBMin * 1024 * 1024 })
  let state: SearchState = 'ready'
  const lines: string[] = []
  const log = createLogger('debug', { write: (line: string) => void lines.push(line) })
  const traffic = new TrafficMeter(clock)
  const search = () => state
  const health = new Health({ store, memory, traffic, search, clock })
  const monitor = new Announcer({ store, health, traffic, clock, log })
  t.after(async () => {
    monitor.close()
    memory.close()
    await store.close()
  })
  const told = <N extends TenantEventName>(name: N, tenant: number): TenantEventData<N>[] =>
    store.events
      .ofTenant(tenant, 0, 100_000)
      .filter((event) => event.name === name)
      .map(({ data }) => conforming(tenantEvents[name], JSON.parse(data)) as TenantEventData<N>)
  return {
    path,
    clock,
    store,
    memory,
    traffic,
    search,
    health,
    monitor,
    log,
    lines,
    told,
    setSearch: (to: SearchState) => {
      state = to
    },
    /** Waits until the tenant has been told so often and the monitor knows, and gives what. */
    toldTimes: async <N extends TenantEventName>(name: N, tenant: number, times: number) => {
      const found = await eventually(async () => {
        const events = told(name, tenant)
        return events.length >= times ? events : undefined
      }, `${name} for the ${times}th time`)
      // What is stored can be read before its commit resolves; this one resolves after it.
      await store.commit(() => {})
      await new Promise(setImmediate)
      return found
    },
    /** Stores blobs of tenant 9 until the store takes nothing more; gives their hashes. */
    fill: async () => {
      const hashes: Uint8Array[] = []
      for (const size of [4 * 1024 * 1024, 128 * 1024, 4 * 1024, 16]) {
        const bytes = Buffer.alloc(size)
        for (let isFull = false; !isFull; ) {
          const hash = randomBytes(32)
          const unit = (transaction: Transaction) => transaction.putBlob(9, hash, bytes)
          await store.commit(unit, { bytes: bytes.byteLength }).then(
            () => hashes.push(hash),
            () => {
              isFull = true
            },
          )
        }
      }
      return hashes
    },
  }
}
