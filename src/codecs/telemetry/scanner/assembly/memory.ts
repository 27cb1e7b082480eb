import { keyBytesMax, runUploadsMax, scannerKeysKept, uploadFieldsMax, uploadRecordsMax } from './host'

/**
 * The memory from bottom to top: what a scan reports, tables, remembered keys, columns, times, messages,
 * the body and, behind it, what grows while it is scanned.
 */

/**
 * Zeros behind a body: no digit, space, string or key of JSON reaches past them, so nothing asks for its end.
 * In msgpack a name may be all zeros: the longest has room.
 */
export const paddingBytes: usize = (<usize>keyBytesMax + 79) & ~15
export const keyBytes: usize = 64
export const columnBytes: usize = 64
export const messageBytes: usize = 32
export const hashSlots: usize = 8_192
/** Exponents of ten that a double reaches with up to 19 digits, and the 128 bits of each power of five. */
export const exponentMin: i32 = -342
export const exponentMax: i32 = 308
const powerBytes: usize = 16
const exactPowers: usize = 23
const pageBytes: usize = 65_536

let top: usize = (__heap_base + 15) & ~15

function region(bytes: usize): usize {
  const start = top
  top = (top + bytes + 15) & ~15
  return start
}

export const keysMax: u32 = scannerKeysKept + uploadFieldsMax

export const reportAt: usize = region(64)
/** 10^0 to 10^22 as f64: those that are exact. */
export const tensAt: usize = region(exactPowers * 8)
/** Of each power of five the upper, then the lower half. */
export const fivesAt: usize = region(<usize>(exponentMax - exponentMin + 1) * powerBytes)
export const slotsAt: usize = region(hashSlots * 4)
export const keysAt: usize = region(<usize>(keysMax + 3) * keyBytes)
export const keyTextsAt: usize = region(<usize>keysMax * <usize>((keyBytesMax + 31) & ~15))
export const columnsAt: usize = region(<usize>uploadFieldsMax * columnBytes)
export const millisAt: usize = region(<usize>uploadRecordsMax * 8)
export const microsAt: usize = region(<usize>uploadRecordsMax * 2 + 8)
export const messagesAt: usize = region(<usize>runUploadsMax * messageBytes)
export const bodyAt: usize = top

let free: usize = bodyAt

/** Room for a body. False where there is none. */
export function reserveBody(bytes: usize): bool {
  free = bodyAt
  return allocate(bytes + paddingBytes) !== 0
}

/** 0 where the memory cannot grow by so much. What is allocated is not zeroed. */
export function allocate(bytes: usize): usize {
  const start = free
  const end = (start + bytes + 15) & ~15
  if (end < start) return 0
  // What is stored sixteen bytes at a time may reach past what it belongs to.
  const needed = end + paddingBytes
  const pages = <usize>memory.size()
  if (needed > pages * pageBytes) {
    const more = (needed - pages * pageBytes + pageBytes - 1) / pageBytes
    // In steps: each takes the host's views of the memory away.
    const step = <i32>max<usize>(more, pages >> 1)
    if (memory.grow(step) < 0 && memory.grow(<i32>more) < 0) return 0
  }
  free = end
  return start
}

reserveBody(0)
