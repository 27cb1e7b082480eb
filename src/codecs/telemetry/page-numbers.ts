import { widthOf } from './page-format.ts'

/**
 * Numbers of a page as integers over a power of ten, which most are that a sensor wrote as text:
 * the encoding ALP for columns without exceptions. https://dl.acm.org/doi/10.1145/3626717
 */
export interface NumbersForm {
  /** Bytes of each number: 0, 1, 2, 4 or 8. */
  readonly width: number
  readonly decimals: number
  readonly step: number
  readonly least: number
}

/** Numbers with more decimals seldom lie within 2^32 steps of each other. */
export const decimalsMax = 9
export const powersOfTen = Float64Array.from({ length: decimalsMax + 1 }, (_, power) => 10 ** power)
/**
 * Integers up to here are found by one product, however it rounds: its relative error is below
 * 2^-52. So a number has an integer for more decimals whenever it has one for fewer, or the
 * integer is too large.
 */
export const wholeMax = 2 ** 50
/** Added and taken away again it rounds to the nearest integer, up to twice `wholeMax`. */
const rounder = 1.5 * 2 ** 52
const noDecimals = -1
const stepMax = 2 ** 32 - 1

const asTheyAre: NumbersForm = { width: 8, decimals: 0, step: 0, least: 0 }

/** The form that the first `count` numbers have in a page. None of them is NaN or infinite. */
export function formOf(numbers: Float64Array, count: number): NumbersForm {
  if (isConstant(numbers, count)) {
    return { width: 0, decimals: 0, step: 0, least: count === 0 ? 0 : (numbers[0] as number) }
  }
  let decimals = guessDecimals(numbers, count)
  for (;;) {
    if (decimals === noDecimals) return asTheyAre
    const rising = risingForm(numbers, count, decimals)
    if (rising !== null) return rising
    const failed = measure(numbers, count, powersOfTen[decimals] as number)
    if (failed === count) break
    decimals = leastDecimals(numbers[failed] as number, decimals + 1)
  }
  const least = range[0] as number
  const most = range[1] as number
  const span = most - least
  if (least < -wholeMax || most > wholeMax || span > stepMax) return asTheyAre
  return { width: widthOf(span), decimals, step: 0, least }
}

/** Bit for bit: 0 and -0 are two. */
function isConstant(numbers: Float64Array, count: number): boolean {
  const first = numbers[0] as number
  for (let index = 1; index < count; index += 1) {
    if (!Object.is(numbers[index], first)) return false
  }
  return true
}

/** Of a few numbers here and there, so that the column is hardly ever gone over twice. */
function guessDecimals(numbers: Float64Array, count: number): number {
  const stride = Math.max(1, count >>> 3)
  let decimals = 0
  for (let index = 0; index < count; index += stride) {
    decimals = leastDecimals(numbers[index] as number, decimals)
    if (decimals === noDecimals) break
  }
  return decimals
}

/** The least decimals, `from` on, of which `value` is an integer. */
function leastDecimals(value: number, from: number): number {
  for (let decimals = from; decimals <= decimalsMax; decimals += 1) {
    const power = powersOfTen[decimals] as number
    const whole = value * power + rounder - rounder
    if (whole / power === value && !(whole === 0 && 1 / value < 0)) return decimals
  }
  return noDecimals
}

/** What `measure` found: the least and the largest integer. */
const range = new Float64Array(2)

/** Finds the range of the integers; the index of the first number that is none, or `count`. */
function measure(numbers: Float64Array, count: number, power: number): number {
  let least = Number.POSITIVE_INFINITY
  let most = Number.NEGATIVE_INFINITY
  for (let index = 0; index < count; index += 1) {
    const value = numbers[index] as number
    const whole = value * power + rounder - rounder
    // An integer has no -0.
    if (whole / power !== value || (whole === 0 && 1 / value < 0)) return index
    if (whole < least) least = whole
    if (whole > most) most = whole
  }
  range[0] = least
  range[1] = most
  return count
}

/**
 * The form of numbers that rise by the same step with so many decimals; null where they do not.
 */
function risingForm(numbers: Float64Array, count: number, decimals: number): NumbersForm | null {
  const power = powersOfTen[decimals] as number
  const least = (numbers[0] as number) * power + rounder - rounder
  const step = (numbers[1] as number) * power + rounder - rounder - least
  const most = least + (count - 1) * step
  if (!(step > 0 && step <= stepMax && least >= -wholeMax && most <= wholeMax)) return null
  for (let index = 0; index < count; index += 1) {
    if ((least + index * step) / power !== numbers[index]) return null
  }
  // Only one of them can be a zero, and it must not be -0. Looked at only where it is one of them: an index
  // that is none costs 10 µs.
  const zero = -least / step
  const isThere = zero >= 0 && zero < count && zero === Math.floor(zero)
  if (isThere && Object.is(numbers[zero], -0)) return null
  return { width: 0, decimals, step, least }
}

/** Writes `count` numbers as offsets of their form's width; `target` begins where they go. */
export function writeOffsets(
  target: Uint8Array | Uint16Array | Uint32Array,
  numbers: Float64Array,
  count: number,
  { decimals, least }: NumbersForm,
): void {
  const power = powersOfTen[decimals] as number
  // The store cuts the fraction off, so half a step more rounds.
  const half = 0.5 - least
  for (let index = 0; index < count; index += 1) {
    target[index] = (numbers[index] as number) * power + half
  }
}

/** Numbers of a page as they lie there; doubles are made of them when they are first asked for. */
export class PackedNumbers {
  #values: Float64Array | null = null

  /** `data`: the offsets or doubles, empty where the width is 0. */
  constructor(
    readonly form: NumbersForm,
    readonly count: number,
    readonly data: Uint8Array | Uint16Array | Uint32Array | Float64Array,
  ) {}

  get values(): Float64Array {
    this.#values ??= this.data instanceof Float64Array ? this.data : this.#unpack()
    return this.#values
  }

  #unpack(): Float64Array {
    const { width, decimals, step, least } = this.form
    if (width === 0 && step === 0) return new Float64Array(this.count).fill(least)
    const power = powersOfTen[decimals] as number
    // The engine converts a whole array at once, so that one loop serves every width.
    const values = width === 0 ? new Float64Array(this.count) : new Float64Array(this.data)
    for (let index = 0; index < values.length; index += 1) {
      const offset = width === 0 ? index * step : (values[index] as number)
      values[index] = (least + offset) / power
    }
    return values
  }
}

/** What is wrong with a form that was read; null is well. */
export function formFault({ width, decimals, step, least }: NumbersForm): string | null {
  if (![0, 1, 2, 4, 8].includes(width)) return `numbers of ${width} bytes`
  if (decimals > decimalsMax) return `numbers of ${decimals} decimals`
  const isWhole = width === 8 || (width === 0 && step === 0 && decimals === 0)
  if (isWhole ? Number.isFinite(least) : Number.isInteger(least) && Math.abs(least) <= wholeMax) {
    return null
  }
  return `numbers from ${least} on`
}
