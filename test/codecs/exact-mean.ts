/** Every double is a whole multiple of 2^-1074, so their sum is exact as that many of them. */
const unitBits = 1_074

function units(value: number): bigint {
  const bits = new DataView(new ArrayBuffer(8))
  bits.setFloat64(0, value)
  const raw = bits.getBigUint64(0)
  const exponent = Number((raw >> 52n) & 0x7ffn)
  const fraction = raw & 0xf_ffff_ffff_ffffn
  const magnitude =
    exponent === 0 ? fraction : (fraction | 0x10_0000_0000_0000n) << BigInt(exponent - 1)
  return value < 0 ? -magnitude : magnitude
}

/** The mean as whole numbers have it, rounded toward zero to 64 digits and then to a double. */
export function exactMean(numbers: readonly number[]): number {
  const sum = numbers.reduce((total, value) => total + units(value), 0n)
  const isNegative = sum < 0n
  const size = isNegative ? -sum : sum
  const count = BigInt(numbers.length)
  const shift = 64 - (size.toString(2).length - count.toString(2).length)
  const quotient = shift > 0 ? (size << BigInt(shift)) / count : size / (count << BigInt(-shift))
  // In two steps, because neither power alone need be a double.
  const half = Math.trunc((-shift - unitBits) / 2)
  const mean = Number(quotient) * 2 ** half * 2 ** (-shift - unitBits - half)
  return isNegative ? -mean : mean
}

/**
 * Whether `mean` is as near to the exact mean as a sum in twice the digits comes: two roundings, and what
 * is lost of the sum of magnitudes where they cancel each other out.
 */
export function isMean(mean: number, numbers: readonly number[]): boolean {
  const exact = exactMean(numbers)
  const magnitude = exactMean(numbers.map(Math.abs))
  const lost = (numbers.length + 1) ** 2 * 2 ** -104
  const tolerance = 2 ** -51 * Math.abs(exact) + lost * magnitude + Number.MIN_VALUE
  return Math.abs(mean - exact) <= tolerance
}
