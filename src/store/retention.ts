import assert from 'node:assert/strict'
import type { StoredEvent } from '../contracts/events.ts'
import { extendChain } from '../contracts/hash-chain.ts'
import { hasEnded } from '../contracts/http.ts'
import type { StoredAtom } from './atoms.ts'
import type { Group } from './group.ts'
import type { SessionRow } from './interfaces.ts'
import type { JournalOwner } from './journal.ts'
import { lastNumber } from './keys.ts'
import { releaseOccurrence } from './occurrences.ts'
import type { StoredChunk } from './rejected.ts'

/** What retention removes, and the notes that it leaves of it. */

export function dropEvent(group: Group, event: StoredEvent): void {
  const tenant = group.tenant(event.tenant)
  assert(event.number === tenant.firstEvent, 'events go from the oldest on')
  assert(event.number <= tenant.lastEvent, 'the event is there')
  group.remove(event.tenant, group.rows.events.stored(event))
  tenant.firstEvent += 1
  if (event.session === null) return
  const session = group.findSession(event.session)
  if (session !== null) session.eventsDroppedThrough = event.number
}

export function dropAtoms(
  group: Group,
  session: SessionRow,
  batch: number,
  rowsMax = Number.POSITIVE_INFINITY,
): number {
  const first = session.atomRowsDropped
  for (const atom of group.rows.atoms.stored(session.number, first)) {
    if (atom.batch !== batch || session.atomRowsDropped - first >= rowsMax) break
    dropAtom(group, session, atom)
  }
  return session.atomRowsDropped - first
}

export function dropRejected(group: Group, session: SessionRow, count: number): void {
  const first = session.rejectedRowsDropped
  for (const chunk of group.rows.rejected.stored(session.number, first)) {
    if (session.rejectedRowsDropped - first >= count) break
    dropChunk(group, session, chunk)
  }
}

export function dropJobs(group: Group, tenant: number, beforeMs: number, limit: number): number {
  const { jobs } = group.rows
  // What the same unit has changed in jobs stands in no table yet.
  group.storeJobs()
  const rows = jobs.endedBefore(tenant, beforeMs, limit)
  for (const row of rows) group.free(jobs.removals(row))
  return rows.length
}

export function dropIdempotency(group: Group, beforeMs: number, limit: number): number {
  const { idempotency } = group.rows
  const rows = idempotency.before(beforeMs, limit)
  for (const row of rows) group.free(idempotency.removals(row))
  return rows.length
}

/** A session's pending buffers up to this number, with what they own. */
export function dropPending(
  group: Group,
  session: SessionRow,
  fromNumber: number,
  throughNumber: number,
): void {
  dropBuffersOf(group, session, { fromNumber, throughNumber })
}

/** What belongs to a session goes kind by kind: each removes up to `limit` rows and gives how many. */
type Step = (group: Group, session: SessionRow, limit: number) => number

const steps: readonly Step[] = [
  dropJournal,
  dropBuffers,
  dropStreamState,
  dropRetries,
  dropDeadLetters,
  dropAnswers,
  dropSessionAtoms,
  dropSessionRejected,
  dropEventIndex,
]

export function dropSession(group: Group, session: SessionRow, rowsMax: number): boolean {
  assert(hasEnded(session.status), 'only an ended session is removed')
  assert(rowsMax > 0, 'a removal that does nothing would never end')
  group.hideSession(session)
  let left = rowsMax
  for (const step of steps) {
    left -= step(group, session, left)
    if (left <= 0) return false
  }
  group.removeSession(session)
  return true
}

/** The uploads of one batch, with what they own. */
export function dropBatch(group: Group, session: SessionRow, batch: number): void {
  dropEntries(group, session, group.rows.journal.ofBatch(session.number, batch))
}

function dropJournal(group: Group, session: SessionRow, limit: number): number {
  return dropEntries(group, session, group.rows.journal.ofSession(session.number), limit)
}

/** Journaled items own their blobs, so each counts as a row. */
function dropEntries(
  group: Group,
  { number, tenant }: SessionRow,
  entries: Iterable<JournalOwner>,
  limit = Number.POSITIVE_INFINITY,
): number {
  const { journal } = group.rows
  let rows = 0
  for (const entry of entries) {
    if (rows >= limit) break
    group.free(journal.removals(number, entry.batch, entry.number))
    for (const { hash, byteLength } of entry.items) {
      releaseOccurrence(group, tenant, hash, byteLength)
    }
    rows += 1 + entry.items.length
  }
  return rows
}

function dropBuffers(group: Group, session: SessionRow, limit: number): number {
  return dropBuffersOf(group, session, { fromNumber: 0, throughNumber: lastNumber }, limit)
}

/** Each owns a blob, which counts as a row too. */
function dropBuffersOf(
  group: Group,
  { number, tenant }: SessionRow,
  range: { readonly fromNumber: number; readonly throughNumber: number },
  limit = Number.POSITIVE_INFINITY,
): number {
  const { streams } = group.rows
  let rows = 0
  for (const buffer of streams.between(number, range)) {
    if (rows >= limit) break
    group.free([streams.bufferRemoval(number, buffer.number)])
    releaseOccurrence(group, tenant, buffer.hash, buffer.byteLength)
    rows += 2
  }
  return rows
}

function dropStreamState(group: Group, { number }: SessionRow): number {
  const { streams } = group.rows
  if (!streams.hasState(number)) return 0
  group.free([streams.stateRemoval(number)])
  return 1
}

function dropRetries(group: Group, { number }: SessionRow, limit: number): number {
  const removals = group.rows.retries.removals(number, limit)
  group.free(removals)
  return removals.length
}

function dropDeadLetters(group: Group, { number, tenant }: SessionRow, limit: number): number {
  const { deadLetters } = group.rows
  const { rows } = deadLetters.list(tenant, { session: number }, limit, null)
  for (const row of rows) group.free(deadLetters.removals(row))
  return rows.length
}

function dropAnswers(group: Group, { number }: SessionRow, limit: number): number {
  const { idempotency } = group.rows
  const rows = idempotency.ofSession(number, limit)
  for (const row of rows) group.free(idempotency.removals(row))
  return rows.length
}

function dropSessionAtoms(group: Group, session: SessionRow, limit: number): number {
  let rows = 0
  for (const atom of group.rows.atoms.stored(session.number, session.atomRowsDropped)) {
    if (rows === limit) break
    dropAtom(group, session, atom)
    rows += 1
  }
  return rows
}

function dropSessionRejected(group: Group, session: SessionRow, limit: number): number {
  let rows = 0
  for (const chunk of group.rows.rejected.stored(session.number, session.rejectedRowsDropped)) {
    if (rows === limit) break
    dropChunk(group, session, chunk)
    rows += 1
  }
  return rows
}

function dropEventIndex(group: Group, { number, tenant }: SessionRow, limit: number): number {
  const rows = group.rows.events.ofIndex(number, limit)
  group.remove(tenant, rows)
  return rows.length
}

/** The chain goes on over what is gone, so that what is retained can be checked from there. */
function dropAtom(group: Group, session: SessionRow, atom: StoredAtom): void {
  group.remove(session.tenant, [atom.row])
  releaseOccurrence(group, session.tenant, atom.hash, atom.byteLength)
  session.atomRowsDropped += 1
  session.chainDropped = extendChain(session.chainDropped, atom.hash)
}

function dropChunk(group: Group, session: SessionRow, { row, records }: StoredChunk): void {
  group.remove(session.tenant, [row])
  session.rejectedRowsDropped += records
}
