import assert from 'node:assert/strict'
import type { StoredEvent } from '../contracts/events.ts'
import type { Entry, TableReader, Tables, Write } from './database.ts'
import type { Events } from './interfaces.ts'
import { keyNumber, lastNumber, numberBytes, numberKey, readNumber, writeNumber } from './keys.ts'
import type { StoredRow } from './rows.ts'
import type { TenantRepository } from './tenants.ts'

/**
 * A value is the layout version, the byte length of the name, the session's number (0 for none; a
 * session's is at least 1), the milliseconds of its commit, the name, and the data as the JSON text that
 * goes out.
 */
const layoutVersion = 2
const timeOffset = 2 + numberBytes
const headBytes = timeOffset + numberBytes
const nameBytesMax = 255

export class EventRepository implements Events {
  readonly #events: TableReader
  readonly #sessions: TableReader
  readonly #tenants: TenantRepository

  constructor(tables: Tables, tenants: TenantRepository) {
    this.#events = tables.table('events')
    this.#sessions = tables.table('session-events')
    this.#tenants = tenants
  }

  ofSession(tenant: number, session: number, after: number, limit: number): StoredEvent[] {
    const events: StoredEvent[] = []
    if (limit <= 0) return events
    const range = { from: numberKey(session, after + 1), to: numberKey(session, lastNumber) }
    for (const indexKey of this.#sessions.keys(range)) {
      const key = numberKey(tenant, keyNumber(indexKey, 1))
      const value = this.#events.get(key)
      const event = value === null ? null : decodeEvent({ key, value })
      // Another tenant's session: the number names an event of this tenant, but not of the session.
      if (event?.session !== session) continue
      events.push(event)
      if (events.length === limit) break
    }
    return events
  }

  ofTenant(tenant: number, after: number, limit: number): StoredEvent[] {
    if (limit <= 0) return []
    const from = numberKey(tenant, after + 1)
    const range = { from, to: numberKey(tenant, lastNumber), limit }
    return Array.from(this.#events.entries(range), decodeEvent)
  }

  last(tenant: number): number {
    return this.#tenants.get(tenant).lastEvent
  }

  first(tenant: number): number {
    return this.#tenants.get(tenant).firstEvent
  }

  oldest(tenant: number, limit: number): { event: StoredEvent; atMs: number }[] {
    if (limit <= 0) return []
    const from = numberKey(tenant, this.first(tenant))
    const range = { from, to: numberKey(tenant, lastNumber), limit }
    return Array.from(this.#events.entries(range), (entry) => ({
      event: decodeEvent(entry),
      atMs: readNumber(entry.value, timeOffset),
    }))
  }

  writes(event: StoredEvent, atMs: number): Write[] {
    const key = numberKey(event.tenant, event.number)
    const writes: Write[] = [{ table: 'events', key, value: encodeEvent(event, atMs) }]
    if (event.session !== null) {
      const indexKey = numberKey(event.session, event.number)
      writes.push({ table: 'session-events', key: indexKey, value: new Uint8Array(0) })
    }
    return writes
  }

  /** The rows of an event that are there, each with its size. */
  stored({ tenant, number, session }: StoredEvent): StoredRow[] {
    const key = numberKey(tenant, number)
    const value = this.#events.get(key)
    const rows: StoredRow[] = []
    if (value !== null) {
      rows.push({ table: 'events', key, bytes: key.byteLength + value.byteLength })
    }
    if (session === null) return rows
    const indexKey = numberKey(session, number)
    if (this.#sessions.has(indexKey)) {
      rows.push({ table: 'session-events', key: indexKey, bytes: indexKey.byteLength })
    }
    return rows
  }

  /** Up to `limit` rows of the index that leads from a session to its events. */
  ofIndex(session: number, limit: number): StoredRow[] {
    const range = { from: numberKey(session, 0), to: numberKey(session, lastNumber), limit }
    return Array.from(this.#sessions.keys(range), (key) => ({
      table: 'session-events',
      key,
      bytes: key.byteLength,
    }))
  }
}

function encodeEvent({ name, session, data }: StoredEvent, atMs: number): Uint8Array {
  const nameBytes = Buffer.byteLength(name)
  assert(nameBytes <= nameBytesMax, 'the length of a name stands in one byte')
  const value = Buffer.allocUnsafe(headBytes + nameBytes + Buffer.byteLength(data))
  value[0] = layoutVersion
  value[1] = nameBytes
  writeNumber(value, session ?? 0, 2)
  writeNumber(value, Math.floor(atMs), timeOffset)
  value.write(name, headBytes)
  value.write(data, headBytes + nameBytes)
  return value
}

export function decodeEvent({ key, value }: Entry): StoredEvent {
  assert(value[0] === layoutVersion, `an event of layout ${layoutVersion}`)
  const bytes = Buffer.from(value.buffer, value.byteOffset, value.byteLength)
  const dataStart = headBytes + (bytes[1] as number)
  const session = readNumber(bytes, 2)
  return {
    tenant: keyNumber(key, 0),
    number: keyNumber(key, 1),
    session: session === 0 ? null : session,
    name: bytes.toString('utf8', headBytes, dataStart),
    data: bytes.toString('utf8', dataStart),
  }
}
