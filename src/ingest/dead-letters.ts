import { setImmediate } from 'node:timers/promises'
import type { Actor } from '../contracts/actor.ts'
import { invalidBody, Refusal, retryLater } from '../contracts/errors.ts'
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
  Page,
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

  /** Newest first, as the store lists them. */
  list(
    tenant: number,
    filter: DeadLetterFilter,
    limit: number,
    before: number | null,
  ): Page<DeadLetterRow> {
    const { rows, next } = this.#store.deadLetters.list(tenant, filter, limit, before)
    return { rows: rows.filter((row) => this.#isKept(row)), next }
  }

  /** Throws DEAD_LETTER_NOT_FOUND. */
  find(tenant: number, id: string): DeadLetterRow {
    const row = this.#store.deadLetters.find(tenant, id)
    if (row === null || !this.#isKept(row)) throw deadLetterNotFound(id)
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
  async drop(actor: Actor, id: string): Promise<void> {
    await this.#store.commit(
      (transaction) => {
        const row = transaction.deadLetter(actor.tenant, id)
        if (row === null) throw deadLetterNotFound(id)
        const session = transaction.session(row.session)
        transaction.dropJournal(session, row.batch)
        session.deadLetters -= 1
        transaction.deleteDeadLetter(row)
        transaction.appendActivity(actor.tenant, {
          user: actor.user,
          action: 'delete',
          resourceType: 'dead_letter',
          resourceId: id,
          metadata: { sessionId: session.id, code: row.code, records: row.records },
        })
      },
      { removes: true },
    )
    this.#log.info({ deadLetterId: id }, 'dead letter dropped')
  }

  /**
   * Makes the selected dead letters batches again that are tried at once, and a job that ends with the
   * last of them; oldest first, `limits.redriveSelectionMax` at most. Throws DEAD_LETTER_NOT_FOUND
   * where one that is named is not there or nothing is selected, SESSION_NOT_FOUND, INVALID_BODY.
   */
  async redrive(actor: Actor, selection: RedriveSelection): Promise<JobRow> {
    const { tenant } = actor
    const { deadLetterIds, all } = selection
    if (all === true && Object.keys(selection).length > 1) {
      throw invalidBody('all', 'it to stand alone, because the others narrow the selection')
    }
    const ids =
      deadLetterIds === undefined
        ? await this.#select(tenant, selection)
        : this.#named(tenant, new Set(deadLetterIds), selection)
    if (ids.length === 0) throw nothingSelected()
    const { job, rows } = await this.#store.commit((transaction) => {
      const rows: DeadLetterRow[] = []
      for (const id of ids) {
        const row = transaction.deadLetter(tenant, id)
        if (row !== null) rows.push(row)
        else if (deadLetterIds !== undefined) throw deadLetterNotFound(id)
      }
      // Another redrive, a drop or retention was first with all that matched.
      if (rows.length === 0) throw nothingSelected()
      const sessions = new Set(rows.map((row) => row.session))
      const [only] = sessions
      const isOne = sessions.size === 1 && only !== undefined
      const job = createRedriveJob(transaction, actor, {
        session: isOne ? transaction.session(only) : null,
        batches: rows.length,
        records: rows.reduce((sum, row) => sum + row.records, 0),
      })
      for (const row of rows) requeue(transaction, row, job, this.#journaledRecords(row))
      return { job, rows }
    })
    // In the order in which they came, because sessions whose batches go on from one another keep to it.
    rows.sort((one, other) => one.batch - other.batch)
    for (const { session, batch } of rows) this.#sessions.redrive(session, batch)
    return job
  }

  /** Those named that match the rest of the selection. */
  #named(tenant: number, ids: ReadonlySet<string>, selection: RedriveSelection): string[] {
    const { session, code } = this.#filter(tenant, selection)
    return [...ids].filter((id) => {
      const row = this.find(tenant, id)
      return row.session === (session ?? row.session) && row.code === (code ?? row.code)
    })
  }

  /** Looks at all that the tenant has where few match, so other work goes between the looks. */
  async #select(tenant: number, selection: RedriveSelection): Promise<string[]> {
    const filter = this.#filter(tenant, selection)
    const ids: string[] = []
    let after: number | null = null
    for (;;) {
      const limit = limits.redriveSelectionMax - ids.length
      const page: Page<DeadLetterRow> = this.#store.deadLetters.oldest(tenant, filter, limit, after)
      for (const row of page.rows) if (this.#isKept(row)) ids.push(row.id)
      after = page.next
      if (after === null || ids.length === limits.redriveSelectionMax) return ids
      await setImmediate()
    }
  }

  #filter(tenant: number, { sessionId, errorCode }: RedriveSelection): DeadLetterFilter {
    return {
      ...(sessionId === undefined
        ? {}
        : { session: this.#sessions.find(tenant, sessionId).number }),
      ...(errorCode === undefined ? {} : { code: errorCode }),
    }
  }

  /** Fewer than the dead letter tells of where its journal is damaged. */
  #journaledRecords({ session, batch }: DeadLetterRow): number {
    const heads = this.#store.journal.heads(session, batch)
    return heads.reduce((sum, { records }) => sum + records, 0)
  }

  /** Nobody finds what belongs to a session that is being removed. */
  #isKept(row: DeadLetterRow): boolean {
    return this.#store.sessions.get(row.session) !== null
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
function requeue(
  transaction: Transaction,
  row: DeadLetterRow,
  job: JobRow,
  journaledRecords: number,
): void {
  const session = transaction.session(row.session)
  session.recordsDead -= journaledRecords
  session.recordsQueued += journaledRecords
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

function nothingSelected(): Refusal {
  return new Refusal('DEAD_LETTER_NOT_FOUND', {
    message: 'No dead letter matches the selection',
    fields: { deadLetterId: '' },
  })
}
