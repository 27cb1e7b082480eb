import assert from 'node:assert/strict'
import { isDeepStrictEqual } from 'node:util'
import { Refusal } from '../contracts/errors.ts'
import type { StoredEvent } from '../contracts/events.ts'
import type { SchemaDefinition } from '../contracts/schema.ts'
import type { RejectedRecord } from '../contracts/tasks.ts'
import { extendChain } from './atoms.ts'
import type { Write } from './database.ts'
import type { ApiKeyRow, AtomEntry, JournalEntry, SessionRow, Transaction } from './interfaces.ts'
import type { Repositories } from './repositories.ts'
import { freezeSession } from './sessions.ts'

/** A session as the units of one group see and change it. */
interface Draft {
  readonly row: SessionRow
  /** What is stored; null for a session of this group. */
  readonly base: SessionRow | null
  /** The last unit that asked for it: each unit keeps a copy of what it found, to go back to. */
  unit: number
}

/**
 * What the units of one group commit have done so far. Units run one after the other and see what
 * those before them did; nothing of it is seen outside before `adopt`. A unit that throws is undone.
 */
export class GroupTransaction implements Transaction {
  readonly nowMs = Date.now()
  readonly events: StoredEvent[] = []
  readonly #repositories: Repositories
  readonly #owner: boolean
  readonly #writes: Write[] = []
  readonly #drafts = new Map<number, Draft>()
  readonly #eventNumbers = new Map<number, number>()
  readonly #blobs = new Set<string>()
  readonly #schemas = new Map<string, SchemaDefinition>()
  #lastSession: number
  #bytes = 0
  #unit = 0
  #running = false
  #undo: (() => void)[] = []

  /** A transaction that is not the owner's can put API keys alone: the rest is cached by the owner. */
  constructor(repositories: Repositories, owner: boolean) {
    this.#repositories = repositories
    this.#owner = owner
    this.#lastSession = repositories.sessions.lastNumber()
  }

  /** About how many bytes of pages the writes so far take. */
  get bytes(): number {
    return this.#bytes
  }

  /**
   * Runs a unit to its end or not at all. Throws what the unit throws, and Refusal `STORE_FULL` where
   * the group would then take more than `roomBytes`.
   */
  run<T>(unit: (transaction: Transaction) => T, roomBytes: number): T {
    const writes = this.#writes.length
    const events = this.events.length
    const bytes = this.#bytes
    this.#undo = []
    this.#unit += 1
    this.#running = true
    try {
      const result = unit(this)
      assert(!(result instanceof Promise), 'a unit is synchronous')
      if (this.#bytes > bytes && this.#bytes > roomBytes) throw new Refusal('STORE_FULL')
      return result
    } catch (error) {
      for (const step of this.#undo.reverse()) step()
      this.#writes.length = writes
      this.events.length = events
      this.#bytes = bytes
      throw error
    } finally {
      this.#running = false
    }
  }

  /** Everything to be written, each session row that was changed once. */
  finish(): Write[] {
    const { sessions, events } = this.#repositories
    for (const { row, base } of this.#drafts.values())
      this.#writes.push(...sessions.writes(row, base))
    for (const [tenant, number] of this.#eventNumbers) {
      this.#writes.push(events.lastWrite(tenant, number))
    }
    return this.#writes
  }

  /** After the flush: the drafts become what readers see. */
  adopt(): void {
    for (const { row } of this.#drafts.values())
      this.#repositories.sessions.keep(freezeSession(row))
  }

  session(number: number): SessionRow {
    this.#assertOwner()
    const draft = this.#drafts.get(number) ?? this.#openDraft(number)
    if (draft.unit !== this.#unit) {
      draft.unit = this.#unit
      const found = { ...draft.row }
      this.#undo.push(() => Object.assign(draft.row, found))
    }
    return draft.row
  }

  createSession(row: Omit<SessionRow, 'number'>): SessionRow {
    this.#assertOwner()
    const number = this.#lastSession + 1
    const created: SessionRow = {
      ...row,
      // As it will be read, and so that freezing it later freezes nothing of the caller's.
      metadata: JSON.parse(JSON.stringify(row.metadata)) as Record<string, unknown>,
      retry: { ...row.retry },
      decode: { ...row.decode },
      number,
    }
    this.#lastSession = number
    this.#drafts.set(number, { row: created, base: null, unit: this.#unit })
    this.#bytes += pageBytes(JSON.stringify(created.metadata).length)
    this.#undo.push(() => {
      this.#lastSession = number - 1
      this.#drafts.delete(number)
    })
    return created
  }

  appendAtom(session: SessionRow, atom: Omit<AtomEntry, 'seq'>): number {
    this.#assertDraft(session)
    const seq = session.atomRows
    session.atomRows += 1
    session.atomsCreated += atom.atoms
    session.chain = extendChain(session.chain, atom.hash)
    this.#write(this.#repositories.atoms.write(session.number, seq, atom))
    return seq
  }

  putBlob(tenant: number, hash: Uint8Array, bytes: Uint8Array): void {
    this.#assertOwner()
    const name = `${tenant}/${Buffer.from(hash).toString('latin1')}`
    if (this.#blobs.has(name) || this.#repositories.blobs.has(tenant, hash)) return
    this.#blobs.add(name)
    this.#undo.push(() => this.#blobs.delete(name))
    this.#write(this.#repositories.blobs.write(tenant, hash, bytes))
  }

  putJournal(entry: JournalEntry): void {
    this.#assertOwner()
    for (const write of this.#repositories.journal.writes(entry)) this.#write(write)
  }

  deleteJournal(session: number, batch: number, number: number): void {
    this.#assertOwner()
    for (const write of this.#repositories.journal.removals(session, batch, number)) {
      this.#write(write)
    }
  }

  appendRejected(session: SessionRow, batch: number, rejected: readonly RejectedRecord[]): void {
    this.#assertDraft(session)
    for (const record of rejected) {
      const seq = session.rejectedRows
      session.rejectedRows += 1
      this.#write(this.#repositories.rejected.write(session.number, seq, batch, this.nowMs, record))
    }
  }

  appendEvent(
    tenant: number,
    session: number | null,
    name: string,
    data: Readonly<Record<string, unknown>>,
  ): StoredEvent {
    this.#assertOwner()
    const { events } = this.#repositories
    const found = this.#eventNumbers.get(tenant)
    const last = found ?? events.last(tenant)
    const event = { tenant, number: last + 1, session, name, data: JSON.stringify(data) }
    this.#eventNumbers.set(tenant, event.number)
    this.#undo.push(() => {
      if (found === undefined) this.#eventNumbers.delete(tenant)
      else this.#eventNumbers.set(tenant, found)
    })
    this.events.push(event)
    for (const write of events.writes(event)) this.#write(write)
    return event
  }

  putSchema(tenant: number, definition: SchemaDefinition): boolean {
    this.#assertOwner()
    const { schemaName, schemaVersion } = definition
    const name = `${tenant}/${schemaName}/${schemaVersion}`
    const { schemas } = this.#repositories
    const known = this.#schemas.get(name) ?? schemas.get(tenant, schemaName, schemaVersion)
    if (known !== null) {
      // Compared as stored: a member that is undefined is none.
      if (isDeepStrictEqual(known, JSON.parse(JSON.stringify(definition)))) return false
      throw new Refusal('SCHEMA_EXISTS', { fields: { schemaName, schemaVersion } })
    }
    this.#schemas.set(name, JSON.parse(JSON.stringify(definition)) as SchemaDefinition)
    this.#undo.push(() => this.#schemas.delete(name))
    this.#write(schemas.write(tenant, definition))
    return true
  }

  putApiKey(key: ApiKeyRow): void {
    assert(this.#running, 'a transaction ends with its unit')
    for (const write of this.#repositories.apiKeys.writes(key)) this.#write(write)
  }

  #openDraft(number: number): Draft {
    const base = this.#repositories.sessions.get(number)
    assert(base !== null, `session ${number} is unknown`)
    // Members that are objects are frozen: a unit that changes one puts another in its place.
    const draft: Draft = { row: { ...base }, base, unit: 0 }
    this.#drafts.set(number, draft)
    return draft
  }

  #write(write: Write): void {
    this.#writes.push(write)
    // A removal gives room: it must not be refused for want of it.
    if (write.value === null) return
    this.#bytes += pageBytes(write.key.byteLength + write.value.byteLength)
  }

  #assertOwner(): void {
    assert(this.#running, 'a transaction ends with its unit')
    assert(this.#owner, 'only the process that owns the store may write this')
  }

  #assertDraft(session: SessionRow): void {
    this.#assertOwner()
    const draft = this.#drafts.get(session.number)
    assert(draft?.row === session && draft.unit === this.#unit, 'the row comes from this unit')
  }
}

/**
 * What an entry takes in LMDB's 4 KiB pages: one of more than half a page gets pages of its own behind
 * a header of 16 bytes, a small one its bytes and 16 more in a page that is half full at worst.
 */
function pageBytes(bytes: number): number {
  const page = 4_096
  return bytes > page / 2 ? (Math.ceil((bytes + 16) / page) + 1) * page : (bytes + 16) * 2
}
