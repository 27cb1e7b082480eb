import assert from 'node:assert/strict'
import { hasEnded } from '../contracts/http.ts'
import { limits } from '../limits.ts'
import type { Database, Table, Write } from './database.ts'
import type { SessionFilter, SessionRow, Sessions } from './interfaces.ts'
import { fitsKey, keyNumber, lastNumber, numberKey, readNumber, textKey } from './keys.ts'
import { decodeRow, encodeRow, ownBytes, parseObject } from './rows.ts'

/**
 * A session stands in two rows: what is set once (a schema or metadata of many kilobytes may be in
 * it) and what every upload changes, about 100 bytes. The order of the fields is the layout.
 */
const settingsVersion = 1
const settingsFields = [
  'id',
  'tenant',
  'type',
  'name',
  'metadata',
  'batchSize',
  'maxBatchDelayMs',
  'maxConcurrentBatches',
  'retry',
  'decode',
  'createdAtMs',
] as const
const stateVersion = 1
const stateFields = [
  'status',
  'lastActivityAtMs',
  'endedAtMs',
  'bytesReceived',
  'recordsReceived',
  'recordsRejected',
  'recordsQueued',
  'atomsCreated',
  'batchesReceived',
  'batchesProcessed',
  'processingTimeMs',
  'nextBatch',
  'atomRows',
  'rejectedRows',
  'journalEntries',
  'chain',
] as const
type StoredField = 'number' | (typeof settingsFields)[number] | (typeof stateFields)[number]
/** Fails to compile when a field of the row is stored nowhere. */
const allFieldsStored: Exclude<keyof SessionRow, StoredField> extends never ? true : never = true

const types = ['telemetry', 'video', 'audio'] as const
const statuses = [
  'initializing',
  'active',
  'paused',
  'completing',
  'completed',
  'failed',
  'cancelled',
] as const

const lastSessionKey = textKey('last-session')

/** Rows are frozen, so that one object can be handed to every reader. */
export class SessionRepository implements Sessions {
  readonly #settings: Table
  readonly #states: Table
  readonly #ids: Table
  readonly #tenants: Table
  readonly #open: Table
  readonly #meta: Table
  /** The rows used last, oldest first. Only this process writes sessions, so they are the truth. */
  readonly #cache = new Map<number, SessionRow>()
  readonly #numbers = new Map<string, number>()

  constructor(database: Database) {
    assert(allFieldsStored)
    this.#settings = database.table('sessions')
    this.#states = database.table('session-states')
    this.#ids = database.table('session-ids')
    this.#tenants = database.table('tenant-sessions')
    this.#open = database.table('open-sessions')
    this.#meta = database.table('meta')
  }

  find(tenant: number, id: string): SessionRow | null {
    const number = this.#numbers.get(id) ?? this.#readNumber(id)
    const row = number === null ? null : this.get(number)
    return row?.tenant === tenant ? row : null
  }

  get(number: number): SessionRow | null {
    const cached = this.#cache.get(number)
    const row = cached ?? this.#read(number)
    if (row !== null) this.keep(row)
    return row
  }

  list(tenant: number, filter: SessionFilter, limit: number, before: number | null): SessionRow[] {
    const rows: SessionRow[] = []
    if (limit <= 0 || before === 0) return rows
    const from = numberKey(tenant, before === null ? lastNumber : before - 1)
    const range = { from, to: numberKey(tenant, 0), reverse: true }
    for (const { key, value } of this.#tenants.entries(range)) {
      if (filter.type !== undefined && types[value[0] as number] !== filter.type) continue
      if (filter.status !== undefined && statuses[value[1] as number] !== filter.status) continue
      const number = keyNumber(key, 1)
      // A long list must not push the rows in use out of the cache.
      const row = this.#cache.get(number) ?? this.#read(number)
      assert(row !== null, 'the index names sessions that are there')
      rows.push(row)
      if (rows.length === limit) break
    }
    return rows
  }

  open(): SessionRow[] {
    const rows: SessionRow[] = []
    for (const key of this.#open.keys({ from: numberKey(0), to: numberKey(lastNumber) })) {
      const row = this.#read(keyNumber(key, 0))
      assert(row !== null, 'the index names sessions that are there')
      rows.push(row)
    }
    return rows
  }

  /** The number given last, 0 where there was none. Kept apart, so that no number comes twice. */
  lastNumber(): number {
    const value = this.#meta.get(lastSessionKey)
    return value === null ? 0 : readNumber(value, 0)
  }

  /** Remembers a committed row, at the cost of the one that was not used for longest. */
  keep(row: SessionRow): void {
    this.#cache.delete(row.number)
    this.#cache.set(row.number, row)
    this.#numbers.set(row.id, row.number)
    if (this.#cache.size <= limits.sessionCacheMax) return
    const [oldest] = this.#cache.values()
    if (oldest === undefined) return
    this.#cache.delete(oldest.number)
    this.#numbers.delete(oldest.id)
  }

  /** What has to be written for `row` where `base` is stored; nothing where they are the same. */
  writes(row: SessionRow, base: SessionRow | null): Write[] {
    const writes: Write[] = []
    const key = numberKey(row.number)
    if (base === null) {
      writes.push({ table: this.#ids, key: textKey(row.id), value: key })
      writes.push({ table: this.#meta, key: lastSessionKey, value: key })
    }
    if (base === null || settingsFields.some((field) => row[field] !== base[field])) {
      writes.push({ table: this.#settings, key, value: encodeSettings(row) })
    }
    if (base !== null && stateFields.every((field) => row[field] === base[field])) return writes
    writes.push({ table: this.#states, key, value: encodeState(row) })
    if (base?.status === row.status) return writes
    writes.push({
      table: this.#tenants,
      key: numberKey(row.tenant, row.number),
      value: Uint8Array.of(types.indexOf(row.type), statuses.indexOf(row.status)),
    })
    const ended = hasEnded(row.status)
    if (base === null || hasEnded(base.status) !== ended) {
      writes.push({ table: this.#open, key, value: ended ? null : new Uint8Array(0) })
    }
    return writes
  }

  #readNumber(id: string): number | null {
    const bytes = fitsKey(id) ? this.#ids.get(textKey(id)) : null
    return bytes === null ? null : readNumber(bytes, 0)
  }

  #read(number: number): SessionRow | null {
    const key = numberKey(number)
    const settings = this.#settings.get(key)
    const state = this.#states.get(key)
    return settings === null || state === null ? null : decodeSession(number, settings, state)
  }
}

/** The row as it is handed out: frozen, and what it holds belongs to nobody else. */
export function freezeSession(row: SessionRow): SessionRow {
  deepFreeze(row.metadata)
  Object.freeze(row.retry)
  Object.freeze(row.decode)
  return Object.freeze(row)
}

function encodeSettings(row: SessionRow): Uint8Array {
  const items = settingsFields.map((field) =>
    field === 'metadata' ? JSON.stringify(row.metadata) : row[field],
  )
  return encodeRow(settingsVersion, items)
}

function encodeState(row: SessionRow): Uint8Array {
  return encodeRow(
    stateVersion,
    stateFields.map((field) => row[field]),
  )
}

function decodeSession(number: number, settings: Uint8Array, state: Uint8Array): SessionRow {
  const fields: [string, unknown][] = []
  const settingsItems = decodeRow(settingsVersion, settings)
  for (const [index, field] of settingsFields.entries()) fields.push([field, settingsItems[index]])
  const stateItems = decodeRow(stateVersion, state)
  for (const [index, field] of stateFields.entries()) fields.push([field, stateItems[index]])
  const row = { number, ...Object.fromEntries(fields) } as SessionRow
  row.metadata = parseObject(row.metadata)
  row.chain = ownBytes(row.chain)
  return freezeSession(row)
}

function deepFreeze(value: unknown): void {
  if (typeof value !== 'object' || value === null || Object.isFrozen(value)) return
  Object.freeze(value)
  for (const member of Object.values(value)) deepFreeze(member)
}
