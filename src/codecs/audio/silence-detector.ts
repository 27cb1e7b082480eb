import type { SegmentSettings } from '../../contracts/media.ts'
import { type CutPlace, type Detector, roundedDb } from './detector.ts'
import { type SampleFormat, samplesIn } from './sample-format.ts'
import type { StateReader, StateWriter } from './state-bytes.ts'

/** The least threshold that can be set stands for the level of digital silence. */
const silenceFloorDb = -120

/**
 * The value that samples must stay below to be silent, as ffmpeg's silencedetect (libavfilter,
 * af_silencedetect.c) has it: for integers the threshold is that share of the largest positive
 * value, cut to an integer, and the comparison is strict. Formats of 8 bits are compared as the 16
 * that they expand to, 24 bits as 32. Other than there, digital silence is silent under every
 * threshold.
 */
export function silenceLimit({ format, bitDepth }: SampleFormat, thresholdDb: number): number {
  const amplitude = 10 ** (thresholdDb / 20)
  if (format === 'ieee-float') return bitDepth === 32 ? Math.fround(amplitude) : amplitude
  const scale = format === 'pcm' && bitDepth > 16 ? 2 ** 31 : 2 ** 15
  return Math.max(1, Math.trunc(amplitude * (scale - 1))) / scale
}

/**
 * Cuts in the middle of silences: runs of at least `minSilenceDurationMs` in which every sample of
 * every channel is below the threshold. A silence is told of by the sample that ends it. One that
 * the audio begins with counts like any other; one that it ends with is never told of. Where a
 * full segment was cut in a silence, what is left of it is a silence of its own if it is long
 * enough. The score is the silence's peak in dBFS.
 */
export class SilenceDetector implements Detector {
  readonly lookahead = 0
  readonly #channels: number
  readonly #limit: number
  readonly #thresholdDb: number
  readonly #minSamples: number
  /** Where the silence began that goes on; -1 where there is sound. */
  #start = -1
  #peak = 0
  #found: CutPlace | null = null

  constructor(format: SampleFormat, settings: SegmentSettings, state: StateReader | null) {
    this.#channels = format.channels
    this.#limit = silenceLimit(format, settings.silenceThresholdDb)
    this.#thresholdDb = settings.silenceThresholdDb
    this.#minSamples = samplesIn(format, settings.minSilenceDurationMs)
    if (state === null) return
    this.#start = state.number()
    this.#peak = state.number()
  }

  save(state: StateWriter): void {
    state.number(this.#start).number(this.#peak)
  }

  take(block: Float64Array, from: number, until: number, position: number): number {
    let to = until
    const channels = this.#channels
    const limit = this.#limit
    let start = this.#start
    let peak = this.#peak
    for (let sample = from, at = from * channels; sample < to; sample++) {
      let level = 0
      for (let channel = 0; channel < channels; channel++, at++) {
        const value = Math.abs(block[at] as number)
        if (value > level) level = value
      }
      if (level < limit) {
        if (start < 0) start = position + sample - from
        if (level > peak) peak = level
      } else if (start >= 0) {
        const end = position + sample - from
        if (end - start >= this.#minSamples) this.#found = this.#place(start, end, peak)
        start = -1
        peak = 0
        if (this.#found !== null) {
          to = sample
          break
        }
      }
    }
    this.#start = start
    this.#peak = peak
    return to
  }

  found(): CutPlace | null {
    const found = this.#found
    this.#found = null
    return found
  }

  cut(sample: number): void {
    if (this.#start < 0 || this.#start >= sample) return
    this.#start = sample
    this.#peak = 0
  }

  #place(startSample: number, endSample: number, peak: number): CutPlace {
    return {
      sample: startSample + Math.floor((endSample - startSample) / 2),
      reason: 'silence',
      score: roundedDb(Math.max(silenceFloorDb, 20 * Math.log10(peak))),
      threshold: this.#thresholdDb,
      silence: { startSample, endSample },
    }
  }
}
