import type { MergeTask, SessionType } from '../contracts/tasks.ts'
import { limits } from '../limits.ts'
import type { Logger } from '../log.ts'
import type { Metrics } from '../metrics.ts'
import type { WorkerPool } from '../pool/pool.ts'
import type { SessionRow, Store } from '../store/interfaces.ts'
import { type AdmittedUpload, Batch, type BatchEntry } from './batch.ts'
import {
  type BatchContent,
  type BatchItem,
  storeJournalEntry,
  storeProcessedBatch,
  uploadBytes,
  uploadItems,
} from './batch-store.ts'
import type { Gate } from './gate.ts'
import { ProgressReporter } from './progress.ts'
import { appendSessionEvent } from './session-events.ts'
import { batchName } from './session-report.ts'

export interface BatcherServices {
  readonly store: Store
  readonly pool: WorkerPool
  readonly log: Logger
  readonly metrics: Metrics
  /** Batches of all sessions that may be in memory at a time. */
  readonly assembling: Gate
}

/** Where an upload ended up: among the atoms, or in the journal. */
export interface Admission {
  readonly batch: number
  readonly processed: boolean
  /** It closed its batch, which took too long or failed, so its work goes on: 202. */
  readonly late: boolean
}

/**
 * The batches of one session. Whole uploads gather in the open batch; it closes when it holds
 * `batchSize` records, or `maxBatchDelayMs` after its first, or before an upload that would take it
 * past the largest batch. An upload that leaves its batch open is journaled; the one that closes it
 * waits for the batch and is journaled only where that takes too long or fails, so the common case
 * costs one flush and no byte is written twice.
 */
export class Batcher {
  readonly #services: BatcherServices
  readonly #session: number
  readonly #type: SessionType
  readonly #progress: ProgressReporter
  #nextBatch: number
  #open: Batch | null = null
  #running = 0
  #stopped = false
  readonly #waiting: Batch[] = []
  /** Every batch whose records are not all atoms yet. */
  readonly #unsettled = new Set<Batch>()
  readonly #retryTimers = new Set<NodeJS.Timeout>()

  constructor(services: BatcherServices, session: SessionRow) {
    this.#services = services
    this.#session = session.number
    this.#type = session.type
    this.#nextBatch = session.nextBatch
    this.#progress = new ProgressReporter(services, session)
  }

  /** The name of the batch that the next upload goes into. */
  get currentBatch(): number {
    return this.#open?.number ?? this.#nextBatch
  }

  get isIdle(): boolean {
    return this.#unsettled.size === 0
  }

  /**
   * Takes a valid upload and resolves once it is on disk. Everything up to the first await runs
   * synchronously, so uploads enter batches in the order of the calls.
   */
  async admit(upload: AdmittedUpload): Promise<Admission> {
    const { content } = upload
    const entry: BatchEntry = {
      records: upload.received - upload.rejected.length,
      pageBytes: content.kind === 'page' ? content.page.bytes.byteLength : 0,
      pageColumns: content.kind === 'page' ? content.page.columns : 0,
      upload,
      journalNumber: null,
      journaling: null,
      isJournaling: false,
    }
    if (this.#open !== null && !hasRoom(this.#open, entry)) this.#close(this.#open, Date.now())
    const session = this.#row()
    const batch = this.#open ?? this.#openBatch(session)
    batch.add(entry)
    if (batch.records >= session.batchSize || session.maxBatchDelayMs === 0) {
      this.#close(batch, upload.arrivedAtMs)
      return this.#awaitBatch(batch, entry)
    }
    await this.#journal(batch, entry)
    return { batch: batch.number, processed: false, late: false }
  }

  /** Puts a batch that an earlier process left in the journal to work. */
  recover(batchNumber: number): void {
    const batch = new Batch(batchNumber)
    for (const { number, records } of this.#services.store.journal.heads(
      this.#session,
      batchNumber,
    )) {
      batch.add({
        records,
        pageBytes: 0,
        pageColumns: 0,
        upload: null,
        journalNumber: number,
        journaling: null,
        isJournaling: false,
      })
    }
    this.#nextBatch = Math.max(this.#nextBatch, batchNumber + 1)
    this.#unsettled.add(batch)
    this.#close(batch, Date.now())
  }

  /** Closes the open batch and resolves when every batch is processed. */
  async drain(): Promise<void> {
    if (this.#open !== null) this.#close(this.#open, Date.now())
    while (this.#unsettled.size > 0) {
      await Promise.all([...this.#unsettled].map((batch) => batch.settled))
    }
    this.#progress.stop()
  }

  /** Ends all timers. What is queued stays in the journal for the next process. */
  stop(): void {
    this.#stopped = true
    this.#progress.stop()
    if (this.#open?.delayTimer) clearTimeout(this.#open.delayTimer)
    for (const timer of this.#retryTimers) clearTimeout(timer)
    this.#retryTimers.clear()
    this.#waiting.length = 0
  }

  #row(): SessionRow {
    const row = this.#services.store.sessions.get(this.#session)
    if (row === null) throw new Error(`session ${this.#session} has left the store`)
    return row
  }

  #openBatch(session: SessionRow): Batch {
    const batch = new Batch(this.#nextBatch)
    this.#nextBatch += 1
    batch.delayTimer = setTimeout(() => {
      if (this.#open === batch) this.#close(batch, Date.now())
    }, session.maxBatchDelayMs)
    this.#open = batch
    this.#unsettled.add(batch)
    return batch
  }

  #close(batch: Batch, processingFromMs: number): void {
    if (batch.closed) return
    batch.closed = true
    batch.processingFromMs = processingFromMs
    if (batch.delayTimer !== null) clearTimeout(batch.delayTimer)
    if (this.#open === batch) this.#open = null
    this.#waiting.push(batch)
    this.#startWaiting()
  }

  #startWaiting(): void {
    while (!this.#stopped && this.#running < this.#row().maxConcurrentBatches) {
      const batch = this.#waiting.shift()
      if (batch === undefined) return
      this.#running += 1
      void this.#attempt(batch).finally(() => {
        this.#running -= 1
        this.#startWaiting()
      })
    }
  }

  async #awaitBatch(batch: Batch, entry: BatchEntry): Promise<Admission> {
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<'late'>((resolve) => {
      timer = setTimeout(() => resolve('late'), limits.batchWaitMs)
    })
    const result = await Promise.race([batch.firstAttempt, late])
    clearTimeout(timer)
    if (result === 'processed') return { batch: batch.number, processed: true, late: false }
    await this.#journal(batch, entry)
    const processed = entry.journalNumber === null
    return { batch: batch.number, processed, late: !processed }
  }

  /**
   * Writes an upload to the journal, unless its batch is processed first. If that fails the upload
   * leaves its batch: the client is told that nothing was kept, so nothing may be.
   */
  async #journal(batch: Batch, entry: BatchEntry): Promise<void> {
    const { upload } = entry
    if (upload === null) return
    entry.isJournaling = true
    const write = this.#writeJournal(batch, entry, upload)
    entry.journaling = write.then(
      () => {
        entry.isJournaling = false
        entry.upload = null
      },
      () => {
        entry.isJournaling = false
        entry.journalNumber = null
        batch.remove(entry)
      },
    )
    await write
    await entry.journaling
    this.#progress.changed()
  }

  async #writeJournal(batch: Batch, entry: BatchEntry, upload: AdmittedUpload): Promise<void> {
    // Again where the transaction that made the unit step aside has failed in the end.
    while (entry.journalNumber === null && !batch.isSettled) {
      await this.#services.store.commit(
        (transaction) => {
          if (batch.applied) return
          entry.journalNumber = storeJournalEntry(transaction, this.#session, batch, entry, upload)
        },
        { bytes: uploadBytes(upload) },
      )
    }
  }

  /** One attempt at turning a closed batch into atoms. Never rejects. */
  async #attempt(batch: Batch): Promise<void> {
    batch.attempts += 1
    try {
      await Promise.all(batch.entries.map((entry) => entry.journaling))
      while (batch.entries.length > 0 && !(await this.#process(batch))) {
        await Promise.all(batch.entries.map((entry) => entry.journaling))
      }
      this.#services.metrics.atoms.inc({ type: this.#type }, batch.records)
      batch.settle()
      this.#unsettled.delete(batch)
    } catch (error) {
      batch.applied = false
      await this.#attemptFailed(batch, error)
    }
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
      const content = await this.#assemble(batch)
      return await this.#services.store.commit(
        (transaction) => {
          const hasChanged = entries.length !== batch.entries.length
          if (hasChanged || entries.some((entry) => entry.isJournaling)) return false
          storeProcessedBatch(transaction, this.#session, batch, content)
          this.#progress.report(transaction)
          batch.applied = true
          return true
        },
        { bytes: contentBytes(content) },
      )
    } finally {
      release?.()
    }
  }

  /** Gathers a batch's content, from memory where it still is, else from the journal. */
  async #assemble(batch: Batch): Promise<BatchContent> {
    const [only] = batch.entries
    if (batch.entries.length === 1 && only?.upload?.content.kind === 'page') {
      return { kind: 'block', page: only.upload.content.page }
    }
    const journaled = batch.entries.some((entry) => entry.upload === null)
      ? this.#services.store.journal.batch(this.#session, batch.number)
      : []
    const byNumber = new Map(journaled.map((entry) => [entry.number, entry.content]))
    const pages: Uint8Array[] = []
    const items: BatchItem[] = []
    for (const entry of batch.entries) {
      if (entry.upload !== null) {
        const { content } = entry.upload
        // A copy, because the merge takes its pages by transfer and the journal may yet need this one.
        if (content.kind === 'page') pages.push(content.page.bytes.slice())
        else items.push(...uploadItems(entry.upload))
        continue
      }
      const content = byNumber.get(entry.journalNumber ?? -1)
      if (content === undefined) throw new Error('a journaled upload is missing')
      if (content.kind === 'page') pages.push(content.bytes)
      else items.push(...content.items.map((item) => ({ ...item, bytes: null })))
    }
    if (pages.length === 0) return { kind: 'items', items }
    const merge: MergeTask = { kind: 'merge', pages }
    return { kind: 'block', page: await this.#services.pool.run(merge) }
  }

  async #attemptFailed(batch: Batch, error: unknown): Promise<void> {
    const { log, store } = this.#services
    const session = this.#row()
    const message = error instanceof Error ? error.message : String(error)
    log.warn(
      { sessionId: session.id, batchId: batchName(batch.number), attempt: batch.attempts, message },
      'batch failed',
    )
    batch.resolveFirstAttempt('failed')
    if (this.#stopped) return
    const timer = setTimeout(
      () => {
        this.#retryTimers.delete(timer)
        this.#waiting.push(batch)
        this.#startWaiting()
      },
      retryDelayMs(session, batch.attempts),
    )
    this.#retryTimers.add(timer)
    // Told once an attempt, for the retries that were asked for; after them the log has it.
    if (batch.attempts > session.retry.maxRetries + 1) return
    try {
      await store.commit((transaction) => {
        appendSessionEvent(transaction, transaction.session(this.#session), 'error', {
          errorCode: 'BATCH_PROCESSING_FAILED',
          message,
          batchId: batchName(batch.number),
        })
      })
    } catch (reason) {
      // The store itself is in trouble: the log has the failure, the retry stands.
      log.warn({ sessionId: session.id, message: String(reason) }, 'error event not stored')
    }
  }
}

function hasRoom(batch: Batch, entry: BatchEntry): boolean {
  return (
    batch.records + entry.records <= limits.batchSizeMax &&
    batch.pageBytes + entry.pageBytes <= limits.batchBytesMax &&
    batch.pageColumns + entry.pageColumns <= limits.batchColumnsMax
  )
}

/**
 * Delay before the attempt that follows failure number `failures`. After the retries that were asked
 * for it goes on at the last delay, but not in a tight loop: what is journaled is not given up.
 */
function retryDelayMs(session: SessionRow, failures: number): number {
  const { retryDelayMs: first, retryBackoffMultiplier, maxRetries } = session.retry
  const steps = Math.min(failures, Math.max(1, maxRetries)) - 1
  const delayMs = first * retryBackoffMultiplier ** steps
  return failures > maxRetries ? Math.max(delayMs, limits.retryBeyondMaxDelayMs) : delayMs
}

function contentBytes(content: BatchContent): number {
  if (content.kind === 'block') return content.page.bytes.byteLength
  return content.items.reduce((sum, item) => sum + (item.bytes?.byteLength ?? 256), 0)
}
