import { invalidBody, Refusal } from '../contracts/errors.ts'
import type { RejectedRecord } from '../contracts/tasks.ts'
import { limits } from '../limits.ts'

/** What is wrong with one record, frame or buffer, in the documented terms. */
export interface FieldFault {
  readonly field: string
  readonly value: unknown
  readonly expectedType: string
  readonly message: string
}

/** The same, thrown while a frame or buffer is checked; it does not leave the codec. */
export class RecordFault extends Error implements FieldFault {
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

/** The documented message of a value of another type. */
export function cannotParse(value: unknown, type: string): string {
  return `Cannot parse '${shownValue(value)}' as ${type}`
}

/** Throws where a body's list is missing, empty or too long. */
export function requireList(list: unknown, member: string): readonly unknown[] {
  if (!Array.isArray(list)) throw invalidBody(member, 'an array')
  if (list.length === 0) throw invalidBody(member, 'at least one member')
  if (list.length > limits.uploadRecordsMax) {
    throw new Refusal('BATCH_SIZE_EXCEEDED', {
      fields: { maxBatchSize: limits.uploadRecordsMax, receivedBatchSize: list.length },
    })
  }
  return list
}

/** `bytesMember` names the member that holds a frame's or buffer's bytes: it is left out. */
export function rejection(
  recordIndex: number,
  record: unknown,
  { field, value, expectedType, message }: FieldFault,
  bytesMember: string | null,
): RejectedRecord {
  return {
    recordIndex,
    field: cut(field, limits.shownValueCharsMax),
    value: shownValue(value),
    expectedType,
    message,
    record: recordText(record, bytesMember),
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
 * `limits.rejectedRecordBytesMax` bytes of UTF-8. NaN and the infinities, which JSON lacks, stand as text.
 */
export function recordText(record: unknown, bytesMember: string | null): string {
  const writer = new RecordWriter(bytesMember)
  writer.write(record)
  return cutBytes(writer.text, limits.rejectedRecordBytesMax)
}

/**
 * Writes JSON until there is more than will be kept. `JSON.stringify` would first write all of a record
 * that may be as large as its body, escapes included, and fail past the longest string there is.
 */
class RecordWriter {
  text = ''
  readonly #bytesMember: string | null

  constructor(bytesMember: string | null) {
    this.#bytesMember = bytesMember
  }

  write(value: unknown): void {
    if (value instanceof Uint8Array) this.text += `"${byteCount(value)}"`
    else if (Array.isArray(value)) this.#writeArray(value)
    else if (value instanceof Date) this.text += JSON.stringify(value)
    else if (typeof value === 'object' && value !== null) this.#writeObject(value)
    else if (typeof value === 'bigint') this.text += `"${value}"`
    else this.text += JSON.stringify(shownValue(value))
  }

  get #isFull(): boolean {
    return this.text.length > limits.rejectedRecordBytesMax
  }

  #writeArray(values: readonly unknown[]): void {
    this.text += '['
    for (let index = 0; index < values.length && !this.#isFull; index += 1) {
      if (index > 0) this.text += ','
      this.write(values[index])
    }
    this.text += ']'
  }

  #writeObject(object: object): void {
    let separator = '{'
    // Not Object.entries: for a member it makes an array, and there may be two million.
    for (const key in object) {
      if (this.#isFull) break
      const value = (object as Record<string, unknown>)[key]
      if (key === this.#bytesMember || value === undefined) continue
      this.text += `${separator}${JSON.stringify(cut(key, limits.shownValueCharsMax))}:`
      this.write(value)
      separator = ','
    }
    this.text += separator === '{' ? '{}' : '}'
  }
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
