import { limits } from '../limits.ts'
import type { SessionRow } from './interfaces.ts'

interface CachedSession {
  row: SessionRow
  bytes: number
}

/** What a row takes beside its metadata and its schema: its members, its map entries, its name. */
const rowBytes = 2_048
/** An object of short members takes about four times the bytes of its JSON text. */
const metadataFactor = 4

/** The sessions used last, bounded by their number and by about what they take. */
export class SessionCache {
  /** Oldest first, as soon as it is half full. */
  readonly #rows = new Map<number, CachedSession>()
  readonly #numbers = new Map<string, number>()
  #bytes = 0

  get(number: number): SessionRow | null {
    return this.#rows.get(number)?.row ?? null
  }

  /** The number of a remembered session. */
  number(id: string): number | null {
    return this.#numbers.get(id) ?? null
  }

  keep(row: SessionRow): void {
    const known = this.#rows.get(row.number)
    const bytes = known !== undefined && sharesSettings(known.row, row) ? known.bytes : size(row)
    if (known !== undefined && !this.#isNearlyFull) {
      // Taking its place anew costs more than all else here, and nothing is dropped for long.
      known.row = row
      this.#bytes += bytes - known.bytes
      known.bytes = bytes
      return
    }
    if (known !== undefined) this.forget(known.row)
    this.#rows.set(row.number, { row, bytes })
    this.#numbers.set(row.id, row.number)
    this.#bytes += bytes
    while (this.#rows.size > limits.sessionCacheMax || this.#bytes > limits.sessionCacheBytesMax) {
      const [oldest] = this.#rows.values()
      if (oldest === undefined) return
      this.forget(oldest.row)
    }
  }

  get #isNearlyFull(): boolean {
    const { sessionCacheMax, sessionCacheBytesMax } = limits
    return this.#rows.size * 2 > sessionCacheMax || this.#bytes * 2 > sessionCacheBytesMax
  }

  forget({ number, id }: SessionRow): void {
    const known = this.#rows.get(number)
    if (known === undefined) return
    this.#rows.delete(number)
    this.#numbers.delete(id)
    this.#bytes -= known.bytes
  }
}

/** Uploads change numbers alone: what is large is measured once. */
function sharesSettings(one: SessionRow, other: SessionRow): boolean {
  return one.metadata === other.metadata && one.decode === other.decode
}

function size({ metadata, decode }: SessionRow): number {
  // A schema's text has two bytes a character where one of them is not Latin-1.
  const schemaBytes = 2 * (decode.schema?.length ?? 0)
  return rowBytes + schemaBytes + metadataFactor * JSON.stringify(metadata).length
}
