import type { SegmentSettings } from '../../contracts/media.ts'
import { HeldPcm } from './held-pcm.ts'
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
  readonly #held: HeldPcm
  #skip: number

  private constructor(options: PcmOptions, segmenter: Segmenter) {
    this.#options = options
    this.#segmenter = segmenter
    this.#frameBytes = frameBytesOf(options.format)
    this.#held = new HeldPcm(options.format)
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
   * Takes whole samples of all channels. The segments are made as they are pulled, each once. Pull them
   * all before the next call: until then the samples must stay as they are.
   */
  push(pcm: Uint8Array): Generator<Segment, void, void> {
    return this.#make(this.#segmenter.push(pcm), pcm)
  }

  /** The last segments. */
  end(): Generator<Segment, void, void> {
    return this.#make(this.#segmenter.end('end'), new Uint8Array(0))
  }

  *#make(cuts: readonly SegmentCut[], pcm: Uint8Array): Generator<Segment, void, void> {
    const { format, settings, beginsAtMs } = this.#options
    let added = 0
    for (const cut of cuts) {
      const byteLength = (cut.endSample - cut.startSample) * this.#frameBytes
      const missing = Math.max(0, byteLength - this.#held.byteLength)
      this.#held.add(pcm.subarray(added, added + missing))
      added += missing
      if (this.#skip === 0) {
        const placed = audioCut(cut, 0, format, beginsAtMs)
        yield cutSegment(settings.mode, format, placed, this.#held.take(byteLength))
      } else {
        this.#held.drop(byteLength)
        this.#skip -= 1
      }
    }
    this.#held.add(pcm.subarray(added))
  }
}
