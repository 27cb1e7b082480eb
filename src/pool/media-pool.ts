import { Worker } from 'node:worker_threads'
import { giveBack } from '../contracts/buffers.ts'
import { retryLater } from '../contracts/errors.ts'
import type { MediaCommand, MediaMessage, MediaResult, MediaTask } from '../contracts/tasks.ts'
import { WorkerFailure, type WorkerFault } from '../contracts/worker-failure.ts'
import { limits } from '../limits.ts'

type Told<K extends MediaMessage['kind']> = Extract<MediaMessage, { kind: K }>

/** Who hears what a media task tells. */
export interface MediaHandlers {
  validated(message: Told<'validated'>): void
  progress(position: number): void
  /**
   * Resolves once the chunk is stored, and its buffer may be gone then; where it rejects, the task is
   * stopped.
   */
  chunk(message: Told<'chunk'>): Promise<void>
}

const mediaFile = new URL('../../workers/media.js', import.meta.url)

/**
 * A thread for each media task, for as long as the task takes: it may be an hour, mostly spent waiting for
 * a decoder, so it would keep a thread of the worker pool from everybody's uploads. How many there are at
 * a time is for the caller to say.
 */
export class MediaPool {
  readonly #file: URL
  readonly #threads = new Set<Promise<unknown>>()
  readonly #closing = new AbortController()

  constructor({ workerFile = mediaFile }: { workerFile?: URL | undefined } = {}) {
    this.#file = workerFile
  }

  /**
   * Runs a task. When `signal` aborts, its thread and decoder are gone within a second, and it resolves
   * as `cancelled`. Rejects with WorkerFailure where the thread fails or outlives the task's deadline,
   * and with what `handlers.chunk` rejected with.
   */
  async run(task: MediaTask, handlers: MediaHandlers, signal: AbortSignal): Promise<MediaResult> {
    if (this.#closing.signal.aborted) throw retryLater('SHUTTING_DOWN')
    const stop = AbortSignal.any([signal, this.#closing.signal])
    const running = new MediaThread(this.#file, task, handlers).run(stop)
    this.#threads.add(running)
    try {
      return await running
    } finally {
      this.#threads.delete(running)
    }
  }

  /** Cancels what runs and resolves when no thread is left. Idempotent. */
  async close(): Promise<void> {
    this.#closing.abort()
    await Promise.allSettled(this.#threads)
  }
}

class MediaThread {
  readonly #worker: Worker
  readonly #handlers: MediaHandlers
  readonly #deadlineMs: number
  /** Why it was ended before its result, null where it ended by itself. */
  #endedFor: WorkerFault | 'cancel' | null = null
  #chunkError: { readonly error: unknown } | null = null
  /** Runs from the cancelling on. */
  #grace: NodeJS.Timeout | null = null
  #isOver = false

  constructor(file: URL, task: MediaTask, handlers: MediaHandlers) {
    this.#handlers = handlers
    this.#deadlineMs = task.deadlineMs
    this.#worker = new Worker(file, {
      workerData: task,
      resourceLimits: { maxOldGenerationSizeMb: limits.mediaHeapMiBMax },
    })
  }

  async run(signal: AbortSignal): Promise<MediaResult> {
    const cancel = () => this.#cancel()
    // The thread keeps the deadline itself; this is for one that hangs.
    const deadline = setTimeout(
      () => this.#end('deadline'),
      this.#deadlineMs + limits.mediaCancelGraceMs,
    )
    signal.addEventListener('abort', cancel, { once: true })
    if (signal.aborted) cancel()
    try {
      const result = await this.#result()
      if (this.#chunkError !== null) throw this.#chunkError.error
      return result
    } finally {
      this.#isOver = true
      clearTimeout(deadline)
      if (this.#grace !== null) clearTimeout(this.#grace)
      signal.removeEventListener('abort', cancel)
      // After the result nothing of it is at work but its own end.
      await this.#worker.terminate()
    }
  }

  #result(): Promise<MediaResult> {
    return new Promise((resolve, reject) => {
      const fail = (fault: WorkerFault, cause: unknown) => {
        if (this.#endedFor === 'cancel') resolve({ kind: 'cancelled', position: 0 })
        else reject(new WorkerFailure('media', this.#endedFor ?? fault, cause))
      }
      this.#worker.on('message', (message: MediaMessage) => {
        if (message.kind === 'result') resolve(message.result)
        else this.#take(message)
      })
      this.#worker.on('messageerror', (error) => fail('threw', error))
      this.#worker.on('error', (error: NodeJS.ErrnoException) => {
        fail(error.code === 'ERR_WORKER_OUT_OF_MEMORY' ? 'out of memory' : 'threw', error)
      })
      this.#worker.on('exit', (code) => fail('exit', `it ended with ${code}`))
    })
  }

  #take(message: Exclude<MediaMessage, { kind: 'result' }>): void {
    switch (message.kind) {
      case 'validated':
        this.#handlers.validated(message)
        break
      case 'progress':
        this.#handlers.progress(message.position)
        break
      case 'chunk':
        void this.#store(message)
    }
  }

  async #store(message: Told<'chunk'>): Promise<void> {
    try {
      await this.#handlers.chunk(message)
      giveBack(message.buffer)
      this.#command({ kind: 'stored' })
    } catch (error) {
      this.#chunkError ??= { error }
      this.#cancel()
    }
  }

  #cancel(): void {
    if (this.#isOver) return
    this.#command({ kind: 'cancel' })
    this.#grace ??= setTimeout(() => this.#end('cancel'), limits.mediaCancelGraceMs)
  }

  #end(reason: WorkerFault | 'cancel'): void {
    this.#endedFor ??= reason
    void this.#worker.terminate()
  }

  #command(command: MediaCommand): void {
    this.#worker.postMessage(command)
  }
}
