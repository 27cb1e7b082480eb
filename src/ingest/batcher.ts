import type { Clock } from '../clock.ts'
import type { Actor } from '../contracts/actor.ts'
import type { SessionType } from '../contracts/tasks.ts'
import { limits } from '../limits.ts'
import type { Logger } from '../log.ts'
import type { Metrics } from '../metrics.ts'
import type { WorkerPool } from '../pool/pool.ts'
import type { JobRow, SessionRow, Store, Transaction } from '../store/interfaces.ts'
import {
  type AdmittedUpload,
  Batch,
  type BatchEntry,
  journaledEntry,
  newEntry,
  type UploadAnswer,
} from './batch.ts'
import { BatchAssembler, contentBytes } from './batch-assembler.ts'
import { type Diagnosis, diagnose, JournalDamage, storeFailure } from './batch-failure.ts'
import {
  dropUpload,
  storeJournalEntry,
  storeLastAtoms,
  storeLostTail,
  storeProcessedBatch,
  uploadBytes,
} from './batch-store.ts'
import type { Gate } from './gate.ts'
import { ProgressReporter } from './progress.ts'
import { batchName } from './session-report.ts'
import { isStreamed } from './stream-stage.ts'

export interface BatcherServices {
  readonly store: Store
  readonly pool: WorkerPool
  readonly clock: Clock
  readonly log: Logger
  readonly metrics: Metrics
  /** Batches of all sessions that may be in memory at a time. */
  readonly assembling: Gate
}

/**
 * The batches of one session. Whole uploads gather in the open batch; it closes when it holds
 * `batchSize` records, or `maxBatchDelayMs` after its first, or before an upload that would take it
 * past the largest batch. An upload that leaves its batch open is journaled; the one that closes it
 * waits for the batch and is journaled only where that takes too long or fails, so the common case
 * costs one flush and no byte is written twice. A batch that fails is tried again by its session's
 * policy and becomes a dead letter in the end.
 *
 * Where frames are selected or audio is cut, batches are worked off one after the other in the order of
 * their numbers, because each goes on from the one before.
 */
export class Batcher {
  readonly #services: BatcherServices
  readonly #session: number
  readonly #sessionId: string
  readonly #type: SessionType
  readonly #progress: ProgressReporter
  readonly #assembler: BatchAssembler
  /** Frames are selected or audio is cut. */
  readonly #isStreamed: boolean
  #nextBatch: number
  #open: Batch | null = null
  #running = 0
  #flushFailures = 0
  /** Of the last one, 0 where there was none. */
  #recordsPerUpload = 0
  #stopped = false
  readonly #waiting: Batch[] = []
  /** Every batch whose records are neither atoms nor a dead letter yet. */
  readonly #unsettled = new Set<Batch>()

  constructor(services: BatcherServices, session: SessionRow) {
    this.#services = services
    this.#session = session.number
    this.#sessionId = session.id
    this.#type = session.type
    this.#nextBatch = session.nextBatch
    this.#progress = new ProgressReporter(services, session)
    this.#assembler = new BatchAssembler(services)
    this.#isStreamed = isStreamed(session)
  }

  /** The name of the batch that the next upload goes into. */
  get currentBatch(): number {
    return this.#open?.number ?? this.#nextBatch
  }

  /** Until the open batch, or the next, is full: records, and about how many uploads; one at least. */
  get room(): { readonly records: number; readonly uploads: number } {
    const records = Math.max(1, this.#row().batchSize - (this.#open?.records ?? 0))
    const uploads = Math.ceil(records / Math.max(1, this.#recordsPerUpload))
    return { records, uploads }
  }

  /** Whether several uploads go into a batch, by the last one. */
  get gathers(): boolean {
    const { batchSize, maxBatchDelayMs } = this.#row()
    const records = this.#recordsPerUpload
    return records > 0 && 2 * records <= batchSize && maxBatchDelayMs > 0
  }

  /** A number for atoms that come another way than by uploads into batches. */
  reserveBatch(): number {
    const number = this.#nextBatch
    this.#nextBatch += 1
    return number
  }

  get isIdle(): boolean {
    return this.#unsettled.size === 0
  }

  /**
   * Takes a valid upload and resolves with its answer once it is on disk. Everything up to the first
   * await runs synchronously, so uploads enter batches in the order of the calls.
   */
  async admit(upload: AdmittedUpload): Promise<UploadAnswer> {
    this.#recordsPerUpload = upload.received / upload.uploads
    const entry = newEntry(upload, this.#isStreamed)
    if (this.#open !== null && !hasRoom(this.#open, entry)) this.#close(this.#open, this.#now())
    const session = this.#row()
    const batch = this.#open ?? this.#openBatch()
    batch.add(entry)
    const closes = batch.records >= session.batchSize || session.maxBatchDelayMs === 0
    // A job does not wait for the batch, so its upload is journaled even where it closes one.
    if (upload.asJob !== null) this.#journal(batch, entry, false)
    if (closes) this.#close(batch, upload.arrivedAtMs)
    else this.#closeInTime(batch, session)
    if (closes && upload.asJob === null) await this.#awaitBatch(batch, entry)
    else await this.#journal(batch, entry, false)
    if (entry.answer === null) throw new Error('an acknowledged upload has an answer')
    return entry.answer
  }

  /**
   * Puts a batch to work that stands in the journal: an earlier process left it, or a dead letter is
   * redriven.
   */
  recover(batchNumber: number): void {
    const { store, clock } = this.#services
    const batch = new Batch(batchNumber, true)
    for (const head of store.journal.heads(this.#session, batchNumber)) {
      batch.add(journaledEntry(head))
    }
    batch.closed = true
    batch.processingFromMs = this.#now()
    this.#nextBatch = Math.max(this.#nextBatch, batchNumber + 1)
    this.#unsettled.add(batch)
    const retry = store.journal.retry(this.#session, batchNumber)
    batch.failures = retry?.failures ?? 0
    const redrive = retry?.redrive ?? null
    if (redrive !== null && store.jobs.get(redrive.job)?.status === 'cancelled') {
      void this.#giveUp(batch)
      return
    }
    const waitMs = (retry?.nextAttemptAtMs ?? 0) - clock.now()
    if (waitMs > 0) this.#retryAfter(batch, waitMs)
    else this.#enqueue(batch)
  }

  /** Closes the open batch and resolves when every batch is settled. */
  async drain(): Promise<void> {
    if (this.#open !== null) this.#close(this.#open, this.#now())
    while (this.#unsettled.size > 0) {
      await Promise.all([...this.#unsettled].map((batch) => batch.settled))
    }
    this.#progress.stop()
  }

  /**
   * Nothing more comes: what is left of the audio becomes the last segment. All batches are settled by
   * then.
   */
  async flush(): Promise<void> {
    const session = this.#row()
    const { store, metrics } = this.#services
    if (!this.#isStreamed || store.streams.state(session.number) === null) return
    const sinceMs = this.#now()
    const content = await this.#assembler.assembleEnd(session)
    const number = this.reserveBatch()
    const made = await store.commit(
      (transaction) => storeLastAtoms(transaction, this.#session, number, { content, sinceMs }),
      { bytes: contentBytes(content) },
    )
    metrics.atoms.inc({ type: this.#type }, made.atoms)
  }

  /**
   * Whether the end of the session may go on without the last segment: it has failed as often as a batch
   * may. What it would have been made of is given up then, and the session fails.
   */
  async flushFailed(error: unknown): Promise<boolean> {
    const { store, log } = this.#services
    const diagnosis = diagnose(error)
    if (diagnosis.kind === 'waiting' || this.#stopped) return false
    log.warn({ sessionId: this.#sessionId, ...diagnosis }, 'the last segment failed')
    this.#flushFailures += 1
    const { maxRetries } = this.#row().retry
    if (diagnosis.kind === 'retryable' && this.#flushFailures <= maxRetries) return false
    await store.commit((transaction) => storeLostTail(transaction, this.#session, diagnosis))
    return true
  }

  /** Inside a transaction that changed the session's totals: its progress event, where one is due. */
  reportProgress(transaction: Transaction): void {
    this.#progress.report(transaction)
  }

  /**
   * Takes what a job waits for back: its upload leaves its batch, and a batch that it redrives and that is
   * not at work becomes a dead letter again.
   */
  async cancelJob(actor: Actor, job: JobRow): Promise<void> {
    for (const batch of [...this.#unsettled]) {
      if (this.#isRedrivenBy(batch, job.number)) {
        if (!batch.isAtWork) await this.#giveUp(batch)
        continue
      }
      const entry = batch.entries.find((candidate) => candidate.job === job.number)
      if (entry === undefined) continue
      await entry.journaling
      await this.#dropUpload(actor, batch, entry)
    }
  }

  async #dropUpload(actor: Actor, batch: Batch, entry: BatchEntry): Promise<void> {
    const { store } = this.#services
    const stored = store.journal
      .batch(this.#session, batch.number)
      .find(({ number }) => number === entry.journalNumber)
    await store.commit((transaction) => {
      if (batch.applied || stored === undefined) return
      dropUpload(transaction, actor, stored, entry.records)
      // At once, because a unit of the same transaction may turn the batch into atoms. That this one is
      // not stored after all only a disk that fails can bring about, and then the process ends.
      batch.remove(entry)
      if (batch.entries.length > 0) return
      batch.isEmptied = true
      const retry = transaction.retry(this.#session, batch.number)
      if (retry !== null) transaction.deleteRetry(this.#session, batch.number)
    })
  }

  #isRedrivenBy({ number }: Batch, job: number): boolean {
    return this.#services.store.journal.retry(this.#session, number)?.redrive?.job === job
  }

  async #giveUp(batch: Batch): Promise<void> {
    batch.alarm?.cancel()
    const at = this.#waiting.indexOf(batch)
    if (at !== -1) this.#waiting.splice(at, 1)
    await this.#attemptFailed(batch, {
      kind: 'permanent',
      code: 'JOB_CANCELLED',
      message: 'The job that redrove it was cancelled',
    })
  }

  /** Ends all timers. What is queued stays in the journal for the next process. */
  stop(): void {
    this.#stopped = true
    this.#progress.stop()
    for (const batch of this.#unsettled) batch.alarm?.cancel()
    this.#waiting.length = 0
  }

  #now(): number {
    return this.#services.clock.now()
  }

  #row(): SessionRow {
    const row = this.#services.store.sessions.get(this.#session)
    if (row === null) throw new Error(`session ${this.#session} has left the store`)
    return row
  }

  #openBatch(): Batch {
    const batch = new Batch(this.#nextBatch)
    this.#nextBatch += 1
    this.#open = batch
    this.#unsettled.add(batch)
    return batch
  }

  /** A batch that its first upload closes, as most are, needs no alarm. */
  #closeInTime(batch: Batch, session: SessionRow): void {
    batch.alarm ??= this.#services.clock.after(session.maxBatchDelayMs, () => {
      if (this.#open === batch) this.#close(batch, this.#now())
    })
  }

  #close(batch: Batch, processingFromMs: number): void {
    if (batch.closed) return
    batch.closed = true
    batch.processingFromMs = processingFromMs
    batch.alarm?.cancel()
    if (this.#open === batch) this.#open = null
    this.#enqueue(batch)
  }

  #enqueue(batch: Batch): void {
    this.#waiting.push(batch)
    this.#startWaiting()
  }

  #startWaiting(): void {
    const row = this.#services.store.sessions.get(this.#session)
    // Of a redriven batch the number is lower than that of one at work, so one at a time.
    const most = this.#isStreamed ? 1 : (row?.maxConcurrentBatches ?? 0)
    while (row !== null && !this.#stopped && this.#running < most) {
      const batch = this.#isStreamed ? this.#takeFirst() : this.#waiting.shift()
      if (batch === undefined) return
      this.#running += 1
      batch.isAtWork = true
      void this.#attempt(batch).finally(() => {
        this.#running -= 1
        batch.isAtWork = false
        this.#startWaiting()
      })
    }
  }

  /** The batch that comes before all others, if it waits; while it is tried again, the others wait too. */
  #takeFirst(): Batch | undefined {
    const [first] = [...this.#unsettled].sort((one, other) => one.number - other.number)
    const at = first === undefined ? -1 : this.#waiting.indexOf(first)
    return at === -1 ? undefined : this.#waiting.splice(at, 1)[0]
  }

  async #awaitBatch(batch: Batch, entry: BatchEntry): Promise<void> {
    const { clock } = this.#services
    // Resolved by whichever comes first: a promise to race with would cost another four for each upload.
    const alarm = clock.after(limits.batchWaitMs, () => batch.resolveFirstAttempt('late'))
    const result = await batch.firstAttempt
    alarm.cancel()
    if (result !== 'processed') await this.#journal(batch, entry, true)
  }

  /**
   * Writes an upload to the journal, unless its batch is processed first. If that fails the upload
   * leaves its batch: the client is told that nothing was kept, so nothing may be.
   */
  #journal(batch: Batch, entry: BatchEntry, isLate: boolean): Promise<void> {
    const { upload } = entry
    if (upload === null) return Promise.resolve()
    entry.journaling ??= this.#writeJournal(batch, entry, { upload, isLate }).then(
      () => {
        entry.isJournaling = false
        entry.upload = null
        this.#progress.changed()
      },
      (error: unknown) => {
        entry.isJournaling = false
        entry.journalNumber = null
        batch.remove(entry)
        throw error
      },
    )
    return entry.journaling
  }

  async #writeJournal(
    batch: Batch,
    entry: BatchEntry,
    queued: { upload: AdmittedUpload; isLate: boolean },
  ): Promise<void> {
    entry.isJournaling = true
    // Again where the transaction that made the unit step aside has failed in the end.
    while (entry.journalNumber === null && !batch.isSettled) {
      await this.#services.store.commit(
        (transaction) => {
          if (batch.applied) return
          storeJournalEntry(transaction, this.#session, batch, entry, queued)
        },
        { bytes: uploadBytes(queued.upload) },
      )
    }
  }

  /** One attempt at turning a closed batch into atoms. Never rejects. */
  async #attempt(batch: Batch): Promise<void> {
    try {
      await journaled(batch)
      if (batch.isRecovered && batch.entries.length === 0 && !batch.isEmptied) {
        throw new JournalDamage('no upload of the batch is left')
      }
      while (batch.entries.length > 0 && !(await this.#process(batch))) await journaled(batch)
      this.#settle(batch)
    } catch (error) {
      batch.applied = false
      await this.#attemptFailed(batch, diagnose(error))
    }
  }

  #settle(batch: Batch): void {
    this.#unsettled.delete(batch)
    batch.settle()
  }

  /**
   * Stores a batch's atoms. False where an upload of it was just then on its way into the journal:
   * until that is over nobody can say whether it is in the batch by its journal entry, by its content,
   * or not at all.
   */
  async #process(batch: Batch): Promise<boolean> {
    // What comes from the journal takes memory again; a lone upload has it already and must not wait.
    const isAlone = batch.entries.length === 1 && batch.entries[0]?.upload !== null
    const release = isAlone ? null : await this.#services.assembling.enter()
    try {
      const entries = [...batch.entries]
      const uploads = entries.map((entry) => entry.upload)
      const content = await this.#assembler.assemble(this.#row(), batch)
      const made = await this.#services.store.commit(
        (transaction) => {
          const isSame = (entry: BatchEntry, at: number) =>
            entry === batch.entries[at] && entry.upload === uploads[at] && !entry.isJournaling
          if (entries.length !== batch.entries.length || !entries.every(isSame)) return null
          const stored = storeProcessedBatch(transaction, this.#session, batch, content)
          this.#progress.report(transaction)
          batch.applied = true
          return stored
        },
        { bytes: contentBytes(content) },
      )
      if (made === null) return false
      this.#services.metrics.atoms.inc({ type: this.#type }, made.atoms)
      return true
    } finally {
      release?.()
    }
  }

  /**
   * Whatever of the batch is only in memory goes into the journal, then the failure is stored, so that
   * the next attempt is due at the same moment after a restart. Never rejects.
   */
  async #attemptFailed(batch: Batch, diagnosis: Diagnosis): Promise<void> {
    const { log, store, clock, metrics } = this.#services
    const sessionId = this.#sessionId
    const batchId = batchName(batch.number)
    // A full disk is said once a batch, not once a second.
    const isNews = diagnosis.kind !== 'waiting' || batch.waits === 0
    if (isNews) log.warn({ sessionId, batchId, ...diagnosis }, 'batch failed')
    for (const entry of batch.entries) {
      // Whoever waits for it hears of its end too.
      this.#journal(batch, entry, true).catch(() => undefined)
    }
    batch.resolveFirstAttempt('failed')
    await journaled(batch)
    if (this.#stopped) return
    if (batch.entries.length === 0 && !batch.isRecovered) return this.#settle(batch)
    if (diagnosis.kind === 'waiting') return this.#retryAfter(batch, waitMs(batch))
    batch.waits = 0
    try {
      const nextAttemptAtMs = await store.commit((transaction) =>
        storeFailure(transaction, this.#session, batch, diagnosis),
      )
      batch.failures += 1
      metrics.batchFailures.inc({ type: this.#type })
      if (nextAttemptAtMs !== null) {
        this.#retryAfter(batch, nextAttemptAtMs - clock.now())
        return
      }
      metrics.deadLetters.inc({ type: this.#type })
      log.error({ sessionId, batchId, ...diagnosis }, 'batch is a dead letter')
      this.#settle(batch)
    } catch (reason) {
      log.warn({ sessionId, batchId, message: String(reason) }, 'failure not stored')
      this.#retryAfter(batch, waitMs(batch))
    }
  }

  #retryAfter(batch: Batch, delayMs: number): void {
    if (this.#stopped) return
    batch.alarm = this.#services.clock.after(Math.max(0, delayMs), () => this.#enqueue(batch))
  }
}

/** Resolves when no upload of the batch is on its way into the journal. */
async function journaled(batch: Batch): Promise<void> {
  if (batch.entries.every(({ journaling }) => journaling === null)) return
  await Promise.allSettled(batch.entries.map((entry) => entry.journaling))
}

/** Each wait for room is twice the one before, because the attempt after it may merge for nothing. */
function waitMs(batch: Batch): number {
  const delayMs = limits.storeRetryDelayMs * 2 ** batch.waits
  batch.waits += 1
  return Math.min(delayMs, limits.storeRetryDelayMsMax)
}

function hasRoom(batch: Batch, entry: BatchEntry): boolean {
  return (
    batch.records + entry.records <= limits.batchSizeMax &&
    batch.pageBytes + entry.pageBytes <= limits.batchBytesMax &&
    batch.pageColumns + entry.pageColumns <= limits.batchColumnsMax
  )
}
