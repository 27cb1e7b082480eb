import type { RejectedRecord } from '../contracts/tasks.ts'
import type { TableReader, Tables, Write } from './database.ts'
import type { Rejected, RejectedEntry } from './interfaces.ts'
import { keyNumber, lastNumber, numberKey } from './keys.ts'
import { decodeRow, encodeRow, type StoredRow } from './rows.ts'

/** batch, atMs, then the record as it was refused, as JSON text. */
const layoutVersion = 1
type RejectedItems = [number, number, string]

export class RejectedRepository implements Rejected {
  readonly #table: TableReader

  constructor(tables: Tables) {
    this.#table = tables.table('rejected')
  }

  list(session: number, from: number, limit: number): RejectedEntry[] {
    if (limit <= 0) return []
    const range = { from: numberKey(session, from), to: numberKey(session, lastNumber), limit }
    return Array.from(this.#table.entries(range), ({ key, value }) => {
      const [batch, atMs, text] = decodeRow(layoutVersion, value) as RejectedItems
      const record = JSON.parse(text) as RejectedRecord
      return { ...record, seq: keyNumber(key, 1), batch, atMs }
    })
  }

  /** Up to `limit` rows with `seq >= from` in order, for removing them. */
  stored(session: number, from: number, limit: number): StoredRow[] {
    if (limit <= 0) return []
    const range = { from: numberKey(session, from), to: numberKey(session, lastNumber), limit }
    return Array.from(this.#table.entries(range), ({ key, value }) => ({
      table: 'rejected',
      key,
      bytes: key.byteLength + value.byteLength,
    }))
  }

  write(session: number, seq: number, batch: number, atMs: number, record: RejectedRecord): Write {
    const items: RejectedItems = [batch, atMs, JSON.stringify(record)]
    return {
      table: 'rejected',
      key: numberKey(session, seq),
      value: encodeRow(layoutVersion, items),
    }
  }
}
