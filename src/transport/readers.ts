import { retryLater } from '../contracts/errors.ts'
import { limits } from '../limits.ts'

/** A connection that events go out on. */
export interface Reader {
  /**
   * Ends the connection at once; what its socket holds back is lost, and the client can resume.
   */
  cut(): void
}

interface Holding {
  readonly bytes: number
  /** When its socket last took anything, of `performance.now()`. */
  readonly sinceMs: number
}

/**
 * What all readers of events take together: their number, and the bytes that sockets hold back
 * because nobody reads them, answers to WebSocket messages included. Who takes nothing for long
 * is cut, and past the bound of all bytes whoever has stalled longest.
 */
export class Readers {
  #count = 0
  #bytes = 0
  /** By when they last took anything, those stalled longest first. */
  readonly #holdings = new Map<Reader, Holding>()
  readonly #timer: NodeJS.Timeout

  constructor(
    private readonly onHeld: (bytes: number) => void = () => {},
    private readonly nowMs: () => number = () => performance.now(),
  ) {
    this.#timer = setInterval(() => this.cutStalled(), limits.subscriberStallCheckMs)
    this.#timer.unref()
  }

  /** Throws Refusal `SATURATED` where there are as many as there may be. */
  join(): void {
    if (this.#count >= limits.subscribersMax) throw retryLater('SATURATED')
    this.#count += 1
  }

  /** Once for each that has joined. */
  leave(reader: Reader): void {
    this.#count -= 1
    this.hold(reader, 0)
  }

  /** How many bytes the reader's socket holds back now. It may be cut before this returns. */
  hold(reader: Reader, bytes: number): void {
    const known = this.#holdings.get(reader)
    const bytesBefore = known?.bytes ?? 0
    if (bytes === bytesBefore) return
    this.#bytes += bytes - bytesBefore
    // Fewer than before: it reads, and its time begins anew.
    if (bytes < bytesBefore) this.#holdings.delete(reader)
    const sinceMs = bytes < bytesBefore ? undefined : known?.sinceMs
    if (bytes > 0) this.#holdings.set(reader, { bytes, sinceMs: sinceMs ?? this.nowMs() })
    while (this.#bytes > limits.readerBufferBytesMax) this.#cutOldest()
    this.onHeld(this.#bytes)
  }

  /** Cuts those whose sockets have taken nothing for `limits.subscriberStallMs`. */
  cutStalled(): void {
    const beforeMs = this.nowMs() - limits.subscriberStallMs
    for (const { sinceMs } of this.#holdings.values()) {
      if (sinceMs > beforeMs) break
      this.#cutOldest()
    }
    this.onHeld(this.#bytes)
  }

  close(): void {
    clearInterval(this.#timer)
  }

  #cutOldest(): void {
    for (const [reader, { bytes }] of this.#holdings) {
      this.#holdings.delete(reader)
      this.#bytes -= bytes
      reader.cut()
      return
    }
  }
}
