/** JSON's white space: space, tab, line feed, carriage return. */
export function skip(start: usize): usize {
  let at = start
  while (true) {
    const byte = <u32>load<u8>(at)
    if (byte > 0x20 || ((1 << byte) & 0x2600) === 0) {
      if (byte !== 0x20) return at
    }
    at += 1
  }
}

/** Whether the bytes at `at` that `mask` takes are those of `text`. */
export function startsWith(at: usize, text: v128, mask: v128): bool {
  return !v128.any_true(v128.xor(v128.and(v128.load(at), mask), text))
}

/** Bytes of every lane at once up to a lane. */
export function laneMask(lanes: i32): v128 {
  return i8x16.lt_u(
    i8x16(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15),
    i8x16.splat(<i8>lanes),
  )
}
