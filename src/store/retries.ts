import type { TableReader, Tables, Write } from './database.ts'
import type { BatchRetry } from './interfaces.ts'
import { lastNumber, numberKey } from './keys.ts'
import { decodeFields, encodeFields } from './rows.ts'

const layoutVersion = 1
const fields = ['failures', 'nextAttemptAtMs', 'history', 'redrive'] as const

/** Batches that wait for their next attempt. */
export class RetryRepository {
  readonly #table: TableReader

  constructor(tables: Tables) {
    this.#table = tables.table('retries')
  }

  get(session: number, batch: number): BatchRetry | null {
    const value = this.#table.get(numberKey(session, batch))
    if (value === null) return null
    return { session, batch, ...decodeFields(layoutVersion, fields, value) } as BatchRetry
  }

  write(retry: BatchRetry): Write {
    const key = numberKey(retry.session, retry.batch)
    return { table: 'retries', key, value: encodeFields(layoutVersion, fields, retry) }
  }

  removal(session: number, batch: number): Write {
    return { table: 'retries', key: numberKey(session, batch), value: null }
  }

  /** Up to `limit` removals of a session's rows. */
  removals(session: number, limit: number): Write[] {
    const range = { from: numberKey(session, 0), to: numberKey(session, lastNumber), limit }
    return Array.from(this.#table.keys(range), (key) => ({ table: 'retries', key, value: null }))
  }
}
