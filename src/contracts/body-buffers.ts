import { limits } from '../limits.ts'

/**
 * Memory for bodies on their way in, used again and again: a new buffer for each took a quarter of the
 * processor at 250 bodies of 1 MB a second, for the kernel's clearing of pages and the collector. Threads
 * share it, so a worker reads a body where it lies and its death takes none along.
 */

/** Sizes of the buffers; those that are free, the one given back last on top: it may be in the cache yet. */
const classes = limits.bodyBufferClasses.map((bytes) => ({
  bytes,
  free: [] as SharedArrayBuffer[],
}))
let freeBytes = 0

/**
 * A buffer for a body of `bytes` with whatever an earlier one has left in it; null where such a body is too
 * large to be worth keeping memory for. Of the calling thread alone until it hands it on.
 */
export function borrowBuffer(bytes: number): SharedArrayBuffer | null {
  const fitting = classes.find((each) => bytes <= each.bytes)
  if (fitting === undefined) return null
  const buffer = fitting.free.pop()
  if (buffer === undefined) return new SharedArrayBuffer(fitting.bytes)
  freeBytes -= fitting.bytes
  return buffer
}

/**
 * Copies bytes as memcpy does. V8's own way into or out of shared memory goes byte by byte where the two are
 * aligned differently, as they are behind the head of a request: 140 µs for 512 KB against 6 µs.
 */
export function copyBytes(source: Uint8Array, target: Buffer, at: number): void {
  if (source.length > 0) target.fill(source, at, at + source.length)
}

/** From here on the next body may be written over it. */
export function returnBuffer(buffer: SharedArrayBuffer): void {
  const { byteLength } = buffer
  if (freeBytes + byteLength > limits.bodyBuffersKeptBytesMax) return
  classes.find(({ bytes }) => bytes === byteLength)?.free.push(buffer)
  freeBytes += byteLength
}
