/** The upper half of a product of 128 bits. */
export function productHigh(a: u64, b: u64): u64 {
  const a0 = a & 0xffff_ffff
  const a1 = a >> 32
  const b0 = b & 0xffff_ffff
  const b1 = b >> 32
  const low = a0 * b0
  const cross = a1 * b0 + (low >> 32)
  const middle = a0 * b1 + (cross & 0xffff_ffff)
  return a1 * b1 + (cross >> 32) + (middle >> 32)
}
