import { limits } from '../limits.ts'

/** Bytes on their way through a connection, in or out. */
export interface Transfer {
  readonly movedBytes: number
  /** How long we have held it back ourselves, which is not the client's time. */
  readonly heldMs?: number
  /** Called now and then for as long as it may go on. */
  keep?(): void
  /** Cuts the connection. */
  cut(): void
}

export interface PaceOptions {
  /** A transfer may take this long beside what its bytes take. */
  readonly graceMs?: number
  readonly bytesPerSecond?: number
  readonly sweepIntervalMs?: number
}

/**
 * Cuts transfers that are slower than they may be: whoever drips a body or hardly reads a reply would
 * hold its memory for ever. The time allowed grows with the bytes that have moved, so that a large body
 * may come over a slow line.
 */
export class Pace {
  readonly #graceMs: number
  readonly #bytesPerMs: number
  readonly #began = new Map<Transfer, number>()
  readonly #sweeper: NodeJS.Timeout

  constructor(options: PaceOptions = {}) {
    this.#graceMs = options.graceMs ?? limits.transferGraceMs
    this.#bytesPerMs = (options.bytesPerSecond ?? limits.transferBytesPerSecondMin) / 1_000
    const intervalMs = options.sweepIntervalMs ?? limits.sweepIntervalMs
    this.#sweeper = setInterval(() => this.#sweep(), intervalMs)
    this.#sweeper.unref()
  }

  watch(transfer: Transfer): void {
    this.#began.set(transfer, performance.now())
  }

  /** It is over, one way or the other. */
  release(transfer: Transfer): void {
    this.#began.delete(transfer)
  }

  close(): void {
    clearInterval(this.#sweeper)
  }

  #sweep(): void {
    const nowMs = performance.now()
    for (const [transfer, beganMs] of this.#began) {
      const heldMs = transfer.heldMs ?? 0
      const allowedMs = this.#graceMs + heldMs + transfer.movedBytes / this.#bytesPerMs
      if (nowMs - beganMs <= allowedMs) {
        transfer.keep?.()
        continue
      }
      this.#began.delete(transfer)
      transfer.cut()
    }
  }
}
