import type { Actor } from '../contracts/actor.ts'
import { retryLater } from '../contracts/errors.ts'
import type { MediaType } from '../contracts/media.ts'
import { limits } from '../limits.ts'
import type { JobRow, MediaFile, SessionRow } from '../store/interfaces.ts'
import type { UploadAnswer } from './batch.ts'
import { keyDigest } from './idempotency.ts'
import { createMediaJob } from './jobs.ts'
import { type MediaUpload, mediaFingerprint } from './media-intake.ts'
import { mediaOf, storeMediaCancelled } from './media-job-store.ts'
import {
  type MediaJobOptions,
  type MediaJobServices,
  MediaRun,
  type StopReason,
} from './media-run.ts'
import { frameDefaults, segmentDefaults } from './new-session.ts'
import { stateConflict } from './session-state.ts'
import { jobAnswer, storeAnswer } from './upload-answer.ts'

/** A job that a thread works on. */
interface Running {
  readonly job: number
  readonly tenant: number
  readonly aborter: AbortController
  /** Resolves when nothing of it is left to be done; never rejects. */
  over: Promise<void>
}

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
      const created = createMediaJob(transaction, row, newMediaFile(row, upload), upload)
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
   * its cancelling is stored as soon as that is possible. `actor` is null where nobody asked for it by
   * itself: its session is cancelled.
   */
  async cancel(actor: Actor | null, job: JobRow): Promise<JobRow> {
    this.#cancelling.add(job.number)
    const at = this.#waiting.findIndex((waiting) => waiting.job === job.number)
    if (at !== -1) this.#waiting.splice(at, 1)
    const running = this.#running.get(job.number)
    running?.aborter.abort('cancel' satisfies StopReason)
    await running?.over
    await this.#storeCancel(actor, job)
    return this.#services.store.jobs.get(job.number) ?? job
  }

  async #storeCancel(actor: Actor | null, job: JobRow): Promise<void> {
    const { store, clock } = this.#services
    try {
      const isCancelled = await store.commit((transaction) =>
        storeMediaCancelled(transaction, actor, job.number),
      )
      this.#cancelling.delete(job.number)
      if (isCancelled) await this.#ended(job)
    } catch (error) {
      if (!this.#closed) {
        clock.after(limits.storeRetryDelayMsMax, () => {
          // It is logged with each attempt that fails.
          this.#storeCancel(actor, job).catch(() => undefined)
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
      this.cancel(null, job).catch((error: unknown) => {
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
