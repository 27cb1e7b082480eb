import { closeColumn, columnOf } from './columns'
import { messageIdCharsMax, uploadValuesMax } from './host'
import { beginRecords, readRecords, rowCount, valueCount } from './json'
import { beginColumns, columnCount, pastColon } from './keys'
import { packedRows, packedValues, readPacked } from './msgpack'
import {
  bodyAt,
  messageBytes,
  messagesAt,
  microsAt,
  millisAt,
  paddingBytes,
  reportAt,
  reserveBody,
} from './memory'
import { numberValue, readNumber } from './numbers'
import { beginStrings, hasWide, plainEnd } from './strings'
import { skip, startsWith } from './text'
import { beginTimes, micros } from './times'

export { columnsAt, fivesAt, tensAt } from './memory'
export { bodyAt, messagesAt, microsAt, millisAt, reportAt }
// Exported, they are not copied into the loop over values, which is then half as long.
export { appendAnyNumber, appendTag } from './columns'
export { readOther, readOtherKey } from './json'
export { matchesRest, openColumnOf } from './keys'
export { readNumber } from './numbers'

/** What stands at `reportAt` after a scan; JavaScript reads it by these places. */
@unmanaged
class Report {
  fromMs: f64
  toMs: f64
  idNumber: f64
  rows: u32
  columns: u32
  hasMicros: u32
  hasWide: u32
  /** 0 where a message has none, 1 for a text, 2 for a number. */
  idKind: u32
  idStart: u32
  idEnd: u32
}

const report = changetype<Report>(reportAt)

/** What stands at `messagesAt` of each upload or message of several; JavaScript gives `end` and reads the rest. */
@unmanaged
class Message {
  idNumber: f64
  /** Where the zero behind it stands. */
  end: u32
  records: u32
  idKind: u32
  idStart: u32
  idEnd: u32
  unused: u32
}

/** Room for a body of so many bytes at `bodyAt`. False where memory is at its end. */
export function prepare(bytes: u32): bool {
  return reserveBody(bytes)
}

/** The upload of so many bytes that stands at `bodyAt`. False where JSON.parse has to say what it is. */
export function scanUpload(bytes: u32): bool {
  const end = begin(bytes)
  return readUpload(bodyAt, end) && finishJson()
}

/** The same of a message with its members in any order. */
export function scanMessage(bytes: u32): bool {
  const end = begin(bytes)
  return readMessage(bodyAt, end) && finishJson()
}

/** The same of several uploads or messages, with a zero behind each, which nothing of JSON reaches past. */
export function scanRun(bytes: u32, count: u32, areMessages: bool): bool {
  begin(bytes)
  let start = bodyAt
  for (let index: u32 = 0; index < count; index += 1) {
    const message = changetype<Message>(messagesAt + <usize>index * messageBytes)
    const end = <usize>message.end
    const rowsBefore = rowCount
    report.idKind = 0
    if (!(areMessages ? readMessage(start, end) : readUpload(start, end))) return false
    message.records = rowCount - rowsBefore
    message.idKind = report.idKind
    message.idNumber = report.idNumber
    message.idStart = report.idStart
    message.idEnd = report.idEnd
    start = end + 1
  }
  return finishJson()
}

function readUpload(start: usize, end: usize): bool {
  let at = skip(start)
  if (load<u8>(at) !== 0x7b) return false
  at = skip(at + 1)
  if (!isRecords(at)) return false
  at = readList(at)
  return at !== 0 && isClosed(at, end)
}

function readMessage(start: usize, end: usize): bool {
  let at = skip(start)
  if (load<u8>(at) !== 0x7b) return false
  let seen = 0
  while (true) {
    at = skip(at + 1)
    let member = 0
    if (isRecords(at)) {
      member = 1
      at = (seen & 1) === 0 ? readList(at) : 0
    } else if (startsWith(at, i64x2(0x2265_7079_7422, 0), i64x2(0xffff_ffff_ffff, 0))) {
      member = 2
      at = readType(at + 6)
    } else if (startsWith(at, i64x2(0x2264_6922, 0), i64x2(0xffff_ffff, 0))) {
      member = 4
      at = readId(at + 4)
    }
    if (member === 0 || (seen & member) !== 0 || at === 0) return false
    seen |= member
    at = skip(at)
    if (load<u8>(at) !== 0x2c) break
  }
  return (seen & 3) === 3 && isClosed(at, end)
}

/** The same of an upload in msgpack. */
export function scanPacked(bytes: u32): bool {
  const end = begin(bytes)
  // Its keys count as its values do: the body's three, five of a record, and a field's two.
  return (
    readPacked(bodyAt, end) && finish(packedRows, 3 + 5 * <u64>packedRows + 2 * <u64>packedValues)
  )
}

function begin(bytes: u32): usize {
  const end = bodyAt + bytes
  memory.fill(end, 0, paddingBytes)
  beginColumns()
  beginRecords()
  beginTimes()
  beginStrings()
  report.idKind = 0
  return end
}

/** `"records"` */
function isRecords(at: usize): bool {
  return startsWith(at, i64x2(0x7364_726f_6365_7222, 0x22), i64x2(0xffff_ffff_ffff_ffff, 0xff))
}

function readList(start: usize): usize {
  const at = pastColon(start + 9)
  return at === 0 || load<u8>(at) !== 0x5b ? 0 : readRecords(at + 1)
}

/** `"telemetry"` */
function readType(start: usize): usize {
  const text = i64x2(0x7465_6d65_6c65_7422, 0x22_7972)
  const at = pastColon(start)
  if (at === 0) return 0
  return startsWith(at, text, i64x2(0xffff_ffff_ffff_ffff, 0xff_ffff)) ? at + 11 : 0
}

function readId(start: usize): usize {
  const at = pastColon(start)
  if (at === 0) return 0
  if (load<u8>(at) === 0x22) {
    const end = plainEnd(at + 1)
    if (end === 0 || <u32>(end - at) - 1 > messageIdCharsMax) return 0
    report.idKind = 1
    report.idStart = <u32>(at + 1)
    report.idEnd = <u32>end
    return end + 1
  }
  const end = readNumber(at)
  report.idKind = 2
  report.idNumber = numberValue
  return end
}

function isClosed(start: usize, end: usize): bool {
  const at = skip(start)
  return load<u8>(at) === 0x7d && skip(at + 1) === end
}

/** Of what a body may hold, see parseJson: a record is three commas and two brackets at most. */
function finishJson(): bool {
  return finish(rowCount, <u64>valueCount + 5 * <u64>rowCount + 2)
}

/** `values` are those of the body as its decoder counts them. */
function finish(rowCount: u32, values: u64): bool {
  if (values > uploadValuesMax) return false
  for (let index: u32 = 0; index < columnCount; index += 1) closeColumn(columnOf(index))
  let from = Infinity
  let to = -Infinity
  for (let row: u32 = 0; row < rowCount; row += 1) {
    let at = load<f64>(millisAt + ((<usize>row) << 3))
    if (micros !== 0) at += <f64>load<u16>(microsAt + ((<usize>row) << 1)) / 1000
    if (at < from) from = at
    if (at > to) to = at
  }
  report.fromMs = from
  report.toMs = to
  report.rows = rowCount
  report.columns = columnCount
  report.hasMicros = micros
  report.hasWide = <u32>hasWide
  return true
}
