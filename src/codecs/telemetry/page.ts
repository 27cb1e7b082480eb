import { hash } from 'node:crypto'
import type { EncodedPage } from '../../contracts/tasks.ts'

/**
 * The column page: the records of one upload or batch. All numbers are little-endian, every part begins
 * at a multiple of 8 bytes (padded with zeros), so typed arrays can be laid over the bytes as they are.
 *
 *     head     "ATP1"  u32 rows  u32 columns  u32 flags (1: microseconds follow)
 *     times    f64[rows] milliseconds since the epoch
 *     micros   u16[rows] microseconds on top of them, only where one of them is not 0
 *     columns  in the order in which their names first appear, each:
 *       head     u32 encoding  u32 nameBytes  u32 entries  u32 numbers  u32 strings  u32 stringBytes
 *       name     UTF-8
 *       rows     u32[entries], the row of each entry, rising (encoding `sparse` only)
 *       tags     u8[entries] (not in encoding `dense`)
 *       numbers  f64[numbers]
 *       lengths  u32[strings], bytes of each string
 *       text     UTF-8, the strings one after the other
 *
 * `dense`: every row has a number. `sparse`: fewer than a fifth of the rows have the field, so its
 * entries name their rows. `tagged`: an entry a row. Which one it is follows from the records alone, so
 * the same records always give the same bytes, whether they come in one upload or in many.
 */
export const tags = { absent: 0, null: 1, false: 2, true: 3, number: 4, string: 5 } as const
const encodings = { dense: 0, tagged: 1, sparse: 2 } as const
const magic = 0x31_50_54_41
const headBytes = 16
const columnHeadBytes = 24
const flagMicros = 1
/** A column is sparse where `entries * sparseFactor < rows`: four bytes of row and one of tag each. */
const sparseFactor = 5

export type PageValue = number | string | boolean | null

/** A column while its page is being built. Dense until a row lacks it or holds no number. */
class ColumnBuilder {
  entries = 0
  numbers = new Float64Array(16)
  numberCount = 0
  readonly strings: string[] = []
  rows: Uint32Array | null = null
  tags: Uint8Array | null = null

  constructor(readonly name: string) {}

  append(row: number, value: PageValue): void {
    if (this.tags === null && typeof value === 'number' && row === this.entries) {
      this.#pushNumber(value)
      this.entries += 1
      return
    }
    if (this.tags === null) this.leaveDense()
    if (typeof value === 'number') {
      this.#pushTag(row, tags.number)
      this.#pushNumber(value)
    } else if (typeof value === 'string') {
      this.#pushTag(row, tags.string)
      this.strings.push(value)
    } else {
      this.#pushTag(row, value === null ? tags.null : value ? tags.true : tags.false)
    }
  }

  /** Every row of a page that begins at row `first`, all numbers. */
  appendDense(first: number, numbers: Float64Array): void {
    if (this.tags === null && first === this.entries) {
      this.#reserveNumbers(numbers.length)
      this.numbers.set(numbers, this.numberCount)
      this.numberCount += numbers.length
      this.entries += numbers.length
      return
    }
    for (let row = 0; row < numbers.length; row += 1) this.append(first + row, numbers[row] ?? 0)
  }

  leaveDense(): void {
    const capacity = Math.max(16, this.entries)
    this.tags = new Uint8Array(capacity).fill(tags.number, 0, this.entries)
    this.rows = new Uint32Array(capacity)
    for (let row = 0; row < this.entries; row += 1) this.rows[row] = row
  }

  #pushTag(row: number, tag: number): void {
    if (this.tags === null || this.rows === null) throw new Error('a dense column has no tags')
    if (this.entries === this.tags.length) {
      this.tags = grown(this.tags, new Uint8Array(this.entries * 2))
      this.rows = grown(this.rows, new Uint32Array(this.entries * 2))
    }
    this.tags[this.entries] = tag
    this.rows[this.entries] = row
    this.entries += 1
  }

  #pushNumber(value: number): void {
    if (this.numberCount === this.numbers.length) this.#reserveNumbers(1)
    this.numbers[this.numberCount] = value
    this.numberCount += 1
  }

  #reserveNumbers(more: number): void {
    const needed = this.numberCount + more
    if (needed <= this.numbers.length) return
    const capacity = Math.max(needed, this.numbers.length * 2)
    this.numbers = grown(this.numbers, new Float64Array(capacity))
  }
}

function grown<T extends Float64Array | Uint8Array | Uint32Array>(from: T, to: T): T {
  to.set(from)
  return to
}

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
    let column = this.#columns.get(name)
    if (column === undefined) {
      column = new ColumnBuilder(name)
      this.#columns.set(name, column)
    }
    column.append(this.rows - 1, value)
  }

  addPage(page: Page): void {
    const first = this.rows
    for (let row = 0; row < page.rows; row += 1) {
      this.beginRecord(page.ms[row] ?? 0, page.us?.[row] ?? 0)
    }
    for (const column of page.columns) {
      let builder = this.#columns.get(column.name)
      if (builder === undefined) {
        builder = new ColumnBuilder(column.name)
        this.#columns.set(column.name, builder)
      }
      if (column.isDense) builder.appendDense(first, column.numbers)
      else for (const [row, value] of column.entries()) builder.append(first + row, value)
    }
  }

  /** Gives the page in a buffer of its own, with its SHA-256. One record at least. */
  encode(): EncodedPage {
    const parts = [...this.#columns.values()].map((column) => layOut(column, this.rows))
    const timesBytes = this.rows * 8 + (this.#hasMicros ? padded(this.rows * 2) : 0)
    const total = parts.reduce((sum, part) => sum + part.bytes, headBytes + timesBytes)
    const bytes = new Uint8Array(total)
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

const encoder = new TextEncoder()

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
  const encoded = column.strings.map((text) => encoder.encode(text))
  const lengths = Uint32Array.from(encoded, (part) => part.length)
  const text = Buffer.concat(encoded)
  const name = encoder.encode(column.name)
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

function padded(bytes: number): number {
  return (bytes + 7) & ~7
}

/** One column of an opened page. */
export class Column {
  #strings: readonly string[] | null = null

  constructor(
    readonly name: string,
    /** Row of each entry; null: the entry's own index. */
    readonly rows: Uint32Array | null,
    /** Null where every entry is a number. */
    readonly tags: Uint8Array | null,
    readonly numbers: Float64Array,
    readonly lengths: Uint32Array,
    readonly text: Uint8Array,
  ) {}

  get isDense(): boolean {
    return this.tags === null
  }

  get entryCount(): number {
    return this.tags === null ? this.numbers.length : this.tags.length
  }

  /** The strings, decoded once. */
  get strings(): readonly string[] {
    if (this.#strings === null) {
      const text = Buffer.from(this.text.buffer, this.text.byteOffset, this.text.length)
      let at = 0
      this.#strings = Array.from(this.lengths, (length) => {
        at += length
        return text.toString('utf8', at - length, at)
      })
    }
    return this.#strings
  }

  /** Row and value of every entry that is there, in order of rows. */
  *entries(): Generator<[row: number, value: PageValue]> {
    let number = 0
    let string = 0
    for (let entry = 0; entry < this.entryCount; entry += 1) {
      const row = this.rows === null ? entry : (this.rows[entry] ?? 0)
      const tag = this.tags === null ? tags.number : this.tags[entry]
      if (tag === tags.absent) continue
      if (tag === tags.number) {
        yield [row, this.numbers[number] ?? 0]
        number += 1
      } else if (tag === tags.string) {
        yield [row, this.strings[string] ?? '']
        string += 1
      } else {
        yield [row, tag === tags.null ? null : tag === tags.true]
      }
    }
  }
}

export interface Page {
  readonly rows: number
  readonly ms: Float64Array
  readonly us: Uint16Array | null
  readonly columns: readonly Column[]
}

/** True for bytes that begin as a page does. */
export function isPage(bytes: Uint8Array): boolean {
  return (
    bytes.length >= headBytes &&
    new DataView(bytes.buffer, bytes.byteOffset, bytes.length).getUint32(0, true) === magic
  )
}

/**
 * Lays a reader over a page. Throws an Error that says what is wrong with damaged bytes; nothing is ever
 * read out of their range. Bytes that do not begin at a multiple of 8 are copied first.
 */
export function openPage(given: Uint8Array): Page {
  const bytes = given.byteOffset % 8 === 0 ? given : given.slice()
  const reader = new SectionReader(bytes)
  const [foundMagic, rows, columnCount, flags] = reader.u32s(4)
  if (foundMagic !== magic) throw damaged('it does not begin as a page')
  const ms = reader.section(Float64Array, rows ?? 0)
  const us = (flags ?? 0) & flagMicros ? reader.section(Uint16Array, rows ?? 0) : null
  const columns: Column[] = []
  for (let column = 0; column < (columnCount ?? 0); column += 1) {
    columns.push(readColumn(reader, rows ?? 0))
  }
  if (!reader.isAtEnd) throw damaged('bytes follow its last column')
  return { rows: rows ?? 0, ms, us, columns }
}

function readColumn(reader: SectionReader, pageRows: number): Column {
  const [encoding, nameBytes, entries, numberCount, stringCount, stringBytes] = reader.u32s(6)
  const name = Buffer.from(reader.section(Uint8Array, nameBytes ?? 0)).toString('utf8')
  const isSparse = encoding === encodings.sparse
  if (encoding !== encodings.dense && encoding !== encodings.tagged && !isSparse) {
    throw damaged(`column ${name} has encoding ${encoding}`)
  }
  if (!isSparse && entries !== pageRows) throw damaged(`column ${name} lacks rows`)
  const rows = isSparse ? reader.section(Uint32Array, entries ?? 0) : null
  const columnTags = encoding === encodings.dense ? null : reader.section(Uint8Array, entries ?? 0)
  const numbers = reader.section(Float64Array, numberCount ?? 0)
  const lengths = reader.section(Uint32Array, stringCount ?? 0)
  const text = reader.section(Uint8Array, stringBytes ?? 0)
  const column = new Column(name, rows, columnTags, numbers, lengths, text)
  checkColumn(column, pageRows)
  return column
}

function checkColumn(column: Column, pageRows: number): void {
  let textBytes = 0
  for (const length of column.lengths) textBytes += length
  if (textBytes !== column.text.length)
    throw damaged(`column ${column.name} has other text lengths`)
  let last = -1
  for (const row of column.rows ?? []) {
    if (row <= last || row >= pageRows) throw damaged(`column ${column.name} has rows out of order`)
    last = row
  }
  if (column.tags === null) {
    if (column.numbers.length !== pageRows) throw damaged(`column ${column.name} lacks numbers`)
    return
  }
  const counts = new Uint32Array(256)
  for (const tag of column.tags) counts[tag] = (counts[tag] ?? 0) + 1
  const known = counts.subarray(0, tags.string + 1).reduce((sum, count) => sum + count, 0)
  const isRight =
    known === column.tags.length &&
    counts[tags.number] === column.numbers.length &&
    counts[tags.string] === column.lengths.length
  if (!isRight) throw damaged(`column ${column.name} has tags that do not fit its values`)
}

type SectionArray = Uint8Array | Uint16Array | Uint32Array | Float64Array

class SectionReader {
  #at = 0
  readonly #bytes: Uint8Array

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes
  }

  get isAtEnd(): boolean {
    return this.#at === this.#bytes.length
  }

  u32s(count: number): Uint32Array {
    return this.section(Uint32Array, count)
  }

  section<T extends SectionArray>(
    kind: {
      new (buffer: ArrayBufferLike, offset: number, length: number): T
      BYTES_PER_ELEMENT: number
    },
    count: number,
  ): T {
    const length = count * kind.BYTES_PER_ELEMENT
    if (this.#at + padded(length) > this.#bytes.length || length > this.#bytes.length) {
      throw damaged('it ends too early')
    }
    const section = new kind(this.#bytes.buffer, this.#bytes.byteOffset + this.#at, count)
    this.#at += padded(length)
    return section
  }
}

function damaged(how: string): Error {
  return new Error(`damaged page: ${how}`)
}

/** The page of all records of several pages, in order: the same bytes as if they had come at once. */
export function mergePages(pages: readonly Uint8Array[]): EncodedPage {
  const opened = pages.map(openPage)
  const builder = new PageBuilder(opened.reduce((sum, page) => sum + page.rows, 0))
  for (const page of opened) builder.addPage(page)
  return builder.encode()
}
