import { allocate, columnBytes, columnsAt } from './memory'

/** Those of page-format.ts. */
export const tagNull: u8 = 1
export const tagFalse: u8 = 2
export const tagTrue: u8 = 3
export const tagNumber: u8 = 4
export const tagString: u8 = 5

const capacityMin: u32 = 16

/** A column of the page; JavaScript reads it as sixteen words. Dense until a row lacks it or holds no number. */
@unmanaged
export class Column {
  key: u32
  entries: u32
  /** 0 while dense. */
  tags: usize
  rows: usize
  numbers: usize
  numberCount: u32
  lengths: usize
  stringCount: u32
  text: usize
  textBytes: u32
  /** The row that comes next where the column is still dense; no row otherwise. */
  denseRow: u32
  lastRow: i32
  entryCapacity: u32
  numberCapacity: u32
  lengthCapacity: u32
  textCapacity: u32
}

export function columnOf(index: u32): Column {
  return changetype<Column>(columnsAt + <usize>index * columnBytes)
}

export function openColumn(column: Column, key: u32): void {
  memory.fill(changetype<usize>(column), 0, columnBytes)
  column.key = key
  column.lastRow = -1
}

/** Of all appending: false where memory is at its end or the row has the field already. */
// @ts-ignore: decorator
@inline
export function appendNumber(column: Column, row: u32, value: f64): bool {
  if (column.denseRow !== row || row >= column.numberCapacity)
    return appendAnyNumber(column, row, value)
  store<f64>(column.numbers + ((<usize>row) << 3), value)
  column.denseRow = row + 1
  return true
}

export function appendAnyNumber(column: Column, row: u32, value: f64): bool {
  if (column.denseRow === row) {
    column.numberCount = row
    if (!growNumbers(column)) return false
    column.denseRow = row + 1
  } else {
    if (!appendTag(column, row, tagNumber)) return false
    if (column.numberCount === column.numberCapacity && !growNumbers(column)) return false
  }
  const count = column.numberCount
  store<f64>(column.numbers + ((<usize>count) << 3), value)
  column.numberCount = count + 1
  return true
}

/** A value that is its tag. */
export function appendTag(column: Column, row: u32, tag: u8): bool {
  if (column.tags === 0 && !leaveDense(column)) return false
  if (column.lastRow === <i32>row) return false
  column.lastRow = row
  const entry = column.entries
  if (entry === column.entryCapacity && !growEntries(column, entry * 2)) return false
  store<u8>(column.tags + entry, tag)
  store<u32>(column.rows + ((<usize>entry) << 2), row)
  column.entries = entry + 1
  return true
}

/** Room for a string of so many bytes and for what is stored past its end; where it goes, or 0. */
export function textRoom(column: Column, bytes: u32): usize {
  const needed = column.textBytes + bytes + 16
  if (needed > column.textCapacity) {
    const capacity = max<u32>(needed, max<u32>(column.textCapacity * 2, 256))
    const text = grown(column.text, column.textBytes, capacity)
    if (text === 0) return 0
    column.text = text
    column.textCapacity = capacity
  }
  return column.text + column.textBytes
}

/** The string whose bytes stand where `textRoom` said. */
export function appendText(column: Column, row: u32, bytes: u32): bool {
  if (!appendTag(column, row, tagString)) return false
  const count = column.stringCount
  if (count === column.lengthCapacity) {
    const capacity = max<u32>(count * 2, capacityMin)
    const lengths = grown(column.lengths, count << 2, capacity << 2)
    if (lengths === 0) return false
    column.lengths = lengths
    column.lengthCapacity = capacity
  }
  store<u32>(column.lengths + ((<usize>count) << 2), bytes)
  column.stringCount = count + 1
  column.textBytes += bytes
  return true
}

/** Brings `entries` up to date where the column is dense. */
export function closeColumn(column: Column): void {
  if (column.tags !== 0) return
  column.entries = column.denseRow
  column.numberCount = column.denseRow
}

function leaveDense(column: Column): bool {
  const rows = column.denseRow
  column.denseRow = <u32>-1
  column.lastRow = <i32>rows - 1
  column.numberCount = rows
  if (!growEntries(column, max<u32>(rows * 2, capacityMin))) return false
  memory.fill(column.tags, tagNumber, rows)
  for (let row: u32 = 0; row < rows; row += 1) {
    store<u32>(column.rows + ((<usize>row) << 2), row)
  }
  column.entries = rows
  return true
}

function growEntries(column: Column, capacity: u32): bool {
  const tags = grown(column.tags, column.entries, capacity)
  const rows = grown(column.rows, column.entries << 2, capacity << 2)
  if (tags === 0 || rows === 0) return false
  column.tags = tags
  column.rows = rows
  column.entryCapacity = capacity
  return true
}

export function growNumbers(column: Column): bool {
  const count = column.numberCount
  const capacity = max<u32>(count * 2, capacityMin)
  const numbers = grown(column.numbers, count << 3, capacity << 3)
  if (numbers === 0) return false
  column.numbers = numbers
  column.numberCapacity = capacity
  return true
}

/** What it grew out of lies unused until the next scan: together no more than what it grows to. */
function grown(from: usize, bytes: usize, capacity: usize): usize {
  const to = allocate(capacity)
  if (to !== 0) memory.copy(to, from, bytes)
  return to
}
