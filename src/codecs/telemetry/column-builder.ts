import { type PageValue, tags } from './page-format.ts'

/** Columns can be many and short; typed arrays up to 64 bytes cost no allocation of their own. */
const capacityMin = 8
const noNumbers = new Float64Array(0)
const noLengths = new Uint32Array(0)
const noText = new Uint8Array(0)

/** A column while its page is being built. Dense until a row lacks it or holds no number. */
export class ColumnBuilder {
  entries = 0
  numbers: Float64Array = noNumbers
  numberCount = 0
  /** Bytes of each string, and the strings one after the other as UTF-8. */
  lengths: Uint32Array = noLengths
  stringCount = 0
  text: Uint8Array = noText
  textBytes = 0
  rows: Uint32Array | null = null
  tags: Uint8Array | null = null

  constructor(readonly name: string) {}

  append(row: number, value: PageValue): void {
    if (typeof value === 'number') this.appendNumber(row, value)
    else if (typeof value === 'string') this.appendString(row, value)
    else this.appendTag(row, value === null ? tags.null : value ? tags.true : tags.false)
  }

  appendNumber(row: number, value: number): void {
    if (this.tags !== null || row !== this.entries) {
      this.appendTag(row, tags.number)
    } else {
      this.entries += 1
    }
    if (this.numberCount === this.numbers.length) this.#reserveNumbers(1)
    this.numbers[this.numberCount] = value
    this.numberCount += 1
  }

  appendString(row: number, value: string): void {
    this.appendTag(row, tags.string)
    // UTF-8 takes three bytes of a UTF-16 unit at most.
    this.#reserveText(value.length * 3)
    const target = Buffer.from(this.text.buffer, this.textBytes)
    this.#endString(target.write(value))
  }

  /** A value that is its tag. */
  appendTag(row: number, tag: number): void {
    if (this.tags === null) this.leaveDense()
    if (this.tags === null || this.rows === null) throw new Error('a dense column has no tags')
    if (this.entries === this.tags.length) {
      this.tags = grown(this.tags, new Uint8Array(this.entries * 2))
      this.rows = grown(this.rows, new Uint32Array(this.entries * 2))
    }
    this.tags[this.entries] = tag
    this.rows[this.entries] = row
    this.entries += 1
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
    for (let row = 0; row < numbers.length; row += 1) {
      this.appendNumber(first + row, numbers[row] as number)
    }
  }

  leaveDense(): void {
    const capacity = Math.max(capacityMin, this.entries)
    this.tags = new Uint8Array(capacity).fill(tags.number, 0, this.entries)
    this.rows = new Uint32Array(capacity)
    for (let row = 0; row < this.entries; row += 1) this.rows[row] = row
  }

  #reserveNumbers(more: number): void {
    const needed = this.numberCount + more
    if (needed <= this.numbers.length) return
    const capacity = Math.max(needed, this.numbers.length * 2, capacityMin)
    this.numbers = grown(this.numbers, new Float64Array(capacity))
  }

  #reserveText(more: number): void {
    const needed = this.textBytes + more
    if (needed <= this.text.length) return
    const capacity = Math.max(needed, this.text.length * 2, 64)
    this.text = grown(this.text, new Uint8Array(capacity))
  }

  #endString(bytes: number): void {
    if (this.stringCount === this.lengths.length) {
      const capacity = Math.max(capacityMin, this.stringCount * 2)
      this.lengths = grown(this.lengths, new Uint32Array(capacity))
    }
    this.lengths[this.stringCount] = bytes
    this.stringCount += 1
    this.textBytes += bytes
  }
}

function grown<T extends Float64Array | Uint8Array | Uint32Array>(from: T, to: T): T {
  to.set(from)
  return to
}
