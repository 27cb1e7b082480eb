import type { Alarm, Clock } from '../../src/clock.ts'

interface Waiting {
  readonly atMs: number
  readonly callback: () => void
}

/** A clock that stands still until it is wound. */
export class FakeClock implements Clock {
  #nowMs: number
  readonly #waiting = new Set<Waiting>()

  constructor(startMs: number = Date.UTC(2025, 0, 20, 10, 30)) {
    this.#nowMs = startMs
  }

  now(): number {
    return this.#nowMs
  }

  after(delayMs: number, callback: () => void): Alarm {
    const waiting = { atMs: this.#nowMs + Math.max(0, delayMs), callback }
    this.#waiting.add(waiting)
    return { cancel: () => this.#waiting.delete(waiting) }
  }

  /** How long until the next alarm, null where none is set. */
  get nextMs(): number | null {
    const next = this.#next()
    return next === null ? null : next.atMs - this.#nowMs
  }

  /**
   * Goes on by so much and sets off every alarm on the way at its own time, those that callbacks set in
   * the same turn included. What the callbacks begin goes on in real time: wait for what it leads to.
   */
  advance(ms: number): void {
    const untilMs = this.#nowMs + ms
    for (let next = this.#next(); next !== null && next.atMs <= untilMs; next = this.#next()) {
      this.#waiting.delete(next)
      this.#nowMs = Math.max(this.#nowMs, next.atMs)
      next.callback()
    }
    this.#nowMs = untilMs
  }

  #next(): Waiting | null {
    let first: Waiting | null = null
    for (const waiting of this.#waiting) {
      if (first === null || waiting.atMs < first.atMs) first = waiting
    }
    return first
  }
}
