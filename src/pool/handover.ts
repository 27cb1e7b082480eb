import type { WorkerFault } from '../contracts/worker-failure.ts'
import { limits } from '../limits.ts'

/** A task that was handed over, on its way to a thread or at one, and its deadline. */
export class Handover {
  readonly #aborter = new AbortController()
  readonly #taskTimeoutMs: number
  #deadline: NodeJS.Timeout

  constructor(taskTimeoutMs: number) {
    this.#taskTimeoutMs = taskTimeoutMs
    // The thread that it is meant for may still have to start, or hang at that.
    const waitMs = limits.poolStartTimeoutMs + taskTimeoutMs
    this.#deadline = setTimeout(() => this.abort('exit'), waitMs)
  }

  /** Its abort ends the thread that is at the task, if there is one. */
  get signal(): AbortSignal {
    return this.#aborter.signal
  }

  /** Why it was aborted; null where it was not. */
  get abortedFor(): WorkerFault | null {
    return this.signal.aborted ? (this.signal.reason as WorkerFault) : null
  }

  /** A thread takes it: from here on the deadline counts. */
  taken(): void {
    clearTimeout(this.#deadline)
    this.#deadline = setTimeout(() => this.abort('deadline'), this.#taskTimeoutMs)
  }

  abort(fault: WorkerFault): void {
    this.#aborter.abort(fault)
  }

  /** The task is over, one way or the other. */
  settle(): void {
    clearTimeout(this.#deadline)
  }
}
