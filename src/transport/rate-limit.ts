import { Refusal } from '../contracts/errors.ts'
import { limits } from '../limits.ts'

interface Counter {
  startedAtMs: number
  count: number
}

/** What a reply says of the limit. */
export interface RateState {
  readonly limit: number
  readonly remaining: number
  /** Seconds until the window ends. */
  readonly resetS: number
  readonly exceeded: boolean
}

/**
 * Requests in a fixed window that begins with the first of them. Off at a limit of 0. A request costs
 * the same however many counters there are.
 */
export class RateLimiter {
  readonly #counters = new Map<string, Counter>()
  #overflow: Counter = { startedAtMs: 0, count: 0 }

  constructor(
    readonly limit: number,
    private readonly windowMs: number = limits.rateWindowMs,
    private readonly countersMax: number = limits.rateCountersMax,
  ) {}

  /** Counts one request; null where the limit is off. */
  count(key: string, nowMs: number = Date.now()): RateState | null {
    if (this.limit === 0) return null
    const counter = this.#counter(key, nowMs)
    const exceeded = counter.count >= this.limit
    if (!exceeded) counter.count += 1
    return {
      limit: this.limit,
      remaining: this.limit - counter.count,
      resetS: Math.max(1, Math.ceil((counter.startedAtMs + this.windowMs - nowMs) / 1_000)),
      exceeded,
    }
  }

  /** Its counter in a window that has not ended, or a share in that of all who found no place. */
  #counter(key: string, nowMs: number): Counter {
    const known = this.#counters.get(key)
    if (known !== undefined && !this.#hasEnded(known, nowMs)) return known
    this.#counters.delete(key)
    this.#dropEnded(nowMs)
    if (this.#counters.size >= this.countersMax) {
      if (this.#hasEnded(this.#overflow, nowMs)) this.#overflow = { startedAtMs: nowMs, count: 0 }
      return this.#overflow
    }
    const counter = { startedAtMs: nowMs, count: 0 }
    this.#counters.set(key, counter)
    return counter
  }

  #hasEnded({ startedAtMs }: Counter, nowMs: number): boolean {
    return nowMs - startedAtMs >= this.windowMs
  }

  /** They stand in the order of their beginnings; two go for each that comes, so none piles up. */
  #dropEnded(nowMs: number): void {
    let dropped = 0
    for (const [key, counter] of this.#counters) {
      if (dropped === 2 || !this.#hasEnded(counter, nowMs)) return
      this.#counters.delete(key)
      dropped += 1
    }
  }
}

export function rateHeaders(state: RateState): [string, string][] {
  return [
    ['X-RateLimit-Limit', String(state.limit)],
    ['X-RateLimit-Remaining', String(state.remaining)],
    ['X-RateLimit-Reset', String(state.resetS)],
  ]
}

export function rateLimitExceeded(state: RateState): Refusal {
  return new Refusal('RATE_LIMIT_EXCEEDED', {
    fields: { limit: state.limit, window: '1 minute', retryAfter: state.resetS },
  })
}
