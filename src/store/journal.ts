import assert from 'node:assert/strict'
import type { Database, Table, Write } from './database.ts'
import type { Journal, JournalEntry, JournalMediaItem } from './interfaces.ts'
import { keyNumber, lastNumber, numberKey } from './keys.ts'
import { decodeRow, encodeRow, ownBytes, parseObject } from './rows.ts'

/**
 * An entry stands in two values under the same key, so that what waits can be counted without reading
 * its pages: a head (layout version, kind, then the record count as 4 bytes big-endian) and the
 * content, which is a page's bytes as they are or a row with hash, byteLength and metadata as JSON
 * text of every media item, one after the other.
 */
const layoutVersion = 1
const headBytes = 6
const pageKind = 0
const mediaKind = 1

export class JournalRepository implements Journal {
  readonly #heads: Table
  readonly #contents: Table

  constructor(database: Database) {
    this.#heads = database.table('journal')
    this.#contents = database.table('journal-contents')
  }

  batch(session: number, batch: number): JournalEntry[] {
    const range = { from: numberKey(session, batch, 0), to: numberKey(session, batch, lastNumber) }
    return Array.from(this.#heads.entries(range), ({ key, value }) => {
      const { kind, records } = decodeHead(value)
      const bytes = this.#contents.get(key)
      assert(bytes !== null, 'a journal entry has a content')
      return {
        session,
        number: keyNumber(key, 2),
        batch,
        records,
        content:
          kind === pageKind
            ? { kind: 'page', bytes }
            : { kind: 'media', items: decodeItems(bytes) },
      }
    })
  }

  heads(session: number, batch: number): { number: number; records: number }[] {
    const range = { from: numberKey(session, batch, 0), to: numberKey(session, batch + 1, 0) }
    return [...this.#heads.entries(range)].map(({ key, value }) => ({
      number: keyNumber(key, 2),
      records: decodeHead(value).records,
    }))
  }

  pending(): { session: number; batch: number; records: number; firstNumber: number }[] {
    const batches: { session: number; batch: number; records: number; firstNumber: number }[] = []
    const range = { from: numberKey(0, 0, 0), to: numberKey(lastNumber, 0, 0) }
    for (const { key, value } of this.#heads.entries(range)) {
      const session = keyNumber(key, 0)
      const batch = keyNumber(key, 1)
      const { records } = decodeHead(value)
      const last = batches.at(-1)
      if (last?.session === session && last.batch === batch) last.records += records
      else batches.push({ session, batch, records, firstNumber: keyNumber(key, 2) })
    }
    return batches
  }

  writes(entry: JournalEntry): Write[] {
    const { session, batch, number, records, content } = entry
    const key = numberKey(session, batch, number)
    const kind = content.kind === 'page' ? pageKind : mediaKind
    const value = content.kind === 'page' ? content.bytes : encodeItems(content.items)
    return [
      { table: this.#heads, key, value: encodeHead(kind, records) },
      { table: this.#contents, key, value },
    ]
  }

  removals(session: number, batch: number, number: number): Write[] {
    const key = numberKey(session, batch, number)
    return [
      { table: this.#heads, key, value: null },
      { table: this.#contents, key, value: null },
    ]
  }
}

function encodeHead(kind: number, records: number): Uint8Array {
  const head = Buffer.allocUnsafe(headBytes)
  head[0] = layoutVersion
  head[1] = kind
  head.writeUInt32BE(records, 2)
  return head
}

function decodeHead(bytes: Uint8Array): { kind: number; records: number } {
  assert(bytes.byteLength === headBytes && bytes[0] === layoutVersion, 'a journal head of layout 1')
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  return { kind: view.getUint8(1), records: view.getUint32(2) }
}

function encodeItems(items: readonly JournalMediaItem[]): Uint8Array {
  return encodeRow(
    layoutVersion,
    items.flatMap((item) => [item.hash, item.byteLength, JSON.stringify(item.metadata)]),
  )
}

function decodeItems(bytes: Uint8Array): JournalMediaItem[] {
  const flat = decodeRow(layoutVersion, bytes)
  const items: JournalMediaItem[] = []
  for (let index = 0; index < flat.length; index += 3) {
    items.push({
      hash: ownBytes(flat[index]),
      byteLength: flat[index + 1] as number,
      metadata: parseObject(flat[index + 2]),
    })
  }
  return items
}
