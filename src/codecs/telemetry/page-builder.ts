import { hash } from 'node:crypto'
import { ownBuffer } from '../../contracts/buffers.ts'
import type { EncodedPage } from '../../contracts/tasks.ts'
import { ColumnBuilder } from './column-builder.ts'
import {
  columnHeadBytes,
  encodings,
  flagMicros,
  headBytes,
  magic,
  type PageValue,
  padded,
} from './page-format.ts'
import { countRows, openPage, type Page } from './page-reader.ts'

/** A column is sparse where `entries * sparseFactor < rows`: four bytes of row and one of tag each. */
const sparseFactor = 5
/**
 * Takes records in order and becomes a page. Filled field by field, so that whoever reads records need
 * not build an object for each.
 */
export class PageBuilder {
  rows = 0
  readonly #ms: Float64Array
  readonly #us: Uint16Array
  #hasMicros = false
  #from = Number.POSITIVE_INFINITY
  #to = Number.NEGATIVE_INFINITY
  readonly #columns = new Map<string, ColumnBuilder>()

  /** `capacity`: the most records that will come. */
  constructor(capacity: number) {
    this.#ms = new Float64Array(capacity)
    this.#us = new Uint16Array(capacity)
  }

  get columnCount(): number {
    return this.#columns.size
  }

  /** Begins the next record. `ms` whole milliseconds, `us` 0 to 999. */
  beginRecord(ms: number, us: number): void {
    this.#ms[this.rows] = ms
    if (us !== 0) {
      this.#us[this.rows] = us
      this.#hasMicros = true
    }
    const at = ms + us / 1000
    if (at < this.#from) this.#from = at
    if (at > this.#to) this.#to = at
    this.rows += 1
  }

  /** A field of the record begun last. Once a field and record. */
  addField(name: string, value: PageValue): void {
    this.column(name).append(this.rows - 1, value)
  }

  /** The column of a field, which is there from now on. */
  column(name: string): ColumnBuilder {
    let column = this.#columns.get(name)
    if (column === undefined) {
      column = new ColumnBuilder(name)
      this.#columns.set(name, column)
    }
    return column
  }

  addPage(page: Page): void {
    const first = this.rows
    for (let row = 0; row < page.rows; row += 1) {
      this.beginRecord(page.ms[row] ?? 0, page.us?.[row] ?? 0)
    }
    for (const column of page.columns) {
      const builder = this.column(column.name)
      if (column.isDense) builder.appendDense(first, column.numbers)
      else column.each((row, value) => builder.append(first + row, value))
    }
  }

  /** Gives the page in a buffer of its own, with its SHA-256. One record at least. */
  encode(): EncodedPage {
    const parts = [...this.#columns.values()].map((column) => layOut(column, this.rows))
    const timesBytes = this.rows * 8 + (this.#hasMicros ? padded(this.rows * 2) : 0)
    const total = parts.reduce((sum, part) => sum + part.bytes, headBytes + timesBytes)
    const bytes = new Uint8Array(ownBuffer(total))
    const view = new DataView(bytes.buffer)
    view.setUint32(0, magic, true)
    view.setUint32(4, this.rows, true)
    view.setUint32(8, parts.length, true)
    view.setUint32(12, this.#hasMicros ? flagMicros : 0, true)
    new Float64Array(bytes.buffer, headBytes, this.rows).set(this.#ms.subarray(0, this.rows))
    if (this.#hasMicros) {
      const at = headBytes + this.rows * 8
      new Uint16Array(bytes.buffer, at, this.rows).set(this.#us.subarray(0, this.rows))
    }
    let at = headBytes + timesBytes
    for (const part of parts) {
      writeColumn(bytes, view, at, part)
      at += part.bytes
    }
    return {
      bytes,
      hash: hash('sha256', bytes, 'buffer'),
      records: this.rows,
      columns: parts.length,
      fromMs: this.#from,
      toMs: this.#to,
    }
  }
}

interface ColumnLayout {
  readonly encoding: number
  readonly name: Uint8Array
  readonly entries: number
  readonly rows: Uint32Array
  readonly tags: Uint8Array
  readonly numbers: Float64Array
  readonly lengths: Uint32Array
  readonly text: Uint8Array
  /** All of it, head and padding included. */
  readonly bytes: number
}

function layOut(column: ColumnBuilder, pageRows: number): ColumnLayout {
  if (column.tags === null && column.entries < pageRows) column.leaveDense()
  const isSparse = column.tags !== null && column.entries * sparseFactor < pageRows
  let encoding: number = encodings.dense
  let entryTags = new Uint8Array(0)
  let rows = new Uint32Array(0)
  if (column.tags !== null && column.rows !== null) {
    encoding = isSparse ? encodings.sparse : encodings.tagged
    if (isSparse) {
      entryTags = column.tags.slice(0, column.entries)
      rows = column.rows.slice(0, column.entries)
    } else {
      entryTags = new Uint8Array(pageRows)
      for (let entry = 0; entry < column.entries; entry += 1) {
        entryTags[column.rows[entry] ?? 0] = column.tags[entry] ?? 0
      }
    }
  }
  const lengths = column.lengths.subarray(0, column.stringCount)
  const text = column.text.subarray(0, column.textBytes)
  const name = Buffer.from(column.name)
  const numbers = column.numbers.subarray(0, column.numberCount)
  const bytes =
    columnHeadBytes +
    padded(name.length) +
    padded(rows.byteLength) +
    padded(entryTags.length) +
    numbers.byteLength +
    padded(lengths.byteLength) +
    padded(text.length)
  const entries = encoding === encodings.sparse ? column.entries : pageRows
  return { encoding, name, entries, rows, tags: entryTags, numbers, lengths, text, bytes }
}

function writeColumn(bytes: Uint8Array, view: DataView, start: number, part: ColumnLayout): void {
  const head = [
    part.encoding,
    part.name.length,
    part.entries,
    part.numbers.length,
    part.lengths.length,
    part.text.length,
  ]
  for (const [index, value] of head.entries()) view.setUint32(start + index * 4, value, true)
  let at = start + columnHeadBytes
  for (const section of [part.name, part.rows, part.tags, part.numbers, part.lengths, part.text]) {
    const raw = new Uint8Array(section.buffer, section.byteOffset, section.byteLength)
    bytes.set(raw, at)
    at += padded(raw.length)
  }
}

/** The page of all records of several pages, in order: the same bytes as if they had come at once. */
export function mergePages(pages: readonly Uint8Array[]): EncodedPage {
  const builder = new PageBuilder(pages.reduce((sum, page) => sum + countRows(page), 0))
  // One at a time: an open page of one record takes ten times its bytes.
  for (const page of pages) builder.addPage(openPage(page))
  return builder.encode()
}
