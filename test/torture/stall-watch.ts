import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { setPriority } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import type { Scope, TestServer } from '../support/server.ts'

const referencePath = join(import.meta.dirname, 'stall-reference.js')
const sampleIntervalMs = 500
const stallMsMax = 100
/** A machine that keeps an idle process waiting as long as this cannot judge another one. */
const referenceMsMax = 40
/** Of all samples so many must be of use. */
const judgedShareMin = 0.5
/** The load gives way to the server, so that the server's waits are its own. */
const loadPriority = 10
const lagMetric = /^atomstream_nodejs_eventloop_lag_max_seconds ([\d.e+-]+)$/m

export interface StallReport {
  readonly measured: string
  readonly failures: readonly string[]
}

/**
 * How long the server's event loop stands still, by its own metric. An event loop that is not let run
 * stands still too, so an idle process measures the same beside it: where that one waits, the machine
 * was busy with something else, and the sample tells nothing.
 */
export class StallWatch {
  readonly #aborter = new AbortController()
  readonly #samplesMs: number[] = []
  readonly #failures: string[] = []
  readonly #done: Promise<void>
  #judged = 0

  /** `context` tells what is going on, for the sample in which the loop stands still. */
  constructor(scope: Scope, server: TestServer, context: () => string) {
    setPriority(loadPriority)
    const reference = fork(referencePath)
    scope.after(async () => {
      this.#aborter.abort()
      const ended = once(reference, 'exit')
      reference.kill('SIGKILL')
      await ended
    })
    this.#done = this.#watch(server, reference, context)
    this.#done.catch(() => {})
  }

  async stop(): Promise<StallReport> {
    this.#aborter.abort()
    // A server that has died is told by who talks to it.
    await this.#done.catch(() => {})
    const samples = this.#samplesMs.length
    const measured =
      `event loop stall at most ${Math.round(Math.max(0, ...this.#samplesMs))} ms ` +
      `in ${this.#judged} of ${samples} samples, in the others the machine was busy`
    const isJudged = this.#judged >= judgedShareMin * samples
    const tooFew = isJudged ? [] : [`stalls could not be judged: ${measured}`]
    return { measured, failures: [...tooFew, ...this.#failures] }
  }

  async #watch(server: TestServer, reference: ChildProcess, context: () => string): Promise<void> {
    const { signal } = this.#aborter
    await askReference(reference)
    await lagMs(server)
    while (!signal.aborted) {
      await delay(sampleIntervalMs, undefined, { signal }).catch(() => {})
      const before = context()
      const stallMs = await lagMs(server)
      const referenceMs = await askReference(reference)
      const isJudged = referenceMs < referenceMsMax
      this.#samplesMs.push(isJudged ? stallMs : 0)
      if (!isJudged) continue
      this.#judged += 1
      if (stallMs < stallMsMax) continue
      this.#failures.push(`the event loop stood still for ${Math.round(stallMs)} ms, ${before}`)
    }
  }
}

/** The longest lag since it was asked last: the metric starts anew each time. */
async function lagMs(server: TestServer): Promise<number> {
  const { text } = await server.client.get('/metrics')
  return Number(lagMetric.exec(text)?.[1]) * 1_000
}

async function askReference(reference: ChildProcess): Promise<number> {
  const answered = once(reference, 'message')
  reference.send('how long')
  const [ms] = (await answered) as [number]
  return ms
}
