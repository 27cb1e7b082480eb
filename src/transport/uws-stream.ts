import type { ByteStream, StreamHandlers } from './exchange.ts'
import type { Guard } from './guard.ts'
import type { HttpResponse } from './uws.ts'

/** The open body of a reply, over uWebSockets.js. */
export class UwsStream implements ByteStream {
  #open = true

  constructor(
    private readonly res: HttpResponse,
    private readonly guard: Guard,
    private readonly handlers: StreamHandlers,
  ) {
    // It takes the place of the exchange's, which can then be collected with the request's head.
    res.onAborted(() => this.#close())
    res.onWritable(() => {
      this.#writable()
      return true
    })
  }

  get isOpen(): boolean {
    return this.#open
  }

  write(text: string | Uint8Array): boolean {
    if (!this.#open) return false
    let taken = false
    this.res.cork(() => {
      taken = this.res.write(text)
    })
    return taken
  }

  end(lastText: string): void {
    if (!this.#open) return
    this.res.cork(() => this.res.end(lastText))
    this.#close()
  }

  destroy(): void {
    if (this.#open) this.res.close()
  }

  /** Without a write in here the library takes the stream for stuck and cuts it after 12 s. */
  #writable(): void {
    if (this.write(':\n\n')) this.guard.run(() => this.handlers.drained())
  }

  #close(): void {
    if (!this.#open) return
    this.#open = false
    this.guard.run(() => this.handlers.closed())
  }
}
