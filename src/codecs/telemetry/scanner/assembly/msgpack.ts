import { appendNumber, appendTag, Column, tagFalse, tagNull, tagTrue } from './columns'
import { isText, recordFieldsMax, uploadRecordsMax } from './host'
import { columnOfKey, Key, learn, matches, packedKey, packedStart } from './keys'
import { copyText, isWide } from './strings'
import { startsWith } from './text'
import { readTime, takeMillis } from './times'

/** Records and values of the body that is scanned. */
export let packedRows: u32 = 0
export let packedValues: u32 = 0

/** Where the body ends. */
let bodyEnd: usize = 0

/** What was read last: members or elements of a container, bytes of a text, a number. */
let length: u32 = 0
let packedNumber: f64 = 0

/** The body `{"records":[…]}` from `start` to `end`. False where it is anything else. */
export function readPacked(start: usize, end: usize): bool {
  bodyEnd = end
  packedRows = 0
  packedValues = 0
  const records = i64x2(0x7364_726f_6365_72a7, 0)
  let at = readMapHead(start)
  if (at === 0 || length !== 1) return false
  if (!startsWith(at, records, i64x2(0xffff_ffff_ffff_ffff, 0))) return false
  at = readListHead(at + 8)
  if (at === 0 || length === 0 || length > uploadRecordsMax) return false
  const rows = length
  for (let row: u32 = 0; row < rows; row += 1) {
    at = readRecord(at, row)
    if (at === 0 || at > end) return false
  }
  packedRows = rows
  return at === end
}

/** One record, its two members in any order; what follows it, or 0. */
function readRecord(start: usize, row: u32): usize {
  let at = readMapHead(start)
  if (at === 0 || length !== 2) return 0
  const timestamp = i64x2(0x6174_7365_6d69_74a9, 0x706d)
  const timestampMask = i64x2(0xffff_ffff_ffff_ffff, 0xffff)
  const values = i64x2(0x73_6575_6c61_76a6, 0)
  const valuesMask = i64x2(0xff_ffff_ffff_ffff, 0)
  const isFirst = startsWith(at, timestamp, timestampMask)
  if (isFirst) {
    at = readTimestamp(at + 10, row)
    if (at === 0) return 0
  }
  if (!startsWith(at, values, valuesMask)) return 0
  at = readFields(at + 7, row)
  if (isFirst || at === 0) return at
  return startsWith(at, timestamp, timestampMask) ? readTimestamp(at + 10, row) : 0
}

function readTimestamp(start: usize, row: u32): usize {
  const text = readTextHead(start)
  if (text !== 0) {
    const end = text + length
    return readTime(text, row) === end ? end : 0
  }
  const at = readPackedNumber(start)
  return at !== 0 && takeMillis(row, packedNumber) ? at : 0
}

function readFields(start: usize, row: u32): usize {
  let at = readMapHead(start)
  const count = length
  if (at === 0 || count > recordFieldsMax) return 0
  let previous = packedStart
  for (let field: u32 = 0; field < count; field += 1) {
    const key = keyAt(previous, at)
    if (changetype<usize>(key) === 0) return 0
    previous = key
    const column = columnOfKey(key)
    if (changetype<usize>(column) === 0) return 0
    at = readValue(at + key.length, column, row)
    if (at === 0 || at > bodyEnd) return 0
  }
  packedValues += count
  return at
}

/** The key that stands at `at`, or 0. */
function keyAt(previous: Key, at: usize): Key {
  const next = previous.next
  if (matches(next, at)) return next
  let key = previous.other
  if (!matches(key, at)) {
    const name = readTextHead(at)
    if (name === 0 || name + length > bodyEnd) return changetype<Key>(0)
    // Only the shortest head, so that a name has one key.
    if (name - at !== (length < 32 ? 1 : 2)) return changetype<Key>(0)
    key = changetype<Key>(packedKey(at, name, name + length))
    if (changetype<usize>(key) === 0) return key
  }
  learn(previous, key)
  return key
}

/** One value into its column; what follows it, or 0. */
function readValue(start: usize, column: Column, row: u32): usize {
  const number = readPackedNumber(start)
  if (number !== 0) return appendNumber(column, row, packedNumber) ? number : 0
  const head = load<u8>(start)
  if (head === 0xc0) return appendTag(column, row, tagNull) ? start + 1 : 0
  if (head === 0xc2) return appendTag(column, row, tagFalse) ? start + 1 : 0
  if (head === 0xc3) return appendTag(column, row, tagTrue) ? start + 1 : 0
  const text = readTextHead(start)
  const end = text + length
  if (text === 0 || end > bodyEnd) return 0
  if (isWide(text, end) && !isText(text, end)) return 0
  return copyText(text, end, column, row) ? end : 0
}

/** A finite number into `packedNumber`; what follows it, or 0. */
function readPackedNumber(start: usize): usize {
  const head = load<u8>(start)
  if (head === 0xcb) {
    packedNumber = reinterpret<f64>(bswap<u64>(load<u64>(start, 1)))
    return isFinite(packedNumber) ? start + 9 : 0
  }
  if (head <= 0x7f || head >= 0xe0) {
    packedNumber = <f64>(<i32>(<i8>head))
    return start + 1
  }
  switch (head) {
    case 0xca:
      packedNumber = <f64>reinterpret<f32>(bswap<u32>(load<u32>(start, 1)))
      return isFinite(packedNumber) ? start + 5 : 0
    case 0xcc:
      packedNumber = <f64>load<u8>(start, 1)
      return start + 2
    case 0xcd:
      packedNumber = <f64>bswap<u16>(load<u16>(start, 1))
      return start + 3
    case 0xce:
      packedNumber = <f64>bswap<u32>(load<u32>(start, 1))
      return start + 5
    case 0xcf:
      packedNumber = <f64>bswap<u64>(load<u64>(start, 1))
      return start + 9
    case 0xd0:
      packedNumber = <f64>load<i8>(start, 1)
      return start + 2
    case 0xd1:
      packedNumber = <f64>(<i16>bswap<u16>(load<u16>(start, 1)))
      return start + 3
    case 0xd2:
      packedNumber = <f64>(<i32>bswap<u32>(load<u32>(start, 1)))
      return start + 5
    case 0xd3:
      packedNumber = <f64>(<i64>bswap<u64>(load<u64>(start, 1)))
      return start + 9
    default:
      return 0
  }
}

/** Its bytes into `length`; where the text begins, or 0 where none does. */
function readTextHead(start: usize): usize {
  const head = load<u8>(start)
  if ((head & 0xe0) === 0xa0) {
    length = head & 0x1f
    return start + 1
  }
  if (head === 0xd9) {
    length = load<u8>(start, 1)
    return start + 2
  }
  if (head === 0xda) {
    length = bswap<u16>(load<u16>(start, 1))
    return start + 3
  }
  if (head !== 0xdb) return 0
  length = bswap<u32>(load<u32>(start, 1))
  // Else a length could lead past the end of all addresses.
  return length <= <u32>(bodyEnd - start) ? start + 5 : 0
}

/** Its members into `length`; where the first begins, or 0. */
function readMapHead(start: usize): usize {
  const head = load<u8>(start)
  if ((head & 0xf0) === 0x80) {
    length = head & 0x0f
    return start + 1
  }
  return readWideHead(start, head - 0xde)
}

function readListHead(start: usize): usize {
  const head = load<u8>(start)
  if ((head & 0xf0) === 0x90) {
    length = head & 0x0f
    return start + 1
  }
  return readWideHead(start, head - 0xdc)
}

/** Of a length in 2 bytes where `size` is 0, in 4 where it is 1. */
function readWideHead(start: usize, size: u32): usize {
  if (size === 0) {
    length = bswap<u16>(load<u16>(start, 1))
    return start + 3
  }
  length = bswap<u32>(load<u32>(start, 1))
  return size === 1 ? start + 5 : 0
}
