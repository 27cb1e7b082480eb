import assert from 'node:assert/strict'
import { hasEnded } from '../contracts/http.ts'
import { limits } from '../limits.ts'
import type { TableReader, Tables, Write } from './database.ts'
import type { Page, SessionFilter, SessionRow, Sessions } from './interfaces.ts'
import { fitsKey, keyNumber, lastNumber, numberKey, readNumber, textKey } from './keys.ts'
import { newestFirst, readPage } from './pages.ts'
import { decodeFields, encodeFields, encodeRow, ownBytes, parseObject } from './rows.ts'
import { SessionCache } from './session-cache.ts'

/**
 * A session stands in two rows: what is set once (a schema or metadata of many kilobytes may be in
 * it) and what every upload changes, about 200 bytes. The order of the fields is the layout.
 */
const settingsVersion = 2
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
  'frameExtraction',
  'segmentation',
  'createdAtMs',
] as const
const stateVersion = 3
const stateFields = [
  'status',
  'lastActivityAtMs',
  'endedAtMs',
  'bytesReceived',
  'recordsReceived',
  'recordsRejected',
  'recordsQueued',
  'recordsProcessed',
  'recordsCancelled',
  'openJobs',
  'atomsCreated',
  'batchesReceived',
  'batchesProcessed',
  'processingTimeMs',
  'nextBatch',
  'atomRows',
  'rejectedRows',
  'journalEntries',
  'chain',
  'recordsDead',
  'deadLetters',
  'ending',
  'final',
  'eventsDroppedThrough',
  'atomRowsDropped',
  'rejectedRowsDropped',
  'chainDropped',
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
  readonly #settings: TableReader
  readonly #states: TableReader
  readonly #ids: TableReader
  readonly #tenants: TableReader
  readonly #open: TableReader
  readonly #dropped: TableReader
  readonly #meta: TableReader
  /** Only this process writes sessions, so what is remembered is the truth. */
  readonly #cache = new SessionCache()

  constructor(tables: Tables) {
    assert(allFieldsStored)
    this.#settings = tables.table('sessions')
    this.#states = tables.table('session-states')
    this.#ids = tables.table('session-ids')
    this.#tenants = tables.table('tenant-sessions')
    this.#open = tables.table('open-sessions')
    this.#dropped = tables.table('dropped-sessions')
    this.#meta = tables.table('meta')
  }

  find(tenant: number, id: string): SessionRow | null {
    const number = this.#cache.number(id) ?? this.#readNumber(id)
    const row = number === null ? null : this.get(number)
    return row?.tenant === tenant ? row : null
  }

  get(number: number): SessionRow | null {
    const row = this.#cache.get(number) ?? (this.isDropping(number) ? null : this.read(number))
    if (row !== null) this.keep(row)
    return row
  }

  stored(number: number): SessionRow | null {
    return this.isDropping(number) ? null : this.#decoded(number)
  }

  list(
    tenant: number,
    { type, status }: SessionFilter,
    limit: number,
    before: number | null,
  ): Page<SessionRow> {
    const entries = this.#tenants.entries(newestFirst(tenant, before))
    return readPage(entries, limit, limits.listScanRowsMax, (number, value) => {
      if (type !== undefined && types[value[0] as number] !== type) return null
      if (status !== undefined && statuses[value[1] as number] !== status) return null
      return this.#indexed(number)
    })
  }

  open(): SessionRow[] {
    return this.openBefore(Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY)
  }

  openBefore(createdBeforeMs: number, limit: number): SessionRow[] {
    const rows: SessionRow[] = []
    if (limit <= 0 || createdBeforeMs <= 0) return rows
    const end = Math.min(Math.ceil(createdBeforeMs), lastNumber)
    for (const key of this.#open.keys({ from: numberKey(0, 0), to: numberKey(end, 0) })) {
      const row = this.#indexed(keyNumber(key, 1))
      if (row.createdAtMs >= createdBeforeMs) continue
      rows.push(row)
      if (rows.length === limit) break
    }
    return rows
  }

  dropping(): SessionRow[] {
    const rows: SessionRow[] = []
    for (const key of this.#dropped.keys({ from: numberKey(0), to: numberKey(lastNumber) })) {
      rows.push(this.#indexed(keyNumber(key, 0)))
    }
    return rows
  }

  /** The number given last, 0 where there was none. Kept apart, so that no number comes twice. */
  lastNumber(): number {
    const value = this.#meta.get(lastSessionKey)
    return value === null ? 0 : readNumber(value, 0)
  }

  /** Whether its removal has begun: then nobody outside finds it. */
  isDropping(number: number): boolean {
    return this.#dropped.has(numberKey(number))
  }

  /** As it is stored, also where it is being removed. */
  read(number: number): SessionRow | null {
    return this.#cache.get(number) ?? this.#decoded(number)
  }

  /** Remembers a committed row. */
  keep(row: SessionRow): void {
    this.#cache.keep(row)
  }

  /** A row whose removal has begun is not remembered. */
  forget(row: SessionRow): void {
    this.#cache.forget(row)
  }

  /** How a session that has just got its number is written, beside its rows and its indexes. */
  creation(row: SessionRow): Write[] {
    const value = numberKey(row.number)
    return [
      { table: 'session-ids', key: textKey(row.id), value },
      { table: 'meta', key: lastSessionKey, value },
    ]
  }

  /** What has to be written for `row` where `base` is stored; nothing where they are the same. */
  rowWrites(row: SessionRow, base: SessionRow | null): Write[] {
    const writes: Write[] = []
    const key = numberKey(row.number)
    if (base === null || settingsFields.some((field) => row[field] !== base[field])) {
      writes.push({ table: 'sessions', key, value: encodeSettings(row) })
    }
    if (base === null || stateFields.some((field) => row[field] !== base[field])) {
      const value = encodeFields(stateVersion, stateFields, row)
      writes.push({ table: 'session-states', key, value })
    }
    return writes
  }

  /** The same for the indexes that know a session by its status. */
  indexWrites(row: SessionRow, base: SessionRow | null): Write[] {
    if (base?.status === row.status) return []
    const value = Uint8Array.of(types.indexOf(row.type), statuses.indexOf(row.status))
    const writes: Write[] = [
      { table: 'tenant-sessions', key: numberKey(row.tenant, row.number), value },
    ]
    const ended = hasEnded(row.status)
    if (base === null || hasEnded(base.status) !== ended) {
      const key = numberKey(Math.floor(row.createdAtMs), row.number)
      writes.push({ table: 'open-sessions', key, value: ended ? null : new Uint8Array(0) })
    }
    return writes
  }

  /** How nobody finds an ended session any more; its rows stay until the rest of it is gone. */
  hiding(row: SessionRow): Write[] {
    return [
      { table: 'session-ids', key: textKey(row.id), value: null },
      { table: 'tenant-sessions', key: numberKey(row.tenant, row.number), value: null },
      { table: 'dropped-sessions', key: numberKey(row.number), value: new Uint8Array(0) },
      // Still there where it has ended in the same group: its indexes are not brought up to date any more.
      {
        table: 'open-sessions',
        key: numberKey(Math.floor(row.createdAtMs), row.number),
        value: null,
      },
    ]
  }

  /** How the rows of a hidden session go. */
  removal(row: SessionRow): Write[] {
    const key = numberKey(row.number)
    return [
      { table: 'sessions', key, value: null },
      { table: 'session-states', key, value: null },
      { table: 'dropped-sessions', key, value: null },
    ]
  }

  /** A long list must not push the rows in use out of the cache. */
  #indexed(number: number): SessionRow {
    const row = this.read(number)
    assert(row !== null, 'the index names sessions that are there')
    return row
  }

  #decoded(number: number): SessionRow | null {
    const key = numberKey(number)
    const settings = this.#settings.get(key)
    const state = this.#states.get(key)
    return settings === null || state === null ? null : decodeSession(number, settings, state)
  }

  #readNumber(id: string): number | null {
    const bytes = fitsKey(id) ? this.#ids.get(textKey(id)) : null
    return bytes === null ? null : readNumber(bytes, 0)
  }
}

/** The row as it is handed out: frozen, and what it holds belongs to nobody else. */
export function freezeSession(row: SessionRow): SessionRow {
  deepFreeze(row.metadata)
  Object.freeze(row.retry)
  Object.freeze(row.decode)
  deepFreeze(row.frameExtraction)
  deepFreeze(row.segmentation)
  if (row.final !== null) Object.freeze(row.final)
  return Object.freeze(row)
}

function encodeSettings(row: SessionRow): Uint8Array {
  const items = settingsFields.map((field) =>
    field === 'metadata' ? JSON.stringify(row.metadata) : row[field],
  )
  return encodeRow(settingsVersion, items)
}

function decodeSession(number: number, settings: Uint8Array, state: Uint8Array): SessionRow {
  const row = {
    number,
    ...decodeFields(settingsVersion, settingsFields, settings),
    ...decodeFields(stateVersion, stateFields, state),
  } as SessionRow
  row.metadata = parseObject(row.metadata)
  row.chain = ownBytes(row.chain)
  row.chainDropped = ownBytes(row.chainDropped)
  if (row.final !== null) row.final.chain = ownBytes(row.final.chain)
  return freezeSession(row)
}

function deepFreeze(value: unknown): void {
  if (typeof value !== 'object' || value === null || Object.isFrozen(value)) return
  Object.freeze(value)
  for (const member of Object.values(value)) deepFreeze(member)
}
