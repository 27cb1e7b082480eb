import {
  choicesMax,
  encodings,
  flagMicros,
  magic,
  type PageValue,
  padded,
  rowsMax,
  tags,
  widthOf,
} from './page-format.ts'
import { formFault, type NumbersForm, PackedNumbers } from './page-numbers.ts'
import { PackedTexts } from './page-texts.ts'

/** One column of an opened page. */
export class Column {
  constructor(
    readonly name: string,
    /** Row of each entry; null: the entry's own index. */
    readonly rows: Uint32Array | null,
    /** Null where every entry is a number. */
    readonly tags: Uint8Array | null,
    readonly packed: PackedNumbers,
    readonly texts: PackedTexts,
  ) {}

  get isDense(): boolean {
    return this.tags === null
  }

  get entryCount(): number {
    return this.tags === null ? this.packed.count : this.tags.length
  }

  /** The numbers among the entries, made once. */
  get numbers(): Float64Array {
    return this.packed.values
  }

  /** Visits row and value of every entry that is there, in order of rows. */
  each(visit: (row: number, value: PageValue) => void): void {
    const { rows, tags: entryTags, numbers, texts, entryCount } = this
    let number = 0
    let string = 0
    for (let entry = 0; entry < entryCount; entry += 1) {
      const row = rows === null ? entry : (rows[entry] ?? 0)
      const tag = entryTags === null ? tags.number : entryTags[entry]
      if (tag === tags.number) visit(row, numbers[number++] ?? 0)
      else if (tag === tags.string) visit(row, texts.string(string++))
      else if (tag !== tags.absent) visit(row, tag === tags.null ? null : tag === tags.true)
    }
  }
}

export class Page {
  constructor(
    readonly rows: number,
    readonly times: PackedNumbers,
    readonly us: Uint16Array | null,
    readonly columns: readonly Column[],
  ) {}

  /** Milliseconds since the epoch of each row, made once. */
  get ms(): Float64Array {
    return this.times.values
  }
}

/**
 * Lays a reader over a page. Throws an Error that says what is wrong with damaged bytes; nothing
 * is ever read out of their range. Bytes that do not begin at a multiple of 8 are copied first.
 */
export function openPage(given: Uint8Array): Page {
  const reader = new PartReader(given)
  const { rows, columnCount, flags } = readHead(reader)
  const timesForm = readForm(reader, 'its time')
  const times = readNumbers(reader, timesForm, rows)
  const us = flags & flagMicros ? (reader.uints(rows, 2) as Uint16Array) : null
  const columns: Column[] = []
  const names = new Set<string>()
  for (let position = 0; position < columnCount; position += 1) {
    const column = readColumn(reader, rows)
    columns.push(column)
    if (names.size === names.add(column.name).size) {
      throw damaged(`column ${column.name} stands twice`)
    }
  }
  if (!reader.isAtEnd) throw damaged('bytes follow its last column')
  return new Page(rows, times, us, columns)
}

/** Rows of a page without opening its columns. Throws as `openPage` does. */
export function countRows(given: Uint8Array): number {
  return readHead(new PartReader(given)).rows
}

function readHead(reader: PartReader): { rows: number; columnCount: number; flags: number } {
  const at = reader.skip(16)
  if (reader.u32(at) !== magic) throw damaged('it does not begin as a page')
  const rows = reader.u32(at + 4)
  if (rows > rowsMax) throw damaged(`it has ${rows} rows`)
  return { rows, columnCount: reader.u32(at + 8), flags: reader.u32(at + 12) }
}

function readForm(reader: PartReader, what: string): NumbersForm {
  const at = reader.skip(16)
  const shape = reader.u32(at)
  const form = {
    width: shape & 0xff,
    decimals: shape >>> 8,
    step: reader.u32(at + 4),
    least: reader.f64(at + 8),
  }
  const fault = formFault(form)
  if (fault !== null) throw damaged(`${what} has ${fault}`)
  return form
}

function readNumbers(reader: PartReader, form: NumbersForm, count: number): PackedNumbers {
  const { width } = form
  const data = width === 8 ? reader.f64s(count) : reader.uints(width === 0 ? 0 : count, width)
  return new PackedNumbers(form, count, data)
}

function readColumn(reader: PartReader, pageRows: number): Column {
  const at = reader.skip(16)
  const shape = reader.u32(at)
  const encoding = shape & 0xff
  const lengthBytes = (shape >>> 8) & 0xff
  const entries = reader.u32(at + 4)
  const textCount = reader.u32(at + 8)
  const textBytes = reader.u32(at + 12)
  const form = readForm(reader, 'a column')
  const name = reader.text(shape >>> 16)
  const isDense = encoding === encodings.dense
  const isSparse = encoding === encodings.sparse
  if (!isDense && !isSparse && encoding !== encodings.tagged) {
    throw damaged(`column ${name} has encoding ${encoding}`)
  }
  if (!isSparse && entries !== pageRows) throw damaged(`column ${name} lacks rows`)
  if (lengthBytes !== 1 && lengthBytes !== 2 && lengthBytes !== 4) {
    throw damaged(`column ${name} has lengths of ${lengthBytes} bytes`)
  }
  const rows = isSparse ? readRows(reader, name, entries, pageRows) : null
  const columnTags = isDense ? null : reader.u8s(entries)
  const counts = countTags(columnTags, entries, name)
  const numbers = readNumbers(reader, form, counts.numbers)
  const texts = readTexts(reader, name, counts.strings, textCount, lengthBytes, textBytes)
  return new Column(name, rows, columnTags, numbers, texts)
}

function readRows(
  reader: PartReader,
  name: string,
  entries: number,
  pageRows: number,
): Uint32Array {
  const rows = new Uint32Array(reader.uints(entries, widthOf(pageRows - 1)))
  let last = -1
  for (let entry = 0; entry < entries; entry += 1) {
    const row = rows[entry] as number
    if (row <= last || row >= pageRows) throw damaged(`column ${name} has rows out of order`)
    last = row
  }
  return rows
}

function countTags(
  columnTags: Uint8Array | null,
  entries: number,
  name: string,
): { numbers: number; strings: number } {
  if (columnTags === null) return { numbers: entries, strings: 0 }
  let numbers = 0
  let strings = 0
  for (let entry = 0; entry < entries; entry += 1) {
    const tag = columnTags[entry] as number
    if (tag === tags.number) numbers += 1
    else if (tag === tags.string) strings += 1
    else if (tag > tags.string) throw damaged(`column ${name} has a tag ${tag}`)
  }
  return { numbers, strings }
}

function readTexts(
  reader: PartReader,
  name: string,
  strings: number,
  textCount: number,
  lengthBytes: number,
  textBytes: number,
): PackedTexts {
  const isChosen = strings > textCount
  if (strings < textCount || (isChosen && textCount > choicesMax)) {
    throw damaged(`column ${name} has ${textCount} texts for ${strings} strings`)
  }
  const choices = isChosen ? reader.u8s(strings) : null
  for (let index = 0; isChosen && index < strings; index += 1) {
    if ((choices?.[index] as number) >= textCount) {
      throw damaged(`column ${name} has a string without text`)
    }
  }
  const lengths = reader.uints(textCount, lengthBytes)
  const text = reader.u8s(textBytes)
  let bytes = 0
  for (let index = 0; index < textCount; index += 1) bytes += lengths[index] as number
  if (bytes !== textBytes) throw damaged(`column ${name} has other text lengths`)
  return new PackedTexts(choices, lengths, text)
}

class PartReader {
  #at = 0
  readonly #bytes: Uint8Array
  readonly #view: DataView

  constructor(given: Uint8Array) {
    this.#bytes = given.byteOffset % 8 === 0 ? given : new Uint8Array(given)
    const { buffer, byteOffset, byteLength } = this.#bytes
    this.#view = new DataView(buffer, byteOffset, byteLength)
  }

  get isAtEnd(): boolean {
    return this.#at === this.#bytes.length
  }

  /** Goes past so many bytes and their padding, and tells where they begin. */
  skip(length: number): number {
    const start = this.#at
    // Lengths are below 2^34, so that only `padded` has to be kept from more than it takes.
    if (length > this.#bytes.length || start + padded(length) > this.#bytes.length) {
      throw damaged('it ends too early')
    }
    this.#at = start + padded(length)
    return start
  }

  u32(at: number): number {
    return this.#view.getUint32(at, true)
  }

  f64(at: number): number {
    return this.#view.getFloat64(at, true)
  }

  text(length: number): string {
    const at = this.skip(length)
    const { buffer, byteOffset } = this.#bytes
    return Buffer.from(buffer, byteOffset + at, length).toString('utf8')
  }

  u8s(count: number): Uint8Array {
    const at = this.skip(count)
    return new Uint8Array(this.#bytes.buffer, this.#bytes.byteOffset + at, count)
  }

  f64s(count: number): Float64Array {
    const at = this.skip(count * 8)
    return new Float64Array(this.#bytes.buffer, this.#bytes.byteOffset + at, count)
  }

  /** `width` 1, 2 or 4. */
  uints(count: number, width: number): Uint8Array | Uint16Array | Uint32Array {
    const at = this.#bytes.byteOffset + this.skip(count * width)
    if (width === 2) return new Uint16Array(this.#bytes.buffer, at, count)
    return width === 4
      ? new Uint32Array(this.#bytes.buffer, at, count)
      : new Uint8Array(this.#bytes.buffer, at, count)
  }
}

function damaged(how: string): Error {
  return new Error(`damaged page: ${how}`)
}
