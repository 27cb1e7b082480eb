import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import type { LoadReply, LoadRequest, LoadResults } from './messages.ts'

/** The load process (load.ts) behind one typed call. */
export class LoadProcess {
  readonly #child: ChildProcess

  constructor() {
    this.#child = fork(new URL('./load.js', import.meta.url))
  }

  /** One request at a time; rejects with what went wrong over there. */
  async ask<K extends LoadRequest['kind']>(
    request: Extract<LoadRequest, { kind: K }>,
  ): Promise<LoadResults[K]> {
    if (!this.#child.connected) throw new Error('the load process has exited')
    const answered = new AbortController()
    const exited = once(this.#child, 'exit', { signal: answered.signal })
    const message = once(this.#child, 'message', { signal: answered.signal })
    this.#child.send(request)
    try {
      const [reply] = (await Promise.race([
        message,
        exited.then(() => [{ ok: false, error: 'the load process has exited' }]),
      ])) as [LoadReply]
      if (!reply.ok) throw new Error(reply.error)
      return reply.result as LoadResults[K]
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
