import { limits } from '../../limits.ts'

const charsMax = limits.memorySpelledCharsMax
/** Three rows of the table of distances, one after the other; filled anew by each call. */
const rowChars = charsMax + 2
const rows = new Uint8Array(3 * rowChars)

/**
 * Insertions, deletions, substitutions and transpositions of neighbours that make one word of the
 * other, no part edited twice (optimal string alignment), or `most` + 1 where it takes more than
 * `most`. Words are UTF-16 codes, the other `length` of them from `start` on, neither longer than
 * `limits.memorySpelledCharsMax`. What lies further than `most` off the diagonal cannot be part of
 * the answer, so only that band is filled (Ukkonen 1985).
 */
export function editDistance(
  one: Uint16Array,
  other: Uint16Array,
  start: number,
  length: number,
  most: number,
): number {
  const beyond = most + 1
  if (Math.abs(one.length - length) > most) return beyond
  let [twoBefore, before, current] = [0, rowChars, 2 * rowChars]
  for (let column = 0; column <= Math.min(length, beyond); column += 1)
    rows[before + column] = column
  let leastBefore = 0
  for (let row = 1; row <= one.length; row += 1) {
    const code = one[row - 1] as number
    const first = Math.max(1, row - most)
    const last = Math.min(length, row + most)
    let least = first === 1 ? Math.min(row, beyond) : beyond
    rows[current + first - 1] = least
    for (let column = first; column <= last; column += 1) {
      const otherCode = other[start + column - 1] as number
      let cost = (rows[before + column - 1] as number) + (code === otherCode ? 0 : 1)
      cost = Math.min(cost, (rows[before + column] as number) + 1)
      cost = Math.min(cost, (rows[current + column - 1] as number) + 1)
      if (
        row > 1 &&
        column > 1 &&
        code === other[start + column - 2] &&
        one[row - 2] === otherCode
      ) {
        cost = Math.min(cost, (rows[twoBefore + column - 2] as number) + 1)
      }
      if (cost > beyond) cost = beyond
      rows[current + column] = cost
      if (cost < least) least = cost
    }
    rows[current + last + 1] = beyond
    // A swap reaches back over one row, so only two rows past the bound settle it.
    if (least > most && leastBefore > most) return beyond
    leastBefore = least
    const spare = twoBefore
    twoBefore = before
    before = current
    current = spare
  }
  return Math.min(rows[before + length] as number, beyond)
}
