import { limits } from '../limits.ts'
import type { TableReader, Tables, Write } from './database.ts'
import type { AtomEntry, Atoms } from './interfaces.ts'
import { keyNumber, lastNumber, numberKey } from './keys.ts'
import { decodeRow, encodeRow, ownBytes, parseObject, type StoredRow } from './rows.ts'

/** kind, hash, byteLength, atoms, fromMs, toMs, batch, metadata as JSON text. */
const layoutVersion = 1
type AtomItems = [AtomEntry['kind'], Uint8Array, number, number, number, number, number, string]

/** What of an atom has to be known to remove it. */
export interface StoredAtom {
  readonly row: StoredRow
  readonly batch: number
  readonly hash: Uint8Array
  readonly byteLength: number
}

export class AtomRepository implements Atoms {
  readonly #table: TableReader

  constructor(tables: Tables) {
    this.#table = tables.table('atoms')
  }

  list(session: number, from: number, limit: number): AtomEntry[] {
    if (limit <= 0) return []
    const range = { from: numberKey(session, from), to: numberKey(session, lastNumber), limit }
    return Array.from(this.#table.entries(range), ({ key, value }) =>
      decodeAtom(keyNumber(key, 1), value),
    )
  }

  /** Goes by short pages, so that a reader that pauses or never comes back holds no cursor open. */
  *scan(session: number, from: number): Iterable<AtomEntry> {
    let next = from
    for (;;) {
      const page = this.list(session, next, limits.atomScanRows)
      yield* page
      const last = page.at(-1)
      if (last === undefined || page.length < limits.atomScanRows) return
      next = last.seq + 1
    }
  }

  /** Rows with `seq >= from` in order, lazily, for removing them. */
  *stored(session: number, from: number): Iterable<StoredAtom> {
    const range = { from: numberKey(session, from), to: numberKey(session, lastNumber) }
    for (const { key, value } of this.#table.entries(range)) {
      const [, digest, byteLength, , , , batch] = decodeRow(layoutVersion, value) as AtomItems
      const bytes = key.byteLength + value.byteLength
      yield { row: { table: 'atoms', key, bytes }, batch, hash: ownBytes(digest), byteLength }
    }
  }

  write(session: number, seq: number, atom: Omit<AtomEntry, 'seq'>): Write {
    const items: AtomItems = [
      atom.kind,
      atom.hash,
      atom.byteLength,
      atom.atoms,
      atom.fromMs,
      atom.toMs,
      atom.batch,
      JSON.stringify(atom.metadata),
    ]
    return {
      table: 'atoms',
      key: numberKey(session, seq),
      value: encodeRow(layoutVersion, items),
    }
  }
}

export function decodeAtom(seq: number, bytes: Uint8Array): AtomEntry {
  const items = decodeRow(layoutVersion, bytes) as AtomItems
  const [kind, digest, byteLength, atoms, fromMs, toMs, batch, metadata] = items
  return {
    seq,
    kind,
    hash: ownBytes(digest),
    byteLength,
    atoms,
    fromMs,
    toMs,
    batch,
    metadata: parseObject(metadata),
  }
}
