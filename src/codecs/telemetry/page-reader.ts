import { encodings, flagMicros, magic, type PageValue, padded, tags } from './page-format.ts'

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

  /** Visits row and value of every entry that is there, in order of rows. */
  each(visit: (row: number, value: PageValue) => void): void {
    const { rows, tags: entryTags, numbers, strings } = this
    let number = 0
    let string = 0
    for (let entry = 0; entry < this.entryCount; entry += 1) {
      const row = rows === null ? entry : (rows[entry] ?? 0)
      const tag = entryTags === null ? tags.number : entryTags[entry]
      if (tag === tags.number) visit(row, numbers[number++] ?? 0)
      else if (tag === tags.string) visit(row, strings[string++] ?? '')
      else if (tag !== tags.absent) visit(row, tag === tags.null ? null : tag === tags.true)
    }
  }
}

export interface Page {
  readonly rows: number
  readonly ms: Float64Array
  readonly us: Uint16Array | null
  readonly columns: readonly Column[]
}

/**
 * Lays a reader over a page. Throws an Error that says what is wrong with damaged bytes; nothing is ever
 * read out of their range. Bytes that do not begin at a multiple of 8 are copied first.
 */
export function openPage(given: Uint8Array): Page {
  const reader = readerOf(given)
  const { rows, columnCount, ms, us } = readTimes(reader)
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
  return { rows, ms, us, columns }
}

/** Rows of a page without opening its columns. Throws as `openPage` does. */
export function countRows(given: Uint8Array): number {
  return readTimes(readerOf(given)).rows
}

function readerOf(given: Uint8Array): SectionReader {
  return new SectionReader(given.byteOffset % 8 === 0 ? given : new Uint8Array(given))
}

function readTimes(reader: SectionReader): Omit<Page, 'columns'> & { columnCount: number } {
  const [foundMagic, rows = 0, columnCount = 0, flags = 0] = reader.u32s(4)
  if (foundMagic !== magic) throw damaged('it does not begin as a page')
  const ms = reader.section(Float64Array, rows)
  const us = flags & flagMicros ? reader.section(Uint16Array, rows) : null
  return { rows, columnCount, ms, us }
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
