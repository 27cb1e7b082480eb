import { limits } from '../../limits.ts'
import type { SampleFormat } from './sample-format.ts'
import { segmentBytes, segmentHeaderBytes } from './segment-wav.ts'

/** Beside a segment it may hold what a detector looks ahead: 6 MB at most. */
const heldBytesMax = 2 * limits.segmentBytesMax
/** What the buffer grows by: the kernel gives out its pages only as they are written. */
const growthBytes = 1024 * 1024

/**
 * The samples since the last cut, with room for a header before them: so the buffer of a large segment
 * becomes its WAV file without a copy, and no second one of its size is ever held.
 */
export class HeldPcm {
  readonly #format: SampleFormat
  readonly #headerBytes: number
  #buffer = newBuffer()
  #spare = newBuffer()
  /** Where the next sample goes. */
  #end: number

  constructor(format: SampleFormat) {
    this.#format = format
    this.#headerBytes = segmentHeaderBytes(format)
    this.#end = this.#headerBytes
  }

  get byteLength(): number {
    return this.#end - this.#headerBytes
  }

  /** Copies whole samples of all channels. */
  add(pcm: Uint8Array): void {
    const end = this.#end + pcm.byteLength
    if (end > this.#buffer.byteLength) {
      this.#buffer.resize(Math.min(Math.ceil(end / growthBytes) * growthBytes, heldBytesMax))
    }
    new Uint8Array(this.#buffer).set(pcm, this.#end)
    this.#end = end
  }

  /**
   * The first `pcmBytes` at their place in what becomes their WAV file; they are held no longer. A large one
   * fills its buffer, which may be moved. A small one is gone with the next call.
   */
  take(pcmBytes: number): Uint8Array<ArrayBuffer> {
    const buffer = this.#buffer
    const fileBytes = segmentBytes(this.#format, pcmBytes)
    const pcmEnd = this.#headerBytes + pcmBytes
    const rest = new Uint8Array(buffer, pcmEnd, this.#end - pcmEnd)
    const isLarge = fileBytes > limits.mediaChunkBytesMax
    this.#buffer = isLarge ? newBuffer() : this.#spare
    this.#end = this.#headerBytes
    this.add(rest)
    if (isLarge || buffer.byteLength < fileBytes) buffer.resize(fileBytes)
    if (!isLarge) this.#spare = buffer
    return new Uint8Array(buffer, 0, fileBytes).fill(0, pcmEnd)
  }

  /** The first `pcmBytes` are held no longer. */
  drop(pcmBytes: number): void {
    const bytes = new Uint8Array(this.#buffer, 0, this.#end)
    bytes.copyWithin(this.#headerBytes, this.#headerBytes + pcmBytes)
    this.#end -= pcmBytes
  }
}

function newBuffer(): ArrayBuffer {
  return new ArrayBuffer(0, { maxByteLength: heldBytesMax })
}
