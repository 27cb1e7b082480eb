import { limits } from '../limits.ts'
import type { Range, TableReader, Tables, Write } from './database.ts'
import type { DeadLetterFilter, DeadLetterRow, DeadLetters, Page } from './interfaces.ts'
import { fitsKey, keyNumber, numberKey, textKey } from './keys.ts'
import { newestFirst, oldestFirst, readPage } from './pages.ts'
import { decodeFields, encodeFields } from './rows.ts'

const layoutVersion = 1
const fields = [
  'id',
  'session',
  'batch',
  'records',
  'code',
  'message',
  'history',
  'firstFailedAtMs',
  'deadAtMs',
] as const

/** A dead letter has four rows: itself, and one each to find it by id, by session and by batch. */
export class DeadLetterRepository implements DeadLetters {
  readonly #rows: TableReader
  readonly #ids: TableReader
  readonly #sessions: TableReader
  readonly #batches: TableReader

  constructor(tables: Tables) {
    this.#rows = tables.table('dead-letters')
    this.#ids = tables.table('dead-letter-ids')
    this.#sessions = tables.table('session-dead-letters')
    this.#batches = tables.table('dead-batches')
  }

  find(tenant: number, id: string): DeadLetterRow | null {
    const key = fitsKey(id) ? this.#ids.get(textKey(id)) : null
    if (key === null || keyNumber(key, 0) !== tenant) return null
    return this.get(tenant, keyNumber(key, 1))
  }

  get(tenant: number, number: number): DeadLetterRow | null {
    const value = this.#rows.get(numberKey(tenant, number))
    return value === null ? null : decodeDeadLetter(tenant, number, value)
  }

  list(
    tenant: number,
    filter: DeadLetterFilter,
    limit: number,
    before: number | null,
  ): Page<DeadLetterRow> {
    return this.#page(tenant, filter, limit, newestFirst(filter.session ?? tenant, before))
  }

  oldest(
    tenant: number,
    filter: DeadLetterFilter,
    limit: number,
    after: number | null,
  ): Page<DeadLetterRow> {
    return this.#page(tenant, filter, limit, oldestFirst(filter.session ?? tenant, after))
  }

  isDead(session: number, batch: number): boolean {
    return this.#batches.has(numberKey(session, batch))
  }

  writes(row: DeadLetterRow): Write[] {
    const key = numberKey(row.tenant, row.number)
    const empty = new Uint8Array(0)
    return [
      { table: 'dead-letters', key, value: encodeFields(layoutVersion, fields, row) },
      { table: 'dead-letter-ids', key: textKey(row.id), value: key },
      { table: 'session-dead-letters', key: numberKey(row.session, row.number), value: empty },
      { table: 'dead-batches', key: numberKey(row.session, row.batch), value: empty },
    ]
  }

  removals(row: DeadLetterRow): Write[] {
    return this.writes(row).map(({ table, key }) => ({ table, key, value: null }))
  }

  #page(
    tenant: number,
    { session, code }: DeadLetterFilter,
    limit: number,
    range: Range,
  ): Page<DeadLetterRow> {
    const index = session === undefined ? this.#rows : this.#sessions
    return readPage(index.entries(range), limit, limits.deadLetterScanRowsMax, (number, value) => {
      const row =
        session === undefined ? decodeDeadLetter(tenant, number, value) : this.get(tenant, number)
      // Another tenant's session: its number names a dead letter of this tenant or none.
      if (row === null || row.session !== (session ?? row.session)) return null
      return row.code === (code ?? row.code) ? row : null
    })
  }
}

function decodeDeadLetter(tenant: number, number: number, value: Uint8Array): DeadLetterRow {
  return { number, tenant, ...decodeFields(layoutVersion, fields, value) } as DeadLetterRow
}
