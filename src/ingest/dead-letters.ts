import { Refusal, retryLater } from '../contracts/errors.ts'
import type { RedriveSelection } from '../contracts/http.ts'
import type { ReadBlock } from '../contracts/tasks.ts'
import { WorkerFailure } from '../contracts/worker-failure.ts'
import { limits } from '../limits.ts'
import type { Logger } from '../log.ts'
import type { WorkerPool } from '../pool/pool.ts'
import type {
  DeadLetterFilter,
  DeadLetterRow,
  JobRow,
  JournalEntry,
  JournalMediaItem,
  Store,
  Transaction,
} from '../store/interfaces.ts'
import { Gate } from './gate.ts'
import { createRedriveJob } from './jobs.ts'
import type { SessionService } from './sessions.ts'

/** A page of what a dead letter holds. `next` is where the following page begins, null at the end. */
export type PayloadPage =
  | { readonly kind: 'records'; readonly bytes: Uint8Array; readonly next: number | null }
  | {
      readonly kind: 'frames' | 'buffers'
      readonly items: readonly JournalMediaItem[]
      readonly next: number | null
    }
  | { readonly kind: 'unreadable'; readonly message: string }

/**
 * Batches that were given up. Their uploads stay in the journal: a redrive makes them ordinary batches
 * again, a drop removes them. Every method that takes an id refuses foreign ids as unknown ones.
 */
export class DeadLetterService {
  readonly #store: Store
  readonly #pool: WorkerPool
  readonly #sessions: SessionService
  readonly #log: Logger
  /** A payload is a whole batch in memory. */
  readonly #reading = new Gate(1)

  constructor(services: {
    store: Store
    pool: WorkerPool
    sessions: SessionService
    log: Logger
  }) {
    this.#store = services.store
    this.#pool = services.pool
    this.#sessions = services.sessions
    this.#log = services.log
  }

  /** Newest first. */
  list(
    tenant: number,
    filter: DeadLetterFilter,
    limit: number,
    before: number | null,
  ): DeadLetterRow[] {
    return this.#store.deadLetters.list(tenant, filter, limit, before)
  }

  /** Throws DEAD_LETTER_NOT_FOUND. */
  find(tenant: number, id: string): DeadLetterRow {
    const row = this.#store.deadLetters.find(tenant, id)
    if (row === null) throw deadLetterNotFound(id)
    return row
  }

  /** Records, frames or buffers `offset` to `offset + limit` of a dead letter. */
  async payload(row: DeadLetterRow, offset: number, limit: number): Promise<PayloadPage> {
    if (this.#reading.waiting >= limits.readsWaitingMax) throw retryLater('SATURATED')
    const leave = await this.#reading.enter()
    try {
      const entries = this.#store.journal.batch(row.session, row.batch)
      const next = offset + limit < row.records ? offset + limit : null
      const items = entries.flatMap(({ content }) =>
        content.kind === 'media' ? content.items : [],
      )
      if (items.length > 0) {
        const type = this.#store.sessions.get(row.session)?.type
        const kind = type === 'video' ? 'frames' : 'buffers'
        return { kind, items: items.slice(offset, offset + limit), next }
      }
      const blocks = blocksFrom(row.id, entries, offset)
      return { kind: 'records', bytes: await this.#readRecords(blocks, limit), next }
    } catch (error) {
      // What broke the batch may break its reading too, and then that is what there is to see.
      if (!(error instanceof WorkerFailure)) throw error
      return { kind: 'unreadable', message: error.message }
    } finally {
      leave()
    }
  }

  /** Removes a dead letter and what it holds. Throws DEAD_LETTER_NOT_FOUND. */
  async drop(tenant: number, id: string): Promise<void> {
    await this.#store.commit((transaction) => {
      const row = transaction.deadLetter(tenant, id)
      if (row === null) throw deadLetterNotFound(id)
      const session = transaction.session(row.session)
      for (const { number, content } of this.#store.journal.batch(row.session, row.batch)) {
        if (content.kind === 'media') {
          for (const { hash } of content.items) transaction.releaseBlob(tenant, hash)
        }
        transaction.deleteJournal(row.session, row.batch, number)
      }
      session.deadLetters -= 1
      transaction.deleteDeadLetter(row)
    })
    this.#log.info({ deadLetterId: id }, 'dead letter dropped')
  }

  /**
   * Makes the selected dead letters batches again that are tried at once, and a job that ends with the
   * last of them; oldest first, `limits.redriveSelectionMax` at most. Throws DEAD_LETTER_NOT_FOUND
   * where one that is named is not there or nothing is selected, SESSION_NOT_FOUND.
   */
  async redrive(tenant: number, selection: RedriveSelection): Promise<JobRow> {
    const ids = this.#select(tenant, selection)
    const { job, rows } = await this.#store.commit((transaction) => {
      const rows = ids.map((id) => {
        const row = transaction.deadLetter(tenant, id)
        if (row === null) throw deadLetterNotFound(id)
        return row
      })
      const sessions = new Set(rows.map((row) => row.session))
      const [only] = sessions
      const job = createRedriveJob(transaction, tenant, {
        session: sessions.size === 1 ? (only ?? null) : null,
        batches: rows.length,
        records: rows.reduce((sum, row) => sum + row.records, 0),
      })
      for (const row of rows) requeue(transaction, row, job)
      return { job, rows }
    })
    for (const { session, batch } of rows) this.#sessions.redrive(session, batch)
    return job
  }

  #select(tenant: number, selection: RedriveSelection): string[] {
    const { deadLetterIds, sessionId, errorCode } = selection
    const session = sessionId === undefined ? null : this.#sessions.find(tenant, sessionId)
    if (deadLetterIds !== undefined) {
      const rows = [...new Set(deadLetterIds)].map((id) => this.find(tenant, id))
      return this.#matching(rows, session?.number, errorCode)
    }
    const filter = {
      ...(session === null ? {} : { session: session.number }),
      ...(errorCode === undefined ? {} : { code: errorCode }),
    }
    const rows = this.#store.deadLetters.list(tenant, filter, limits.redriveSelectionMax, null)
    return this.#matching(rows.reverse(), session?.number, errorCode)
  }

  #matching(
    rows: readonly DeadLetterRow[],
    session: number | undefined,
    code: string | undefined,
  ): string[] {
    const matching = rows.filter(
      (row) =>
        (session === undefined || row.session === session) &&
        (code === undefined || row.code === code),
    )
    if (matching.length === 0) {
      throw new Refusal('DEAD_LETTER_NOT_FOUND', {
        message: 'No dead letter matches the selection',
        fields: { deadLetterId: '' },
      })
    }
    return matching.map((row) => row.id)
  }

  async #readRecords(blocks: readonly ReadBlock[], limit: number): Promise<Uint8Array> {
    const { bytes } = await this.#pool.run({
      kind: 'read',
      blocks,
      fromMs: null,
      toMs: null,
      fields: null,
      limit,
      format: 'json',
    })
    return bytes
  }
}

/** From dead letter to a batch that is due now; its history and its id go along. */
function requeue(transaction: Transaction, row: DeadLetterRow, job: JobRow): void {
  const session = transaction.session(row.session)
  session.recordsDead -= row.records
  session.recordsQueued += row.records
  session.deadLetters -= 1
  transaction.deleteDeadLetter(row)
  transaction.putRetry({
    session: row.session,
    batch: row.batch,
    failures: 0,
    nextAttemptAtMs: transaction.nowMs,
    history: row.history,
    redrive: { deadLetterId: row.id, job: job.number },
  })
}

/** The pages from row `offset` on. A record's address is dead letter, upload and row within it. */
function blocksFrom(id: string, entries: readonly JournalEntry[], offset: number): ReadBlock[] {
  const blocks: ReadBlock[] = []
  let rowsBefore = 0
  for (const [upload, { content, records }] of entries.entries()) {
    const firstIndex = Math.max(0, offset - rowsBefore)
    rowsBefore += records
    if (content.kind !== 'page' || firstIndex >= records) continue
    blocks.push({ bytes: content.bytes, hash: `${id}/${upload}`, firstIndex })
  }
  return blocks
}

function deadLetterNotFound(deadLetterId: string): Refusal {
  return new Refusal('DEAD_LETTER_NOT_FOUND', { fields: { deadLetterId } })
}
