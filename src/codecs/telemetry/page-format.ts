/**
 * The column page: the records of one upload or batch. All numbers are little-endian, every part begins
 * at a multiple of 8 bytes (padded with zeros), so typed arrays can be laid over the bytes as they are.
 *
 *     head     "ATP1"  u32 rows  u32 columns  u32 flags (1: microseconds follow)
 *     times    f64[rows] milliseconds since the epoch
 *     micros   u16[rows] microseconds on top of them, only where one of them is not 0
 *     columns  in the order in which their names first appear, each:
 *       head     u32 encoding  u32 nameBytes  u32 entries  u32 numbers  u32 strings  u32 stringBytes
 *       name     UTF-8
 *       rows     u32[entries], the row of each entry, rising (encoding `sparse` only)
 *       tags     u8[entries] (not in encoding `dense`)
 *       numbers  f64[numbers]
 *       lengths  u32[strings], bytes of each string
 *       text     UTF-8, the strings one after the other
 *
 * `dense`: every row has a number. `sparse`: fewer than a fifth of the rows have the field, so its
 * entries name their rows. `tagged`: an entry a row. Which one it is follows from the records alone, so
 * the same records always give the same bytes, whether they come in one upload or in many.
 */
export const tags = { absent: 0, null: 1, false: 2, true: 3, number: 4, string: 5 } as const
export const encodings = { dense: 0, tagged: 1, sparse: 2 } as const
/** "ATP1" */
export const magic = 0x31_50_54_41
export const headBytes = 16
export const columnHeadBytes = 24
export const flagMicros = 1

export type PageValue = number | string | boolean | null

/** Bytes of a part with its padding. */
export function padded(bytes: number): number {
  return (bytes + 7) & ~7
}
