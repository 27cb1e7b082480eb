import { appendText, Column, textRoom } from './columns'
import { stringValueBytesMax } from './host'

/** Whether a string held anything but ASCII, which then has to be looked at as UTF-8. */
export let hasWide: bool = false

export function beginStrings(): void {
  hasWide = false
}

/** Of the sixteen bytes at `at`, those that are a quote, a backslash or a control character. */
function stops(block: v128): i32 {
  const quotes = i8x16.eq(block, i8x16.splat(0x22))
  const slashes = i8x16.eq(block, i8x16.splat(0x5c))
  const controls = i8x16.lt_u(block, i8x16.splat(0x20))
  return i8x16.bitmask(v128.or(v128.or(quotes, slashes), controls))
}

/** Whether any of the bytes is more than ASCII has. */
export function isWide(start: usize, end: usize): bool {
  let at = start
  while (at + 16 <= end) {
    if (i8x16.bitmask(v128.load(at)) !== 0) return true
    at += 16
  }
  const left = <i32>(end - at)
  return (i8x16.bitmask(v128.load(at)) & ((1 << left) - 1)) !== 0
}

/** The quote that ends the string whose first byte stands at `start`, or 0; also where an escape comes first. */
export function plainEnd(start: usize): usize {
  let at = start
  while (true) {
    const block = v128.load(at)
    const stop = stops(block)
    const wide = i8x16.bitmask(block)
    if (stop !== 0) {
      const lane = ctz(stop)
      hasWide = hasWide || (wide & ((1 << lane) - 1)) !== 0
      at += lane
      return load<u8>(at) === 0x22 ? at : 0
    }
    hasWide = hasWide || wide !== 0
    at += 16
  }
}

/** The string whose first byte stands at `start`, into its column; what follows it, or 0. */
export function readString(start: usize, column: Column, row: u32): usize {
  const end = plainEnd(start)
  if (end === 0) return readEscaped(start, column, row)
  return copyText(start, end, column, row) ? end + 1 : 0
}

export function copyText(start: usize, end: usize, column: Column, row: u32): bool {
  const length = <u32>(end - start)
  if (length > stringValueBytesMax) return false
  const text = textRoom(column, length)
  if (text === 0) return false
  // `textRoom` leaves room for whole sixteens.
  if (length <= 16) v128.store(text, v128.load(start))
  else memory.copy(text, start, length)
  return appendText(column, row, length)
}

function readEscaped(start: usize, column: Column, row: u32): usize {
  let end = start
  while (true) {
    const stop = stops(v128.load(end))
    end += stop === 0 ? 16 : ctz(stop)
    if (stop === 0) continue
    const byte = load<u8>(end)
    if (byte === 0x22) break
    if (byte !== 0x5c) return 0
    end += 2
  }
  const raw = <u32>(end - start)
  if (raw > stringValueBytesMax) return 0
  // No escape is shorter than the UTF-8 that it stands for.
  const text = textRoom(column, raw)
  if (text === 0) return 0
  const length = unescape(start, end, text)
  return length >= 0 && appendText(column, row, <u32>length) ? end + 1 : 0
}

/** Gives the bytes written to `text`, -1 where an escape is none or a surrogate has no other half. */
function unescape(start: usize, end: usize, text: usize): i32 {
  let at = start
  let to = text
  while (at < end) {
    let unit = <u32>load<u8>(at)
    at += 1
    if (unit !== 0x5c) {
      hasWide = hasWide || unit >= 0x80
      store<u8>(to, <u8>unit)
      to += 1
      continue
    }
    const sign = load<u8>(at)
    at += 1
    if (sign !== 0x75) {
      const byte = escapedByte(sign)
      if (byte === 0) return -1
      store<u8>(to, <u8>byte)
      to += 1
      continue
    }
    unit = hexUnit(at)
    at += 4
    if (unit - 0xd800 < 0x400) {
      if (load<u16>(at) !== 0x755c) return -1
      const low = hexUnit(at + 2) - 0xdc00
      if (low >= 0x400) return -1
      at += 6
      unit = 0x1_0000 + ((unit - 0xd800) << 10) + low
    } else if (unit - 0xdc00 < 0x400 || unit > 0xffff) {
      return -1
    }
    to = storeUtf8(to, unit)
  }
  // Where the last escape is cut, what follows the quote was taken for its digits.
  return at === end ? <i32>(to - text) : -1
}

function escapedByte(sign: u32): u32 {
  switch (sign) {
    case 0x22:
    case 0x2f:
    case 0x5c:
      return sign
    case 0x62:
      return 0x08
    case 0x66:
      return 0x0c
    case 0x6e:
      return 0x0a
    case 0x72:
      return 0x0d
    case 0x74:
      return 0x09
    default:
      return 0
  }
}

/** Four hexadecimal digits, or more than any of them where they are not. */
function hexUnit(at: usize): u32 {
  let unit: u32 = 0
  for (let index: usize = 0; index < 4; index += 1) {
    const byte = <u32>load<u8>(at + index)
    const letter = (byte | 0x20) - 0x61
    const digit = byte - 0x30 < 10 ? byte - 0x30 : letter < 6 ? letter + 10 : 0x1_0000
    unit = (unit << 4) | digit
    if (digit > 15) return u32.MAX_VALUE
  }
  return unit
}

function storeUtf8(at: usize, point: u32): usize {
  if (point < 0x80) {
    store<u8>(at, <u8>point)
    return at + 1
  }
  if (point < 0x800) {
    store<u8>(at, <u8>(0xc0 | (point >> 6)))
    store<u8>(at, <u8>(0x80 | (point & 0x3f)), 1)
    return at + 2
  }
  if (point < 0x1_0000) {
    store<u8>(at, <u8>(0xe0 | (point >> 12)))
    store<u8>(at, <u8>(0x80 | ((point >> 6) & 0x3f)), 1)
    store<u8>(at, <u8>(0x80 | (point & 0x3f)), 2)
    return at + 3
  }
  store<u8>(at, <u8>(0xf0 | (point >> 18)))
  store<u8>(at, <u8>(0x80 | ((point >> 12) & 0x3f)), 1)
  store<u8>(at, <u8>(0x80 | ((point >> 6) & 0x3f)), 2)
  store<u8>(at, <u8>(0x80 | (point & 0x3f)), 3)
  return at + 4
}
