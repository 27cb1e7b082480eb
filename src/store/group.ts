import assert from 'node:assert/strict'
import type { StoredEvent } from '../contracts/events.ts'
import type { Tables, Write } from './database.ts'
import { Drafts } from './drafts.ts'
import type { JobRow, MemoryChange, SessionRow } from './interfaces.ts'
import { numberKey } from './keys.ts'
import { Overlay } from './overlay.ts'
import { Repositories } from './repositories.ts'
import type { StoredRow } from './rows.ts'
import { freezeSession } from './sessions.ts'
import type { TenantRow } from './tenants.ts'

/**
 * What the units of one group have come to: their writes, the rows that they change in place, and what all
 * of it takes. A unit that throws is taken back whole. Units see what is committed, and over it what the
 * group before has come to while that is being written.
 */
export class Group {
  readonly events: StoredEvent[] = []
  /** What is stored as the group sees it, sessions aside. */
  readonly rows: Repositories
  readonly #committed: Repositories
  readonly #tables: Tables
  /** Finished, and not committed yet. */
  #before: Group | null
  readonly #overlay: Overlay
  readonly #sessions = new Drafts<SessionRow>()
  readonly #tenants = new Drafts<TenantRow>()
  /** Changed by the unit under way. */
  readonly #jobs = new Map<number, JobRow>()
  /** Numbers of the jobs that were written, as often as they were. */
  readonly #storedJobs: number[] = []
  /** Tenants and numbers of the memories that were changed, as often as they were. */
  readonly #changedMemories: { readonly tenant: number; readonly number: number }[] = []
  /** By session the number given last: looking for it goes over all that is pending in the group. */
  readonly #lastBuffers = new Map<number, number>()
  /** Sessions whose removal may have begun; the overlay knows whether it has. */
  readonly #dropping = new Set<number>()
  #bytes = 0
  #marked = { events: 0, jobs: 0, memories: 0, bytes: 0 }

  constructor(committed: Repositories, tables: Tables, before: Group | null) {
    this.#committed = committed
    this.#tables = tables
    this.#before = before
    this.#overlay = new Overlay(before === null ? tables : before.#overlay)
    this.rows = new Repositories(this.#overlay)
  }

  /** About how many bytes of pages the writes so far take. */
  get bytes(): number {
    return this.#bytes
  }

  /** Begins a unit. */
  mark(): void {
    this.#overlay.mark()
    this.#sessions.mark()
    this.#tenants.mark()
    this.#marked = {
      events: this.events.length,
      jobs: this.#storedJobs.length,
      memories: this.#changedMemories.length,
      bytes: this.#bytes,
    }
  }

  undo(): void {
    this.#overlay.undo()
    this.#sessions.undo()
    this.#tenants.undo()
    this.#jobs.clear()
    this.#lastBuffers.clear()
    this.events.length = this.#marked.events
    this.#storedJobs.length = this.#marked.jobs
    this.#changedMemories.length = this.#marked.memories
    this.#bytes = this.#marked.bytes
  }

  /** Everything to be written, each row once. */
  finish(): Write[] {
    const { sessions, tenants } = this.rows
    for (const { row, base } of this.#sessions.values()) {
      if (this.#isGone(row.number)) continue
      this.free(sessions.rowWrites(row, base))
      if (!this.#isDropping(row.number)) this.free(sessions.indexWrites(row, base))
    }
    for (const { row } of this.#tenants.values()) this.free([tenants.write(row)])
    return this.#overlay.writes()
  }

  /** The group before is on disk and adopted. */
  settleOnCommitted(): void {
    this.#before = null
    this.#overlay.rebase(this.#tables)
  }

  /** After the flush: the drafts become what readers see. */
  adopt(): void {
    const { sessions } = this.#committed
    for (const { row } of this.#sessions.values()) {
      if (this.#isDropping(row.number) || this.#isGone(row.number)) sessions.forget(row)
      else sessions.keep(freezeSession(row))
    }
  }

  /** Writes what needs room for it. */
  put(writes: readonly Write[]): void {
    for (const write of writes) {
      this.#overlay.set(write)
      if (write.value === null) continue
      this.#bytes += pageBytes(write.key.byteLength + write.value.byteLength)
    }
  }

  /** Writes what gives room, or belongs to that: it must not be refused for want of it. */
  free(writes: readonly Write[]): void {
    for (const write of writes) this.#overlay.set(write)
  }

  /** Adds rows that a tenant's bytes are counted by. They must not be there yet. */
  add(tenant: number, writes: readonly Write[]): void {
    this.put(writes)
    const row = this.tenant(tenant)
    for (const { key, value } of writes) row.bytes += key.byteLength + (value?.byteLength ?? 0)
  }

  /** Removes rows that a tenant's bytes are counted by. */
  remove(tenant: number, rows: readonly StoredRow[]): void {
    const row = this.tenant(tenant)
    for (const { table, key, bytes } of rows) {
      this.#overlay.set({ table, key, value: null })
      row.bytes -= bytes
    }
  }

  tenant(tenant: number): TenantRow {
    const row = this.#tenants.open(tenant, () => this.rows.tenants.get(tenant))
    assert(row !== null, 'a tenant that has stored nothing has a row of zeros')
    return row
  }

  session(number: number): SessionRow {
    const row = this.findSession(number)
    assert(row !== null, `session ${number} is unknown`)
    return row
  }

  findSession(number: number): SessionRow | null {
    if (this.#isGone(number)) return null
    return this.#sessions.open(number, () => this.#readSession(number))
  }

  addSession(row: SessionRow): void {
    this.#sessions.add(row.number, row)
    this.put(this.rows.sessions.creation(row))
    const schemaBytes = row.decode.schema?.length ?? 0
    this.#bytes += pageBytes(JSON.stringify(row.metadata).length + schemaBytes)
  }

  isOpen(session: SessionRow): boolean {
    return this.#sessions.isOpen(session.number, session)
  }

  /** From here on the session's indexes stay as they are and nobody outside finds it. */
  hideSession(session: SessionRow): void {
    this.#dropping.add(session.number)
    if (!this.#isDropping(session.number)) this.free(this.rows.sessions.hiding(session))
  }

  removeSession(session: SessionRow): void {
    this.free(this.rows.sessions.removal(session))
  }

  /** The row for changing; it is stored when the unit has ended. */
  job(number: number): JobRow {
    const row = this.#jobs.get(number) ?? this.rows.jobs.get(number)
    assert(row !== null, `job ${number} is unknown`)
    this.#jobs.set(number, row)
    return row
  }

  addJob(row: JobRow): void {
    this.#jobs.set(row.number, row)
    this.put(this.rows.jobs.creation(row))
  }

  /** What the unit has changed in jobs becomes what is read of them. */
  storeJobs(): void {
    for (const row of this.#jobs.values()) {
      const writes = this.rows.jobs.writes(row)
      if (writes.length > 0) this.#storedJobs.push(row.number)
      this.put(writes)
    }
    this.#jobs.clear()
  }

  /** The jobs that the group has changed and not removed, in the order of their first change. */
  changedJobs(): JobRow[] {
    const { jobs } = this.rows
    return [...new Set(this.#storedJobs)].flatMap((number) => jobs.get(number) ?? [])
  }

  noteMemory(tenant: number, number: number): void {
    this.#changedMemories.push({ tenant, number })
  }

  /** Each memory that the group has changed once, in the order of their first change. */
  changedMemories(): MemoryChange[] {
    const named = this.#changedMemories.map((memory) => {
      const name = `${memory.tenant} ${memory.number}`
      return [name, memory] as const
    })
    return Array.from(new Map(named).values(), ({ tenant, number }) => {
      return { tenant, number, row: this.rows.memories.get(tenant, number) }
    })
  }

  /** The number of a session's next pending buffer. */
  nextBuffer(session: number): number {
    const last = this.#lastBuffers.get(session) ?? this.rows.streams.lastNumber(session)
    this.#lastBuffers.set(session, last + 1)
    return last + 1
  }

  #readSession(number: number): SessionRow | null {
    const before = this.#before
    if (before === null) return this.#readCommitted(number)
    if (before.#isGone(number)) return null
    if (before.#dropping.has(number)) this.#dropping.add(number)
    return before.#sessions.find(number) ?? this.#readCommitted(number)
  }

  #readCommitted(number: number): SessionRow | null {
    const { sessions } = this.#committed
    const found = sessions.get(number)
    if (found !== null) return found
    const hidden = sessions.read(number)
    if (hidden !== null) this.#dropping.add(number)
    return hidden
  }

  #isDropping(number: number): boolean {
    return this.#dropping.has(number) && this.rows.sessions.isDropping(number)
  }

  #isGone(number: number): boolean {
    return this.#dropping.has(number) && this.#overlay.table('sessions').removes(numberKey(number))
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
