import { limits } from '../limits.ts'

/**
 * What is wrong with one frame or buffer, in the documented terms. Thrown while a record is
 * checked and turned into data before it leaves the codec.
 */
export class RecordFault extends Error {
  constructor(
    readonly field: string,
    readonly value: unknown,
    readonly expectedType: string,
    message: string,
  ) {
    super(message)
    this.name = 'RecordFault'
  }
}

/**
 * A value as a client is shown it: scalars as they are, strings and JSON text cut, bytes counted.
 */
export function shownValue(value: unknown): string | number | boolean | null {
  if (value === undefined || value === null) return null
  if (typeof value === 'boolean') return value
  if (typeof value === 'number') return Number.isFinite(value) ? value : String(value)
  if (typeof value === 'string') return cut(value, limits.shownValueCharsMax)
  if (value instanceof Uint8Array) return byteCount(value)
  return cut(recordText(value, null), limits.shownValueCharsMax)
}

/**
 * JSON text of a record without the member that holds its bytes, cut to
 * `limits.rejectedRecordBytesMax` bytes of UTF-8.
 */
export function recordText(record: unknown, bytesMember: string | null): string {
  const text = JSON.stringify(record, (key, value: unknown) => {
    if (key === bytesMember) return undefined
    if (value instanceof Uint8Array) return byteCount(value)
    if (typeof value === 'bigint') return String(value)
    if (typeof value === 'string') return cut(value, limits.shownValueCharsMax)
    return value
  })
  return cutBytes(text ?? 'null', limits.rejectedRecordBytesMax)
}

function byteCount(bytes: Uint8Array): string {
  return `${bytes.byteLength} bytes`
}

/** Half of a surrogate pair is not left at the end. */
function cut(text: string, charsMax: number): string {
  return text.length <= charsMax ? text : text.slice(0, charsMax).replace(/[\ud800-\udbff]$/, '')
}

/** Whole characters only: `encodeInto` stops before one that does not fit. */
function cutBytes(text: string, bytesMax: number): string {
  if (text.length * 3 <= bytesMax) return text
  const { read } = new TextEncoder().encodeInto(text, new Uint8Array(bytesMax))
  return text.slice(0, read)
}
