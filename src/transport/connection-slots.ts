import { Refusal } from '../contracts/errors.ts'
import { limits } from '../limits.ts'

/** How many connections each key has open. A place is free again as soon as its connection ends. */
export class ConnectionSlots {
  readonly #open = new Map<string, number>()

  /** `connectionsMax` of 0 is any number. */
  constructor(private readonly connectionsMax: number) {}

  /** Throws Refusal `RATE_LIMIT_EXCEEDED` where the key has as many as it may. */
  take(keyId: string): void {
    const open = this.#open.get(keyId) ?? 0
    if (this.connectionsMax > 0 && open >= this.connectionsMax) {
      throw new Refusal('RATE_LIMIT_EXCEEDED', {
        message: 'Too many connections',
        fields: {
          limit: this.connectionsMax,
          window: 'at a time',
          retryAfter: limits.streamConnectionRetryS,
        },
      })
    }
    this.#open.set(keyId, open + 1)
  }

  /** Once for each that was taken. */
  release(keyId: string): void {
    const open = this.#open.get(keyId) ?? 0
    if (open > 1) this.#open.set(keyId, open - 1)
    else this.#open.delete(keyId)
  }
}
