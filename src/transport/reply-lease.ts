import { limits } from '../limits.ts'
import type { BodyBudget, BodyLease } from './body.ts'
import type { Exchange } from './exchange.ts'

/**
 * What one reply holds of the budget. Long replies wait in memory for slow readers, and some while they
 * are being made, so they count until they have left.
 */
export class ReplyLease {
  #bytes = 0
  #heldBytes = 0
  #lease: BodyLease | null = null

  constructor(
    private readonly budget: BodyBudget,
    private readonly exchange: Exchange,
  ) {}

  /** So many more bytes are there. Throws Refusal `SATURATED` where the budget has no room. */
  grow(bytes: number): void {
    this.growTo(this.#bytes + bytes)
  }

  /** The same, of a reply that is so long by now. */
  growTo(bytes: number): void {
    this.#bytes = Math.max(bytes, this.#bytes)
    // What leaves in one write holds nothing back, and small replies must not be refused.
    if (!this.exchange.isOpen || this.#bytes <= limits.replyWriteBytesMax) return
    if (this.#lease === null) {
      const lease = this.budget.lease()
      this.exchange.onClosed(() => lease.release())
      this.#lease = lease
    }
    this.#lease.grow(this.#bytes - this.#heldBytes)
    this.#heldBytes = this.#bytes
  }
}
