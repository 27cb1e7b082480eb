import type { TableReader, Tables, Write } from './database.ts'
import type { DeadLetterFilter, DeadLetterRow, DeadLetters } from './interfaces.ts'
import { fitsKey, keyNumber, lastNumber, numberKey, textKey } from './keys.ts'
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
    return this.#get(tenant, keyNumber(key, 1))
  }

  list(
    tenant: number,
    filter: DeadLetterFilter,
    limit: number,
    before: number | null,
  ): DeadLetterRow[] {
    const rows: DeadLetterRow[] = []
    if (limit <= 0 || before === 0) return rows
    const index = filter.session === undefined ? this.#rows : this.#sessions
    const prefix = filter.session ?? tenant
    const from = numberKey(prefix, before === null ? lastNumber : before - 1)
    for (const key of index.keys({ from, to: numberKey(prefix, 0), reverse: true })) {
      const row = this.#get(tenant, keyNumber(key, 1))
      // Another tenant's session: its number names a dead letter of this tenant or none.
      if (row === null || row.session !== (filter.session ?? row.session)) continue
      if (filter.code !== undefined && row.code !== filter.code) continue
      rows.push(row)
      if (rows.length === limit) break
    }
    return rows
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

  #get(tenant: number, number: number): DeadLetterRow | null {
    const value = this.#rows.get(numberKey(tenant, number))
    if (value === null) return null
    return { number, tenant, ...decodeFields(layoutVersion, fields, value) } as DeadLetterRow
  }
}
