import type { FileHandle } from 'node:fs/promises'
import { limits } from '../../limits.ts'
import type { MediaSource } from './source.ts'

/** RFC 3533: 27 bytes, up to 255 lengths and as many segments of 255 bytes. */
const oggPageBytesMax = 27 + 255 + 255 * 255

/**
 * Whether a file of a checked signature ends before the end that it tells itself. Durations do not say:
 * they are of the longest stream, and of a file whose last frame is shown long.
 */
export async function isCutOff(
  file: FileHandle,
  { container, byteLength }: MediaSource,
  head: Buffer,
): Promise<boolean> {
  if (container === 'avi') return isRiffCutOff(head, byteLength)
  if (container === 'mpegts') return byteLength % (head[0] === 0x47 ? 188 : 192) !== 0
  if (container === 'matroska') return isSegmentCutOff(head, byteLength)
  if (container === 'mov') return isBoxCutOff(file, byteLength)
  if (container === 'ogg') return isPageCutOff(file, byteLength)
  return false
}

/** AVI tells its length, or of a long one that of its first part; one that was never finished 0. */
function isRiffCutOff(head: Buffer, byteLength: number): boolean {
  const told = head.readUInt32LE(4)
  return told !== 0xffffffff && told + 8 > byteLength
}

/** RFC 8794: the EBML header, then the segment, whose length a live recording leaves unknown. */
function isSegmentCutOff(head: Buffer, byteLength: number): boolean {
  const header = readEbmlLength(head, 4)
  const segmentAt = header === null ? Number.NaN : header.end + (header.value ?? Number.NaN)
  if (!(segmentAt + 5 <= head.length) || head.readUInt32BE(segmentAt) !== 0x18538067) return false
  const segment = readEbmlLength(head, segmentAt + 4)
  return segment !== null && segment.value !== null && segment.end + segment.value > byteLength
}

/** As many bytes as the first one has leading zeros, and one; the value is null where all bits are set. */
function readEbmlLength(head: Buffer, at: number): { value: number | null; end: number } | null {
  const first = head[at] ?? 0
  const bytes = Math.clz32(first) - 23
  if (first === 0 || at + bytes > head.length) return null
  let value = first & (0x7f >> (bytes - 1))
  for (let next = at + 1; next < at + bytes; next += 1) value = value * 256 + (head[next] ?? 0)
  // Beyond 2^53 the greatest value rounds to its power of two.
  const isUnknown = value >= 2 ** (7 * bytes) - 1
  return { value: isUnknown ? null : value, end: at + bytes }
}

/** ISO/IEC 14496-12 4.2: boxes follow each other, the last may reach to the end by a length of 0. */
async function isBoxCutOff(file: FileHandle, byteLength: number): Promise<boolean> {
  const head = Buffer.alloc(16)
  let at = 0
  for (let boxes = 0; at < byteLength && boxes < limits.mediaBoxesMax; boxes += 1) {
    const { bytesRead } = await file.read(head, 0, 16, at)
    // What follows the last box may be no box, a few zeros for instance.
    if (bytesRead < 8 || !/^[ -~]{4}$/.test(head.toString('latin1', 4, 8))) return false
    const short = head.readUInt32BE(0)
    const length = short === 1 && bytesRead === 16 ? Number(head.readBigUInt64BE(8)) : short
    if (length < 8) return false
    at += length
  }
  return at > byteLength
}

/** The last page of each logical stream bears the mark of its end, so that of the file does. */
async function isPageCutOff(file: FileHandle, byteLength: number): Promise<boolean> {
  const length = Math.min(byteLength, 2 * oggPageBytesMax)
  const { buffer, bytesRead } = await file.read(
    Buffer.alloc(length),
    0,
    length,
    byteLength - length,
  )
  const tail = buffer.subarray(0, bytesRead)
  const at = tail.lastIndexOf('OggS\0', undefined, 'latin1')
  if (at === -1) return false
  const segments = tail[at + 26] ?? 0
  let end = at + 27 + segments
  if (end > tail.length) return true
  for (let next = at + 27; next < at + 27 + segments; next += 1) end += tail[next] ?? 0
  return end > tail.length || ((tail[at + 5] ?? 0) & 0x04) === 0
}
