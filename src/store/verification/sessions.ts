import { extendChain } from '../../contracts/hash-chain.ts'
import { hasEnded } from '../../contracts/http.ts'
import { decodeAtom } from '../atoms.ts'
import type { AtomEntry, SessionRow } from '../interfaces.ts'
import { keyNumber, numberKey, readNumber, textKey } from '../keys.ts'
import { decodeChunk } from '../rejected.ts'
import { Follower, type Inspection } from './inspection.ts'
import { hex, type OccurrenceSums } from './occurrences.ts'
import { checkQueues, type QueueTables } from './queues.ts'
import { checkStreams, type StreamTables } from './streams.ts'

/** A session with what the checks of its rows share. */
export interface InspectedSession {
  readonly row: SessionRow
  /** How it is named where it is damaged. */
  readonly where: Readonly<Record<string, string | number>>
  /** Its removal has begun: its rows go from the oldest on, and its indexes are gone. */
  readonly isDropping: boolean
}

/** Every session in order, and beside it the rows that belong to it. */
export function checkSessions(inspection: Inspection, sums: OccurrenceSums): void {
  const follow = (table: ConstructorParameters<typeof Follower>[1]) =>
    new Follower(inspection, table, 'session')
  const states = follow('session-states')
  const atoms = follow('atoms')
  const rejected = follow('rejected')
  const events = follow('session-events')
  const dropped = follow('dropped-sessions')
  const queues: QueueTables = {
    heads: follow('journal'),
    contents: follow('journal-contents'),
    retries: follow('retries'),
    deadLetters: follow('session-dead-letters'),
    deadBatches: follow('dead-batches'),
    answers: follow('idempotency'),
  }
  const streams: StreamTables = {
    buffers: follow('pending-buffers'),
    streamStates: follow('stream-states'),
  }
  const tables = [...Object.values(queues), ...Object.values(streams)]
  const all = [states, atoms, rejected, events, dropped, ...tables]
  for (const { key } of inspection.entries('sessions')) {
    const number = keyNumber(key, 0)
    inspection.counts.sessions += 1
    const stateRows = [...states.of(number)].length
    const isDropping = [...dropped.of(number)].length > 0
    const row = inspection.attempt('session', { number }, () =>
      inspection.rows.sessions.read(number),
    )
    if (row === null) {
      if (stateRows === 0) inspection.damage('session', { number }, 'a state row', 'none')
      continue
    }
    const session = { row, where: { tenant: row.tenant, session: row.id }, isDropping }
    checkTotals(inspection, session)
    checkIndexes(inspection, session)
    checkAtoms(inspection, session, atoms, sums)
    checkRejected(inspection, session, rejected)
    checkEventIndex(inspection, session, events)
    checkQueues(inspection, session, queues, sums)
    checkStreams(inspection, session, streams, sums)
  }
  for (const follower of all) follower.finish()
}

function checkTotals(inspection: Inspection, { row, where, isDropping }: InspectedSession): void {
  const { recordsProcessed, recordsQueued, recordsRejected, recordsDead, recordsCancelled } = row
  const gone = recordsRejected + recordsDead + recordsCancelled
  const what = 'records processed, queued, rejected, dead and cancelled, together'
  const told = recordsProcessed + recordsQueued + gone
  inspection.compare('session', where, what, row.recordsReceived, told)
  if (row.frameExtraction === null && row.segmentation === null) {
    const expected = 'records processed, each an atom,'
    inspection.compare('session', where, expected, recordsProcessed, row.atomsCreated)
  }
  const openJobs = inspection.openJobs(row.number)
  inspection.compare('session', where, 'open jobs on files', row.openJobs, openJobs)
  inspection.compare('session', where, 'rejected rows', row.recordsRejected, row.rejectedRows)
  const ended = hasEnded(row.status)
  inspection.compare('session', where, 'has an end time', ended, row.endedAtMs !== null)
  inspection.compare('session', where, 'has final totals', ended, row.final !== null)
  if (isDropping) inspection.compare('session', where, 'ended before it is removed', true, ended)
  const last = inspection.rows.sessions.lastNumber()
  if (row.number <= last) return
  inspection.damage('session', where, `a number up to ${last}`, String(row.number))
}

/** What leads to a session; one that is being removed nobody finds any more. */
function checkIndexes(inspection: Inspection, session: InspectedSession): void {
  const { row, where, isDropping } = session
  const { snapshot } = inspection
  const byId = snapshot.table('session-ids').get(textKey(row.id))
  const number = byId === null ? null : readNumber(byId, 0)
  const expected = isDropping ? null : row.number
  inspection.compare('session', where, 'number behind its id', expected, number)
  const listed = snapshot.table('tenant-sessions').get(numberKey(row.tenant, row.number))
  const found = listed === null ? null : hex(listed)
  const [write] = inspection.rows.sessions.indexWrites(row, null)
  const listing = write?.value == null || isDropping ? null : hex(write.value)
  inspection.compare('session', where, "entry in its tenant's list", listing, found)
  const openKey = numberKey(Math.floor(row.createdAtMs), row.number)
  const isOpen = snapshot.table('open-sessions').has(openKey)
  inspection.compare('session', where, 'listed as open', !hasEnded(row.status), isOpen)
}

/** Rows without a gap, and the hash chain over them from what retention left of it. */
function checkAtoms(
  inspection: Inspection,
  { row, where }: InspectedSession,
  entries: Follower,
  sums: OccurrenceSums,
): void {
  let chain = row.chainDropped
  let seq = row.atomRowsDropped
  let atoms = 0
  for (const { key, value } of entries.of(row.number)) {
    const found = keyNumber(key, 1)
    inspection.compare('atom', where, 'seq', seq, found)
    seq = found + 1
    inspection.counts.atomRows += 1
    inspection.addBytes(row.tenant, key.byteLength + value.byteLength)
    const place = { ...where, seq: found }
    const atom = inspection.attempt('atom', place, () => decodeAtom(found, value))
    if (atom === null) continue
    atoms += atom.atoms
    chain = extendChain(chain, atom.hash)
    sums.take(row.tenant, atom.hash, atom.byteLength)
    const kinds = kindsOf(row)
    if (!kinds.includes(atom.kind)) {
      inspection.damage('atom', place, `kind ${kinds.join(' or ')}`, atom.kind)
    }
    if (atom.batch >= row.nextBatch) {
      inspection.damage('atom', place, `a batch below ${row.nextBatch}`, String(atom.batch))
    }
  }
  inspection.counts.atoms += atoms
  inspection.compare('session', where, 'atom rows', row.atomRows, seq)
  inspection.compare('session', where, 'hash chain', hex(row.chain), hex(chain))
  checkAtomCount(inspection, row, where, atoms)
}

/** A block that is gone had one record at least; else each row is one atom. */
function checkAtomCount(
  inspection: Inspection,
  row: SessionRow,
  where: InspectedSession['where'],
  atoms: number,
): void {
  const { atomRowsDropped, atomsCreated, type } = row
  if (type !== 'telemetry' || atomRowsDropped === 0) {
    inspection.compare('session', where, 'atoms', atomsCreated, atoms + atomRowsDropped)
  } else if (atoms + atomRowsDropped > atomsCreated) {
    const found = `${atoms} and ${atomRowsDropped} blocks that are dropped`
    inspection.damage('session', where, `atoms ${atomsCreated}`, found)
  }
}

/** Where pushed audio is not cut, that of files is. */
function kindsOf({ type, segmentation }: SessionRow): readonly AtomEntry['kind'][] {
  if (type === 'telemetry') return ['block']
  if (type === 'video') return ['frame']
  return segmentation === null ? ['buffer', 'segment'] : ['segment']
}

function checkRejected(
  inspection: Inspection,
  { row, where }: InspectedSession,
  entries: Follower,
): void {
  let seq = row.rejectedRowsDropped
  for (const { key, value } of entries.of(row.number)) {
    const found = keyNumber(key, 1)
    const place = { ...where, seq: found }
    inspection.compare('rejected', place, 'seq', seq, found)
    inspection.addBytes(row.tenant, key.byteLength + value.byteLength)
    const chunk = inspection.attempt('rejected', place, () => decodeChunk(value))
    const records = chunk?.records.length
    // How many a chunk held that cannot be read nobody knows: then what follows is damage too.
    seq = found + (records ?? 1)
    inspection.counts.rejected += records ?? 0
  }
  inspection.compare('session', where, 'rejected rows up to', row.rejectedRows, seq)
}

/** Each row of the index leads to an event of the session that retention has not passed. */
function checkEventIndex(
  inspection: Inspection,
  { row, where }: InspectedSession,
  entries: Follower,
): void {
  const events = inspection.snapshot.table('events')
  for (const { key } of entries.of(row.number)) {
    const number = keyNumber(key, 1)
    const place = { ...where, event: number }
    inspection.addBytes(row.tenant, key.byteLength)
    const event = events.get(numberKey(row.tenant, number))
    const session = event === null ? null : readNumber(event, 2)
    inspection.compare('event', place, 'session', row.number, session)
    if (number > row.eventsDroppedThrough) continue
    inspection.damage('event', place, `a number over ${row.eventsDroppedThrough}`, `${number}`)
  }
}

/** What leads to sessions leads to one that is there and says the same. */
export function checkSessionLists(inspection: Inspection): void {
  const { sessions } = inspection.rows
  const find = (number: number) => {
    const where = { session: number }
    const row = inspection.attempt('session', where, () => sessions.read(number))
    return row !== null && sessions.isDropping(number) ? null : row
  }
  for (const { key, value } of inspection.entries('session-ids')) {
    const id = Buffer.from(key).toString()
    const row = find(readNumber(value, 0))
    inspection.compare('index', { table: 'session-ids', id }, 'id', id, row?.id ?? null)
  }
  for (const { key } of inspection.entries('tenant-sessions')) {
    const where = { table: 'tenant-sessions', session: keyNumber(key, 1) }
    const row = find(keyNumber(key, 1))
    inspection.compare('index', where, 'tenant', keyNumber(key, 0), row?.tenant ?? null)
  }
  for (const { key } of inspection.entries('open-sessions')) {
    const where = { table: 'open-sessions', session: keyNumber(key, 1) }
    const row = find(keyNumber(key, 1))
    const createdAtMs = row === null ? null : Math.floor(row.createdAtMs)
    inspection.compare('index', where, 'start', readNumber(key, 0), createdAtMs)
  }
}
