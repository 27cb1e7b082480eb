import { setTimeout as delay } from 'node:timers/promises'
import { retryLater } from '../contracts/errors.ts'
import type { DecodeUpload, DecodeVerdict } from '../contracts/tasks.ts'
import { limits } from '../limits.ts'
import type { WorkerPool } from './pool.ts'

interface Waiting {
  readonly upload: DecodeUpload
  readonly resolve: (verdict: DecodeVerdict) => void
  readonly reject: (error: unknown) => void
}

/**
 * Gathers uploads into tasks in front of the pool. While a worker is free an upload goes at once;
 * once all are busy what comes waits in order, and each task that returns takes a share of it
 * along. So many small uploads cost few messages, and a lone one no delay.
 */
export class Decoder {
  readonly #pool: WorkerPool
  readonly #workers: number
  /** One task more than there are workers, so that the next lies ready when one is done. */
  readonly #tasksMax: number
  readonly #waiting: Waiting[] = []
  readonly #running = new Set<Promise<void>>()
  #closing: Promise<void> | null = null

  constructor(pool: WorkerPool, workers: number) {
    this.#pool = pool
    this.#workers = workers
    this.#tasksMax = workers + 1
  }

  /** Uploads that wait for a task. */
  get waitingUploads(): number {
    return this.#waiting.length
  }

  /** Tasks that the pool has, at work or about to be. */
  get tasksInFlight(): number {
    return this.#running.size
  }

  /**
   * Decodes one upload on a worker; its body is transferred. Rejects with Refusal `SATURATED`
   * where `limits.decodeQueueUploadsMax` wait, `SHUTTING_DOWN` after close, and WorkerFailure
   * where the worker failed on the task that the upload was part of.
   */
  decode(upload: DecodeUpload): Promise<DecodeVerdict> {
    if (this.#closing !== null) return Promise.reject(retryLater('SHUTTING_DOWN'))
    if (this.#waiting.length >= limits.decodeQueueUploadsMax) {
      return Promise.reject(retryLater('SATURATED'))
    }
    return new Promise((resolve, reject) => {
      this.#waiting.push({ upload, resolve, reject })
      this.#dispatch()
    })
  }

  /**
   * Refuses new uploads and lets those it has finish for `limits.poolCloseTimeoutMs`; those that
   * still wait then are refused. Idempotent. The pool stays open.
   */
  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close(): Promise<void> {
    const deadline = new AbortController()
    const { signal } = deadline
    const timeout = delay(limits.poolCloseTimeoutMs, undefined, { signal }).catch(() => undefined)
    // A task that ends takes what waits along before it leaves the set, so an empty set is the
    // end.
    while (this.#running.size > 0) {
      const late = await Promise.race([Promise.race(this.#running), timeout.then(() => true)])
      if (late === true) break
    }
    deadline.abort()
    for (const { reject } of this.#waiting.splice(0)) reject(retryLater('SHUTTING_DOWN'))
  }

  #dispatch(): void {
    while (this.#waiting.length > 0 && this.#running.size < this.#tasksMax) {
      const batch = this.#takeBatch()
      const task = this.#run(batch).finally(() => {
        this.#running.delete(task)
        this.#dispatch()
      })
      this.#running.add(task)
    }
  }

  /** A worker's even share of what waits, within the bounds of a task, at least one upload. */
  #takeBatch(): Waiting[] {
    const share = Math.ceil(this.#waiting.length / this.#workers)
    const uploadsMax = Math.min(share, limits.taskUploadsMax)
    let count = 0
    let bytes = 0
    while (count < uploadsMax) {
      bytes += this.#waiting[count]?.upload.byteLength ?? 0
      if (count > 0 && bytes > limits.taskBytesMax) break
      count++
    }
    return this.#waiting.splice(0, count)
  }

  async #run(batch: readonly Waiting[]): Promise<void> {
    try {
      const uploads = batch.map(({ upload }) => upload)
      const { verdicts } = await this.#pool.run({ kind: 'decode', uploads })
      for (const [index, { resolve, reject }] of batch.entries()) {
        const verdict = verdicts[index]
        if (verdict !== undefined) resolve(verdict)
        else reject(new Error('the worker gave no verdict for an upload'))
      }
    } catch (error) {
      for (const { reject } of batch) reject(error)
    }
  }
}
