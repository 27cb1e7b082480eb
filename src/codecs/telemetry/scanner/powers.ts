/** Those of `assembly/memory.ts`. */
const exponentMin = -342
const exponentMax = 308
/** Powers of ten that a double holds exactly. */
const exactMax = 22
const exactDivisionMax = 27
const word = 64n
const wordMask = (1n << word) - 1n

export function tensOf(): Float64Array {
  return Float64Array.from({ length: exactMax + 1 }, (_, power) => Number(`1e${power}`))
}

/**
 * The 128 leading bits of each power of five, upper half first, cut off; but rounded up where a division by
 * it may be exact. https://arxiv.org/abs/2101.11408, 5.
 */
export function fivesOf(): BigUint64Array {
  const halves: bigint[] = []
  for (let power = exponentMin; power <= exponentMax; power += 1) {
    const bits = power < 0 ? inverse(-power) : leading(5n ** BigInt(power))
    halves.push(bits >> word, bits & wordMask)
  }
  return BigUint64Array.from(halves)
}

function leading(whole: bigint): bigint {
  const shift = bitsOf(whole) - 128n
  return shift > 0n ? whole >> shift : whole << -shift
}

/** Of 5^`power`: it divides what has 64 bits, so up to 5^27. */
function inverse(power: number): bigint {
  const divisor = 5n ** BigInt(power)
  const bits = bitsOf(divisor)
  if (power <= exactDivisionMax) return (1n << (bits + 127n)) / divisor + 1n
  return leading((1n << (2n * bits + 128n)) / divisor)
}

function bitsOf(whole: bigint): bigint {
  return BigInt(whole.toString(2).length)
}
