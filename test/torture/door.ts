import { Client, type RawReply, type RequestOptions } from '../support/client.ts'

/** Where the server is at present: it comes and goes, and clients wait for it. */
export class Door {
  readonly #stop: AbortSignal
  #url: string | null = null
  readonly #waiting: (() => void)[] = []
  readonly #tell = () => {
    for (const resolve of this.#waiting.splice(0)) resolve()
  }

  /** After `stop` nobody waits for it any more. */
  constructor(stop: AbortSignal) {
    this.#stop = stop
    stop.addEventListener('abort', this.#tell)
  }

  open(url: string): void {
    this.#url = url
    this.#tell()
  }

  shut(): void {
    this.#url = null
  }

  /** Nobody comes through it any more. */
  close(): void {
    this.shut()
    this.#stop.removeEventListener('abort', this.#tell)
  }

  /** The server's URL, once it has one. Rejects where the trial is stopped. */
  async url(): Promise<string> {
    for (;;) {
      this.#stop.throwIfAborted()
      if (this.#url !== null) return this.#url
      await new Promise<void>((resolve) => this.#waiting.push(resolve))
    }
  }

  /** One attempt; null where no whole answer came. */
  async attempt(
    key: string,
    method: string,
    path: string,
    options: RequestOptions = {},
  ): Promise<RawReply | null> {
    const client = new Client(await this.url(), key)
    try {
      return await client.raw(method, path, options)
    } catch {
      return null
    }
  }
}
