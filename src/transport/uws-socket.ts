import type { Socket } from './exchange.ts'
import type { Living } from './pulse.ts'
import type { WebSocket } from './uws.ts'

/** A WebSocket of uWebSockets.js. */
export class UwsSocket implements Socket, Living {
  heardAtMs = performance.now()
  isPinged = false
  #ws: WebSocket<unknown> | null

  constructor(ws: WebSocket<unknown>) {
    this.#ws = ws
  }

  get isOpen(): boolean {
    return this.#ws !== null
  }

  markClosed(): void {
    this.#ws = null
  }

  get bufferedBytes(): number {
    return this.#ws?.getBufferedAmount() ?? 0
  }

  send(messages: readonly (string | Uint8Array)[]): boolean {
    this.#ws?.cork(() => {
      // A send may close the socket: past the buffer's bound it is cut.
      for (const message of messages) this.#ws?.send(message, typeof message !== 'string')
    })
    return this.#ws !== null && this.bufferedBytes === 0
  }

  ping(): void {
    this.#ws?.ping()
  }

  end(code: number, reason: string): void {
    this.#ws?.end(code, reason)
  }

  destroy(): void {
    this.#ws?.close()
  }
}
