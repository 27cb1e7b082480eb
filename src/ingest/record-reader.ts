import { invalidParameter, retryLater } from '../contracts/errors.ts'
import type { ReadBlock, ReadFormat, ReadResult } from '../contracts/tasks.ts'
import { limits } from '../limits.ts'
import type { WorkerPool } from '../pool/pool.ts'
import type { AtomEntry, SessionRow, Store } from '../store/interfaces.ts'
import { Gate } from './gate.ts'
import { hex } from './session-report.ts'

export interface RecordQuery {
  /** Milliseconds since the epoch with fraction; `fromMs` inclusive, `toMs` exclusive. */
  readonly fromMs: number | null
  readonly toMs: number | null
  readonly fields: readonly string[] | null
  readonly limit: number
  readonly format: ReadFormat
  readonly cursor: string | null
}

export interface RecordPage {
  /** As ReadResult.bytes: records without the brackets, lines, or CSV rows without their header. */
  readonly bytes: Uint8Array
  readonly columns: readonly string[]
  readonly nextCursor: string | null
}

/** A place in a session's records: atom row and row within its block. */
interface Position {
  readonly seq: number
  readonly index: number
}

interface GatheredBlock {
  readonly atom: AtomEntry
  readonly block: ReadBlock
}

/**
 * Reads telemetry back, in commit order. The main thread copies blocks out of the store, a worker turns
 * their rows into text. One request scans at most `limits.readScanBytesMax` of blocks: a page may hold
 * fewer records than its limit, none even, and still name a next cursor.
 */
export class RecordReader {
  readonly #store: Store
  readonly #pool: WorkerPool
  readonly #reading = new Gate(limits.readsAtOnceMax)

  constructor(services: { store: Store; pool: WorkerPool }) {
    this.#store = services.store
    this.#pool = services.pool
  }

  async read(session: SessionRow, query: RecordQuery): Promise<RecordPage> {
    let position: Position | null = query.cursor === null ? beginning : parseCursor(query.cursor)
    if (session.type !== 'telemetry') position = null
    if (this.#reading.waiting >= limits.readsWaitingMax) throw retryLater('SATURATED')
    const release = await this.#reading.enter()
    try {
      return await this.#read(session, query, position)
    } finally {
      release()
    }
  }

  async #read(
    session: SessionRow,
    query: RecordQuery,
    start: Position | null,
  ): Promise<RecordPage> {
    let position = start
    const parts: Uint8Array[] = []
    let columns: readonly string[] = []
    let records = 0
    let scannedBytes = 0
    let textBytes = 0
    while (
      position !== null &&
      records < query.limit &&
      scannedBytes < limits.readScanBytesMax &&
      textBytes < limits.pageTextBytesMax
    ) {
      const step = await this.#step(session, query, position, query.limit - records)
      position = step.next
      records += step.result?.records ?? 0
      scannedBytes += step.scannedBytes
      if (step.result === null || step.result.records === 0) continue
      if (query.format === 'json' && parts.length > 0) parts.push(comma)
      parts.push(step.result.bytes)
      textBytes += step.result.bytes.byteLength
      columns = step.result.columns
      // A CSV page has one header, so it ends where the columns of the next blocks could differ.
      if (query.format === 'csv') break
    }
    return {
      bytes: parts.length === 1 && parts[0] !== undefined ? parts[0] : Buffer.concat(parts),
      columns,
      nextCursor: position === null ? null : formatCursor(position),
    }
  }

  /** JSON text of one record of a block, or null where it has no such row. `bytes` are transferred. */
  async record(bytes: Uint8Array, hash: Uint8Array, index: number): Promise<Uint8Array | null> {
    const result = await this.#pool.run({
      kind: 'read',
      blocks: [{ bytes, hash: hex(hash), firstIndex: index }],
      fromMs: null,
      toMs: null,
      fields: null,
      limit: 1,
      format: 'json',
    })
    return result.records === 1 ? result.bytes : null
  }

  async #step(
    session: SessionRow,
    query: RecordQuery,
    position: Position,
    limit: number,
  ): Promise<{ next: Position | null; result: ReadResult | null; scannedBytes: number }> {
    const { gathered, scannedBytes, after } = this.#gather(session, query, position, limit)
    if (gathered.length === 0) return { next: after, result: null, scannedBytes }
    const result = await this.#pool.run({
      kind: 'read',
      blocks: gathered.map(({ block }) => block),
      fromMs: query.fromMs,
      toMs: query.toMs,
      fields: query.fields,
      limit,
      format: query.format,
    })
    if (result.next === null) return { next: after, result, scannedBytes }
    const stoppedIn = gathered[result.next.block]
    if (stoppedIn === undefined) throw new Error('a read stopped in a block it was not given')
    const next = { seq: stoppedIn.atom.seq, index: result.next.index }
    return { next, result, scannedBytes }
  }

  /** The next blocks that may hold rows of the range, up to one task's bytes or the limit's rows. */
  #gather(
    session: SessionRow,
    query: RecordQuery,
    position: Position,
    limit: number,
  ): { gathered: GatheredBlock[]; scannedBytes: number; after: Position | null } {
    const gathered: GatheredBlock[] = []
    const rangeIsOpen = query.fromMs === null && query.toMs === null
    let scannedBytes = 0
    let rows = 0
    let scannedRows = 0
    for (const atom of this.#store.atoms.scan(session.number, position.seq)) {
      // Rows are counted only without a range: with one, nobody knows how many of a block lie in it.
      const isFull =
        scannedBytes >= limits.readTaskBytesMax ||
        scannedRows >= limits.readScanRowsMax ||
        (rangeIsOpen && rows >= limit)
      if (isFull) return { gathered, scannedBytes, after: { seq: atom.seq, index: 0 } }
      scannedRows += 1
      if (query.fromMs !== null && atom.toMs < query.fromMs) continue
      if (query.toMs !== null && atom.fromMs >= query.toMs) continue
      const bytes = this.#store.blobs.get(session.tenant, atom.hash)
      if (bytes === null) throw new Error(`block ${hex(atom.hash)} is missing from the store`)
      const firstIndex = atom.seq === position.seq ? position.index : 0
      gathered.push({ atom, block: { bytes, hash: hex(atom.hash), firstIndex } })
      scannedBytes += bytes.byteLength
      rows += atom.atoms - firstIndex
    }
    return { gathered, scannedBytes, after: null }
  }
}

const beginning: Position = { seq: 0, index: 0 }
const comma = new TextEncoder().encode(',')

/** Cursors are opaque to clients: base64url of `seq.index`. */
function formatCursor({ seq, index }: Position): string {
  return Buffer.from(`${seq}.${index}`).toString('base64url')
}

/** Throws INVALID_PARAMETER. */
function parseCursor(cursor: string): Position {
  const match = /^(\d{1,15})\.(\d{1,6})$/.exec(Buffer.from(cursor, 'base64url').toString('latin1'))
  if (match === null) throw invalidParameter('cursor', 'a nextCursor of an earlier page')
  return { seq: Number(match[1]), index: Number(match[2]) }
}
