import { numberOf } from './host'
import { exponentMax, exponentMin, fivesAt, tensAt } from './memory'
import { productHigh } from './wide'

/** The number that was read last. */
export let numberValue: f64 = 0

/** More digits than this may not fit 64 bits. */
const digitsMax: u64 = 1_000_000_000_000_000_000
/** Far past every double, and no sum of it and a body's digits overflows. */
const exponentClamp: i32 = 1_000_000_000
const mantissaBits = 52
const infinityExponent = 0x7ff

/** Every number that JSON has, into `numberValue`; gives what follows it, or 0 where it is none or infinite. */
export function readNumber(start: usize): usize {
  const isNegative = load<u8>(start) === 0x2d
  const first = start + <usize>isNegative
  let at = readDigits(first, 0)
  if (at === first || (load<u8>(first) === 0x30 && at - first > 1)) return 0
  let exponent = droppedDigits
  let isCut = isDropped
  if (load<u8>(at) === 0x2e) {
    const point = at + 1
    at = readDigits(point, mantissa)
    if (at === point) return 0
    // Those left out, before the point and after it, count for nothing here.
    exponent += droppedDigits - <i32>(at - point)
    isCut = isCut || isDropped
  }
  if ((load<u8>(at) | 0x20) === 0x65) {
    at = readExponent(at + 1)
    if (at === 0) return 0
    exponent += writtenExponent
  }
  let value = nearest(mantissa, exponent)
  // Some digits are left out: it lies between this and the next, and mostly both give the same.
  if (isCut && value !== nearest(mantissa + 1, exponent)) value = NaN
  if (value !== value) value = numberOf(first, at)
  numberValue = isNegative ? -value : value
  return value === Infinity ? 0 : at
}

let mantissa: u64 = 0
let droppedDigits: i32 = 0
let isDropped: bool = false

/** Goes on with `from` and leaves `mantissa`, and how many digits it has no room for. */
function readDigits(start: usize, from: u64): usize {
  let value = from
  let at = start
  while (value < 10_000_000_000) {
    const word = load<u64>(at)
    if (!areDigits(word)) break
    value = value * 100_000_000 + eightDigits(word)
    at += 8
  }
  let dropped = 0
  let isNonZero = false
  while (true) {
    const digit = <u32>load<u8>(at) - 0x30
    if (digit > 9) break
    if (value < digitsMax && dropped === 0) value = value * 10 + digit
    else {
      dropped += 1
      isNonZero = isNonZero || digit !== 0
    }
    at += 1
  }
  mantissa = value
  droppedDigits = dropped
  isDropped = isNonZero
  return at
}

function areDigits(word: u64): bool {
  const over = (word + 0x4646_4646_4646_4646) | (word - 0x3030_3030_3030_3030)
  return (over & 0x8080_8080_8080_8080) === 0
}

function eightDigits(text: u64): u64 {
  return valueOfDigits(text - 0x3030_3030_3030_3030)
}

/**
 * Of eight digits in a word, the first in its lowest byte: two, four, then all of them at a time.
 * https://lemire.me/blog/2022/01/21/swar-explained-parsing-eight-digits/
 */
// @ts-ignore: decorator
@inline
export function valueOfDigits(digits: u64): u64 {
  const value = digits * 10 + (digits >> 8)
  const low = (value & 0x0000_00ff_0000_00ff) * 0x000f_4240_0000_0064
  const high = ((value >> 16) & 0x0000_00ff_0000_00ff) * 0x0000_2710_0000_0001
  return (low + high) >> 32
}

let writtenExponent: i32 = 0

function readExponent(start: usize): usize {
  const sign = load<u8>(start)
  const first = start + <usize>(sign === 0x2b || sign === 0x2d)
  let at = first
  let value = 0
  while (true) {
    const digit = <u32>load<u8>(at) - 0x30
    if (digit > 9) break
    if (value < exponentClamp / 10) value = value * 10 + digit
    at += 1
  }
  writtenExponent = sign === 0x2d ? -value : value
  return at === first ? 0 : at
}

/**
 * The double nearest to `whole` * 10^`exponent`, or NaN where this cannot tell. Below 2^53 and 10^22 both
 * are exact and one division or product rounds once (Clinger 1990); else as Lemire, "Number Parsing at a
 * Gigabyte per Second", 2021, algorithm 1, https://arxiv.org/abs/2101.11408.
 */
function nearest(whole: u64, exponent: i32): f64 {
  if (whole === 0) return 0
  if (whole <= (<u64>1) << 53 && exponent >= -22 && exponent <= 22) {
    const value = <f64>whole
    return exponent < 0 ? value / tenTo(-exponent) : value * tenTo(exponent)
  }
  if (exponent < exponentMin) return 0
  if (exponent > exponentMax) return Infinity
  const zeros = <i32>clz(whole)
  const scaled = whole << zeros
  const fives = fivesAt + ((<usize>(exponent - exponentMin)) << 4)
  let high = productHigh(scaled, load<u64>(fives))
  let low = scaled * load<u64>(fives)
  if ((high & 0x1ff) === 0x1ff) {
    const more = productHigh(scaled, load<u64>(fives, 8))
    low += more
    if (low < more) high += 1
  }
  if (low === u64.MAX_VALUE && (exponent < -27 || exponent > 55)) return NaN
  const upper = <i32>(high >> 63)
  const shift = upper + 64 - mantissaBits - 3
  const bits = high >> shift
  const power = ((217_706 * exponent) >> 16) + 63 + upper - zeros + 1023
  if (power <= 0) return subnormal(bits, power)
  const isHalfway = low <= 1 && exponent >= -4 && exponent <= 23 && (bits & 3) === 1
  return rounded(isHalfway && bits << shift === high ? bits & ~1 : bits, power)
}

/** `bits` has one more than a double keeps. */
function rounded(bits: u64, power: i32): f64 {
  const kept = (bits + (bits & 1)) >> 1
  const isCarried = kept >= (<u64>2) << mantissaBits
  const exponent = isCarried ? power + 1 : power
  if (exponent >= infinityExponent) return Infinity
  const fraction = isCarried ? 0 : kept & (((<u64>1) << mantissaBits) - 1)
  return reinterpret<f64>(((<u64>exponent) << mantissaBits) | fraction)
}

function subnormal(bits: u64, power: i32): f64 {
  if (1 - power >= 64) return 0
  const shifted = bits >> (1 - power)
  // Where it rounds up to the least normal double, its bit is that of exponent 1.
  return reinterpret<f64>((shifted + (shifted & 1)) >> 1)
}

function tenTo(power: i32): f64 {
  return load<f64>(tensAt + ((<usize>power) << 3))
}
