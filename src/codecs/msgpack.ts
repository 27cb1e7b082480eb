import { isUtf8 } from 'node:buffer'
import { addExtension, Unpackr } from 'msgpackr'
import { invalidBody, Refusal } from '../contracts/errors.ts'
import { limits } from '../limits.ts'
import { nestingTooDeep, tooManyValues } from './json.ts'
import { PreciseDate } from './telemetry/timestamp.ts'

/**
 * Plain msgpack (https://github.com/msgpack/msgpack/blob/master/spec.md): maps with string keys as
 * objects, 64-bit integers as the nearest double, as JSON has them, bin as views into the given bytes,
 * timestamps as PreciseDate.
 */
const unpackr = new Unpackr({ useRecords: false, mapsAsObjects: true, int64AsType: 'number' })

/**
 * The value of a msgpack body. msgpackr believes declared lengths and nests without bound, so our own
 * walk goes first. Throws a Refusal: MALFORMED_MSGPACK saying where, INVALID_UTF8, NESTING_TOO_DEEP,
 * INVALID_BODY for too many values or for a member `__proto__` anywhere (msgpackr would rename it).
 */
export function parseMsgpack(bytes: Uint8Array): unknown {
  new MsgpackWalker(bytes).walk()
  try {
    return unpackr.unpack(bytes)
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error)
    throw malformed(`The body is not valid msgpack: ${why}`)
  }
}

function malformed(message: string): Refusal {
  return new Refusal('MALFORMED_MSGPACK', { message })
}

const protoKey = Buffer.from('__proto__')
/** Extension type of a timestamp; every other one is refused. */
const timestampExtension = 0xff
addExtension({ type: timestampExtension, unpack: readTimestamp })

/** The spec's three forms: 32 bits of seconds, 30 of nanoseconds and 34 of seconds, or 32 and 64. */
function readTimestamp(data: Uint8Array): PreciseDate {
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength)
  if (data.length === 4) return new PreciseDate(view.getUint32(0) * 1000, 0)
  if (data.length === 8) {
    const high = view.getUint32(0)
    return dateOf((high & 3) * 2 ** 32 + view.getUint32(4), high >>> 2)
  }
  return dateOf(Number(view.getBigInt64(4)), view.getUint32(0))
}

function dateOf(seconds: number, nanoseconds: number): PreciseDate {
  if (nanoseconds > 999_999_999) return new PreciseDate(Number.NaN, 0)
  const us = Math.floor(nanoseconds / 1000)
  return new PreciseDate(seconds * 1000 + Math.floor(us / 1000), us % 1000)
}

/**
 * Follows the structure without building anything: one complete value, lengths that the bytes cover,
 * keys that are text, text that is UTF-8, depth and number of values within their bounds.
 */
class MsgpackWalker {
  readonly #bytes: Uint8Array
  readonly #view: DataView
  #at = 0
  #values = 0
  /** Values that each open container still lacks, and whether a key is next in it. */
  readonly #left: number[] = []
  readonly #isMap: boolean[] = []

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  }

  walk(): void {
    do {
      const depth = this.#left.length - 1
      const isKey = depth >= 0 && this.#isMap[depth] === true && (this.#left[depth] ?? 0) % 2 === 0
      if (depth >= 0) this.#left[depth] = (this.#left[depth] ?? 0) - 1
      this.#values += 1
      if (this.#values > limits.uploadValuesMax) throw tooManyValues()
      this.#value(isKey)
      while (this.#left.length > 0 && this.#left[this.#left.length - 1] === 0) {
        this.#left.pop()
        this.#isMap.pop()
      }
    } while (this.#left.length > 0)
    if (this.#at !== this.#bytes.length) throw malformed(`Bytes follow the value at ${this.#at}`)
  }

  #value(isKey: boolean): void {
    const start = this.#at
    const head = this.#unsigned(1)
    if (head >= 0xa0 && head <= 0xbf) {
      this.#text(head & 0x1f, isKey)
      return
    }
    if (head === 0xd9) {
      this.#text(this.#unsigned(1), isKey)
      return
    }
    if (head === 0xda) {
      this.#text(this.#unsigned(2), isKey)
      return
    }
    if (head === 0xdb) {
      this.#text(this.#unsigned(4), isKey)
      return
    }
    if (isKey) throw malformed(`A key is not text at ${start}`)
    if (head <= 0x7f || head >= 0xe0 || head === 0xc0 || head === 0xc2 || head === 0xc3) return
    if (head <= 0x8f) {
      this.#open((head & 0x0f) * 2, true)
      return
    }
    if (head <= 0x9f) {
      this.#open(head & 0x0f, false)
      return
    }
    switch (head) {
      case 0xc4:
        this.#skip(this.#unsigned(1))
        break
      case 0xc5:
        this.#skip(this.#unsigned(2))
        break
      case 0xc6:
        this.#skip(this.#unsigned(4))
        break
      case 0xc7:
        this.#extension(this.#unsigned(1), start)
        break
      case 0xcc:
      case 0xd0:
        this.#skip(1)
        break
      case 0xcd:
      case 0xd1:
        this.#skip(2)
        break
      case 0xca:
      case 0xce:
      case 0xd2:
        this.#skip(4)
        break
      case 0xcb:
      case 0xcf:
      case 0xd3:
        this.#skip(8)
        break
      case 0xd6:
        this.#extension(4, start)
        break
      case 0xd7:
        this.#extension(8, start)
        break
      case 0xdc:
        this.#open(this.#unsigned(2), false)
        break
      case 0xdd:
        this.#open(this.#unsigned(4), false)
        break
      case 0xde:
        this.#open(this.#unsigned(2) * 2, true)
        break
      case 0xdf:
        this.#open(this.#unsigned(4) * 2, true)
        break
      default:
        throw malformed(`Type 0x${head.toString(16)} at ${start} is not taken`)
    }
  }

  /** A container's values take a byte each at least, so a count past the bytes left is a lie. */
  #open(count: number, isMap: boolean): void {
    if (count > this.#bytes.length - this.#at) throw truncated()
    if (this.#left.length >= limits.nestingDepthMax) throw nestingTooDeep()
    this.#left.push(count)
    this.#isMap.push(isMap)
  }

  #text(length: number, isKey: boolean): void {
    const start = this.#at
    this.#skip(length)
    const text = this.#bytes.subarray(start, this.#at)
    if (!isAsciiShort(text) && !isUtf8(text)) throw new Refusal('INVALID_UTF8')
    if (isKey && length === protoKey.length && protoKey.equals(text)) {
      throw invalidBody('__proto__', 'no member of this name')
    }
  }

  #extension(length: number, start: number): void {
    const isTimestamp = length === 4 || length === 8 || length === 12
    if (this.#unsigned(1) !== timestampExtension || !isTimestamp) {
      throw malformed(`The extension at ${start} is not a timestamp`)
    }
    this.#skip(length)
  }

  #unsigned(bytes: 1 | 2 | 4): number {
    const at = this.#at
    this.#skip(bytes)
    if (bytes === 1) return this.#bytes[at] ?? 0
    return bytes === 2 ? this.#view.getUint16(at) : this.#view.getUint32(at)
  }

  #skip(bytes: number): void {
    if (bytes > this.#bytes.length - this.#at) throw truncated()
    this.#at += bytes
  }
}

/** Field names and dates are short ASCII: looking at them here is cheaper than a native call. */
function isAsciiShort(text: Uint8Array): boolean {
  if (text.length > 64) return false
  let folded = 0
  for (let at = 0; at < text.length; at += 1) folded |= text[at] ?? 0
  return folded < 0x80
}

function truncated(): Refusal {
  return malformed('The body ends in the middle of a value')
}
