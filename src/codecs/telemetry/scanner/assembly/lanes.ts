import { valueOfDigits } from './numbers'

/** Sixteen lanes that come from nowhere, then the sixteen in order. */
const alignments: usize = memory.data<u8>([
  0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0,
  1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15,
])

/**
 * The whole number of `count` digits in a text of up to 8 bytes, which has `sign` bytes of sign and, where
 * it does not end there, a point at `point`.
 */
// @ts-ignore: decorator
@inline
export function wholeOfWord(text: u64, sign: i32, point: i32, count: i32): u64 {
  const digits = text ^ 0x3030_3030_3030_3030
  const before = u64.MAX_VALUE >> ((<u64>(8 - point)) << 3)
  const joined = ((digits & before) | ((digits >> 8) & ~before)) >> ((<u64>sign) << 3)
  return valueOfDigits(joined << ((<u64>(8 - count)) << 3))
}

/** The same of a text of up to 15 bytes, whose digits are in `digits`. */
// @ts-ignore: decorator
@inline
export function wholeOfLanes(digits: v128, sign: i32, point: i32, count: i32): u64 {
  // Which lane each comes from when all stand at the end and the point is left out.
  const signed = i8x16.add(v128.load(alignments + count), i8x16.splat(<i8>sign))
  const isPast = i8x16.gt_s(signed, i8x16.splat(<i8>(point - 1)))
  const joined = i8x16.swizzle(digits, i8x16.sub(signed, isPast))
  const even = v128.and(joined, i16x8.splat(0xff))
  const twos = i16x8.add(i16x8.mul(even, i16x8.splat(10)), i16x8.shr_u(joined, 8))
  const fours = i32x4.dot_i16x8_s(twos, i16x8(100, 1, 100, 1, 100, 1, 100, 1))
  const packed = i16x8.narrow_i32x4_s(fours, fours)
  const eights = i32x4.dot_i16x8_s(packed, i16x8(10000, 1, 10000, 1, 10000, 1, 10000, 1))
  const high = <u64>i32x4.extract_lane(eights, 0)
  return high * 100_000_000 + <u64>i32x4.extract_lane(eights, 1)
}
