import { readSync } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { limits } from '../../limits.ts'
import { MediaFault } from '../media-fault.ts'
import { confirmWav, layOutWav, type WavBytes, type WavLayout } from '../wav.ts'
import { frameBytesOf, type SampleFormat } from './sample-format.ts'

/** Chunk headers lie close together, but for the samples between them. */
const windowBytes = 4_096

/**
 * Opens a WAV file on disk. Its header is checked as `readWav` checks that of one in memory, but
 * that samples may be missing at the end; the samples are not read. Throws MediaFault, or the
 * system's error.
 */
export async function openWavFile(path: string): Promise<WavFile> {
  const handle = await open(path, 'r')
  try {
    const { size } = await handle.stat()
    const file = new HeaderBytes(handle.fd, size)
    const layout = layOutWav(file, 'keep')
    const frame = file.at(layout.dataByteOffset, frameBytesOf(layout))
    confirmWav(layout.formatBytes, frame, { ...layout, frames: 1 })
    return new WavFile(handle, layout)
  } catch (error) {
    await handle.close()
    throw error
  }
}

export class WavFile {
  readonly format: SampleFormat
  /** Of each channel, that are there. */
  readonly samples: number
  /** More that the header claims. */
  readonly missing: number
  readonly #handle: FileHandle
  readonly #dataByteOffset: number

  constructor(handle: FileHandle, layout: WavLayout) {
    const { format, sampleRate, channels, bitDepth } = layout
    this.format = { format, sampleRate, channels, bitDepth }
    this.samples = layout.frames
    this.missing = layout.missing
    this.#handle = handle
    this.#dataByteOffset = layout.dataByteOffset
  }

  /**
   * The samples of all channels from one on, as they stand in the file. Each piece is gone once the next
   * is pulled: buffers of their own would pile up until a collection, and a thread that holds little has none.
   */
  async *read(fromSample: number): AsyncGenerator<Uint8Array, void, void> {
    const frameBytes = frameBytesOf(this.format)
    const samplesAtATime = Math.floor(limits.wavReadBytes / frameBytes)
    const buffer = new Uint8Array(samplesAtATime * frameBytes)
    for (let sample = fromSample; sample < this.samples; sample += samplesAtATime) {
      const samples = Math.min(samplesAtATime, this.samples - sample)
      const bytes = buffer.subarray(0, samples * frameBytes)
      await this.#fill(bytes, this.#dataByteOffset + sample * frameBytes)
      yield bytes
    }
  }

  close(): Promise<void> {
    return this.#handle.close()
  }

  async #fill(bytes: Uint8Array, byteOffset: number): Promise<void> {
    let filled = 0
    while (filled < bytes.byteLength) {
      const left = bytes.byteLength - filled
      const { bytesRead } = await this.#handle.read(bytes, filled, left, byteOffset + filled)
      if (bytesRead === 0) {
        throw new MediaFault('truncated', byteOffset + filled, 'The WAV file has become shorter')
      }
      filled += bytesRead
    }
  }
}

/**
 * Reads what of a file is looked at, synchronously: a few kilobytes on a thread of the file's own.
 */
class HeaderBytes implements WavBytes {
  readonly length: number
  readonly #fd: number
  #window: Buffer = Buffer.alloc(0)
  #windowStart = 0
  #looks = 0

  constructor(fd: number, length: number) {
    this.#fd = fd
    this.length = length
  }

  at(byteOffset: number, byteLength: number): Buffer {
    this.#looks += 1
    if (this.#looks > limits.wavChunksMax) {
      throw new MediaFault('out-of-range', byteOffset, 'The WAV file has too many chunks')
    }
    const end = Math.min(byteOffset + byteLength, this.length)
    if (byteOffset < this.#windowStart || end > this.#windowStart + this.#window.length) {
      this.#window = this.#load(byteOffset, Math.max(windowBytes, byteLength))
      this.#windowStart = byteOffset
    }
    return this.#window.subarray(byteOffset - this.#windowStart, end - this.#windowStart)
  }

  #load(byteOffset: number, byteLength: number): Buffer {
    const bytes = Buffer.alloc(Math.min(byteLength, this.length - byteOffset))
    let filled = 0
    while (filled < bytes.length) {
      const left = bytes.length - filled
      const read = readSync(this.#fd, bytes, filled, left, byteOffset + filled)
      if (read === 0) throw new MediaFault('truncated', byteOffset + filled, 'The file shrinks')
      filled += read
    }
    return bytes
  }
}
