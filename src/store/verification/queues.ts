import { createHash } from 'node:crypto'
import { hasEnded } from '../../contracts/http.ts'
import type { DeadLetterRow } from '../interfaces.ts'
import { decodeHead, decodeItems, pageKind } from '../journal.ts'
import { digestBytes, hashKey, keyNumber, numberBytes, numberKey } from '../keys.ts'
import type { Follower, Inspection } from './inspection.ts'
import { hex, type OccurrenceSums } from './occurrences.ts'
import type { InspectedSession } from './sessions.ts'

/**
 * What a session has beside its atoms: uploads that wait, what has failed of them, and its
 * answers.
 */
export interface QueueTables {
  readonly heads: Follower
  readonly contents: Follower
  readonly retries: Follower
  readonly deadLetters: Follower
  readonly deadBatches: Follower
  readonly answers: Follower
}

/**
 * Records by batch: as many as a session has in its queue, which is bounded by what it may queue.
 */
type Queued = Map<number, number>

export function checkQueues(
  inspection: Inspection,
  session: InspectedSession,
  tables: QueueTables,
  sums: OccurrenceSums,
): void {
  const queued = checkJournal(inspection, session, tables, sums)
  checkRetries(inspection, session, tables.retries, queued)
  checkDeadLetters(inspection, session, tables, queued)
  const { row, where, isDropping } = session
  // Dead batches have left the map: what remains waits to become atoms.
  const waiting = [...queued.values()].reduce((sum, records) => sum + records, 0)
  if (!isDropping) {
    inspection.compare('session', where, 'records queued', row.recordsQueued, waiting)
  }
  checkAnswers(inspection, session, tables.answers)
}

/** Heads and contents stand under the same keys, so they are read side by side. */
function checkJournal(
  inspection: Inspection,
  session: InspectedSession,
  { heads, contents }: QueueTables,
  sums: OccurrenceSums,
): Queued {
  const { row, where } = session
  const queued: Queued = new Map()
  const content = contents.of(row.number)[Symbol.iterator]()
  let next = content.next()
  for (const { key, value } of heads.of(row.number)) {
    const batch = keyNumber(key, 1)
    const number = keyNumber(key, 2)
    const place = { ...where, batch, entry: number }
    inspection.counts.journalEntries += 1
    while (next.done !== true && Buffer.compare(next.value.key, key) < 0) {
      lonelyContent(inspection, session, next.value.key)
      next = content.next()
    }
    const hasContent = next.done !== true && Buffer.compare(next.value.key, key) === 0
    const bytes = hasContent ? (next.value.value as Uint8Array) : null
    if (hasContent) next = content.next()
    else inspection.damage('journal', place, 'a content', 'none')
    const head = inspection.attempt('journal', place, () => decodeHead(value))
    if (head === null) continue
    queued.set(batch, (queued.get(batch) ?? 0) + head.records)
    if (bytes !== null) checkContent(inspection, session, { place, head, bytes }, sums)
    if (batch < row.nextBatch && number < row.journalEntries) continue
    const expected = `a batch below ${row.nextBatch}, an entry below ${row.journalEntries}`
    inspection.damage('journal', place, expected, 'later ones')
  }
  for (; next.done !== true; next = content.next()) {
    lonelyContent(inspection, session, next.value.key)
  }
  return queued
}

function checkContent(
  inspection: Inspection,
  { row }: InspectedSession,
  entry: {
    readonly place: Readonly<Record<string, string | number>>
    readonly head: ReturnType<typeof decodeHead>
    readonly bytes: Uint8Array
  },
  sums: OccurrenceSums,
): void {
  const { place, head, bytes } = entry
  const digest = createHash('sha256').update(bytes).digest()
  inspection.compare('journal', place, 'SHA-256', hex(head.digest), hex(digest))
  if (head.kind === pageKind) return
  const items = inspection.attempt('journal', place, () => decodeItems(bytes))
  if (items === null) return
  inspection.compare('journal', place, 'items', head.records, items.length)
  for (const { hash, byteLength } of items) sums.take(row.tenant, hash, byteLength)
}

function lonelyContent(inspection: Inspection, { where }: InspectedSession, key: Uint8Array): void {
  const place = { ...where, batch: keyNumber(key, 1), entry: keyNumber(key, 2) }
  inspection.damage('journal', place, 'a head', 'a content alone')
}

function checkRetries(
  inspection: Inspection,
  { row, where, isDropping }: InspectedSession,
  entries: Follower,
  queued: Queued,
): void {
  const { rows } = inspection
  for (const { key } of entries.of(row.number)) {
    const batch = keyNumber(key, 1)
    const place = { ...where, batch }
    if (!queued.has(batch) && !isDropping) {
      inspection.damage('retry', place, 'uploads in the journal', 'none')
    }
    const retry = inspection.attempt('retry', place, () => rows.retries.get(row.number, batch))
    if (retry?.redrive == null) continue
    const { job } = retry.redrive
    const found = inspection.attempt('job', { job }, () => rows.jobs.get(job))
    if (found === null) inspection.damage('retry', place, `job ${job} that redrives it`, 'none')
  }
}

/** Takes the batches of the dead letters out of `queued`. */
function checkDeadLetters(
  inspection: Inspection,
  session: InspectedSession,
  { deadLetters, deadBatches }: QueueTables,
  queued: Queued,
): void {
  const { row, where, isDropping } = session
  const batches = [...deadBatches.of(row.number)].map(({ key }) => keyNumber(key, 1))
  const dead = new Set(batches)
  let letters = 0
  let records = 0
  for (const { key } of deadLetters.of(row.number)) {
    const number = keyNumber(key, 1)
    const place = { ...where, deadLetter: number }
    letters += 1
    const letter = inspection.attempt('dead letter', place, () =>
      findDeadLetter(inspection, row.tenant, row.number, number),
    )
    if (letter === null) {
      inspection.damage('dead letter', place, 'its row', 'none')
      continue
    }
    records += letter.records
    inspection.compare('dead letter', place, 'batch listed as dead', true, dead.has(letter.batch))
    if (isDropping) continue
    const kept = queued.get(letter.batch) ?? 0
    inspection.compare('dead letter', place, 'records in the journal', letter.records, kept)
  }
  for (const batch of dead) queued.delete(batch)
  inspection.compare('session', where, 'batches listed as dead', letters, batches.length)
  if (isDropping) return
  inspection.compare('session', where, 'dead letters', row.deadLetters, letters)
  // Those that were dropped by hand still count in the session.
  if (records > row.recordsDead) {
    const found = `${records} in dead letters`
    inspection.damage('session', where, `dead records ${row.recordsDead}`, found)
  }
  if (!hasEnded(row.status) || letters === 0 || row.final !== null) return
  inspection.damage('session', where, 'final totals', 'none')
}

/** The dead letter of this number, where it is of this session. */
function findDeadLetter(
  inspection: Inspection,
  tenant: number,
  session: number,
  number: number,
): DeadLetterRow | null {
  const row = inspection.rows.deadLetters.get(tenant, number)
  return row?.session === session ? row : null
}

function checkAnswers(
  inspection: Inspection,
  { row, where }: InspectedSession,
  entries: Follower,
): void {
  const times = inspection.snapshot.table('idempotency-times')
  for (const { key } of entries.of(row.number)) {
    inspection.counts.idempotencyAnswers += 1
    const digest = key.subarray(numberBytes)
    const place = { ...where, key: hex(digest) }
    const { idempotency } = inspection.rows
    const answer = inspection.attempt('answer', place, () => idempotency.get(row.number, digest))
    if (answer === null) continue
    const timeKey = hashKey([Math.floor(answer.createdAtMs), row.number], digest)
    inspection.compare('answer', place, 'listed by its time', true, times.has(timeKey))
  }
}

/** What lists answers by time, and dead letters by id and tenant, leads to one that is there. */
export function checkQueueLists(inspection: Inspection): void {
  const { snapshot, rows } = inspection
  const timeBytes = 2 * numberBytes
  for (const { key } of inspection.entries('idempotency-times')) {
    const where = { table: 'idempotency-times', key: hex(key) }
    const isWhole = key.byteLength === timeBytes + digestBytes
    const answer = isWhole ? hashKey([keyNumber(key, 1)], key.subarray(timeBytes)) : null
    const found = answer !== null && snapshot.table('idempotency').has(answer)
    inspection.compare('index', where, 'an answer', true, found)
  }
  for (const { key } of inspection.entries('dead-letters')) {
    const tenant = keyNumber(key, 0)
    const number = keyNumber(key, 1)
    const where = { tenant, deadLetter: number }
    inspection.counts.deadLetters += 1
    const row = inspection.attempt('dead letter', where, () => rows.deadLetters.get(tenant, number))
    if (row === null) continue
    const bySession = numberKey(row.session, number)
    const isListed = snapshot.table('session-dead-letters').has(bySession)
    inspection.compare('dead letter', where, 'listed by its session', true, isListed)
    const byId = rows.deadLetters.find(tenant, row.id)
    inspection.compare('dead letter', where, 'number behind its id', number, byId?.number ?? null)
    const last = rows.tenants.get(tenant).lastDeadLetter
    if (number > last) inspection.damage('dead letter', where, `up to ${last}`, `${number}`)
  }
  for (const { key, value } of inspection.entries('dead-letter-ids')) {
    const where = { table: 'dead-letter-ids', id: Buffer.from(key).toString() }
    const found = snapshot.table('dead-letters').has(value)
    inspection.compare('index', where, 'a dead letter', true, found)
  }
}
