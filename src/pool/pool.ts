import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { Piscina, queueOptionsSymbol } from 'piscina'
// glibc unloads libvips with the first worker that ends unless the main thread has loaded it
// before.
import 'sharp'
import { retryLater } from '../contracts/errors.ts'
import type { TaskResults, WorkerTask } from '../contracts/tasks.ts'
import { taskBuffers } from '../contracts/transfer.ts'
import { WorkerFailure, type WorkerFault } from '../contracts/worker-failure.ts'
import { limits } from '../limits.ts'
import { Handover } from './handover.ts'

/** What the pool needs of a logger; pino's fits. */
export interface PoolLog {
  error(details: object, message: string): void
}

export interface WorkerOptions {
  /** The module that the threads load, in place of the codecs' own; it exports what that exports. */
  readonly workerFile?: URL | undefined
  /** How long a thread may be at one task; `limits.taskTimeoutMs` unless told. */
  readonly taskTimeoutMs?: number | undefined
}

export interface WorkerPoolOptions extends WorkerOptions {
  /** Threads, started at once and kept. */
  readonly workers: number
  readonly log?: PoolLog
}

type Result = TaskResults[WorkerTask['kind']]

type LoadBalancer = NonNullable<
  NonNullable<ConstructorParameters<typeof Piscina>[0]>['loadBalancer']
>

/** The handover stays here: what is cloned for a thread has no symbols. */
type HandedTask = WorkerTask & { readonly [queueOptionsSymbol]: Handover }

interface Queued {
  readonly task: WorkerTask
  readonly resolve: (result: Result) => void
  readonly reject: (error: unknown) => void
}

const codecFile = new URL('../../workers/entry.cjs', import.meta.url)

/**
 * The worker threads behind one typed `run`. A thread that dies or hangs fails the task it was at and
 * is replaced.
 *
 * Tasks queue here and each is handed over only when a thread is free for it, because Piscina runs
 * tasks that can be aborted last in, first out.
 */
export class WorkerPool {
  readonly #piscina: Piscina<HandedTask, Result>
  readonly #workers: number
  readonly #taskTimeoutMs: number
  readonly #log: PoolLog | null
  readonly #queue: Queued[] = []
  readonly #handedOver = new Set<Handover>()
  /** Threads that have loaded their module, by id. */
  readonly #loaded = new Set<number>()
  readonly #unfinished = new Set<Promise<Result>>()
  /** Set while threads do not start. */
  #resting: NodeJS.Timeout | null = null
  #closing: Promise<void> | null = null

  constructor({ workers, log, workerFile, taskTimeoutMs }: WorkerPoolOptions) {
    this.#workers = workers
    this.#taskTimeoutMs = taskTimeoutMs ?? limits.taskTimeoutMs
    this.#log = log ?? null
    this.#piscina = new Piscina({
      filename: fileURLToPath(workerFile ?? codecFile),
      minThreads: workers,
      maxThreads: workers,
      idleTimeout: Number.POSITIVE_INFINITY,
      maxQueue: workers,
      loadBalancer: this.#chooseThread,
      // Atomics would stop a worker's event loop between tasks.
      atomics: 'disabled',
      recordTiming: false,
      resourceLimits: { maxOldGenerationSizeMb: limits.workerHeapMiBMax },
    })
    // A thread that fails between tasks is reported here alone; without a listener it ends the
    // process.
    this.#piscina.on('error', (error: unknown) => {
      this.#log?.error({ err: error }, 'worker failed between tasks')
    })
    this.#piscina.on('workerCreate', ({ id }: { id: number }) => this.#loaded.add(id))
    // Once Piscina has replaced the thread, where it does.
    this.#piscina.on('workerDestroy', () => setImmediate(() => this.#countThreads()))
  }

  /** Tasks that wait for a thread. */
  get queueSize(): number {
    return this.#queue.length
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
   * Runs a task on a worker, in the order of the calls. The buffers that `taskBuffers` names are
   * transferred once a thread takes it: detached here, so the caller hands them over for good. Rejects
   * with Refusal `SATURATED` where the queue is full, `SHUTTING_DOWN` after close, and WorkerFailure
   * where the worker fails or is at the task for longer than the task timeout; waiting does not count.
   */
  async run<K extends WorkerTask['kind']>(
    task: Extract<WorkerTask, { kind: K }>,
  ): Promise<TaskResults[K]> {
    if (this.#closing !== null) throw retryLater('SHUTTING_DOWN')
    if (this.#queue.length >= limits.poolQueueTasksMax) throw retryLater('SATURATED')
    const result = new Promise<Result>((resolve, reject) => {
      this.#queue.push({ task, resolve, reject })
    })
    this.#unfinished.add(result)
    this.#handOver()
    try {
      return (await result) as TaskResults[K]
    } finally {
      this.#unfinished.delete(result)
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
    await Promise.race([Promise.allSettled(this.#unfinished), timeout])
    deadline.abort()
    await timeout.catch(() => undefined)
    if (this.#resting !== null) clearTimeout(this.#resting)
    for (const { reject } of this.#queue.splice(0)) reject(retryLater('SHUTTING_DOWN'))
    await this.#piscina.destroy()
  }

  #handOver(): void {
    while (this.#handedOver.size < this.#threadsUsable()) {
      const queued = this.#queue.shift()
      if (queued === undefined) return
      const handover = new Handover(this.#taskTimeoutMs)
      this.#handedOver.add(handover)
      void this.#perform(queued, handover).finally(() => {
        this.#handedOver.delete(handover)
        this.#handOver()
      })
    }
  }

  /** While threads do not start, a task that none is free for would have Piscina start another. */
  #threadsUsable(): number {
    return this.#resting === null ? this.#workers : this.#piscina.threads.length
  }

  /** Never rejects. */
  async #perform({ task, resolve, reject }: Queued, handover: Handover): Promise<void> {
    const options = { transferList: taskBuffers(task), signal: handover.signal }
    try {
      resolve(await this.#piscina.run({ ...task, [queueOptionsSymbol]: handover }, options))
    } catch (error) {
      if (this.#closing === null || handover.abortedFor !== null) {
        const fault = handover.abortedFor ?? faultOf(error)
        this.#log?.error({ task: task.kind, fault, err: error }, 'worker failed')
        reject(new WorkerFailure(task.kind, fault, error))
      } else reject(retryLater('SHUTTING_DOWN'))
    } finally {
      handover.settle()
    }
  }

  /**
   * Piscina's own choice may be a thread that is still starting, which would count against the
   * deadline of the task.
   */
  readonly #chooseThread: LoadBalancer = (task, workers) => {
    const free = workers.find(({ id, currentUsage }) => currentUsage === 0 && this.#loaded.has(id))
    if (free === undefined) return null
    const handover = task[queueOptionsSymbol]
    if (handover instanceof Handover) handover.taken()
    return free
  }

  /**
   * Piscina replaces a thread that dies at work at once; but where one dies before it has loaded its
   * module it starts no more until a task finds none free. That would be as fast as tasks come, so
   * there is a pause first.
   */
  #countThreads(): void {
    const ids = new Set(this.#piscina.threads.map(({ threadId }) => threadId))
    for (const id of this.#loaded) if (!ids.has(id)) this.#loaded.delete(id)
    const threads = ids.size
    if (this.#closing !== null || threads >= this.#workers) return
    if (this.#resting === null) {
      this.#log?.error({ threads, workers: this.#workers }, 'worker threads do not start')
      this.#resting = setTimeout(() => {
        this.#resting = null
        this.#handOver()
      }, limits.workerRestartDelayMs)
    }
    if (threads > 0) return
    for (const handover of this.#handedOver) handover.abort('exit')
  }
}

function faultOf(error: unknown): WorkerFault {
  if (!(error instanceof Error)) return 'threw'
  if ('code' in error && error.code === 'ERR_WORKER_OUT_OF_MEMORY') return 'out of memory'
  // Piscina's own words for a thread that ended.
  return /^(worker exited with code|Terminating worker thread)/.test(error.message)
    ? 'exit'
    : 'threw'
}
