import { ownBuffer } from '../../contracts/buffers.ts'
import { padded } from './page-format.ts'
import { type NumbersForm, writeOffsets } from './page-numbers.ts'

/** Writes the parts of a page one after the other, each padded, into a buffer of its own. */
export class PageWriter {
  readonly bytes: Uint8Array
  readonly #u32: Uint32Array
  readonly #f64: Float64Array
  #at = 0

  constructor(length: number) {
    const buffer = ownBuffer(length)
    this.bytes = new Uint8Array(buffer)
    this.#u32 = new Uint32Array(buffer)
    this.#f64 = new Float64Array(buffer)
  }

  u32s(first: number, second: number, third: number, fourth: number): void {
    const at = this.#at >>> 2
    this.#u32[at] = first
    this.#u32[at + 1] = second
    this.#u32[at + 2] = third
    this.#u32[at + 3] = fourth
    this.#at += 16
  }

  numbersHead({ width, decimals, step, least }: NumbersForm): void {
    const at = this.#at >>> 2
    this.#u32[at] = width | (decimals << 8)
    this.#u32[at + 1] = step
    this.#f64[(at >>> 1) + 1] = least
    this.#at += 16
  }

  /** The first `count` numbers in their form, without its head. */
  numbers(numbers: Float64Array, count: number, form: NumbersForm): void {
    if (form.width === 0) return
    if (form.width === 8) this.#f64.set(numbers.subarray(0, count), this.#at >>> 3)
    else writeOffsets(this.#part(count, form.width), numbers, count, form)
    this.#at += padded(count * form.width)
  }

  u8s(bytes: Uint8Array): void {
    // A call of `set` costs more than a short name.
    if (bytes.length > 32) this.bytes.set(bytes, this.#at)
    else
      for (let at = 0; at < bytes.length; at += 1) this.bytes[this.#at + at] = bytes[at] as number
    this.#at += padded(bytes.length)
  }

  u16s(values: Uint16Array): void {
    this.#part(values.length, 2).set(values)
    this.#at += padded(values.byteLength)
  }

  /** The first `count` integers in `width` bytes each. */
  uints(values: Uint32Array, count: number, width: number): void {
    if (count > 0) this.#part(count, width).set(values.subarray(0, count))
    this.#at += padded(count * width)
  }

  /** The tags of entries at their rows; the others are absent. */
  tagsByRow(tags: Uint8Array, rows: Uint32Array, entries: number, pageRows: number): void {
    for (let entry = 0; entry < entries; entry += 1) {
      this.bytes[this.#at + (rows[entry] as number)] = tags[entry] as number
    }
    this.#at += padded(pageRows)
  }

  #part(count: number, width: number): Uint8Array | Uint16Array | Uint32Array {
    const { buffer } = this.bytes
    if (width === 1) return new Uint8Array(buffer, this.#at, count)
    return width === 2
      ? new Uint16Array(buffer, this.#at, count)
      : new Uint32Array(buffer, this.#at, count)
  }
}
