import assert from 'node:assert/strict'
import { isDeepStrictEqual } from 'node:util'
import { Refusal } from '../contracts/errors.ts'
import type { StoredEvent, TenantEventData } from '../contracts/events.ts'
import { extendChain } from '../contracts/hash-chain.ts'
import type { SchemaDefinition } from '../contracts/schema.ts'
import type { RejectedChunk } from '../contracts/tasks.ts'
import { limits } from '../limits.ts'
import type { Tables, Write } from './database.ts'
import { Group } from './group.ts'
import type {
  Activity,
  ApiKeyRow,
  AtomEntry,
  BatchRetry,
  DeadLetterRow,
  IdempotencyRow,
  JobRow,
  JournalEntry,
  MemoryChange,
  MemoryRow,
  PendingBuffer,
  SessionRow,
  Transaction,
} from './interfaces.ts'
import { changeMemory, createMemory, deleteMemory } from './memory-changes.ts'
import { putOccurrence, releaseOccurrence } from './occurrences.ts'
import type { Repositories } from './repositories.ts'
import {
  dropAtoms,
  dropBatch,
  dropEvent,
  dropIdempotency,
  dropJobs,
  dropPending,
  dropRejected,
  dropSession,
} from './retention.ts'

export interface TransactionOptions {
  /** A transaction that is not the owner's can put API keys alone: the rest is cached by the owner. */
  readonly owner: boolean
  /** Finished, and not committed yet; null where all is. */
  readonly before: GroupTransaction | null
}

/**
 * What the units of one group commit have done so far. Units run one after the other and see what
 * those before them did; nothing of it is seen outside before `adopt`. A unit that throws is undone.
 */
export class GroupTransaction implements Transaction {
  readonly #group: Group
  readonly #owner: boolean
  #nowMs = 0
  #running = false

  constructor(committed: Repositories, tables: Tables, { owner, before }: TransactionOptions) {
    this.#owner = owner
    this.#group = new Group(committed, tables, before === null ? null : before.#group)
  }

  get nowMs(): number {
    return this.#nowMs
  }

  /** Of all units, in order. */
  get events(): readonly StoredEvent[] {
    return this.#group.events
  }

  /** As they are stored once the transaction is, each once; copies that are the caller's own. */
  changedJobs(): JobRow[] {
    return this.#group.changedJobs()
  }

  /** Each once and as it is stored once the transaction is. */
  changedMemories(): MemoryChange[] {
    return this.#group.changedMemories()
  }

  /** About how many bytes of pages the writes so far take. */
  get bytes(): number {
    return this.#group.bytes
  }

  /**
   * Runs a unit to its end or not at all. Throws what the unit throws, and Refusal `STORE_FULL` where
   * the group would then take more than `roomBytes`.
   */
  run<T>(unit: (transaction: Transaction) => T, nowMs: number, roomBytes: number): T {
    const group = this.#group
    this.#nowMs = nowMs
    const { bytes } = group
    group.mark()
    this.#running = true
    try {
      const result = unit(this)
      assert(!(result instanceof Promise), 'a unit is synchronous')
      group.storeJobs()
      if (group.bytes > bytes && group.bytes > roomBytes) throw new Refusal('STORE_FULL')
      return result
    } catch (error) {
      group.undo()
      throw error
    } finally {
      this.#running = false
    }
  }

  /** Everything to be written, each row that was changed once. */
  finish(): Write[] {
    return this.#group.finish()
  }

  /** What came before is on disk and adopted. */
  settleOnCommitted(): void {
    this.#group.settleOnCommitted()
  }

  /** After the flush: what was changed becomes what readers see. */
  adopt(): void {
    this.#group.adopt()
  }

  session(number: number): SessionRow {
    return this.#open().session(number)
  }

  createSession(row: Omit<SessionRow, 'number'>): SessionRow {
    const group = this.#open()
    const created: SessionRow = {
      ...row,
      // As it will be read, and so that freezing it later freezes nothing of the caller's.
      metadata: JSON.parse(JSON.stringify(row.metadata)) as Record<string, unknown>,
      retry: { ...row.retry },
      decode: { ...row.decode },
      frameExtraction: structuredClone(row.frameExtraction),
      segmentation: structuredClone(row.segmentation),
      number: group.rows.sessions.lastNumber() + 1,
    }
    group.addSession(created)
    return created
  }

  appendAtom(session: SessionRow, atom: Omit<AtomEntry, 'seq'>): number {
    const group = this.#openFor(session)
    const seq = session.atomRows
    session.atomRows += 1
    session.atomsCreated += atom.atoms
    session.chain = extendChain(session.chain, atom.hash)
    group.add(session.tenant, [group.rows.atoms.write(session.number, seq, atom)])
    return seq
  }

  putBlob(tenant: number, hash: Uint8Array, bytes: Uint8Array): void {
    putOccurrence(this.#open(), tenant, hash, bytes)
  }

  releaseBlob(tenant: number, hash: Uint8Array): void {
    releaseOccurrence(this.#open(), tenant, hash, null)
  }

  putJournal(entry: JournalEntry): void {
    const group = this.#open()
    group.put(group.rows.journal.writes(entry))
  }

  deleteJournal(session: number, batch: number, number: number): void {
    const group = this.#open()
    group.free(group.rows.journal.removals(session, batch, number))
  }

  dropJournal(session: SessionRow, batch: number): void {
    dropBatch(this.#openFor(session), session, batch)
  }

  appendRejected(session: SessionRow, batch: number, chunks: readonly RejectedChunk[]): void {
    const group = this.#openFor(session)
    const { rejected } = group.rows
    for (const chunk of chunks) {
      const seq = session.rejectedRows
      group.add(session.tenant, [rejected.write(session.number, seq, batch, this.nowMs, chunk)])
      session.rejectedRows += chunk.records
    }
  }

  appendEvent(
    tenant: number,
    session: number | null,
    name: string,
    data: Readonly<Record<string, unknown>>,
  ): StoredEvent {
    const group = this.#open()
    const counters = group.tenant(tenant)
    counters.lastEvent += 1
    const number = counters.lastEvent
    const event = { tenant, number, session, name, data: JSON.stringify(data) }
    group.add(tenant, group.rows.events.writes(event, this.nowMs))
    group.events.push(event)
    return event
  }

  appendActivity(tenant: number, activity: Activity): StoredEvent {
    this.#open().tenant(tenant).operations += 1
    return this.appendEvent(tenant, null, 'user.activity', {
      user_id: activity.user,
      action: activity.action,
      resource_type: activity.resourceType,
      resource_id: activity.resourceId,
      metadata: activity.metadata ?? {},
      timestamp: new Date(this.nowMs).toISOString(),
    } satisfies TenantEventData<'user.activity'>)
  }

  countSearch(tenant: number): void {
    const counters = this.#open().tenant(tenant)
    counters.searches += 1
    counters.operations += 1
  }

  createMemory(row: Omit<MemoryRow, 'number'>): MemoryRow {
    return createMemory(this.#open(), row)
  }

  memory(tenant: number, number: number): MemoryRow | null {
    return this.#open().rows.memories.get(tenant, number)
  }

  putMemory(row: MemoryRow): void {
    changeMemory(this.#open(), row)
  }

  deleteMemory(tenant: number, number: number): void {
    deleteMemory(this.#open(), tenant, number)
  }

  putSchema(tenant: number, definition: SchemaDefinition): boolean {
    const group = this.#open()
    const { schemas } = group.rows
    const { schemaName, schemaVersion } = definition
    const known = schemas.get(tenant, schemaName, schemaVersion)
    if (known !== null) {
      // Compared as stored: a member that is undefined is none.
      if (isDeepStrictEqual(known, JSON.parse(JSON.stringify(definition)))) return false
      throw new Refusal('SCHEMA_EXISTS', { fields: { schemaName, schemaVersion } })
    }
    if (schemas.count(tenant) >= limits.schemasMax) {
      throw new Refusal('SCHEMA_LIMIT_REACHED', { fields: { maxSchemas: limits.schemasMax } })
    }
    group.put([schemas.write(tenant, definition)])
    return true
  }

  putApiKey(key: ApiKeyRow): void {
    assert(this.#running, 'a transaction ends with its unit')
    this.#group.put(this.#group.rows.apiKeys.writes(key))
  }

  tellApiKey(key: ApiKeyRow): void {
    const group = this.#open()
    group.put([group.rows.apiKeys.toldWrite(key)])
  }

  retry(session: number, batch: number): BatchRetry | null {
    return this.#open().rows.retries.get(session, batch)
  }

  putRetry(retry: BatchRetry): void {
    const group = this.#open()
    group.put([group.rows.retries.write(retry)])
  }

  deleteRetry(session: number, batch: number): void {
    const group = this.#open()
    group.free([group.rows.retries.removal(session, batch)])
  }

  putDeadLetter(row: Omit<DeadLetterRow, 'number'>): DeadLetterRow {
    const group = this.#open()
    const counters = group.tenant(row.tenant)
    counters.lastDeadLetter += 1
    const created = { ...row, number: counters.lastDeadLetter }
    group.put(group.rows.deadLetters.writes(created))
    return created
  }

  deadLetter(tenant: number, id: string): DeadLetterRow | null {
    const { rows } = this.#open()
    const row = rows.deadLetters.find(tenant, id)
    // A redrive must not begin what retention is taking away.
    return row === null || rows.sessions.isDropping(row.session) ? null : row
  }

  deleteDeadLetter(row: DeadLetterRow): void {
    const group = this.#open()
    group.free(group.rows.deadLetters.removals(row))
  }

  createJob(row: Omit<JobRow, 'number'>): JobRow {
    const group = this.#open()
    const created = { ...row, number: group.rows.jobs.lastNumber() + 1 }
    group.addJob(created)
    return created
  }

  job(number: number): JobRow {
    return this.#open().job(number)
  }

  appendPending(session: SessionRow, buffer: Omit<PendingBuffer, 'session' | 'number'>): number {
    const group = this.#openFor(session)
    const number = group.nextBuffer(session.number)
    group.put([group.rows.streams.bufferWrite({ ...buffer, session: session.number, number })])
    return number
  }

  dropPending(session: SessionRow, throughNumber: number, fromNumber = 0): void {
    dropPending(this.#openFor(session), session, fromNumber, throughNumber)
  }

  putStreamState(session: SessionRow, state: Uint8Array | null): void {
    const group = this.#openFor(session)
    const { streams } = group.rows
    if (state === null) group.free([streams.stateRemoval(session.number)])
    else group.put([streams.stateWrite(session.number, state)])
  }

  putIdempotency(row: IdempotencyRow): void {
    const group = this.#open()
    const { idempotency } = group.rows
    const before = idempotency.get(row.session, row.keyDigest)
    if (before !== null) group.free(idempotency.removals(before))
    group.put(idempotency.writes(row))
  }

  dropIdempotency(beforeMs: number, limit: number): number {
    return dropIdempotency(this.#open(), beforeMs, limit)
  }

  dropEvent(event: StoredEvent): void {
    dropEvent(this.#open(), event)
  }

  dropAtoms(session: SessionRow, batch: number, rowsMax?: number): number {
    return dropAtoms(this.#openFor(session), session, batch, rowsMax)
  }

  dropRejected(session: SessionRow, count: number): void {
    dropRejected(this.#openFor(session), session, count)
  }

  dropSession(session: SessionRow, rowsMax: number): boolean {
    return dropSession(this.#openFor(session), session, rowsMax)
  }

  dropJobs(tenant: number, beforeMs: number, limit: number): number {
    return dropJobs(this.#open(), tenant, beforeMs, limit)
  }

  #open(): Group {
    assert(this.#running, 'a transaction ends with its unit')
    assert(this.#owner, 'only the process that owns the store may write this')
    return this.#group
  }

  #openFor(session: SessionRow): Group {
    const group = this.#open()
    assert(group.isOpen(session), 'the row comes from this unit')
    return group
  }
}
