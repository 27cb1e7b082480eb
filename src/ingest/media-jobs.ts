import type { Clock } from '../clock.ts'
import { Refusal, retryLater } from '../contracts/errors.ts'
import type { FfmpegBinary, MediaType } from '../contracts/media.ts'
import type { MediaMessage, MediaResult } from '../contracts/tasks.ts'
import { WorkerFailure } from '../contracts/worker-failure.ts'
import { limits } from '../limits.ts'
import type { Logger } from '../log.ts'
import type { Metrics } from '../metrics.ts'
import type { MediaPool } from '../pool/media-pool.ts'
import type { JobRow, MediaFile, SessionRow, Store, Transaction } from '../store/interfaces.ts'
import type { UploadAnswer } from './batch.ts'
import type { Batcher } from './batcher.ts'
import { type IdempotentUploads, keyDigest } from './idempotency.ts'
import { createMediaJob, type JobError } from './jobs.ts'
import { type MediaUpload, mediaFingerprint } from './media-intake.ts'
import {
  mediaOf,
  storeMediaCancelled,
  storeMediaChunk,
  storeMediaDone,
  storeMediaFailed,
  storeMediaIndexing,
  storeMediaProgress,
  storeMediaSetAside,
  storeMediaStart,
  storeMediaValidated,
} from './media-job-store.ts'
import { frameDefaults, segmentDefaults } from './new-session.ts'
import { stateConflict } from './session-state.ts'
import type { SessionService } from './sessions.ts'
import type { Spool } from './spool.ts'
import { jobAnswer, storeAnswer } from './upload-answer.ts'

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

/** A job that a thread works on. */
interface Running {
  readonly job: number
  readonly tenant: number
  readonly aborter: AbortController
  /** Resolves when nothing of it is left to be done; never rejects. */
  over: Promise<void>
}

/** Why a running job is stopped: by who asked for it, or because the server stops. */
type StopReason = 'cancel' | 'close'

interface Waiting {
  readonly job: number
  readonly tenant: number
}

/**
 * Jobs on spooled files, from the upload to the last atom. What a decoder gives is stored in chunks, each with
 * the checkpoint to go on from, so a job that its process left goes on with the next one. The file goes
 * with the job's end.
 */
export class MediaJobService {
  readonly #services: MediaJobServices
  readonly #options: MediaJobOptions
  readonly #waiting: Waiting[] = []
  readonly #running = new Map<number, Running>()
  /** Jobs whose cancelling is asked for and not stored yet: nobody takes them up again. */
  readonly #cancelling = new Set<number>()
  #closed = false

  constructor(services: MediaJobServices, options: MediaJobOptions) {
    this.#services = services
    this.#options = options
    services.sessions.onCancel((session) => this.#cancelSession(session))
  }

  /** Jobs that threads work on, and those that wait for one. */
  get counts(): { readonly running: number; readonly waiting: number } {
    return { running: this.#running.size, waiting: this.#waiting.length }
  }

  /**
   * Goes on with the jobs that an earlier process left, and removes files that no job is for. Before
   * anything else writes to the spool.
   */
  async recover(): Promise<void> {
    const { store, spool, log } = this.#services
    const jobs = store.jobs.openMedia()
    await spool.sweep(new Set(jobs.map((job) => mediaOf(job).spoolId)))
    for (const { number, tenant } of jobs) this.#waiting.push({ job: number, tenant })
    if (jobs.length > 0) log.info({ jobs: jobs.length }, 'jobs on files go on')
    this.#startWaiting()
  }

  /**
   * Throws, before its bytes are read, where a file would not be taken: SESSION_STATE_CONFLICT,
   * DECODER_MISSING, SATURATED.
   */
  requireWelcome(session: SessionRow, type: MediaType, idempotencyKey: string | null): void {
    const { sessions, idempotency } = this.#services
    if (this.#closed) throw retryLater('SHUTTING_DOWN')
    // An answer is given again whatever has become of the session since.
    if (idempotencyKey !== null && idempotency.knows(session, idempotencyKey)) return
    sessions.batcherForUpload(session)
    if (type.container !== 'wav' && this.#options.ffmpeg === null) {
      throw retryLater('DECODER_MISSING')
    }
    const queued = this.#waiting.filter(({ tenant }) => tenant === session.tenant)
    if (queued.length >= limits.mediaJobsQueuedMax) throw retryLater('SATURATED')
  }

  /**
   * Takes a spooled file for good: resolves with its job once that is on disk, or with what an upload
   * under the same key was told. Throws what `requireWelcome` does, `IDEMPOTENCY_CONFLICT` and what the
   * store throws; the file is the caller's again then.
   */
  async accept(session: SessionRow, upload: MediaUpload): Promise<UploadAnswer> {
    const { idempotencyKey: key } = upload
    if (key === null) return this.#accept(session, upload, null)
    const idempotency = { keyDigest: keyDigest(key), fingerprint: mediaFingerprint(upload) }
    let isTaken = false
    const answer = await this.#services.idempotency.once(session, idempotency, () => {
      isTaken = true
      return this.#accept(session, upload, idempotency)
    })
    if (!isTaken) await this.#services.spool.remove(upload.spooled.id)
    return answer
  }

  async #accept(
    session: SessionRow,
    upload: MediaUpload,
    idempotency: { keyDigest: Uint8Array; fingerprint: Uint8Array } | null,
  ): Promise<UploadAnswer> {
    const { store, metrics } = this.#services
    const { tenant } = session
    this.requireWelcome(session, upload.type, null)
    const { job, answer } = await store.commit((transaction) => {
      const row = transaction.session(session.number)
      if (row.status !== 'active') {
        throw stateConflict(row.id, row.status, `The session is ${row.status} and takes no uploads`)
      }
      const created = createMediaJob(transaction, row, newMediaFile(row, upload), upload.uploadMs)
      row.bytesReceived += upload.spooled.bytes
      row.lastActivityAtMs = transaction.nowMs
      const given = jobAnswer(row, created)
      storeAnswer(transaction, row, { idempotency }, given)
      return { job: created, answer: given }
    })
    metrics.uploads.inc({ type: session.type })
    metrics.bytes.inc({ type: session.type }, upload.spooled.bytes)
    this.#waiting.push({ job: job.number, tenant })
    this.#startWaiting()
    return answer
  }

  /**
   * Stops a job's thread and decoder and resolves with its row, which has ended by then: cancelled, or
   * otherwise where that was quicker. Throws what the store throws; the job is stopped all the same, and
   * its cancelling is stored as soon as that is possible.
   */
  async cancel(job: JobRow): Promise<JobRow> {
    this.#cancelling.add(job.number)
    const at = this.#waiting.findIndex((waiting) => waiting.job === job.number)
    if (at !== -1) this.#waiting.splice(at, 1)
    const running = this.#running.get(job.number)
    running?.aborter.abort('cancel' satisfies StopReason)
    await running?.over
    await this.#storeCancel(job)
    return this.#services.store.jobs.get(job.number) ?? job
  }

  async #storeCancel(job: JobRow): Promise<void> {
    const { store, clock } = this.#services
    try {
      const isCancelled = await store.commit((transaction) =>
        storeMediaCancelled(transaction, job.number),
      )
      this.#cancelling.delete(job.number)
      if (isCancelled) await this.#ended(job)
    } catch (error) {
      if (!this.#closed) {
        clock.after(limits.storeRetryDelayMsMax, () => {
          // It is logged with each attempt that fails.
          this.#storeCancel(job).catch(() => undefined)
        })
      }
      this.#services.log.warn({ err: error, jobId: job.id }, 'a cancelled job is not stored yet')
      throw error
    }
  }

  /** Stops all work; what has not ended goes on with the next start. Idempotent. */
  async close(): Promise<void> {
    this.#closed = true
    this.#waiting.length = 0
    const running = [...this.#running.values()]
    for (const { aborter } of running) aborter.abort('close' satisfies StopReason)
    await Promise.all(running.map(({ over }) => over))
  }

  #cancelSession(session: number): void {
    const { store, log } = this.#services
    for (const job of store.jobs.openMedia()) {
      if (job.session !== session) continue
      this.cancel(job).catch((error: unknown) => {
        log.error({ err: error, jobId: job.id }, 'a job could not be cancelled')
      })
    }
  }

  #startWaiting(): void {
    while (!this.#closed) {
      const next = this.#takeNext()
      if (next === undefined) return
      const running: Running = { ...next, aborter: new AbortController(), over: Promise.resolve() }
      this.#running.set(next.job, running)
      running.over = this.#run(running).finally(() => {
        this.#running.delete(next.job)
        this.#startWaiting()
      })
    }
  }

  /**
   * The first that waits of the tenant that has the fewest at work. Where all places are taken, a tenant
   * that has none gets one more: nobody's long files hold up others'.
   */
  #takeNext(): Waiting | undefined {
    const { mediaJobsRunningMax: placesMax, mediaJobsGuestsMax: guestsMax } = limits
    const atWork = (tenant: number) =>
      [...this.#running.values()].filter((running) => running.tenant === tenant).length
    let best = 0
    for (const [index, { tenant }] of this.#waiting.entries()) {
      const bestTenant = this.#waiting[best]?.tenant ?? tenant
      if (atWork(tenant) < atWork(bestTenant)) best = index
    }
    const next = this.#waiting[best]
    if (next === undefined || this.#running.size >= placesMax + guestsMax) return undefined
    if (this.#running.size >= placesMax && atWork(next.tenant) > 0) return undefined
    this.#waiting.splice(best, 1)
    return next
  }

  /** One job, as far as this process gets with it. Never rejects. */
  async #run(running: Running): Promise<void> {
    const { store, log, clock } = this.#services
    const job = store.jobs.get(running.job)
    if (job === null || job.session === null) return
    const session = store.sessions.get(job.session)
    if (session === null) return
    const hold = this.#services.sessions.hold(session)
    try {
      const run = new MediaRun(this.#services, job, hold.batcher, running.aborter.signal)
      const isOver = await run.perform(this.#options)
      if (isOver) await this.#ended(job)
      else this.#again(job)
    } catch (error) {
      // The store takes nothing more; the job is what it was at its last chunk.
      log.error({ err: error, jobId: job.id }, 'a job stopped')
      clock.after(limits.storeRetryDelayMsMax, () => {
        this.#again(job)
        this.#startWaiting()
      })
    } finally {
      hold.release()
    }
  }

  #again({ number, tenant }: JobRow): void {
    if (this.#closed || this.#cancelling.has(number)) return
    this.#waiting.push({ job: number, tenant })
  }

  async #ended(job: JobRow): Promise<void> {
    const { spool, sessions, store, log, metrics } = this.#services
    sessions.jobEnded()
    const status = store.jobs.get(job.number)?.status ?? 'cancelled'
    metrics.mediaJobs.inc({ type: mediaOf(job).type.kind, status })
    try {
      await spool.remove(mediaOf(job).spoolId)
    } catch (error) {
      // The next start removes it.
      log.warn({ err: error, jobId: job.id }, 'a spooled file could not be removed')
    }
  }
}

/** One go at a job. */
class MediaRun {
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

function newMediaFile(session: SessionRow, upload: MediaUpload): MediaFile {
  const { spooled, type, contentType, beginsAtMs } = upload
  const settings =
    type.kind === 'video'
      ? (session.frameExtraction ?? frameDefaults)
      : (session.segmentation ?? segmentDefaults)
  return {
    spoolId: spooled.id,
    type,
    contentType,
    bytes: spooled.bytes,
    hash: spooled.hash,
    beginsAtMs,
    settings,
    checkpoint: { emitted: 0, position: 0 },
    runs: 0,
    description: null,
  }
}
