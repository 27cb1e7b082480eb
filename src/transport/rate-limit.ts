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

/** Requests in a fixed window that begins with the first of them. Off at a limit of 0. */
export class RateLimiter {
  readonly #counters = new Map<string, Counter>()
  readonly #overflow: Counter = { startedAtMs: 0, count: 0 }

  constructor(
    readonly limit: number,
    private readonly windowMs: number = limits.rateWindowMs,
    private readonly countersMax: number = limits.rateCountersMax,
  ) {}

  /** Counts one request; null where the limit is off. */
  count(key: string, nowMs: number = Date.now()): RateState | null {
    if (this.limit === 0) return null
    const counter = this.#counter(key, nowMs)
    if (nowMs - counter.startedAtMs >= this.windowMs) {
      counter.startedAtMs = nowMs
      counter.count = 0
    }
    const exceeded = counter.count >= this.limit
    if (!exceeded) counter.count += 1
    return {
      limit: this.limit,
      remaining: this.limit - counter.count,
      resetS: Math.max(1, Math.ceil((counter.startedAtMs + this.windowMs - nowMs) / 1_000)),
      exceeded,
    }
  }

  #counter(key: string, nowMs: number): Counter {
    const known = this.#counters.get(key)
    if (known !== undefined) return known
    if (this.#counters.size >= this.countersMax) this.#sweep(nowMs)
    if (this.#counters.size >= this.countersMax) return this.#overflow
    const counter = { startedAtMs: nowMs, count: 0 }
    this.#counters.set(key, counter)
    return counter
  }

  #sweep(nowMs: number): void {
    for (const [key, counter] of this.#counters) {
      if (nowMs - counter.startedAtMs >= this.windowMs) this.#counters.delete(key)
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
