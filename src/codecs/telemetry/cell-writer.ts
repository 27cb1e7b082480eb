import { isUtf8 } from 'node:buffer'
import { tags } from './page-format.ts'
import { powersOfTen } from './page-numbers.ts'
import type { Column } from './page-reader.ts'
import type { TextWriter } from './text-writer.ts'

/**
 * The values of a column as text, row by row, straight from the bytes of its page. Rows are asked
 * for in rising order.
 */
export class CellWriter {
  readonly column: Column
  readonly #power: number
  readonly #text: Buffer
  /** Where each text begins, where strings name theirs. */
  readonly #starts: Uint32Array | null
  /** The entry that comes next, and the numbers, strings and bytes of strings before it. */
  #entry = 0
  #number = 0
  #string = 0
  #textAt = 0

  /** Throws an Error where its strings are no UTF-8. */
  constructor(column: Column) {
    const { choices, lengths, text } = column.texts
    if (!isUtf8(text)) throw new Error(`damaged page: column ${column.name} is no UTF-8`)
    this.column = column
    this.#power = powersOfTen[column.packed.form.decimals] as number
    this.#text = Buffer.from(text.buffer, text.byteOffset, text.length)
    this.#starts = choices === null ? null : startsOf(lengths)
  }

  /** Goes to a row and gives its tag. */
  moveTo(row: number): number {
    const { rows, tags: entryTags } = this.column
    if (entryTags === null) {
      this.#number = row
      return tags.number
    }
    if (rows === null) {
      while (this.#entry < row) this.#pass(entryTags)
      return entryTags[row] as number
    }
    while (this.#entry < rows.length && (rows[this.#entry] as number) < row) this.#pass(entryTags)
    return rows[this.#entry] === row ? (entryTags[this.#entry] as number) : tags.absent
  }

  writeNumber(out: TextWriter): void {
    const { form, data } = this.column.packed
    const { width, decimals, step, least } = form
    const datum = width === 0 ? this.#number * step : (data[this.#number] as number)
    if (width === 8) out.number(datum)
    else if (width === 0 && step === 0) out.number(least)
    else out.decimal(least + datum, decimals, this.#power)
  }

  writeJson(out: TextWriter, tag: number): void {
    if (tag === tags.number) {
      this.writeNumber(out)
    } else if (tag === tags.string) {
      const start = this.#start()
      out.jsonString(this.#text, start, start + this.#length())
    } else {
      out.raw(words[tag] as Buffer)
    }
  }

  /** Absent and null are both empty. */
  writeCsv(out: TextWriter, tag: number): void {
    if (tag === tags.number) {
      this.writeNumber(out)
    } else if (tag === tags.string) {
      const start = this.#start()
      out.csvString(this.#text, start, start + this.#length())
    } else if (tag === tags.true || tag === tags.false) {
      out.raw(words[tag] as Buffer)
    }
  }

  #pass(entryTags: Uint8Array): void {
    const tag = entryTags[this.#entry]
    if (tag === tags.number) {
      this.#number += 1
    } else if (tag === tags.string) {
      if (this.#starts === null) this.#textAt += this.#length()
      this.#string += 1
    }
    this.#entry += 1
  }

  #start(): number {
    const { choices } = this.column.texts
    return choices === null || this.#starts === null
      ? this.#textAt
      : (this.#starts[choices[this.#string] as number] as number)
  }

  #length(): number {
    const { choices, lengths } = this.column.texts
    return lengths[choices === null ? this.#string : (choices[this.#string] as number)] as number
  }
}

/** By tag. */
const words: readonly Buffer[] = ['', 'null', 'false', 'true'].map((word) => Buffer.from(word))

function startsOf(lengths: ArrayLike<number>): Uint32Array {
  const starts = new Uint32Array(lengths.length)
  for (let index = 1; index < lengths.length; index += 1) {
    starts[index] = (starts[index - 1] as number) + (lengths[index - 1] as number)
  }
  return starts
}
