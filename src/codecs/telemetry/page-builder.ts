import assert from 'node:assert/strict'
import { hash } from 'node:crypto'
import type { EncodedPage } from '../../contracts/tasks.ts'
import { ColumnBuilder } from './column-builder.ts'
import {
  columnHeadBytes,
  encodings,
  flagMicros,
  headBytes,
  magic,
  numbersHeadBytes,
  type PageValue,
  padded,
  widthOf,
} from './page-format.ts'
import { formOf, type NumbersForm } from './page-numbers.ts'
import { countRows, openPage, type Page } from './page-reader.ts'
import { sizeOf, type TextsForm, textsOf } from './page-texts.ts'
import { PageWriter } from './page-writer.ts'

/**
 * A column is sparse where `entries * sparseFactor < rows`: an entry's row and tag take five bytes
 * at most, which is then less than a tag for each row.
 */
const sparseFactor = 5
const noTimes = new Float64Array(0)
const noMicros = new Uint16Array(0)

/** The times of a page's records: `us`, on top of the milliseconds, where one of them is not 0. */
export interface PageTimes {
  readonly rows: number
  readonly ms: Float64Array
  readonly us: Uint16Array | null
  readonly fromMs: number
  readonly toMs: number
}

/**
 * Takes records in order and becomes a page. Filled field by field, so that whoever reads records
 * need not build an object for each.
 */
export class PageBuilder {
  rows = 0
  #ms: Float64Array
  #us: Uint16Array
  #hasMicros = false
  #from = Number.POSITIVE_INFINITY
  #to = Number.NEGATIVE_INFINITY
  readonly #columns = new Map<string, ColumnBuilder>()

  /** `capacity`: the most records that will come. */
  constructor(capacity: number) {
    this.#ms = capacity === 0 ? noTimes : new Float64Array(capacity)
    this.#us = capacity === 0 ? noMicros : new Uint16Array(capacity)
  }

  /** Over times that stand elsewhere, and must until the page is encoded. It takes no records. */
  static over({ rows, ms, us, fromMs, toMs }: PageTimes): PageBuilder {
    const builder = new PageBuilder(0)
    builder.rows = rows
    builder.#ms = ms
    if (us !== null) {
      builder.#us = us
      builder.#hasMicros = true
    }
    builder.#from = fromMs
    builder.#to = toMs
    return builder
  }

  /** Takes a filled column, the next in order. */
  adopt(column: ColumnBuilder): void {
    this.#columns.set(column.name, column)
  }

  /** Rows that have the field. */
  entriesOf(name: string): number {
    return this.#columns.get(name)?.entries ?? 0
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
    const { rows } = this
    const times = formOf(this.#ms, rows)
    const parts: ColumnLayout[] = []
    let total = headBytes + numbersHeadBytes + padded(rows * times.width)
    let openBytes = rows * 8
    if (this.#hasMicros) total += padded(rows * 2)
    for (const column of this.#columns.values()) {
      const part = layOut(column, rows)
      parts.push(part)
      total += part.bytes
      openBytes += column.numberCount * 8 + column.textBytes + part.entries
    }
    const page = new PageWriter(total)
    page.u32s(magic, rows, parts.length, this.#hasMicros ? flagMicros : 0)
    page.numbersHead(times)
    page.numbers(this.#ms, rows, times)
    if (this.#hasMicros) page.u16s(this.#us.subarray(0, rows))
    for (const part of parts) writeColumn(page, part, rows)
    const { bytes } = page
    return {
      bytes,
      hash: hash('sha256', bytes, 'buffer'),
      records: rows,
      columns: parts.length,
      openBytes,
      fromMs: this.#from,
      toMs: this.#to,
    }
  }
}

interface ColumnLayout {
  readonly column: ColumnBuilder
  readonly encoding: number
  readonly name: Uint8Array
  readonly entries: number
  readonly form: NumbersForm
  readonly texts: TextsForm
  /** All of it, heads and padding included. */
  readonly bytes: number
}

function layOut(column: ColumnBuilder, pageRows: number): ColumnLayout {
  if (column.tags === null && column.entries < pageRows) column.leaveDense()
  const isDense = column.tags === null
  const isSparse = !isDense && column.entries * sparseFactor < pageRows
  const encoding = isDense ? encodings.dense : isSparse ? encodings.sparse : encodings.tagged
  const entries = isSparse ? column.entries : pageRows
  const name = Buffer.from(column.name)
  assert(name.length < 0x1_0000, 'a name of more bytes than its length can tell')
  const form = formOf(column.numbers, column.numberCount)
  const texts = textsOf(
    column.lengths.subarray(0, column.stringCount),
    column.text.subarray(0, column.textBytes),
  )
  const bytes =
    columnHeadBytes +
    numbersHeadBytes +
    padded(name.length) +
    (isSparse ? padded(entries * widthOf(pageRows - 1)) : 0) +
    (isDense ? 0 : padded(entries)) +
    padded(column.numberCount * form.width) +
    sizeOf(texts)
  return { column, encoding, name, entries, form, texts, bytes }
}

function writeColumn(page: PageWriter, part: ColumnLayout, pageRows: number): void {
  const { column, encoding, name, entries, form, texts } = part
  const shape = encoding | (texts.lengthBytes << 8) | (name.length << 16)
  page.u32s(shape, entries, texts.lengths.length, texts.text.length)
  page.numbersHead(form)
  page.u8s(name)
  if (column.tags !== null && column.rows !== null) {
    if (encoding === encodings.sparse) {
      page.uints(column.rows, entries, widthOf(pageRows - 1))
      page.u8s(column.tags.subarray(0, entries))
    } else {
      page.tagsByRow(column.tags, column.rows, column.entries, pageRows)
    }
  }
  page.numbers(column.numbers, column.numberCount, form)
  if (texts.choices !== null) page.u8s(texts.choices)
  page.uints(texts.lengths, texts.lengths.length, texts.lengthBytes)
  page.u8s(texts.text)
}

/**
 * The page of all records of several pages, in order: the same bytes as if they had come at once.
 */
export function mergePages(pages: readonly Uint8Array[]): EncodedPage {
  const builder = new PageBuilder(pages.reduce((sum, page) => sum + countRows(page), 0))
  // One at a time: an open page of one record takes ten times its bytes.
  for (const page of pages) builder.addPage(openPage(page))
  return builder.encode()
}
