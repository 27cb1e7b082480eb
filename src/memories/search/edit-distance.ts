/**
 * Insertions, deletions, substitutions and transpositions of neighbours that make one word of the
 * other, no part edited twice (optimal string alignment), or `most` + 1 where it takes more than
 * `most`.
 */
export function editDistance(one: string, other: string, most: number): number {
  const width = other.length
  if (Math.abs(one.length - width) > most) return most + 1
  let twoBefore: number[] = []
  let before = Array.from({ length: width + 1 }, (_, index) => index)
  for (let row = 1; row <= one.length; row += 1) {
    const current = [row]
    const code = one.charCodeAt(row - 1)
    let least = row
    for (let column = 1; column <= width; column += 1) {
      const otherCode = other.charCodeAt(column - 1)
      let cost = Math.min(
        (before[column] as number) + 1,
        (current[column - 1] as number) + 1,
        (before[column - 1] as number) + (code === otherCode ? 0 : 1),
      )
      const isSwap =
        row > 1 &&
        column > 1 &&
        code === other.charCodeAt(column - 2) &&
        one.charCodeAt(row - 2) === otherCode
      if (isSwap) cost = Math.min(cost, (twoBefore[column - 2] as number) + 1)
      current.push(cost)
      if (cost < least) least = cost
    }
    // A swap reaches back over one row, so only two rows past the bound settle it.
    if (least > most + 1) return most + 1
    twoBefore = before
    before = current
  }
  return Math.min(before[width] as number, most + 1)
}
