import assert from 'node:assert/strict'
import type { RejectedChunk, RejectedRecord } from '../contracts/tasks.ts'
import type { TableReader, Tables, Write } from './database.ts'
import type { Rejected, RejectedEntry } from './interfaces.ts'
import { keyNumber, lastNumber, numberKey } from './keys.ts'
import { decodeRow, encodeRow, type StoredRow } from './rows.ts'

/** batch, atMs, how many records, then the records as JSON text of an array. */
const layoutVersion = 1
type ChunkItems = [number, number, number, Uint8Array]

/** What of a chunk has to be known to remove it. */
export interface StoredChunk {
  readonly row: StoredRow
  readonly records: number
}

interface Chunk {
  readonly batch: number
  readonly atMs: number
  readonly records: readonly RejectedRecord[]
}

/** A row holds the records of one upload that follow each other, under the `seq` of its first. */
export class RejectedRepository implements Rejected {
  readonly #table: TableReader

  constructor(tables: Tables) {
    this.#table = tables.table('rejected')
  }

  list(session: number, from: number, limit: number): RejectedEntry[] {
    const listed: RejectedEntry[] = []
    if (limit <= 0) return listed
    const range = { from: this.#chunkKey(session, from), to: numberKey(session, lastNumber) }
    for (const { key, value } of this.#table.entries(range)) {
      const first = keyNumber(key, 1)
      const { batch, atMs, records } = decodeChunk(value)
      for (let index = Math.max(0, from - first); index < records.length; index += 1) {
        listed.push({ ...(records[index] as RejectedRecord), seq: first + index, batch, atMs })
        if (listed.length === limit) return listed
      }
    }
    return listed
  }

  /** Chunks whose first `seq >= from` in order, lazily, for removing them. */
  *stored(session: number, from: number): Iterable<StoredChunk> {
    const range = { from: numberKey(session, from), to: numberKey(session, lastNumber) }
    for (const { key, value } of this.#table.entries(range)) {
      const [, , records] = decodeRow(layoutVersion, value) as ChunkItems
      const bytes = key.byteLength + value.byteLength
      yield { row: { table: 'rejected', key, bytes }, records }
    }
  }

  write(
    session: number,
    seq: number,
    batch: number,
    atMs: number,
    { records, bytes }: RejectedChunk,
  ): Write {
    const items: ChunkItems = [batch, atMs, records, bytes]
    return {
      table: 'rejected',
      key: numberKey(session, seq),
      value: encodeRow(layoutVersion, items),
    }
  }

  /** The key of the chunk that `seq` stands in; where that is dropped, a key before what is left. */
  #chunkKey(session: number, seq: number): Uint8Array {
    const from = numberKey(session, seq)
    const range = { from, to: numberKey(session), limit: 1, reverse: true }
    for (const key of this.#table.keys(range)) return key
    return from
  }
}

export function decodeChunk(value: Uint8Array): Chunk {
  const [batch, atMs, count, bytes] = decodeRow(layoutVersion, value) as ChunkItems
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString()
  const records = JSON.parse(text) as RejectedRecord[]
  assert(records.length === count, 'a chunk holds as many records as it says')
  return { batch, atMs, records }
}
