import { setImmediate as nextTurn } from 'node:timers/promises'
import { limits } from '../limits.ts'

/** Shares the event loop among lists and pages, so that many at once hold up others no longer than one. */
export class Turns {
  #last: Promise<void> = Promise.resolve()
  #spentBytes = 0

  /** A turn for each who asks, one after the other. */
  next(): Promise<void> {
    this.#last = this.#last.then(() => nextTurn())
    return this.#last
  }

  /** Whether what all have rendered in this turn is enough for it. */
  get isSpent(): boolean {
    return this.#spentBytes >= limits.memoryPageTurnBytes
  }

  spend(bytes: number): void {
    if (this.#spentBytes === 0) {
      setImmediate(() => {
        this.#spentBytes = 0
      })
    }
    this.#spentBytes += bytes
  }
}
