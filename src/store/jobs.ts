import assert from 'node:assert/strict'
import { limits } from '../limits.ts'
import type { TableReader, Tables, Write } from './database.ts'
import type { JobFilter, JobRow, JobStatus, Jobs, Page } from './interfaces.ts'
import {
  fitsKey,
  keyNumber,
  lastNumber,
  numberBytes,
  numberKey,
  readNumber,
  textKey,
  writeNumber,
} from './keys.ts'
import { newestFirst, readPage } from './pages.ts'
import { decodeFields, encodeFields, ownBytes } from './rows.ts'

const layoutVersion = 2
const fields = [
  'id',
  'tenant',
  'session',
  'kind',
  'status',
  'step',
  'stepDurationsMs',
  'stepStartedAtMs',
  'stepItemsBefore',
  'itemUnit',
  'itemsTotal',
  'itemsProcessed',
  'atomsCreated',
  'batchesLeft',
  'chain',
  'createdAtMs',
  'startedAtMs',
  'updatedAtMs',
  'endedAtMs',
  'error',
  'media',
] as const
/** Fails to compile when a field of the row is stored nowhere. */
const allFieldsStored: Exclude<keyof JobRow, 'number' | (typeof fields)[number]> extends never
  ? true
  : never = true

const statuses: readonly JobStatus[] = ['queued', 'in-progress', 'completed', 'failed', 'cancelled']
const endedStatuses: ReadonlySet<JobStatus> = new Set(['completed', 'failed', 'cancelled'])
const lastJobKey = textKey('last-job')

/** What the index of a tenant's jobs holds: status, session (0 for none), whole milliseconds of its start. */
interface IndexedJob {
  readonly status: JobStatus
  readonly session: number
  readonly createdAtMs: number
}

export class JobRepository implements Jobs {
  readonly #rows: TableReader
  readonly #ids: TableReader
  readonly #tenants: TableReader
  readonly #openMedia: TableReader
  readonly #meta: TableReader

  constructor(tables: Tables) {
    assert(allFieldsStored)
    this.#rows = tables.table('jobs')
    this.#ids = tables.table('job-ids')
    this.#tenants = tables.table('tenant-jobs')
    this.#openMedia = tables.table('open-media-jobs')
    this.#meta = tables.table('meta')
  }

  find(tenant: number, id: string): JobRow | null {
    const number = fitsKey(id) ? this.#ids.get(textKey(id)) : null
    const row = number === null ? null : this.get(readNumber(number, 0))
    return row?.tenant === tenant ? row : null
  }

  get(number: number): JobRow | null {
    const value = this.#rows.get(numberKey(number))
    if (value === null) return null
    const row = { number, ...decodeFields(layoutVersion, fields, value) } as JobRow
    row.chain = ownBytes(row.chain)
    if (row.media !== null) row.media = { ...row.media, hash: ownBytes(row.media.hash) }
    return row
  }

  list(tenant: number, filter: JobFilter, limit: number, before: number | null): Page<JobRow> {
    const entries = this.#tenants.entries(newestFirst(tenant, before))
    return readPage(entries, limit, limits.listScanRowsMax, (number, value) => {
      const { status, session } = decodeIndexed(value)
      const isSelected =
        status === (filter.status ?? status) && session === (filter.session ?? session)
      return isSelected ? this.#indexed(number) : null
    })
  }

  openMedia(): JobRow[] {
    const range = { from: numberKey(0), to: numberKey(lastNumber) }
    return Array.from(this.#openMedia.keys(range), (key) => this.#indexed(keyNumber(key, 0)))
  }

  /**
   * A tenant's ended jobs that were created before `beforeMs`, oldest first. Ends at the first job that
   * is younger, so a clock that was set back only delays what comes after it.
   */
  endedBefore(tenant: number, beforeMs: number, limit: number): JobRow[] {
    const rows: JobRow[] = []
    if (limit <= 0) return rows
    const range = { from: numberKey(tenant, 0), to: numberKey(tenant, lastNumber) }
    for (const { key, value } of this.#tenants.entries(range)) {
      const { status, createdAtMs } = decodeIndexed(value)
      if (createdAtMs >= beforeMs) break
      if (!endedStatuses.has(status)) continue
      rows.push(this.#indexed(keyNumber(key, 1)))
      if (rows.length === limit) break
    }
    return rows
  }

  /** The number given last, 0 where there was none. Kept apart, so that no number comes twice. */
  lastNumber(): number {
    const value = this.#meta.get(lastJobKey)
    return value === null ? 0 : readNumber(value, 0)
  }

  /** How a job that has just got its number is written, beside what every change writes. */
  creation(row: JobRow): Write[] {
    const value = numberKey(row.number)
    return [
      { table: 'job-ids', key: textKey(row.id), value },
      { table: 'meta', key: lastJobKey, value },
    ]
  }

  /** What has to be written for `row`; nothing where it is stored as it is. */
  writes(row: JobRow): Write[] {
    const key = numberKey(row.number)
    const value = encodeFields(layoutVersion, fields, row)
    const stored = this.#rows.get(key)
    if (stored !== null && Buffer.compare(stored, value) === 0) return []
    const writes: Write[] = [
      { table: 'jobs', key, value },
      { table: 'tenant-jobs', key: numberKey(row.tenant, row.number), value: encodeIndexed(row) },
    ]
    const isOpen = isOpenMedia(row)
    if (this.#openMedia.has(key) !== isOpen) {
      writes.push({ table: 'open-media-jobs', key, value: isOpen ? new Uint8Array(0) : null })
    }
    return writes
  }

  /** How an ended job goes: it is in no list of open ones any more. */
  removals(row: JobRow): Write[] {
    return [
      { table: 'jobs', key: numberKey(row.number), value: null },
      { table: 'job-ids', key: textKey(row.id), value: null },
      { table: 'tenant-jobs', key: numberKey(row.tenant, row.number), value: null },
    ]
  }

  #indexed(number: number): JobRow {
    const row = this.get(number)
    assert(row !== null, 'the index names jobs that are there')
    return row
  }
}

/** Whether it works on a file and has not ended. */
export function isOpenMedia({ kind, status }: JobRow): boolean {
  return kind === 'media' && !endedStatuses.has(status)
}

export function encodeIndexed({ status, session, createdAtMs }: JobRow): Uint8Array {
  const value = new Uint8Array(1 + 2 * numberBytes)
  value[0] = statuses.indexOf(status)
  writeNumber(value, session ?? 0, 1)
  writeNumber(value, Math.floor(createdAtMs), 1 + numberBytes)
  return value
}

function decodeIndexed(value: Uint8Array): IndexedJob {
  return {
    status: statuses[value[0] as number] as JobStatus,
    session: readNumber(value, 1),
    createdAtMs: readNumber(value, 1 + numberBytes),
  }
}
