import { createHash } from 'node:crypto'
import type { AtomRow } from '../src/contracts/http.ts'
import type { Api, ReadRecord } from './api.ts'
import type { MediaSource, RecordSource } from './bodies.ts'
import type { ReadBack } from './messages.ts'
import { telemetryRecord } from './telemetry-bodies.ts'

/** What the load process knows of a session that it has fed. */
export interface SentSession {
  readonly sessionId: string
  readonly records: number
  readonly bodyBytes: number
  /** Number of the first record of every acknowledged upload, and the records of each. */
  readonly firsts: readonly number[]
  readonly uploadRecords: number
  /** Null for telemetry. */
  readonly media: MediaSource | null
  /** Of telemetry: what was sent under a number, `telemetryRecord` where it is not given. */
  readonly record?: RecordSource['record'] | undefined
  /** What is read together was sent in several batches, which may be committed in another order. */
  readonly isReordered?: boolean
}

const comparedUploadsMax = 6
const comparedRecordsMax = 1_000
const comparedBlobs = 4
const comparedHashes = 32
const listPageRows = 10_000
/** A read stops after so much of the store without a match; a session here needs a few pages. */
const readPagesMax = 2_000
const shownMismatchesMax = 5

/** Collects what differs, the first few in words. */
export class Differences {
  readonly #shown: string[] = []
  #count = 0

  expect(what: string, actual: unknown, expected: unknown): void {
    if (actual === expected) return
    this.#count++
    if (this.#shown.length < shownMismatchesMax) {
      this.#shown.push(`${what}: read ${String(actual)}, sent ${String(expected)}`)
    }
  }

  list(): string[] {
    const hidden = this.#count - this.#shown.length
    return hidden > 0 ? [...this.#shown, `and ${hidden} more`] : this.#shown
  }
}

/**
 * Ends the session and compares what the store holds of it with what was sent: all counts, a
 * sample of records value for value or of blobs byte for byte, and for media every item's number
 * and hash.
 */
export async function readBack(
  api: Api,
  sent: SentSession,
  random: () => number,
): Promise<ReadBack> {
  const differences = new Differences()
  const recordsCounted = await compareCounts(api, sent, differences)
  const compared = sent.media
    ? await compareMedia(api, sent, sent.media, random, differences)
    : await compareRecords(api, sent, random, differences)
  return { recordsCounted, ...compared, mismatches: differences.list() }
}

/** Ends the session and compares its counts alone; gives those of its atoms. */
export async function compareCounts(
  api: Api,
  sent: SentSession,
  differences: Differences,
): Promise<number> {
  const ended = await api.end(sent.sessionId)
  differences.expect('status', ended.status, 'completed')
  differences.expect('final atoms', ended.finalStatistics.totalAtomsCreated, sent.records)
  const { statistics, status } = await api.status(sent.sessionId)
  differences.expect('status after the end', status, 'completed')
  differences.expect('totalRecordsReceived', statistics.totalRecordsReceived, sent.records)
  differences.expect('totalAtomsCreated', statistics.totalAtomsCreated, sent.records)
  differences.expect('totalRecordsQueued', statistics.totalRecordsQueued, 0)
  differences.expect('totalRecordsRejected', statistics.totalRecordsRejected, 0)
  differences.expect('dataReceivedBytes', statistics.dataReceivedBytes, sent.bodyBytes)
  return statistics.totalAtomsCreated
}

type Compared = Pick<ReadBack, 'recordsCompared' | 'blobsCompared'>

async function compareRecords(
  api: Api,
  sent: SentSession,
  random: () => number,
  differences: Differences,
): Promise<Compared> {
  const sentRecord = sent.record ?? telemetryRecord
  let recordsCompared = 0
  for (const upload of sample(sent.firsts, comparedUploadsMax, random)) {
    // A piece of the upload from a random place: timestamps are unique, so they name records.
    const count = Math.min(sent.uploadRecords, comparedRecordsMax)
    const first = upload + Math.floor(random() * (sent.uploadRecords - count + 1))
    const from = sentRecord(first).timestamp
    const last = sentRecord(first + count - 1).timestamp
    const rows = await readRange(api, sent.sessionId, from, last, count)
    if (sent.isReordered) rows.sort((a, b) => Date.parse(a.timestamp) - Date.parse(b.timestamp))
    differences.expect(`records in the range of record ${first}`, rows.length, count)
    rows.slice(0, count).forEach((row, index) => {
      const record = sentRecord(first + index)
      const what = `record ${first + index}`
      differences.expect(what, Date.parse(row.timestamp), Date.parse(record.timestamp))
      differences.expect(what, Object.keys(row.values).length, Object.keys(record.values).length)
      for (const [field, value] of Object.entries(record.values)) {
        differences.expect(`${what} ${field}`, row.values[field], value)
      }
    })
    recordsCompared += rows.length
  }
  return { recordsCompared, blobsCompared: 0 }
}

async function readRange(
  api: Api,
  sessionId: string,
  from: string,
  last: string,
  count: number,
): Promise<ReadRecord[]> {
  const query = {
    from,
    to: new Date(Date.parse(last) + 1).toISOString(),
    limit: String(count),
  }
  const rows: ReadRecord[] = []
  let cursor: string | null = null
  for (let page = 0; page < readPagesMax && rows.length < count; page++) {
    const reply = await api.records(sessionId, cursor === null ? query : { ...query, cursor })
    rows.push(...reply.records)
    cursor = reply.nextCursor
    if (cursor === null) break
  }
  return rows
}

async function compareMedia(
  api: Api,
  sent: SentSession,
  media: MediaSource,
  random: () => number,
  differences: Differences,
): Promise<Compared> {
  const atoms = await listAtoms(api, sent.sessionId)
  differences.expect('atoms listed', atoms.length, sent.records)
  differences.expect('distinct hashes', new Set(atoms.map((atom) => atom.hash)).size, sent.records)
  const byNumber = new Map(atoms.map((atom) => [atom.metadata[media.numberField], atom]))
  const numbers = sent.firsts.flatMap((first) =>
    Array.from({ length: sent.uploadRecords }, (_, index) => first + index),
  )
  for (const number of numbers) {
    differences.expect(`item ${number} listed`, byNumber.has(media.shownNumber(number)), true)
  }
  let blobsCompared = 0
  for (const number of sample(numbers, comparedHashes, random)) {
    const item = media.item(number)
    const hash = createHash('sha256').update(item).digest('hex')
    const atom = byNumber.get(media.shownNumber(number))
    differences.expect(`hash of item ${number}`, atom?.hash, hash)
    differences.expect(`bytes of item ${number}`, atom?.bytes, item.length)
    if (atom?.hash === hash && blobsCompared < comparedBlobs) {
      const blob = await api.blob(hash)
      differences.expect(`blob of item ${number} equal`, blob.equals(item), true)
      blobsCompared++
    }
  }
  return { recordsCompared: atoms.length, blobsCompared }
}

export async function listAtoms(api: Api, sessionId: string): Promise<AtomRow[]> {
  const atoms: AtomRow[] = []
  let cursor: string | null = null
  do {
    const query = { limit: String(listPageRows), ...(cursor === null ? {} : { cursor }) }
    const page: { atoms: AtomRow[]; nextCursor: string | null } = await api.atoms(sessionId, query)
    for (const atom of page.atoms) atoms.push(atom)
    cursor = page.nextCursor
  } while (cursor !== null)
  return atoms
}

/** Up to `count` of the values: the first, the last, and others at random. */
export function sample<T>(values: readonly T[], count: number, random: () => number): T[] {
  if (values.length <= count) return [...values]
  const places = new Set([0, values.length - 1])
  while (places.size < count) places.add(Math.floor(random() * values.length))
  return [...places].map((place) => values[place] as T)
}
