import { appendNumber, appendTag, Column, tagFalse, tagNull, tagTrue } from './columns'
import { recordFieldsMax, uploadRecordsMax } from './host'
import { columnOfKey, Key, learn, matches, pastColon, quotedKey, quotedStart } from './keys'
import { wholeOfLanes, wholeOfWord } from './lanes'
import { tensAt } from './memory'
import { numberValue, readNumber } from './numbers'
import { readString } from './strings'
import { skip, startsWith } from './text'
import { readTime, takeMillis } from './times'

/** Records and values of the body that is scanned. */
export let rowCount: u32 = 0
export let valueCount: u32 = 0

export function beginRecords(): void {
  rowCount = 0
  valueCount = 0
}

/** The records of a list whose bracket stands before `start`; what follows the list, or 0. */
export function readRecords(start: usize): usize {
  let at = skip(start)
  while (true) {
    if (rowCount === uploadRecordsMax) return 0
    at = readRecord(at, rowCount)
    if (at === 0) return 0
    rowCount += 1
    let byte = load<u8>(at)
    if (byte <= 0x20) {
      at = skip(at)
      byte = load<u8>(at)
    }
    at += 1
    if (byte === 0x5d) return at
    if (byte !== 0x2c) return 0
    if (load<u8>(at) <= 0x20) at = skip(at)
  }
}

/** One record; what follows it, or 0. */
function readRecord(start: usize, row: u32): usize {
  // `{"timestamp":"`, then `","values":{`.
  const head = i64x2(0x7473_656d_6974_227b, 0x223a_2270_6d61)
  const headMask = i64x2(0xffff_ffff_ffff_ffff, 0xffff_ffff_ffff)
  if (!startsWith(start, head, headMask)) return readAnyRecord(start, row)
  let at = readTime(start + 14, row)
  if (at === 0) return 0
  const values = i64x2(0x6575_6c61_7622_2c22, 0x7b3a_2273)
  const valuesMask = i64x2(0xffff_ffff_ffff_ffff, 0xffff_ffff)
  if (!startsWith(at, values, valuesMask)) return readAnyRecord(start, row)
  at = readFields(at + 12, row)
  if (at === 0) return 0
  if (load<u8>(at) <= 0x20) at = skip(at)
  return load<u8>(at) === 0x7d ? at + 1 : 0
}

/** A record with its members in any order and any spaces between them. */
function readAnyRecord(start: usize, row: u32): usize {
  if (load<u8>(start) !== 0x7b) return 0
  const timestamp = i64x2(0x6174_7365_6d69_7422, 0x22_706d)
  const timestampMask = i64x2(0xffff_ffff_ffff_ffff, 0xff_ffff)
  const values = i64x2(0x2273_6575_6c61_7622, 0)
  const valuesMask = i64x2(0xffff_ffff_ffff_ffff, 0)
  let seen = 0
  let at = skip(start + 1)
  while (true) {
    if (startsWith(at, timestamp, timestampMask)) {
      if ((seen & 1) !== 0) return 0
      seen |= 1
      at = pastColon(at + 11)
      if (at !== 0) at = readTimestamp(at, row)
    } else if (startsWith(at, values, valuesMask)) {
      if ((seen & 2) !== 0) return 0
      seen |= 2
      at = pastColon(at + 8)
      if (at === 0 || load<u8>(at) !== 0x7b) return 0
      at = readFields(at + 1, row)
    } else {
      return 0
    }
    if (at === 0) return 0
    at = skip(at)
    if (seen === 3) return load<u8>(at) === 0x7d ? at + 1 : 0
    if (load<u8>(at) !== 0x2c) return 0
    at = skip(at + 1)
  }
}

function readTimestamp(start: usize, row: u32): usize {
  if (load<u8>(start) === 0x22) {
    const end = readTime(start + 1, row)
    return end !== 0 && load<u8>(end) === 0x22 ? end + 1 : 0
  }
  const at = readNumber(start)
  return at !== 0 && takeMillis(row, numberValue) ? at : 0
}

/** The fields of a record whose brace stands before `start`; what follows them, or 0. */
function readFields(start: usize, row: u32): usize {
  let at = start
  let byte = load<u8>(at)
  if (byte <= 0x20) {
    at = skip(at)
    byte = load<u8>(at)
  }
  if (byte === 0x7d) return at + 1
  let previous = quotedStart
  let count: u32 = 0
  while (true) {
    let key = previous.next
    if (matches(key, at)) {
      at += key.length
    } else {
      at = readOtherKey(previous, at)
      if (at === 0) return 0
      key = foundKey
    }
    previous = key
    const column = columnOfKey(key)
    if (changetype<usize>(column) === 0) return 0
    if (load<u8>(at) <= 0x20) at = skip(at)
    at = readValue(at, key, column, row)
    if (at === 0) return 0
    count += 1
    byte = load<u8>(at)
    if (byte <= 0x20) {
      at = skip(at)
      byte = load<u8>(at)
    }
    at += 1
    if (byte === 0x7d) break
    if (byte !== 0x2c) return 0
    if (load<u8>(at) <= 0x20) at = skip(at)
  }
  valueCount += count
  return count > recordFieldsMax ? 0 : at
}

let foundKey: Key = quotedStart

/** A key that is not the one that followed the last time, into `foundKey`; where its value begins, or 0. */
export function readOtherKey(previous: Key, start: usize): usize {
  let key = previous.other
  const isOther = matches(key, start)
  if (!isOther) {
    const found = quotedKey(start)
    if (found === 0) return 0
    key = changetype<Key>(found)
  }
  learn(previous, key)
  foundKey = key
  return isOther ? start + key.length : pastColon(start + key.length - 1)
}

/** One value into its column; what follows it, or 0. */
// @ts-ignore: decorator
@inline
function readValue(start: usize, key: Key, column: Column, row: u32): usize {
  const byte = <u32>load<u8>(start)
  const sign = <i32>(byte === 0x2d)
  // Without a jump for the sign, which nobody can foretell.
  if ((<i32>((byte ^ 0x30) <= 9) | sign) === 0) return readOther(start, byte, column, row)
  const block = v128.load(start)
  const digits = i8x16.sub(block, i8x16.splat(0x30))
  const isDigit = i8x16.bitmask(i8x16.le_u(digits, i8x16.splat(9)))
  const isPoint = i8x16.bitmask(i8x16.eq(block, i8x16.splat(0x2e)))
  const end = ctz(~(isDigit | (isPoint | sign)))
  const points = isPoint & ((1 << end) - 1)
  const point = ctz(points | (1 << end))
  const hasPoint = <i32>(points !== 0)
  const decimals = end - point - hasPoint
  const isOdd =
    <i32>(end === 16) |
    <i32>(point === sign) |
    <i32>((decimals | (hasPoint ^ 1)) === 0) |
    (points & (points - 1)) |
    (<i32>(point - sign > 1) & <i32>(load<u8>(start + sign) === 0x30)) |
    <i32>((load<u8>(start + end) | 0x20) === 0x65)
  if (isOdd !== 0) {
    const at = readNumber(start)
    return at !== 0 && appendNumber(column, row, numberValue) ? at : 0
  }
  // Fifteen digits and a power of ten that are exact: one division rounds once, to the nearest double.
  const count = end - hasPoint - sign
  const whole =
    end <= 8
      ? wholeOfWord(load<u64>(start), sign, point, count)
      : wholeOfLanes(digits, sign, point, count)
  const value = <f64>(<i64>whole) / load<f64>(tensAt + ((<usize>decimals) << 3))
  const signed = reinterpret<f64>(reinterpret<u64>(value) | ((<u64>sign) << 63))
  if (!appendNumber(column, row, signed)) return 0
  // A width that is foretold lets the next value begin before this one's end is known.
  const width = key.width
  if (width === end) return start + width
  key.width = end
  return start + end
}

/** A string, `true`, `false` or `null`. */
export function readOther(start: usize, byte: u32, column: Column, row: u32): usize {
  if (byte === 0x22) return readString(start + 1, column, row)
  const word = load<u32>(start)
  let tag = tagNull
  let length: usize = 4
  if (word === 0x736c_6166 && load<u8>(start, 4) === 0x65) {
    tag = tagFalse
    length = 5
  } else if (word === 0x6575_7274) {
    tag = tagTrue
  } else if (word !== 0x6c6c_756e) {
    return 0
  }
  return appendTag(column, row, tag) ? start + length : 0
}
