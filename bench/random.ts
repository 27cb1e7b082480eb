/**
 * A source of numbers in [0, 1) that the seed alone decides, so that two runs send the same
 * bytes.
 */
export function seededRandom(seed: number): () => number {
  // Mulberry32: 32 bits of state pass every test that matters for noise and sampling.
  let state = seed | 0
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296
  }
}
