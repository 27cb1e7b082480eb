import type { Clock } from '../clock.ts'
import { limits } from '../limits.ts'
import type { Traffic } from './interfaces.ts'
import { Window, type WindowTotals } from './window.ts'

const { trafficWindowMs, trafficBucketMs, trafficHealthWindowMs, trafficHealthBucketMs } = limits

export interface TenantTraffic {
  /** Users with a request within `limits.trafficWindowMs`. */
  readonly activeUsers: number
  readonly meanMs: number
  /** Replies with a status below 400, percent; 100 where there is none. */
  readonly successPercent: number
}

/** The requests of a tenant, and when each user's last one was. */
interface Counted {
  readonly window: Window
  readonly users: Map<string, number>
  lastAtMs: number
}

const nothing: WindowTotals = { replies: 0, failures: 0, meanMs: 0 }

/**
 * Counts the authenticated requests of the last minutes. It stands in the way of every request, so
 * counting one is a few additions and two look-ups; what has grown old is looked for when somebody
 * reads, or once a bucket where there is no place left.
 */
export class TrafficMeter implements Traffic {
  readonly #clock: Clock
  readonly #all = new Window(trafficHealthWindowMs, trafficHealthBucketMs)
  readonly #tenants = new Map<number, Counted>()
  /** Of all tenants together. */
  #users = 0
  #sweptAtMs = Number.NEGATIVE_INFINITY

  constructor(clock: Clock) {
    this.#clock = clock
  }

  answered(tenant: number, user: string, status: number, durationMs: number): void {
    const nowMs = this.#clock.now()
    this.#all.add(nowMs, durationMs, status >= 500)
    const counted = this.#tenants.get(tenant) ?? this.#addTenant(tenant, nowMs)
    if (counted === null) return
    counted.lastAtMs = nowMs
    counted.window.add(nowMs, durationMs, status >= 400)
    if (!counted.users.has(user) && !this.#addUser(nowMs)) return
    counted.users.set(user, nowMs)
  }

  /** Of the process, in the last minute; a failure is a status of 500 and above. */
  lastMinute(): WindowTotals {
    return this.#all.totals(this.#clock.now())
  }

  ofTenant(tenant: number): TenantTraffic {
    const nowMs = this.#clock.now()
    const counted = this.#tenants.get(tenant)
    if (counted !== undefined) this.#dropUsers(counted, nowMs)
    const { replies, failures, meanMs } = counted?.window.totals(nowMs) ?? nothing
    const successPercent = replies === 0 ? 100 : (100 * (replies - failures)) / replies
    return { activeUsers: counted?.users.size ?? 0, meanMs, successPercent }
  }

  #addTenant(tenant: number, nowMs: number): Counted | null {
    if (this.#tenants.size >= limits.trafficTenantsMax) this.#sweep(nowMs)
    if (this.#tenants.size >= limits.trafficTenantsMax) return null
    const window = new Window(trafficWindowMs, trafficBucketMs)
    const counted: Counted = { window, users: new Map(), lastAtMs: nowMs }
    this.#tenants.set(tenant, counted)
    return counted
  }

  /** False where there is no place for one more. */
  #addUser(nowMs: number): boolean {
    if (this.#users >= limits.trafficUsersMax) this.#sweep(nowMs)
    if (this.#users >= limits.trafficUsersMax) return false
    this.#users += 1
    return true
  }

  /** Forgets whoever has not been seen within the window; no more than once a bucket. */
  #sweep(nowMs: number): void {
    if (nowMs - this.#sweptAtMs < trafficBucketMs) return
    this.#sweptAtMs = nowMs
    for (const [tenant, counted] of this.#tenants) {
      this.#dropUsers(counted, nowMs)
      if (counted.lastAtMs <= nowMs - trafficWindowMs) this.#tenants.delete(tenant)
    }
  }

  #dropUsers({ users }: Counted, nowMs: number): void {
    for (const [user, lastAtMs] of users) {
      if (lastAtMs > nowMs - trafficWindowMs) continue
      users.delete(user)
      this.#users -= 1
    }
  }
}
