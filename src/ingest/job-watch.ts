import type { Alarm, Clock } from '../clock.ts'
import { retryLater } from '../contracts/errors.ts'
import { limits } from '../limits.ts'
import type { JobRow, Store } from '../store/interfaces.ts'

interface Waiting {
  readonly job: JobRow
  readonly resolve: () => void
}

/** Holds who asks for a job's status until there is something new to tell. */
export class JobWatch {
  readonly #store: Pick<Store, 'jobs' | 'onJobs'>
  readonly #clock: Clock
  /** By the job's number. */
  readonly #waiting = new Map<number, Set<Waiting>>()
  #waits = 0
  #closed = false

  /** Becomes the store's one listener to jobs. */
  constructor(store: Pick<Store, 'jobs' | 'onJobs'>, clock: Clock) {
    this.#store = store
    this.#clock = clock
    store.onJobs((rows) => {
      for (const row of rows) this.#changed(row)
    })
  }

  /**
   * The row once its status or step is another than `job`'s, or as it is when the time is over. An ended
   * job is given at once; so is any when `signal` aborts and after `close`. `job` must have been read in
   * this turn. Throws Refusal `SATURATED` where too many wait.
   */
  async wait(job: JobRow, timeoutMs: number, signal: AbortSignal): Promise<JobRow> {
    if (job.endedAtMs !== null || this.#closed || signal.aborted) return job
    if (this.#waits >= limits.jobWaitsMax) throw retryLater('SATURATED')
    await this.#change(job, timeoutMs, signal)
    // Retention may have taken it meanwhile: then this is the last that is known of it.
    return this.#store.jobs.get(job.number) ?? job
  }

  /** Lets everybody go, from now on at once. Idempotent. */
  close(): void {
    this.#closed = true
    for (const group of [...this.#waiting.values()]) {
      for (const { resolve } of [...group]) resolve()
    }
  }

  #change(job: JobRow, timeoutMs: number, signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      let alarm: Alarm | null = null
      const finish = (): void => {
        alarm?.cancel()
        signal.removeEventListener('abort', finish)
        this.#leave(waiting)
        resolve()
      }
      const waiting: Waiting = { job, resolve: finish }
      this.#join(waiting)
      alarm = this.#clock.after(timeoutMs, finish)
      signal.addEventListener('abort', finish)
    })
  }

  #changed(row: JobRow): void {
    for (const { job, resolve } of [...(this.#waiting.get(row.number) ?? [])]) {
      if (row.status !== job.status || row.step !== job.step) resolve()
    }
  }

  #join(waiting: Waiting): void {
    const { number } = waiting.job
    const group = this.#waiting.get(number) ?? new Set()
    group.add(waiting)
    this.#waiting.set(number, group)
    this.#waits += 1
  }

  #leave(waiting: Waiting): void {
    const { number } = waiting.job
    const group = this.#waiting.get(number)
    if (group?.delete(waiting) !== true) return
    this.#waits -= 1
    if (group.size === 0) this.#waiting.delete(number)
  }
}
