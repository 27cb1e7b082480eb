import assert from 'node:assert/strict'
import type { StoredEvent } from '../contracts/events.ts'
import type { Database, Entry, Table, Write } from './database.ts'
import type { Events } from './interfaces.ts'
import { keyNumber, lastNumber, numberBytes, numberKey, readNumber, writeNumber } from './keys.ts'

/**
 * A value is the layout version, the byte length of the name, the session's number (0 for none; a
 * session's is at least 1), the name, and the data as the JSON text that goes out.
 */
const layoutVersion = 1
const headBytes = 2 + numberBytes
const nameBytesMax = 255

export class EventRepository implements Events {
  readonly #events: Table
  readonly #sessions: Table
  readonly #tenants: Table

  constructor(database: Database) {
    this.#events = database.table('events')
    this.#sessions = database.table('session-events')
    this.#tenants = database.table('tenant-events')
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
    const bytes = this.#tenants.get(numberKey(tenant))
    return bytes === null ? 0 : readNumber(bytes, 0)
  }

  writes(event: StoredEvent): Write[] {
    const key = numberKey(event.tenant, event.number)
    const writes: Write[] = [{ table: this.#events, key, value: encodeEvent(event) }]
    if (event.session !== null) {
      const indexKey = numberKey(event.session, event.number)
      writes.push({ table: this.#sessions, key: indexKey, value: new Uint8Array(0) })
    }
    return writes
  }

  lastWrite(tenant: number, number: number): Write {
    return { table: this.#tenants, key: numberKey(tenant), value: numberKey(number) }
  }
}

function encodeEvent({ name, session, data }: StoredEvent): Uint8Array {
  const nameBytes = Buffer.byteLength(name)
  assert(nameBytes <= nameBytesMax, 'the length of a name stands in one byte')
  const value = Buffer.allocUnsafe(headBytes + nameBytes + Buffer.byteLength(data))
  value[0] = layoutVersion
  value[1] = nameBytes
  writeNumber(value, session ?? 0, 2)
  value.write(name, headBytes)
  value.write(data, headBytes + nameBytes)
  return value
}

function decodeEvent({ key, value }: Entry): StoredEvent {
  assert(value[0] === layoutVersion, 'an event of layout 1')
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
