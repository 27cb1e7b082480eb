import type { Clock } from '../clock.ts'
import type { TenantEventData } from '../contracts/events.ts'
import type { MemoryGauge } from '../memory.ts'
import type { Store } from '../store/interfaces.ts'
import { CpuMeter } from './cpu.ts'
import type { ServiceStatus } from './interfaces.ts'
import type { TrafficMeter } from './traffic.ts'

export type HealthData = TenantEventData<'system.health'>

export interface HealthParts {
  readonly store: Pick<Store, 'isFull'>
  readonly memory: Pick<MemoryGauge, 'isShort' | 'usedBytes' | 'bytesMax'>
  readonly traffic: TrafficMeter
  /** Whether memories can be searched. */
  readonly search: () => 'building' | 'ready' | 'failed'
  readonly clock: Clock
}

const searchStatuses: Readonly<Record<ReturnType<HealthParts['search']>, ServiceStatus>> = {
  building: 'degraded',
  ready: 'healthy',
  failed: 'unavailable',
}

/** Readings of the process and the store as they are now. */
export class Health {
  readonly #parts: HealthParts
  readonly #cpu = new CpuMeter()

  constructor(parts: HealthParts) {
    this.#parts = parts
  }

  services(): HealthData['services'] {
    const { store, memory, search } = this.#parts
    return {
      api: memory.isShort ? 'degraded' : 'healthy',
      database: store.isFull ? 'degraded' : 'healthy',
      search: searchStatuses[search()],
    }
  }

  read(services: HealthData['services'] = this.services()): HealthData {
    const { memory, traffic, clock } = this.#parts
    const { replies, failures, meanMs } = traffic.lastMinute()
    return {
      status: overall(services),
      timestamp: new Date(clock.now()).toISOString(),
      metrics: {
        cpu_usage: toTenth(this.#cpu.read()),
        memory_usage: toTenth(Math.min(100, (100 * memory.usedBytes) / memory.bytesMax)),
        response_time: toTenth(meanMs),
        error_rate: toTenth(replies === 0 ? 0 : (100 * failures) / replies),
      },
      services,
    }
  }
}

/**
 * The worst of its services. One that is unavailable leaves the others, so the whole is degraded; a
 * database that is not there at all ends the process.
 */
export function overall({ api, database, search }: HealthData['services']): ServiceStatus {
  if (database === 'unavailable') return 'unavailable'
  const isHealthy = [api, database, search].every((status) => status === 'healthy')
  return isHealthy ? 'healthy' : 'degraded'
}

export function toTenth(value: number): number {
  return Math.round(value * 10) / 10
}
