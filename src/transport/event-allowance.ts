/**
 * How many events one connection may be sent: so many in a fixed window that begins with the first
 * event in it. A limit of 0 is any number.
 */
export class EventAllowance {
  #startedAtMs = Number.NEGATIVE_INFINITY
  #taken = 0

  constructor(
    private readonly limit: number,
    private readonly windowMs: number,
  ) {}

  room(nowMs: number): number {
    if (this.limit === 0) return Number.POSITIVE_INFINITY
    return this.waitMs(nowMs) === 0 ? this.limit : this.limit - this.#taken
  }

  /** No more than there is room for. */
  take(count: number, nowMs: number): void {
    if (this.limit === 0) return
    if (this.waitMs(nowMs) === 0) {
      this.#startedAtMs = nowMs
      this.#taken = 0
    }
    this.#taken += count
  }

  /** Whole milliseconds until the window ends, 0 where none is open. */
  waitMs(nowMs: number): number {
    return Math.max(0, Math.ceil(this.#startedAtMs + this.windowMs - nowMs))
  }
}
