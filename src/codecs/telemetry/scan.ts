import { isAscii, isUtf8 } from 'node:buffer'
import { limits } from '../../limits.ts'
import { type FieldKey, FieldKeys, keyWords, matchesKey } from './field-keys.ts'
import { PageBuilder } from './page-builder.ts'
import { tags } from './page-format.ts'
import type { RecordSchema } from './schema.ts'
import { TimestampReader } from './timestamp.ts'

/** What every position of the scanner may be instead: this body is for JSON.parse. */
const notOurs = -1
/** The least record, `{"timestamp":0,"values":{}}` and a comma. */
const recordBytesMin = 28
/** Digits that an integer below 2^53 has whatever they are, and powers of ten that are exact. */
const exactDigits = 15
const powersOfTen = Float64Array.from({ length: exactDigits + 1 }, (_, power) => 10 ** power)
/** Digits that fit 32 bits whatever they are. */
const smallDigits = 9
/** Of what a body may hold, see parseJson: a record is three commas and two brackets at most. */
const valuesARecord = 5
const minuteMs = 60_000

const recordsKey = keyWords(Buffer.from('"records"'))
const timestampKey = keyWords(Buffer.from('"timestamp"'))
const valuesKey = keyWords(Buffer.from('"values"'))

/**
 * The records of a JSON body `{"records":[…]}` as columns, without an object for any of them; null where
 * the body is anything but what is documented, in every part, or might be: then JSON.parse decides what
 * it is. So whatever this gives, JSON.parse and decodeTelemetry would have given too.
 */
export function scanTelemetry(bytes: Uint8Array, schema: RecordSchema | null): PageBuilder | null {
  if (!isAscii(bytes) && !isUtf8(bytes)) return null
  return new Scanner(bytes, schema).scan()
}

class Scanner {
  readonly #bytes: Uint8Array
  readonly #buffer: Buffer
  readonly #view: DataView
  readonly #end: number
  readonly #builder: PageBuilder
  readonly #keys: FieldKeys
  readonly #requiredFields: number
  readonly #timestamps = new TimestampReader()
  /** The number that was read last. */
  #number = 0
  #ms = 0
  #us = 0
  /** The minute that was read last: `2025-01-20T10:30` as four words, and its epoch. */
  readonly #minute = new Int32Array(4)
  #minuteMs = Number.NaN
  #values = 0

  constructor(bytes: Uint8Array, schema: RecordSchema | null) {
    let end = bytes.length
    while (end > 0 && isSpace(bytes[end - 1] as number)) end -= 1
    this.#bytes = bytes
    this.#buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    this.#end = end
    const rowsMax = Math.floor(bytes.length / recordBytesMin) + 1
    this.#builder = new PageBuilder(Math.min(rowsMax, limits.uploadRecordsMax))
    this.#keys = new FieldKeys(bytes, this.#builder, schema)
    this.#requiredFields = schema?.required.length ?? 0
  }

  scan(): PageBuilder | null {
    const bytes = this.#bytes
    // It ends with a bracket, so no loop over digits or spaces runs past the end.
    if (bytes[this.#end - 1] !== 0x7d) return null
    let at = this.#skip(0)
    if (bytes[at] !== 0x7b) return null
    at = this.#pastKey(this.#skip(at + 1), recordsKey)
    if (at === notOurs || bytes[at] !== 0x5b) return null
    at = this.#skip(at + 1)
    for (;;) {
      at = this.#record(at)
      if (at === notOurs) return null
      const byte = bytes[at]
      if (byte === 0x5d) break
      if (byte !== 0x2c || this.#builder.rows === limits.uploadRecordsMax) return null
      at = this.#skip(at + 1)
    }
    at = this.#skip(at + 1)
    if (bytes[at] !== 0x7d || at !== this.#end - 1) return null
    const { rows } = this.#builder
    const isTooMuch = this.#values + valuesARecord * rows > limits.uploadValuesMax
    return isTooMuch ? null : this.#builder
  }

  /** One record; then `at` is what follows it. */
  #record(start: number): number {
    const bytes = this.#bytes
    if (bytes[start] !== 0x7b) return notOurs
    let at = this.#skip(start + 1)
    const first = this.#pastKey(at, timestampKey)
    if (first !== notOurs) {
      at = this.#timestamp(first)
      if (at === notOurs || bytes[at] !== 0x2c) return notOurs
      at = this.#pastKey(this.#skip(at + 1), valuesKey)
      if (at === notOurs) return notOurs
      at = this.#fields(at)
    } else {
      at = this.#pastKey(at, valuesKey)
      if (at === notOurs) return notOurs
      at = this.#fields(at)
      if (at === notOurs || bytes[at] !== 0x2c) return notOurs
      at = this.#pastKey(this.#skip(at + 1), timestampKey)
      if (at === notOurs) return notOurs
      at = this.#timestamp(at)
    }
    if (at === notOurs || bytes[at] !== 0x7d) return notOurs
    this.#builder.beginRecord(this.#ms, this.#us)
    return this.#skip(at + 1)
  }

  /** Past this key, its colon and the spaces around it. */
  #pastKey(at: number, key: Int32Array): number {
    return matchesKey(this.#view, at, this.#end, key)
      ? this.#pastColon(at + (key[0] as number))
      : notOurs
  }

  #pastColon(after: number): number {
    const bytes = this.#bytes
    const at = bytes[after] === 0x3a ? after : this.#skip(after)
    if (bytes[at] !== 0x3a) return notOurs
    return (bytes[at + 1] as number) > 0x20 ? at + 1 : this.#skip(at + 1)
  }

  /** The values of a record, each into its column. */
  #fields(start: number): number {
    const bytes = this.#bytes
    const keys = this.#keys
    if (bytes[start] !== 0x7b) return notOurs
    const row = this.#builder.rows
    let at = this.#skip(start + 1)
    let count = 0
    let required = 0
    if (bytes[at] !== 0x7d) {
      for (;;) {
        const key = keys.find(this.#view, at, this.#end)
        // A field that comes twice is for JSON.parse, which takes the last.
        if (key === null || key.row === row) return notOurs
        key.row = row
        at = this.#pastColon(at + key.length)
        if (at === notOurs) return notOurs
        at = this.#value(at, row, key)
        if (at === notOurs) return notOurs
        count += 1
        if (key.isRequired) required += 1
        const byte = bytes[at]
        if (byte === 0x7d) break
        if (byte !== 0x2c) return notOurs
        at = (bytes[at + 1] as number) > 0x20 ? at + 1 : this.#skip(at + 1)
      }
    }
    if (count > limits.recordFieldsMax || required !== this.#requiredFields) return notOurs
    this.#values += count
    keys.endRecord()
    return this.#skip(at + 1)
  }

  #value(at: number, row: number, key: FieldKey): number {
    const byte = this.#bytes[at] as number
    let after: number
    if (byte === 0x22) {
      after = this.#string(at + 1, row, key)
    } else if (byte === 0x2d || (byte >= 0x30 && byte <= 0x39)) {
      after = this.#readNumber(at)
      if (after === notOurs) return notOurs
      if (key.check !== null && key.check(this.#number) !== null) return notOurs
      key.column.appendNumber(row, this.#number)
    } else {
      after = this.#word(at, byte, row, key)
    }
    if (after === notOurs || (this.#bytes[after] as number) > 0x20) return after
    return this.#skip(after)
  }

  /** `true`, `false` or `null`. */
  #word(at: number, byte: number, row: number, key: FieldKey): number {
    const tag = byte === 0x74 ? tags.true : byte === 0x66 ? tags.false : tags.null
    const value = tag === tags.null ? null : tag === tags.true
    const text = String(value)
    if (at + text.length > this.#end) return notOurs
    for (let index = 0; index < text.length; index += 1) {
      if (this.#bytes[at + index] !== text.charCodeAt(index)) return notOurs
    }
    if (key.check !== null && key.check(value) !== null) return notOurs
    key.column.appendTag(row, tag)
    return at + text.length
  }

  /** Into `#number`: every form that JSON has, as Number reads it. */
  #readNumber(start: number): number {
    const bytes = this.#bytes
    const isNegative = bytes[start] === 0x2d
    const first = isNegative ? start + 1 : start
    let at = first
    let digit = (bytes[at] as number) - 0x30
    if (digit < 0 || digit > 9) return notOurs
    let small = 0
    do {
      small = (Math.imul(small, 10) + digit) | 0
      at += 1
      digit = (bytes[at] as number) - 0x30
    } while (digit >= 0 && digit <= 9)
    let digits = at - first
    if (digits > 1 && bytes[first] === 0x30) return notOurs
    let decimals = 0
    if (digit === -2) {
      const point = at
      at += 1
      digit = (bytes[at] as number) - 0x30
      while (digit >= 0 && digit <= 9) {
        small = (Math.imul(small, 10) + digit) | 0
        at += 1
        digit = (bytes[at] as number) - 0x30
      }
      decimals = at - point - 1
      if (decimals === 0) return notOurs
      digits += decimals
    }
    if (digit === 0x15 || digit === 0x35 || digits > exactDigits) return this.#anyNumber(start, at)
    // An integer below 2^53 over a power of ten up to 10^22 is one rounding: the nearest double.
    // https://www.exploringbinary.com/fast-path-decimal-to-floating-point-conversion/
    const whole = digits <= smallDigits ? small : this.#digits(first, at)
    const value = decimals === 0 ? whole : whole / (powersOfTen[decimals] as number)
    this.#number = isNegative ? -value : value
    return at
  }

  /** The digits up to `end`, the point between them left out. */
  #digits(start: number, end: number): number {
    let value = 0
    for (let at = start; at < end; at += 1) {
      const digit = (this.#bytes[at] as number) - 0x30
      if (digit >= 0) value = value * 10 + digit
    }
    return value
  }

  /** With an exponent, or more digits than are exact; `at` is where it goes on. */
  #anyNumber(start: number, from: number): number {
    const bytes = this.#bytes
    let at = from
    if (((bytes[at] as number) | 0x20) === 0x65) {
      at += 1
      if (bytes[at] === 0x2b || bytes[at] === 0x2d) at += 1
      const exponent = at
      while ((bytes[at] as number) >= 0x30 && (bytes[at] as number) <= 0x39) at += 1
      if (at === exponent) return notOurs
    }
    this.#number = Number(this.#latin1(start, at))
    return Number.isFinite(this.#number) ? at : notOurs
  }

  /** A string whose first byte stands at `start`. */
  #string(start: number, row: number, key: FieldKey): number {
    const bytes = this.#bytes
    const end = this.#end
    let at = start
    let isEscaped = false
    for (;;) {
      const byte = bytes[at] as number
      if (byte === 0x22) break
      if (byte < 0x20 || at >= end) return notOurs
      if (byte === 0x5c) {
        isEscaped = true
        at += 1
      }
      at += 1
    }
    if (at - start > limits.stringValueBytesMax) return notOurs
    if (!isEscaped && key.check === null) {
      key.column.appendText(row, bytes, start, at)
      return at + 1
    }
    const value = isEscaped ? this.#unescaped(start, at) : this.#utf8(start, at)
    if (value === null || (key.check !== null && key.check(value) !== null)) return notOurs
    key.column.appendString(row, value)
    return at + 1
  }

  #unescaped(start: number, end: number): string | null {
    try {
      const value = JSON.parse(this.#utf8(start - 1, end + 1)) as string
      return value.isWellFormed() ? value : null
    } catch {
      return null
    }
  }

  /** Into `#ms` and `#us`. */
  #timestamp(start: number): number {
    const byte = this.#bytes[start] as number
    let at: number
    if (byte === 0x22) {
      at = this.#time(start + 1)
    } else {
      at = this.#readNumber(start)
      if (at === notOurs || this.#timestamps.read(this.#number) !== null) return notOurs
      this.#ms = this.#timestamps.ms
      this.#us = this.#timestamps.us
    }
    if (at === notOurs || (this.#bytes[at] as number) > 0x20) return at
    return this.#skip(at)
  }

  /** RFC 3339 in UTC within the minute read last; anything else goes by TimestampReader. */
  #time(start: number): number {
    const bytes = this.#bytes
    const view = this.#view
    const minute = this.#minute
    const isKnown =
      start + 20 < this.#end &&
      view.getInt32(start + 12, true) === minute[3] &&
      view.getInt32(start + 8, true) === minute[2] &&
      view.getInt32(start + 4, true) === minute[1] &&
      view.getInt32(start, true) === minute[0]
    if (!isKnown || bytes[start + 16] !== 0x3a) return this.#anyTime(start)
    const tens = (bytes[start + 17] as number) - 0x30
    const ones = (bytes[start + 18] as number) - 0x30
    if (tens < 0 || tens > 5 || ones < 0 || ones > 9) return notOurs
    let at = start + 19
    let micros = 0
    if (bytes[at] === 0x2e) {
      const first = at + 1
      for (at = first; at < first + 6; at += 1) {
        const digit = (bytes[at] as number) - 0x30
        if (digit < 0 || digit > 9) break
        micros = micros * 10 + digit
      }
      if (at === first) return notOurs
      for (let digits = at - first; digits < 6; digits += 1) micros *= 10
    }
    if (bytes[at] !== 0x5a || bytes[at + 1] !== 0x22) return this.#anyTime(start)
    const us = micros % 1_000
    this.#ms = this.#minuteMs + (tens * 10 + ones) * 1_000 + (micros - us) / 1_000
    this.#us = us
    return at + 2
  }

  #anyTime(start: number): number {
    const end = this.#bytes.indexOf(0x22, start)
    if (end === -1 || end - start > limits.stringValueBytesMax) return notOurs
    const text = this.#latin1(start, end)
    // An escape is none of RFC 3339's signs, and a fault is told by the other way.
    if (this.#timestamps.read(text) !== null) return notOurs
    const { ms, us } = this.#timestamps
    this.#ms = ms
    this.#us = us
    if (text.endsWith('Z')) {
      this.#minuteMs = Math.floor(ms / minuteMs) * minuteMs
      for (let word = 0; word < 4; word += 1) {
        this.#minute[word] = this.#view.getInt32(start + word * 4, true)
      }
    }
    return end + 1
  }

  #skip(start: number): number {
    let at = start
    while (at < this.#end && isSpace(this.#bytes[at] as number)) at += 1
    return at
  }

  #latin1(start: number, end: number): string {
    return this.#buffer.toString('latin1', start, end)
  }

  #utf8(start: number, end: number): string {
    return this.#buffer.toString('utf8', start, end)
  }
}

/** JSON's white space: space, tab, line feed, carriage return. */
function isSpace(byte: number): boolean {
  return byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09
}
