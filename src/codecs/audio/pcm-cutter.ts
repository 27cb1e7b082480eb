import type { SegmentSettings } from '../../contracts/media.ts'
import { frameBytesOf, type SampleFormat } from './sample-format.ts'
import { audioCut, cutSegment, type Segment } from './segment.ts'
import { createSegmenter, type SegmentCut, type Segmenter } from './segmenter.ts'

export interface PcmOptions {
  readonly format: SampleFormat
  readonly settings: SegmentSettings
  /** When the first sample was taken, milliseconds since the epoch. */
  readonly beginsAtMs: number
  /** Segments at the beginning that are there already: they are found again, but not made. */
  readonly skip: number
}

/**
 * Cuts one run of audio that comes as PCM. It holds what came since the last cut: one segment, so
 * `limits.segmentBytesMax`, and half a second.
 */
export class PcmCutter {
  readonly #options: PcmOptions
  readonly #segmenter: Segmenter
  readonly #frameBytes: number
  /** What came since the last cut. */
  #pieces: Uint8Array[] = []
  #skip: number

  private constructor(options: PcmOptions, segmenter: Segmenter) {
    this.#options = options
    this.#segmenter = segmenter
    this.#frameBytes = frameBytesOf(options.format)
    this.#skip = options.skip
  }

  static async open(options: PcmOptions): Promise<PcmCutter> {
    return new PcmCutter(options, await createSegmenter(options.format, options.settings))
  }

  /** Samples of each channel that have come. */
  get position(): number {
    return this.#segmenter.position
  }

  /**
   * Takes whole samples of all channels, which must stay as they are until they are in a segment.
   * The segments are made as they are pulled, each once; pull them all before the next call.
   */
  push(pcm: Uint8Array): Generator<Segment, void, void> {
    this.#pieces.push(pcm)
    return this.#make(this.#segmenter.push(pcm))
  }

  /** The last segments. */
  end(): Generator<Segment, void, void> {
    return this.#make(this.#segmenter.end('end'))
  }

  *#make(cuts: readonly SegmentCut[]): Generator<Segment, void, void> {
    const { format, settings, beginsAtMs } = this.#options
    for (const cut of cuts) {
      const pieces = this.#shift((cut.endSample - cut.startSample) * this.#frameBytes)
      const placed = audioCut(cut, 0, format, beginsAtMs)
      if (this.#skip === 0) yield cutSegment(settings.mode, format, placed, pieces)
      else this.#skip -= 1
    }
  }

  /** The first `byteLength` bytes of what is held, which is held no longer. */
  #shift(byteLength: number): Uint8Array[] {
    const taken: Uint8Array[] = []
    let left = byteLength
    let spent = 0
    for (const piece of this.#pieces) {
      if (left === 0) break
      taken.push(piece.subarray(0, left))
      if (piece.byteLength > left) {
        this.#pieces[spent] = piece.subarray(left)
        break
      }
      left -= piece.byteLength
      spent += 1
    }
    this.#pieces.splice(0, spent)
    return taken
  }
}
