import { limits } from '../limits.ts'

/** An open WebSocket, of which each whole message, ping or pong is a sign of life. */
export interface Living {
  /** Of `performance.now()`. */
  heardAtMs: number
  isPinged: boolean
  ping(): void
  /** Cuts the connection. */
  destroy(): void
}

export interface PulseOptions {
  /** Who is silent for this long is pinged. */
  readonly pingMs?: number
  /** Who is silent for this long is cut. */
  readonly silenceMs?: number
  readonly sweepIntervalMs?: number
}

/**
 * Cuts WebSockets that give no sign of life. The library's own idle timeout begins anew with each byte,
 * so a frame that drips would hold its memory for ever; but who is within a frame can answer no ping.
 */
export class Pulse {
  readonly #pingMs: number
  readonly #silenceMs: number
  readonly #living = new Set<Living>()
  readonly #sweeper: NodeJS.Timeout

  constructor(options: PulseOptions = {}) {
    this.#pingMs = options.pingMs ?? limits.webSocketPingMs
    this.#silenceMs = options.silenceMs ?? limits.webSocketSilenceMs
    const intervalMs = options.sweepIntervalMs ?? limits.sweepIntervalMs
    this.#sweeper = setInterval(() => this.#sweep(), intervalMs)
    this.#sweeper.unref()
  }

  join(living: Living): void {
    this.#living.add(living)
  }

  leave(living: Living): void {
    this.#living.delete(living)
  }

  heard(living: Living): void {
    living.heardAtMs = performance.now()
    living.isPinged = false
  }

  close(): void {
    clearInterval(this.#sweeper)
  }

  #sweep(): void {
    const nowMs = performance.now()
    for (const living of this.#living) {
      const silentMs = nowMs - living.heardAtMs
      if (silentMs > this.#silenceMs) living.destroy()
      else if (silentMs > this.#pingMs && !living.isPinged) {
        living.isPinged = true
        living.ping()
      }
    }
  }
}
