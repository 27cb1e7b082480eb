import { limits } from '../../limits.ts'

const quote = 0x22
const backslash = 0x5c
const comma = 0x2c
const minus = 0x2d
const point = 0x2e
const zero = 0x30
/** Copied byte by byte up to here: a call of `set` costs more. */
const shortBytes = 24
/** A double as JavaScript writes it has 25 characters at most. */
const numberBytesMax = 32
const wholeMax = 0x7fff_ffff

/** The thread's own, used again by each text: a fresh one of 2 MB costs its pages every time. */
const nothing = Buffer.alloc(0)
let spare: Buffer = nothing

/** Grows a text as bytes, because a string of a page is made of a hundred thousand small ones. */
export class TextWriter {
  #bytes = spare
  #at = 0

  constructor() {
    spare = nothing
  }

  get length(): number {
    return this.#at
  }

  /** The text in a buffer of its own. The writer is of no more use. */
  finish(): Uint8Array {
    const text = new Uint8Array(this.#at)
    text.set(this.#bytes.subarray(0, this.#at))
    if (this.#bytes.length <= limits.textScratchBytesMax) spare = this.#bytes
    return text
  }

  byte(byte: number): void {
    this.#reserve(1)
    this.#bytes[this.#at] = byte
    this.#at += 1
  }

  /** The bytes from `start` up to `end`. */
  raw(source: Uint8Array, start = 0, end = source.length): void {
    const length = end - start
    this.#reserve(length)
    const target = this.#bytes
    const at = this.#at
    if (length > shortBytes) {
      target.set(start === 0 && end === source.length ? source : source.subarray(start, end), at)
    } else {
      for (let index = 0; index < length; index += 1) {
        target[at + index] = source[start + index] as number
      }
    }
    this.#at += length
  }

  /** `value` with leading zeros, so many digits. */
  digits(value: number, count: number): void {
    this.#reserve(count)
    let rest = value
    for (let at = this.#at + count - 1; at >= this.#at; at -= 1) {
      const tenth = (rest / 10) | 0
      this.#bytes[at] = zero + rest - tenth * 10
      rest = tenth
    }
    this.#at += count
  }

  /** As JSON.stringify writes it, but for the sign of -0, which it loses. */
  number(value: number): void {
    if (Number.isInteger(value) && Math.abs(value) <= wholeMax && !Object.is(value, -0)) {
      this.#decimal(value, 0)
    } else {
      this.#double(value)
    }
  }

  /**
   * The number `whole / power`, where `power` is 10^decimals, as `number` writes it. That is the
   * shortest text that reads back as the same double, and two of at most 15 digits never do: so it
   * is the digits of `whole` without the zeros at their end. What JavaScript writes with an
   * exponent is left to it.
   */
  decimal(whole: number, decimals: number, power: number): void {
    const size = Math.abs(whole)
    // 1e-6 is the least number without an exponent.
    if (size > wholeMax || (decimals > 6 && size * 1e6 < power)) this.number(whole / power)
    else this.#decimal(whole, decimals)
  }

  #double(value: number): void {
    const text = Object.is(value, -0) ? '-0' : String(value)
    this.#reserve(numberBytesMax)
    for (let index = 0; index < text.length; index += 1) {
      this.#bytes[this.#at + index] = text.charCodeAt(index)
    }
    this.#at += text.length
  }

  #decimal(whole: number, decimals: number): void {
    this.#reserve(numberBytesMax)
    const bytes = this.#bytes
    let at = this.#at
    if (whole < 0) {
      bytes[at] = minus
      at += 1
    }
    let rest = Math.abs(whole)
    let places = decimals
    while (places > 0) {
      const tenth = (rest / 10) | 0
      if (tenth * 10 !== rest) break
      rest = tenth
      places -= 1
    }
    at += Math.max(digitsOf(rest), places + 1) + (places > 0 ? 1 : 0)
    this.#at = at
    for (let place = 0; place < places; place += 1) {
      const tenth = (rest / 10) | 0
      at -= 1
      bytes[at] = zero + rest - tenth * 10
      rest = tenth
    }
    if (places > 0) {
      at -= 1
      bytes[at] = point
    }
    do {
      const tenth = (rest / 10) | 0
      at -= 1
      bytes[at] = zero + rest - tenth * 10
      rest = tenth
    } while (rest > 0)
  }

  /** UTF-8 as a JSON string. */
  jsonString(source: Buffer, start: number, end: number): void {
    this.#reserve((end - start) * 6 + 2)
    const bytes = this.#bytes
    let at = this.#at
    bytes[at] = quote
    at += 1
    for (let index = start; index < end; index += 1) {
      const byte = source[index] as number
      if (byte < 0x20 || byte === quote || byte === backslash) {
        this.raw(Buffer.from(JSON.stringify(source.toString('utf8', start, end))))
        return
      }
      bytes[at] = byte
      at += 1
    }
    bytes[at] = quote
    this.#at = at + 1
  }

  /**
   * UTF-8 as a field of CSV: quoted where it holds a comma, a quote or a line break (RFC 4180, 2).
   */
  csvString(source: Buffer, start: number, end: number): void {
    let isQuoted = false
    for (let index = start; index < end && !isQuoted; index += 1) {
      const byte = source[index] as number
      isQuoted = byte === comma || byte === quote || byte === 0x0a || byte === 0x0d
    }
    if (!isQuoted) {
      this.raw(source, start, end)
      return
    }
    this.byte(quote)
    for (let index = start; index < end; index += 1) {
      if (source[index] === quote) this.byte(quote)
      this.byte(source[index] as number)
    }
    this.byte(quote)
  }

  #reserve(bytes: number): void {
    const needed = this.#at + bytes
    if (needed <= this.#bytes.length) return
    const larger = Buffer.allocUnsafeSlow(Math.max(needed, this.#bytes.length * 2, 4_096))
    larger.set(this.#bytes.subarray(0, this.#at))
    this.#bytes = larger
  }
}

function digitsOf(whole: number): number {
  if (whole < 1e5) {
    if (whole < 100) return whole < 10 ? 1 : 2
    return whole < 1_000 ? 3 : whole < 1e4 ? 4 : 5
  }
  if (whole < 1e7) return whole < 1e6 ? 6 : 7
  return whole < 1e8 ? 8 : whole < 1e9 ? 9 : 10
}
