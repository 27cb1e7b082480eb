import { limits } from '../limits.ts'
import { giveBack, ownBuffer } from './buffers.ts'

/**
 * Memory for bodies on their way in, used again and again: a new buffer for each took a quarter of the
 * processor at 250 bodies of 1 MB a second, for the kernel's clearing of pages and the collector. Threads
 * share it, so a worker reads a body where it lies and its death takes none along.
 */

/**
 * Sizes of the buffers; those that are free, the one given back last on top: it may be in the cache yet. No
 * more are ever made than are kept: V8 does not count shared memory, so what is dropped brings on no
 * collection, and 150 dropped ones of 2 MB stayed for good.
 */
const classes = limits.bodyBufferClasses.map(({ bytes, count }) => ({
  bytes,
  count,
  made: 0,
  free: [] as SharedArrayBuffer[],
}))

/**
 * A buffer for a body of `bytes` with whatever an earlier one has left in it; null where such a body is too
 * large to be worth keeping memory for, or all of its size are lent. Of the calling thread alone until
 * it hands it on.
 */
export function borrowBuffer(bytes: number): SharedArrayBuffer | null {
  const fitting = classes.find((each) => bytes <= each.bytes)
  if (fitting === undefined) return null
  const buffer = fitting.free.pop()
  if (buffer !== undefined) return buffer
  if (fitting.made === fitting.count) return null
  fitting.made += 1
  return new SharedArrayBuffer(fitting.bytes)
}

/**
 * Copies bytes as memcpy does. V8's own way into or out of shared memory goes byte by byte where the two are
 * aligned differently, as they are behind the head of a request: 140 µs for 512 KB against 6 µs.
 */
export function copyBytes(source: Uint8Array, target: Buffer, at: number): void {
  if (source.length > 0) target.fill(source, at, at + source.length)
}

/** By buffer the memory that its bytes are copied to for those who cannot take shared memory. */
const copies = new WeakMap<SharedArrayBuffer, ArrayBuffer>()

/**
 * A copy of the first `bytes` of a buffer that was borrowed, in a longer one. It is used again as the buffer
 * is: what is left of it belongs to the next body once the buffer has been given back.
 */
export function borrowCopy(buffer: SharedArrayBuffer, bytes: number): ArrayBuffer {
  const copy = copies.get(buffer) ?? new ArrayBuffer(buffer.byteLength)
  copies.set(buffer, copy)
  copyBytes(new Uint8Array(buffer, 0, bytes), Buffer.from(copy), 0)
  return copy
}

/** From here on the next body may be written over it. */
export function returnBuffer(buffer: SharedArrayBuffer): void {
  classes.find(({ bytes }) => bytes === buffer.byteLength)?.free.push(buffer)
}

/** Large buffers that lie ready, the one that was kept last on top. */
const large: { readonly buffer: ArrayBuffer; readonly sinceMs: number }[] = []
let largeBytes = 0

/**
 * A buffer for a body that is too large to be borrowed, maybe longer than that and with whatever an earlier
 * one has left in it. Frames go through the threads in it and come back: to take new memory for each 20 MB
 * of them brought on a full collection every few bodies and took two fifths of the processor.
 */
export function largeBuffer(bytes: number): ArrayBuffer {
  if (bytes < limits.mappedBufferBytesMin) return ownBuffer(bytes)
  const step = limits.largeBufferStepBytes
  const bytesMax = Math.ceil(bytes / step) * step
  const at = large.findLastIndex(({ buffer }) => buffer.byteLength === bytesMax)
  const [kept] = at === -1 ? [] : large.splice(at, 1)
  if (kept === undefined) return ownBuffer(bytesMax)
  largeBytes -= bytesMax
  return kept.buffer
}

/** From here on the next body may be written over it. Takes any buffer and keeps those it can use. */
export function keepLarge(buffer: ArrayBuffer): void {
  const { byteLength, resizable } = buffer
  if (!resizable || byteLength === 0 || byteLength % limits.largeBufferStepBytes !== 0) return
  if (largeBytes + byteLength > limits.largeBuffersKeptBytesMax) {
    giveBack(buffer)
    return
  }
  large.push({ buffer, sinceMs: performance.now() })
  largeBytes += byteLength
}

/** Gives back the memory of those that have not been used for a while. */
export function dropIdleLarge(): void {
  const beforeMs = performance.now() - limits.largeBufferIdleMs
  while (large[0] !== undefined && large[0].sinceMs < beforeMs) {
    const { buffer } = large.shift() as (typeof large)[number]
    largeBytes -= buffer.byteLength
    giveBack(buffer)
  }
}
