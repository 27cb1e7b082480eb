export interface WindowTotals {
  readonly replies: number
  /** Those that count as failed by the caller's measure. */
  readonly failures: number
  /** Of each reply, 0 where there is none. */
  readonly meanMs: number
}

/**
 * Replies of the time that has just gone by, in buckets that are used again in turn: adding takes
 * the same few steps whatever was there before, and makes nothing.
 */
export class Window {
  readonly #bucketMs: number
  readonly #buckets: number
  /** Which bucket since the epoch each place holds. */
  readonly #held: Float64Array
  readonly #replies: Float64Array
  readonly #failures: Float64Array
  readonly #sumsMs: Float64Array

  constructor(windowMs: number, bucketMs: number) {
    const buckets = windowMs / bucketMs
    this.#bucketMs = bucketMs
    this.#buckets = buckets
    this.#held = new Float64Array(buckets).fill(-1)
    this.#replies = new Float64Array(buckets)
    this.#failures = new Float64Array(buckets)
    this.#sumsMs = new Float64Array(buckets)
  }

  add(nowMs: number, durationMs: number, isFailure: boolean): void {
    const bucket = Math.floor(nowMs / this.#bucketMs)
    const at = bucket % this.#buckets
    if (this.#held[at] !== bucket) {
      this.#held[at] = bucket
      this.#replies[at] = 0
      this.#failures[at] = 0
      this.#sumsMs[at] = 0
    }
    this.#replies[at] = (this.#replies[at] ?? 0) + 1
    this.#sumsMs[at] = (this.#sumsMs[at] ?? 0) + durationMs
    if (isFailure) this.#failures[at] = (this.#failures[at] ?? 0) + 1
  }

  /** The bucket that is being filled counts as a whole one. */
  totals(nowMs: number): WindowTotals {
    const last = Math.floor(nowMs / this.#bucketMs)
    let replies = 0
    let failures = 0
    let sumMs = 0
    for (const [at, bucket] of this.#held.entries()) {
      if (bucket > last || bucket <= last - this.#buckets) continue
      replies += this.#replies[at] ?? 0
      failures += this.#failures[at] ?? 0
      sumMs += this.#sumsMs[at] ?? 0
    }
    return { replies, failures, meanMs: replies === 0 ? 0 : sumMs / replies }
  }
}
