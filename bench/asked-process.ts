import { type ChildProcess, type ForkOptions, fork } from 'node:child_process'
import { once } from 'node:events'

type Reply =
  | { readonly ok: true; readonly result: unknown }
  | { readonly ok: false; readonly error: string }

/** A child process behind one typed call: `Results` has the answer to each kind of `Request`. */
export class AskedProcess<
  Request extends { readonly kind: string },
  Results extends Readonly<Record<Request['kind'], unknown>>,
> {
  readonly #child: ChildProcess

  constructor(
    module: URL,
    /** How an error names it. */
    private readonly name: string,
    options: ForkOptions = {},
  ) {
    this.#child = fork(module, options)
  }

  /** One request at a time; rejects with what went wrong over there. */
  async ask<K extends Request['kind']>(
    request: Extract<Request, { kind: K }>,
  ): Promise<Results[K]> {
    const exit = `${this.name} has exited`
    if (!this.#child.connected) throw new Error(exit)
    const answered = new AbortController()
    const exited = once(this.#child, 'exit', { signal: answered.signal })
    const message = once(this.#child, 'message', { signal: answered.signal })
    this.#child.send(request)
    try {
      const [reply] = (await Promise.race([
        message,
        exited.then(() => [{ ok: false, error: exit }]),
      ])) as [Reply]
      if (!reply.ok) throw new Error(reply.error)
      return reply.result as Results[K]
    } finally {
      answered.abort()
      // The one that lost the race is told to stop waiting, which it answers with a rejection.
      await Promise.allSettled([exited, message])
    }
  }

  async close(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return
    const exited = once(this.#child, 'exit')
    this.#child.kill('SIGKILL')
    await exited
  }
}
