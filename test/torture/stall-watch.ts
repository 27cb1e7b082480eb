import { readFileSync } from 'node:fs'
import { setPriority } from 'node:os'
import { setTimeout as delay } from 'node:timers/promises'
import type { Scope, TestServer } from '../support/server.ts'

const sampleIntervalMs = 250
const stallMsMax = 100
/** Of all samples no more may be left open. */
const openShareMax = 0.1
/** The load gives way to the server. */
const loadPriority = 10
const lagMetric = /^atomstream_nodejs_eventloop_lag_max_seconds ([\d.e+-]+)$/m

export interface StallReport {
  readonly measured: string
  readonly failures: readonly string[]
}

/**
 * How long the server's event loop stands still, by its own metric. A loop that waits for a processor
 * stands still too, and the machine has others to serve; so the kernel's count of how long the thread
 * has waited for one is read beside it. What of a stall is no such wait is the server's own; a stall
 * that is only too long together with the wait is left open.
 */
export class StallWatch {
  readonly #server: TestServer
  readonly #aborter = new AbortController()
  readonly #failures: string[] = []
  readonly #done: Promise<void>
  #samples = 0
  #open = 0
  #longestMs = 0

  /** `context` tells what is going on, for the sample in which the loop stands still. */
  constructor(scope: Scope, server: TestServer, context: () => string) {
    this.#server = server
    setPriority(loadPriority)
    scope.after(() => this.#aborter.abort())
    this.#done = this.#watch(context)
    this.#done.catch(() => {})
  }

  async stop(): Promise<StallReport> {
    this.#aborter.abort()
    // A server that has died is told by who talks to it.
    await this.#done.catch(() => {})
    const measured =
      `event loop stall at most ${Math.round(this.#longestMs)} ms in ${this.#samples} samples, ` +
      `of which ${this.#open} are left open, for want of a free processor`
    const isJudged = this.#samples > 0 && this.#open <= openShareMax * this.#samples
    const tooFew = isJudged ? [] : ['on a machine as busy as this stalls cannot be judged']
    return { measured, failures: [...tooFew, ...this.#failures] }
  }

  async #watch(context: () => string): Promise<void> {
    const { signal } = this.#aborter
    await this.#lagMs()
    let waitedBeforeMs = waitedMs(this.#server.pid)
    while (!signal.aborted) {
      await delay(sampleIntervalMs, undefined, { signal }).catch(() => {})
      const before = context()
      const lagMs = await this.#lagMs()
      const waitedNowMs = waitedMs(this.#server.pid)
      const ownMs = lagMs - (waitedNowMs - waitedBeforeMs)
      waitedBeforeMs = waitedNowMs
      this.#samples += 1
      if (lagMs >= stallMsMax && ownMs < stallMsMax) this.#open += 1
      else this.#longestMs = Math.max(this.#longestMs, lagMs)
      if (ownMs < stallMsMax) continue
      this.#failures.push(`the event loop stood still for ${Math.round(ownMs)} ms, ${before}`)
    }
  }

  /** The longest lag since it was asked last: the metric starts anew each time. */
  async #lagMs(): Promise<number> {
    const { text } = await this.#server.client.get('/metrics')
    return Number(lagMetric.exec(text)?.[1]) * 1_000
  }
}

/**
 * How long the main thread has been ready to run without a processor (proc(5), schedstat: the second
 * figure, nanoseconds). 0 where the kernel does not count it: then every wait is the server's own.
 */
function waitedMs(pid: number): number {
  try {
    const [, waitedNs] = readFileSync(`/proc/${pid}/task/${pid}/schedstat`, 'utf8').split(' ')
    return Number(waitedNs) / 1e6
  } catch {
    return 0
  }
}
