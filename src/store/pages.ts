import type { Entry, Range } from './database.ts'
import type { Page } from './interfaces.ts'
import { keyNumber, lastNumber, numberKey } from './keys.ts'

/** A tenant's or session's rows below number `before`, newest first; all where it is null. */
export function newestFirst(prefix: number, before: number | null): Range {
  const from = numberKey(prefix, before === null ? lastNumber : Math.max(before - 1, 0))
  return { from, to: numberKey(prefix, 0), reverse: true }
}

/** The same upwards: those above number `after`. */
export function oldestFirst(prefix: number, after: number | null): Range {
  return { from: numberKey(prefix, (after ?? 0) + 1), to: numberKey(prefix, lastNumber) }
}

/**
 * The next rows of an index whose keys are a prefix and a row's number. `rowOf` gives the row behind
 * an entry, null where the filter leaves it out: what the entry itself tells should be checked before
 * the row is read. Looks on past `limit` for one more row, so that a last page says that it is the
 * last, but at no more than `scanRowsMax` entries.
 */
export function readPage<T>(
  entries: Iterable<Entry>,
  limit: number,
  scanRowsMax: number,
  rowOf: (number: number, value: Uint8Array) => T | null,
): Page<T> {
  const rows: T[] = []
  if (limit <= 0) return { rows, next: null }
  let looked = 0
  let last: number | null = null
  for (const { key, value } of entries) {
    if (looked === scanRowsMax) return { rows, next: last }
    const number = keyNumber(key, 1)
    const row = rowOf(number, value)
    if (row !== null) {
      if (rows.length === limit) return { rows, next: last }
      rows.push(row)
    }
    looked += 1
    last = number
  }
  return { rows, next: null }
}
