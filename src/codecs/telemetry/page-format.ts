/**
 * The column page: the records of one upload or batch. All numbers are little-endian, every part
 * begins at a multiple of 8 bytes (padded with zeros), so typed arrays can be laid over the bytes as
 * they are.
 *
 *     head     "ATP2"  u32 rows  u32 columns  u32 flags (1: microseconds follow)
 *     times    numbers: milliseconds since the epoch
 *     micros   u16[rows] microseconds on top of them, only where one of them is not 0
 *     columns  in the order in which their names first appear, each:
 *       head     u8 encoding  u8 lengthBytes  u16 nameBytes  u32 entries  u32 texts  u32 textBytes
 *       numbers  their head; what follows it stands behind the tags
 *       name     UTF-8
 *       rows     the row of each entry, rising (encoding `sparse` only), each of as few bytes as the
 *                page's last row needs
 *       tags     u8[entries] (not in encoding `dense`)
 *       numbers  what follows their head
 *       choices  u8[strings], which text each string is, where strings are more than texts
 *       lengths  of each text in bytes, `lengthBytes` each
 *       text     UTF-8, the texts one after the other
 *
 *     numbers  u8 width  u8 decimals  u16 0  u32 step  f64 least, then of so many bytes each:
 *       0        number i is (least + i * step) / 10^decimals; where all are the same, step and
 *                decimals are 0 and `least` is the number itself, whatever it is
 *       1, 2, 4  unsigned offsets: number i is (least + offset) / 10^decimals
 *       8        f64 as they are
 *
 * `dense`: every row has a number. `sparse`: fewer than a fifth of the rows have the field, so its
 * entries name their rows. `tagged`: an entry a row. Which one it is, as the form of numbers and
 * strings, follows from the records alone, so the same records always give the same bytes, whether
 * they come in one upload or in many.
 */
export const tags = { absent: 0, null: 1, false: 2, true: 3, number: 4, string: 5 } as const
export const encodings = { dense: 0, tagged: 1, sparse: 2 } as const
/** "ATP2" */
export const magic = 0x32_50_54_41
export const headBytes = 16
export const columnHeadBytes = 16
export const numbersHeadBytes = 16
export const flagMicros = 1
/** Far beyond any batch: rows may take no bytes, so damage could else claim any number of them. */
export const rowsMax = 1 << 20
/** Texts of a column whose strings name theirs; more of them stand one after the other. */
export const choicesMax = 256

export type PageValue = number | string | boolean | null

/**
 * Values of a page as its head tells them: its rows times its columns, of which the times are one.
 * They may be many where the bytes are few: a column in which all numbers are the same has none.
 * Of bytes that are no page it is any number; `openPage` tells what is wrong with them.
 */
export function valuesOf(page: Uint8Array): number {
  if (page.byteLength < headBytes) return 0
  const head = new DataView(page.buffer, page.byteOffset, headBytes)
  return head.getUint32(4, true) * (head.getUint32(8, true) + 1)
}

/** Bytes of a part with its padding. */
export function padded(bytes: number): number {
  return (bytes + 7) & ~7
}

/** The fewest bytes that hold every unsigned integer up to `most`: 1, 2 or 4. */
export function widthOf(most: number): 1 | 2 | 4 {
  return most < 0x100 ? 1 : most < 0x1_0000 ? 2 : 4
}
