import assert from 'node:assert/strict'
import { hash } from 'node:crypto'
import type { TableReader, Tables, Write } from './database.ts'
import type { DeadLetterRepository } from './dead-letters.ts'
import type { BatchRetry, Journal, JournalEntry, JournalMediaItem } from './interfaces.ts'
import {
  digestBytes,
  keyNumber,
  lastNumber,
  numberBytes,
  numberKey,
  readNumber,
  writeNumber,
} from './keys.ts'
import type { RetryRepository } from './retries.ts'
import { decodeRow, encodeRow, ownBytes, parseObject } from './rows.ts'

/**
 * An entry stands in two values under the same key, so that what waits can be counted without reading
 * its pages: a head (layout version, kind, then the record count and the number of the job that waits for
 * it, 0 for none, as 8 bytes big-endian each, then the SHA-256 of the content) and the content, which is a
 * page's bytes as they are or a row with hash, byteLength and metadata as JSON text of every media item,
 * one after the other.
 */
const layoutVersion = 2
const digestAt = 2 + 2 * numberBytes
const headBytes = digestAt + digestBytes
export const pageKind = 0
const mediaKind = 1

interface Head {
  readonly kind: number
  readonly records: number
  readonly job: number | null
  /** SHA-256 of the content. */
  readonly digest: Uint8Array
}

/** What of an entry has to be known to remove it. */
export interface JournalOwner {
  readonly batch: number
  readonly number: number
  readonly items: readonly JournalMediaItem[]
}

export class JournalRepository implements Journal {
  readonly #heads: TableReader
  readonly #contents: TableReader
  readonly #dropped: TableReader
  readonly #retries: RetryRepository
  readonly #deadLetters: DeadLetterRepository

  constructor(tables: Tables, retries: RetryRepository, deadLetters: DeadLetterRepository) {
    this.#heads = tables.table('journal')
    this.#contents = tables.table('journal-contents')
    this.#dropped = tables.table('dropped-sessions')
    this.#retries = retries
    this.#deadLetters = deadLetters
  }

  batch(session: number, batch: number): JournalEntry[] {
    const range = { from: numberKey(session, batch, 0), to: numberKey(session, batch, lastNumber) }
    const entries: JournalEntry[] = []
    for (const { key, value } of this.#heads.entries(range)) {
      const { kind, records, job, digest } = decodeHead(value)
      const bytes = this.#contents.get(key)
      // A content that is gone is damage: whoever needs it misses the entry.
      if (bytes === null) continue
      const content: JournalEntry['content'] =
        kind === pageKind
          ? { kind: 'page', bytes, hash: digest }
          : { kind: 'media', items: decodeItems(bytes) }
      entries.push({ session, number: keyNumber(key, 2), batch, records, job, content })
    }
    return entries
  }

  heads(session: number, batch: number): { number: number; records: number; job: number | null }[] {
    const range = { from: numberKey(session, batch, 0), to: numberKey(session, batch + 1, 0) }
    return Array.from(this.#heads.entries(range), ({ key, value }) => {
      const { records, job } = decodeHead(value)
      return { number: keyNumber(key, 2), records, job }
    })
  }

  retry(session: number, batch: number): BatchRetry | null {
    return this.#retries.get(session, batch)
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
    return batches.filter(
      ({ session, batch }) =>
        !this.#deadLetters.isDead(session, batch) && !this.#dropped.has(numberKey(session)),
    )
  }

  /** A session's entries in order, lazily, each with the items whose blobs are its own. */
  ofSession(session: number): Iterable<JournalOwner> {
    return this.#owners(numberKey(session, 0, 0), numberKey(session, lastNumber, 0))
  }

  ofBatch(session: number, batch: number): Iterable<JournalOwner> {
    return this.#owners(numberKey(session, batch, 0), numberKey(session, batch, lastNumber))
  }

  /** What can be told of damaged entries has to do: damage must not stop a removal. */
  *#owners(from: Uint8Array, to: Uint8Array): Iterable<JournalOwner> {
    for (const { key, value } of this.#heads.entries({ from, to })) {
      const isPage = decodeHead(value).kind === pageKind
      const bytes = isPage ? null : this.#contents.get(key)
      const items = bytes === null ? [] : decodeItems(bytes)
      yield { batch: keyNumber(key, 1), number: keyNumber(key, 2), items }
    }
  }

  writes(entry: JournalEntry): Write[] {
    const { session, batch, number, records, job, content } = entry
    const key = numberKey(session, batch, number)
    const kind = content.kind === 'page' ? pageKind : mediaKind
    const value = content.kind === 'page' ? content.bytes : encodeItems(content.items)
    const digest = content.kind === 'page' ? content.hash : hash('sha256', value, 'buffer')
    return [
      { table: 'journal', key, value: encodeHead({ kind, records, job, digest }) },
      { table: 'journal-contents', key, value },
    ]
  }

  removals(session: number, batch: number, number: number): Write[] {
    const key = numberKey(session, batch, number)
    return [
      { table: 'journal', key, value: null },
      { table: 'journal-contents', key, value: null },
    ]
  }
}

function encodeHead({ kind, records, job, digest }: Head): Uint8Array {
  assert(digest.byteLength === digestBytes, 'a content is named by a SHA-256')
  const head = Buffer.allocUnsafe(headBytes)
  head[0] = layoutVersion
  head[1] = kind
  writeNumber(head, records, 2)
  writeNumber(head, job ?? 0, 2 + numberBytes)
  head.set(digest, digestAt)
  return head
}

export function decodeHead(bytes: Uint8Array): Head {
  const isKnown = bytes.byteLength === headBytes && bytes[0] === layoutVersion
  assert(isKnown, `a journal head of layout ${layoutVersion}`)
  const job = readNumber(bytes, 2 + numberBytes)
  return {
    kind: bytes[1] as number,
    records: readNumber(bytes, 2),
    job: job === 0 ? null : job,
    digest: new Uint8Array(bytes.subarray(digestAt)),
  }
}

function encodeItems(items: readonly JournalMediaItem[]): Uint8Array {
  return encodeRow(
    layoutVersion,
    items.flatMap((item) => [item.hash, item.byteLength, JSON.stringify(item.metadata)]),
  )
}

export function decodeItems(bytes: Uint8Array): JournalMediaItem[] {
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
