import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { Piscina } from 'piscina'
// glibc unloads libvips with the first worker that ends unless the main thread has loaded it
// before.
import 'sharp'
import { retryLater } from '../contracts/errors.ts'
import type { TaskResults, WorkerTask } from '../contracts/tasks.ts'
import { taskBuffers } from '../contracts/transfer.ts'
import { limits } from '../limits.ts'
import { WorkerFailure } from './worker-failure.ts'

/** What the pool needs of a logger; pino's fits. */
export interface PoolLog {
  error(details: object, message: string): void
}

export interface WorkerPoolOptions {
  /** Threads, started at once and kept. */
  readonly workers: number
  readonly log?: PoolLog
}

/**
 * The worker threads behind one typed `run`. A thread that dies fails the task it was at and is
 * replaced.
 */
export class WorkerPool {
  readonly #piscina: Piscina<WorkerTask, TaskResults[WorkerTask['kind']]>
  readonly #running = new Set<Promise<unknown>>()
  #closing: Promise<void> | null = null

  constructor({ workers, log }: WorkerPoolOptions) {
    this.#piscina = new Piscina({
      filename: fileURLToPath(new URL('../../workers/entry.cjs', import.meta.url)),
      minThreads: workers,
      maxThreads: workers,
      idleTimeout: Number.POSITIVE_INFINITY,
      maxQueue: limits.poolQueueTasksMax,
      stricterFIFO: true,
      // Atomics would stop a worker's event loop between tasks.
      atomics: 'disabled',
      recordTiming: false,
      resourceLimits: { maxOldGenerationSizeMb: limits.workerHeapMiBMax },
    })
    // A thread that fails between tasks is reported here alone; without a listener it ends the
    // process.
    this.#piscina.on('error', (error: unknown) => {
      log?.error({ err: error }, 'worker failed between tasks')
    })
  }

  /** Tasks that wait for a thread. */
  get queueSize(): number {
    return this.#piscina.queueSize
  }

  /**
   * Resolves once a worker has done an empty task. Rejects where none does in time: a thread whose
   * modules do not load would else leave every upload without an answer.
   */
  async ready(): Promise<void> {
    const empty = this.run({
      kind: 'read',
      blocks: [],
      fromMs: null,
      toMs: null,
      fields: null,
      limit: 1,
      format: 'json',
    })
    const deadline = new AbortController()
    const timeout = delay(limits.poolStartTimeoutMs, true, { signal: deadline.signal })
    try {
      const isLate = await Promise.race([empty.then(() => false), timeout])
      if (isLate) throw new Error('no worker thread started in time: is the install complete?')
    } finally {
      deadline.abort()
      await timeout.catch(() => undefined)
    }
  }

  /**
   * Runs a task on a worker. Its buffers are transferred once a thread takes it: detached here, so
   * the caller hands them over for good. Rejects with Refusal `SATURATED` where the queue is full,
   * `SHUTTING_DOWN` after close, and WorkerFailure where the worker fails.
   */
  async run<K extends WorkerTask['kind']>(
    task: Extract<WorkerTask, { kind: K }>,
  ): Promise<TaskResults[K]> {
    if (this.#closing !== null) throw retryLater('SHUTTING_DOWN')
    if (this.#piscina.queueSize >= limits.poolQueueTasksMax) throw retryLater('SATURATED')
    const running = this.#piscina.run(task, { transferList: taskBuffers(task) })
    this.#running.add(running)
    try {
      return (await running) as TaskResults[K]
    } catch (error) {
      throw this.#closing === null
        ? new WorkerFailure(task.kind, error)
        : retryLater('SHUTTING_DOWN')
    } finally {
      this.#running.delete(running)
    }
  }

  /**
   * Refuses new tasks, lets those it has finish for `limits.poolCloseTimeoutMs`, then ends the
   * threads. Idempotent. Piscina's own close is not used: it ends the threads once the first of
   * several tasks is done.
   */
  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close(): Promise<void> {
    const deadline = new AbortController()
    const timeout = delay(limits.poolCloseTimeoutMs, undefined, { signal: deadline.signal })
    await Promise.race([Promise.allSettled(this.#running), timeout])
    deadline.abort()
    await timeout.catch(() => undefined)
    await this.#piscina.destroy()
  }
}
