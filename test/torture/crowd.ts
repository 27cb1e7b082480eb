import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'

/** Subscribers to be opened, each on a connection of its own. */
export interface CrowdOrder {
  readonly transport: 'sse' | 'websocket'
  readonly host: string
  readonly port: number
  /** With its query. */
  readonly path: string
  readonly key: string
  readonly count: number
  /** They ask, and never read a byte of the answer. */
  readonly isStalled: boolean
}

/** What those who read have received. */
export interface CrowdReport {
  /** Whose connections have ended. */
  readonly closed: number
  /**
   * `members` received so many events, the last with this number, all of them folded to `digest`.
   */
  readonly seen: readonly {
    readonly events: number
    readonly last: number
    readonly digest: number
    readonly members: number
  }[]
  /**
   * Milliseconds from an event's commit to its arrival, and how often: one for every write read.
   */
  readonly latencies: readonly (readonly [ms: number, count: number])[]
}

export type CrowdMessage =
  | { readonly kind: 'opened' }
  | { readonly kind: 'failed'; readonly message: string }
  | { readonly kind: 'report'; readonly report: CrowdReport }

/** Other numbers, or the same ones in another order, make another digest. */
export function foldNumber(digest: number, number: number): number {
  return (Math.imul(digest, 31) + number) | 0
}

const processPath = join(import.meta.dirname, 'crowd-process.js')

/** Subscribers in a process of their own. */
export class Crowd {
  readonly #child: ChildProcess

  constructor() {
    this.#child = fork(processPath, { stdio: 'inherit' })
  }

  /** Resolves when all are answered. */
  async open(order: CrowdOrder): Promise<void> {
    await this.#ask(order, 'opened')
  }

  async report(): Promise<CrowdReport> {
    const answer = await this.#ask('report', 'report')
    if (answer.kind !== 'report') throw new Error('the crowd does not report')
    return answer.report
  }

  async close(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return
    const ended = once(this.#child, 'close')
    this.#child.kill('SIGKILL')
    await ended
  }

  async #ask(message: CrowdOrder | 'report', kind: CrowdMessage['kind']): Promise<CrowdMessage> {
    const answered = once(this.#child, 'message')
    this.#child.send(message)
    const [answer] = (await answered) as [CrowdMessage]
    if (answer.kind === 'failed') throw new Error(answer.message)
    if (answer.kind !== kind) throw new Error(`the crowd answers ${answer.kind}`)
    return answer
  }
}
