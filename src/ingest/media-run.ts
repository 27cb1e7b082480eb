import type { Clock } from '../clock.ts'
import { Refusal } from '../contracts/errors.ts'
import type { FfmpegBinary } from '../contracts/media.ts'
import type { MediaMessage, MediaResult } from '../contracts/tasks.ts'
import { WorkerFailure } from '../contracts/worker-failure.ts'
import { limits } from '../limits.ts'
import type { Logger } from '../log.ts'
import type { Metrics } from '../metrics.ts'
import type { MediaPool } from '../pool/media-pool.ts'
import type { JobRow, MediaFile, Store, Transaction } from '../store/interfaces.ts'
import type { Batcher } from './batcher.ts'
import type { IdempotentUploads } from './idempotency.ts'
import type { JobError } from './jobs.ts'
import {
  mediaOf,
  storeMediaChunk,
  storeMediaDone,
  storeMediaFailed,
  storeMediaIndexing,
  storeMediaProgress,
  storeMediaSetAside,
  storeMediaStart,
  storeMediaValidated,
} from './media-job-store.ts'
import type { SessionService } from './sessions.ts'
import type { Spool } from './spool.ts'

export interface MediaJobServices {
  readonly store: Store
  readonly sessions: SessionService
  readonly idempotency: IdempotentUploads
  readonly spool: Spool
  readonly pool: MediaPool
  readonly clock: Clock
  readonly log: Logger
  readonly metrics: Metrics
}

export interface MediaJobOptions {
  /** Null where the machine has none: WAV files can be cut all the same. */
  readonly ffmpeg: FfmpegBinary | null
  /** Of one job, from the start of its work; a restart begins anew. */
  readonly timeoutMs: number
}

/** Why a running job is stopped: by who asked for it, or because the server stops. */
export type StopReason = 'cancel' | 'close'

/** One go at a job. */
export class MediaRun {
  readonly #services: MediaJobServices
  readonly #job: JobRow
  readonly #media: MediaFile
  readonly #batcher: Batcher
  readonly #signal: AbortSignal
  /** Chunks and reports on their way to the disk, in order. */
  #stored: Promise<void> = Promise.resolve()
  #lastReportMs = 0

  constructor(services: MediaJobServices, job: JobRow, batcher: Batcher, signal: AbortSignal) {
    this.#services = services
    this.#job = job
    this.#media = mediaOf(job)
    this.#batcher = batcher
    this.#signal = signal
  }

  /**
   * True where the job has ended; false where it has not: it is to be tried again, or was cancelled.
   * Rejects where the store fails. Nothing of it is on its way to the store by then.
   */
  async perform(options: MediaJobOptions): Promise<boolean> {
    try {
      return await this.#perform(options)
    } finally {
      await this.#stored.catch(() => undefined)
    }
  }

  async #perform(options: MediaJobOptions): Promise<boolean> {
    const { log } = this.#services
    if (!(await this.#commit(storeMediaStart))) return true
    if (this.#media.runs >= limits.mediaRunsMax) {
      const message = `The server stopped ${this.#media.runs} times while it worked on this file`
      return this.#fail({ code: 'WORKER_FAILED', message, details: 'It is not tried again' }, null)
    }
    let result: MediaResult
    try {
      result = await this.#decode(options)
    } catch (error) {
      // A chunk that is not stored yet is where the next go begins.
      await this.#stored
      if (this.#signal.aborted) return this.#stopped()
      if (!(error instanceof WorkerFailure)) throw error
      if (error.fault === 'deadline') {
        const message = 'The file took longer to be worked off than a job may'
        return this.#fail({ code: 'MEDIA_TIMEOUT', message, details: error.message }, null)
      }
      log.warn({ jobId: this.#job.id, err: error }, 'the thread of a job failed')
      return false
    }
    return this.#finish(result)
  }

  #decode({ ffmpeg, timeoutMs }: MediaJobOptions): Promise<MediaResult> {
    const { pool, spool } = this.#services
    const { type, settings, bytes, beginsAtMs, checkpoint, spoolId } = this.#media
    return pool.run(
      {
        path: spool.path(spoolId),
        byteLength: bytes,
        type,
        ffmpeg,
        settings,
        beginsAtMs,
        checkpoint,
        deadlineMs: timeoutMs,
      },
      {
        validated: (message) => this.#report(storeMediaValidated, message),
        progress: (position) => this.#progress(position),
        chunk: (message) => this.#chunk(message),
      },
      this.#signal,
    )
  }

  async #finish(result: MediaResult): Promise<boolean> {
    if (result.kind === 'done') this.#report(storeMediaIndexing, result.position)
    await this.#stored
    if (this.#signal.aborted) return this.#stopped()
    if (result.kind === 'cancelled') throw new Error('a job was cancelled that nobody cancelled')
    if (result.kind === 'failed') {
      const { code, message, details, position } = result
      return this.#fail({ code, message, details }, position)
    }
    await this.#commit(storeMediaDone, this.#services.clock.now())
    this.#services.log.info({ jobId: this.#job.id }, 'job is completed')
    return true
  }

  async #fail(error: JobError, position: number | null): Promise<boolean> {
    this.#services.log.warn({ jobId: this.#job.id, ...error }, 'job has failed')
    await this.#commit(storeMediaFailed, error, position)
    return true
  }

  /** It was cancelled, which who asked for it stores; or the server stops, and the job stays as it is. */
  async #stopped(): Promise<boolean> {
    if (this.#signal.reason === ('close' satisfies StopReason)) {
      await this.#services.store.commit((transaction) =>
        storeMediaSetAside(transaction, this.#job.number),
      )
    }
    return false
  }

  /** At most one a second; chunks bring their own. */
  #progress(position: number): void {
    const nowMs = this.#services.clock.now()
    if (nowMs - this.#lastReportMs < limits.progressIntervalMs) return
    this.#lastReportMs = nowMs
    this.#report(storeMediaProgress, position)
  }

  /** Resolves once the chunk is on disk, or dropped because the job has ended. */
  #chunk(chunk: Extract<MediaMessage, { kind: 'chunk' }>): Promise<void> {
    const batch = this.#batcher.reserveBatch()
    const { number } = this.#job
    const { metrics } = this.#services
    const type = this.#media.type.kind
    const arrivedAtMs = this.#services.clock.now()
    let atoms = 0
    return this.#inOrder(chunk.buffer.byteLength, (transaction) => {
      if (!storeMediaChunk(transaction, number, batch, chunk, arrivedAtMs)) return
      atoms = chunk.items.length
      this.#batcher.reportProgress(transaction)
    }).then(() => metrics.atoms.inc({ type }, atoms))
  }

  /** After all before it, because one that waits for room must not be passed by the next. */
  #inOrder(bytes: number, unit: (transaction: Transaction) => void): Promise<void> {
    const stored = this.#stored.then(() => this.#withRoom(bytes, unit))
    this.#stored = stored
    // Whoever awaits the last of them hears of it.
    stored.catch(() => undefined)
    return stored
  }

  /** A full disk or a busy store is waited for: the decoder stands still meanwhile. */
  async #withRoom<T>(bytes: number, unit: (transaction: Transaction) => T): Promise<T> {
    const { store, log } = this.#services
    for (let waits = 0; ; waits += 1) {
      try {
        return await store.commit(unit, { bytes })
      } catch (error) {
        const isWaiting = error instanceof Refusal && error.code !== 'SHUTTING_DOWN'
        if (!isWaiting || this.#signal.aborted) throw error
        if (waits === 0) log.warn({ jobId: this.#job.id, code: error.code }, 'a job waits for room')
        const delayMs = Math.min(limits.storeRetryDelayMs * 2 ** waits, limits.storeRetryDelayMsMax)
        await this.#delay(delayMs)
      }
    }
  }

  /** Until then, or until the job is stopped. */
  #delay(delayMs: number): Promise<void> {
    return new Promise((resolve) => {
      const alarm = this.#services.clock.after(delayMs, resolve)
      const stop = () => {
        alarm.cancel()
        resolve()
      }
      this.#signal.addEventListener('abort', stop, { once: true })
    })
  }

  /** A change that nobody waits for alone. */
  #report<A extends readonly unknown[]>(
    unit: (transaction: Transaction, job: number, ...args: A) => void,
    ...args: A
  ): void {
    const { number } = this.#job
    void this.#inOrder(0, (transaction) => unit(transaction, number, ...args)).catch(
      () => undefined,
    )
  }

  /** A change that decides how the job goes on. */
  async #commit<A extends readonly unknown[], T>(
    unit: (transaction: Transaction, job: number, ...args: A) => T,
    ...args: A
  ): Promise<T> {
    const { number } = this.#job
    return this.#withRoom(0, (transaction) => unit(transaction, number, ...args))
  }
}
