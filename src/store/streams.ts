import type { TableReader, Tables, Write } from './database.ts'
import type { PendingBuffer, Streams } from './interfaces.ts'
import { keyNumber, lastNumber, numberKey } from './keys.ts'
import { decodeFields, encodeFields, ownBytes } from './rows.ts'

const layoutVersion = 1
const fields = ['hash', 'byteLength', 'run', 'startSample', 'samples'] as const

/**
 * What a session holds between two batches. Buffers are numbered from 1, each with one more than the last
 * one that is there, so numbers begin again where none is left. A state is bytes as they are: its codec
 * knows what they mean.
 */
export class StreamRepository implements Streams {
  readonly #buffers: TableReader
  readonly #states: TableReader

  constructor(tables: Tables) {
    this.#buffers = tables.table('pending-buffers')
    this.#states = tables.table('stream-states')
  }

  state(session: number): Uint8Array | null {
    return this.#states.get(numberKey(session))
  }

  hasState(session: number): boolean {
    return this.#states.has(numberKey(session))
  }

  pending(session: number): PendingBuffer[] {
    return [...this.between(session, { fromNumber: 0, throughNumber: lastNumber })]
  }

  /** A session's buffers of these numbers in order, lazily, for removing them. */
  *between(
    session: number,
    { fromNumber, throughNumber }: { readonly fromNumber: number; readonly throughNumber: number },
  ): Iterable<PendingBuffer> {
    const end = Math.min(throughNumber + 1, lastNumber)
    const range = { from: numberKey(session, fromNumber), to: numberKey(session, end) }
    for (const { key, value } of this.#buffers.entries(range)) yield decodeBuffer(key, value)
  }

  /** The number given last of those that are there, 0 where there is none. */
  lastNumber(session: number): number {
    const from = numberKey(session, lastNumber)
    const range = { from, to: numberKey(session, 0), reverse: true, limit: 1 }
    for (const key of this.#buffers.keys(range)) return keyNumber(key, 1)
    return 0
  }

  bufferWrite(buffer: PendingBuffer): Write {
    const key = numberKey(buffer.session, buffer.number)
    return { table: 'pending-buffers', key, value: encodeFields(layoutVersion, fields, buffer) }
  }

  bufferRemoval(session: number, number: number): Write {
    return { table: 'pending-buffers', key: numberKey(session, number), value: null }
  }

  /** Copied, because LMDB's thread reads it later. */
  stateWrite(session: number, state: Uint8Array): Write {
    return { table: 'stream-states', key: numberKey(session), value: new Uint8Array(state) }
  }

  stateRemoval(session: number): Write {
    return { table: 'stream-states', key: numberKey(session), value: null }
  }
}

export function decodeBuffer(key: Uint8Array, value: Uint8Array): PendingBuffer {
  const row = decodeFields(layoutVersion, fields, value) as Omit<
    PendingBuffer,
    'session' | 'number'
  >
  const [session, number] = [keyNumber(key, 0), keyNumber(key, 1)]
  return { ...row, hash: ownBytes(row.hash), session, number }
}
