import type { Alarm, Clock } from '../clock.ts'
import { Refusal } from '../contracts/errors.ts'
import type { TenantEventData, TenantEventName } from '../contracts/events.ts'
import { limits } from '../limits.ts'
import type { Logger } from '../log.ts'
import type { Store } from '../store/interfaces.ts'
import { type Health, type HealthData, overall, toTenth } from './health.ts'
import type { Monitor, ServiceStatus } from './interfaces.ts'
import type { TrafficMeter } from './traffic.ts'

export interface AnnouncerParts {
  readonly store: Store
  readonly health: Health
  readonly traffic: TrafficMeter
  readonly clock: Clock
  readonly log: Logger
}

/**
 * Stores `system.health` and `analytics.update` for the tenants whose stream somebody follows, or
 * has followed a little while ago: who comes back finds what was told meanwhile. One alarm serves
 * them all.
 */
export class Announcer implements Monitor {
  readonly #parts: AnnouncerParts
  /** Tenants with connections, and how many. */
  readonly #connections = new Map<number, number>()
  /** Tenants without one any more and since when, in the order in which they were left. */
  readonly #left = new Map<number, number>()
  #services: HealthData['services']
  /** When they were read. */
  #readAtMs: number
  /** As the tenants were told last. */
  #announced: HealthData['services']
  #healthDueMs = 0
  #analyticsDueMs = 0
  #alarm: Alarm | null = null
  #isClosed = false
  /** Rounds that are being stored: the next of its kind waits until they are. */
  readonly #underWay = new Set<TenantEventName>()

  constructor(parts: AnnouncerParts) {
    this.#parts = parts
    this.#services = parts.health.services()
    this.#readAtMs = parts.clock.now()
    this.#announced = this.#services
  }

  /** Of a moment ago at most: thousands of connections may ask at once. */
  get status(): ServiceStatus {
    const nowMs = this.#parts.clock.now()
    if (nowMs - this.#readAtMs >= limits.healthFreshMs) this.#read(nowMs)
    return overall(this.#services)
  }

  start(): void {
    const nowMs = this.#parts.clock.now()
    this.#healthDueMs = nowMs + limits.healthIntervalMs
    this.#analyticsDueMs = nowMs + limits.analyticsIntervalMs
    this.#lookLater()
  }

  joined(tenant: number): void {
    const connections = this.#connections.get(tenant) ?? 0
    this.#connections.set(tenant, connections + 1)
    this.#left.delete(tenant)
    if (connections > 0) return
    void this.#store('analytics.update', [tenant], () => this.#analytics(tenant))
  }

  left(tenant: number): void {
    const connections = this.#connections.get(tenant) ?? 0
    if (connections > 1) {
      this.#connections.set(tenant, connections - 1)
      return
    }
    if (!this.#connections.delete(tenant)) return
    this.#left.set(tenant, this.#parts.clock.now())
    const [first] = this.#left.keys()
    if (this.#left.size > limits.followedTenantsMax && first !== undefined) this.#left.delete(first)
  }

  /** What is being stored is stored; nothing follows. Idempotent. */
  close(): void {
    this.#isClosed = true
    this.#alarm?.cancel()
  }

  #lookLater(): void {
    if (this.#isClosed) return
    this.#alarm = this.#parts.clock.after(limits.healthCheckIntervalMs, () => {
      this.#look()
      this.#lookLater()
    })
  }

  #look(): void {
    const { health, clock } = this.#parts
    const nowMs = clock.now()
    for (const [tenant, sinceMs] of this.#left) {
      if (sinceMs > nowMs - limits.followedTenantTtlMs) break
      this.#left.delete(tenant)
    }
    const services = this.#read(nowMs)
    const isHealthDue = nowMs >= this.#healthDueMs || isOther(services, this.#announced)
    if (isHealthDue && !this.#underWay.has('system.health')) {
      this.#announced = services
      this.#healthDueMs = dueAfter(this.#healthDueMs, nowMs, limits.healthIntervalMs)
      const data = health.read(services)
      void this.#round('system.health', () => data)
    }
    if (nowMs >= this.#analyticsDueMs && !this.#underWay.has('analytics.update')) {
      this.#analyticsDueMs = dueAfter(this.#analyticsDueMs, nowMs, limits.analyticsIntervalMs)
      void this.#round('analytics.update', (tenant) => this.#analytics(tenant))
    }
  }

  #read(nowMs: number): HealthData['services'] {
    this.#services = this.#parts.health.services()
    this.#readAtMs = nowMs
    return this.#services
  }

  /** To every tenant that is followed; some at a time: a transaction stops everything else. */
  async #round<N extends TenantEventName>(
    name: N,
    dataOf: (tenant: number) => TenantEventData<N>,
  ): Promise<void> {
    this.#underWay.add(name)
    try {
      const tenants = [...this.#connections.keys(), ...this.#left.keys()]
      const { announcedTenantsMax: most } = limits
      for (let at = 0; at < tenants.length && !this.#isClosed; at += most) {
        if (!(await this.#store(name, tenants.slice(at, at + most), dataOf))) return
      }
    } finally {
      this.#underWay.delete(name)
    }
  }

  /** False where it could not be stored: readings are not kept for later. Never rejects. */
  async #store<N extends TenantEventName>(
    name: N,
    tenants: readonly number[],
    dataOf: (tenant: number) => TenantEventData<N>,
  ): Promise<boolean> {
    const { store, log } = this.#parts
    if (this.#isClosed) return false
    try {
      await store.commit((transaction) => {
        for (const tenant of tenants) {
          transaction.appendEvent(tenant, null, name, dataOf(tenant))
        }
      })
      return true
    } catch (error) {
      // Whoever fills the store or closes it is told of elsewhere.
      if (error instanceof Refusal) log.debug({ code: error.code, event: name }, 'not announced')
      else log.warn({ err: error, event: name }, 'not announced')
      return false
    }
  }

  #analytics(tenant: number): TenantEventData<'analytics.update'> {
    const { store, traffic, clock } = this.#parts
    const { memories, searches, operations } = store.counts(tenant)
    const { activeUsers, meanMs, successPercent } = traffic.ofTenant(tenant)
    return {
      total_memories: memories,
      total_searches: searches,
      total_operations: operations,
      active_users: activeUsers,
      avg_response_time: toTenth(meanMs),
      success_rate: toTenth(successPercent),
      generated_at: new Date(clock.now()).toISOString(),
    }
  }
}

function isOther(one: HealthData['services'], other: HealthData['services']): boolean {
  return one.api !== other.api || one.database !== other.database || one.search !== other.search
}

/** The next time in step with the last; what was slept through is left out. */
function dueAfter(dueMs: number, nowMs: number, intervalMs: number): number {
  if (nowMs < dueMs) return dueMs
  return dueMs + intervalMs * (1 + Math.floor((nowMs - dueMs) / intervalMs))
}
