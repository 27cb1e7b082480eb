import { MediaError } from '../../contracts/media.ts'
import { limits } from '../../limits.ts'

export interface SplitJpeg {
  /** In a buffer of its own. */
  readonly bytes: Uint8Array
  readonly width: number
  readonly height: number
}

const SOF0 = 0xc0
const SOF2 = 0xc2
const SOS = 0xda
const endMarker = Buffer.from([0xff, 0xd9])

/**
 * Splits what ffmpeg's MJPEG encoder writes into images. The segments before the scan are stepped over
 * by their lengths, so an end marker among their bytes is none; inside the scan T.81 B.1.1.5 has a zero
 * follow each 0xFF of the data, so the first end marker is the end. The encoder writes one scan.
 */
export class JpegSplitter {
  #buffer = Buffer.alloc(256 * 1024)
  #start = 0
  #end = 0
  /** Where the next segment begins, or where the search for the end marker goes on. */
  #at = 0
  #isInScan = false
  #width = 0
  #height = 0

  get isEmpty(): boolean {
    return this.#start === this.#end
  }

  push(chunk: Uint8Array): void {
    if (this.#end + chunk.length > this.#buffer.length) this.#makeRoom(chunk.length)
    this.#buffer.set(chunk, this.#end)
    this.#end += chunk.length
  }

  /** The next whole image, null where more bytes are needed. */
  next(): SplitJpeg | null {
    if (!this.#isInScan && !this.#walkSegments()) return null
    const found = this.#buffer.subarray(0, this.#end).indexOf(endMarker, this.#at)
    if (found === -1) {
      this.#at = Math.max(this.#at, this.#end - 1)
      return null
    }
    const bytes = Uint8Array.from(this.#buffer.subarray(this.#start, found + 2))
    const image = { bytes, width: this.#width, height: this.#height }
    this.#start = found + 2
    this.#at = this.#start
    this.#isInScan = false
    return image
  }

  /** Whether the scan has been reached. */
  #walkSegments(): boolean {
    if (this.#at === this.#start) {
      if (this.#end - this.#start < 2) return false
      if (this.#buffer.readUInt16BE(this.#start) !== 0xffd8) this.#fail()
      this.#at += 2
    }
    while (this.#end - this.#at >= 10) {
      const marker = this.#buffer.readUInt16BE(this.#at) - 0xff00
      if (marker < SOF0 || marker > 0xfe) this.#fail()
      if (marker >= SOF0 && marker <= SOF2) {
        this.#height = this.#buffer.readUInt16BE(this.#at + 5)
        this.#width = this.#buffer.readUInt16BE(this.#at + 7)
      }
      this.#at += 2 + this.#buffer.readUInt16BE(this.#at + 2)
      if (marker === SOS) {
        this.#isInScan = true
        return true
      }
    }
    return false
  }

  #makeRoom(added: number): void {
    const held = this.#end - this.#start
    if (held + added > limits.extractedFrameBytesMax) {
      const details = `a frame takes more than ${limits.extractedFrameBytesMax} bytes as JPEG`
      throw new MediaError('MEDIA_LIMIT_EXCEEDED', 'A frame is too large', details)
    }
    let size = this.#buffer.length
    while (size < held + added) size *= 2
    const target = size === this.#buffer.length ? this.#buffer : Buffer.alloc(size)
    this.#buffer.copy(target, 0, this.#start, this.#end)
    this.#buffer = target
    this.#at -= this.#start
    this.#start = 0
    this.#end = held
  }

  #fail(): never {
    throw new MediaError('DECODER_FAILED', 'ffmpeg wrote no JPEG', 'its output has no JPEG markers')
  }
}
