import type { TableReader, Tables, Write } from './database.ts'
import { keyNumber, lastNumber, numberKey } from './keys.ts'
import { decodeFields, encodeFields } from './rows.ts'

/** What is counted for a tenant. */
export interface TenantRow {
  readonly tenant: number
  /** Number of the last event, 0 before the first. */
  lastEvent: number
  /** Number of the oldest event that is retained, or of the next one. */
  firstEvent: number
  lastDeadLetter: number
  memories: number
  lastMemory: number
  searches: number
  /** Changes that a `user.activity` event tells of, and searches. */
  operations: number
  /** Keys and values of its blobs, atoms, events, their index rows, and rejected records. */
  bytes: number
}

const layoutVersion = 2
const fields = [
  'lastEvent',
  'firstEvent',
  'lastDeadLetter',
  'memories',
  'lastMemory',
  'searches',
  'operations',
  'bytes',
] as const

const nothingYet: Omit<TenantRow, 'tenant'> = {
  lastEvent: 0,
  firstEvent: 1,
  lastDeadLetter: 0,
  memories: 0,
  lastMemory: 0,
  searches: 0,
  operations: 0,
  bytes: 0,
}

export class TenantRepository {
  readonly #table: TableReader

  constructor(tables: Tables) {
    this.#table = tables.table('tenants')
  }

  get(tenant: number): TenantRow {
    const value = this.#table.get(numberKey(tenant))
    return value === null ? { tenant, ...nothingYet } : decodeTenant(tenant, value)
  }

  list(): TenantRow[] {
    const range = { from: numberKey(0), to: numberKey(lastNumber) }
    return Array.from(this.#table.entries(range), ({ key, value }) =>
      decodeTenant(keyNumber(key, 0), value),
    )
  }

  write(row: TenantRow): Write {
    const value = encodeFields(layoutVersion, fields, row)
    return { table: 'tenants', key: numberKey(row.tenant), value }
  }
}

export function decodeTenant(tenant: number, value: Uint8Array): TenantRow {
  return { tenant, ...decodeFields(layoutVersion, fields, value) } as TenantRow
}
