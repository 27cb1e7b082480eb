import type { SegmentSettings } from '../../contracts/media.ts'
import {
  type CutPlace,
  type Detector,
  roundedDb,
  windowStart,
  windowsPerSecond,
} from './detector.ts'
import type { SampleFormat } from './sample-format.ts'
import type { StateReader, StateWriter } from './state-bytes.ts'

/**
 * Windows before and after a border that are compared, and borders around it that it must exceed.
 */
const reach = 10
const levelFloorDb = -96

/**
 * Cuts where the level changes. The audio is divided into windows of 20 ms from its beginning on;
 * the level of one is L = 10 log10(mean of x² over its samples of all channels), at least −96 dBFS.
 * The change at the border before window n is
 *
 *     D(n) = | mean(L(n) … L(n+9)) − mean(L(n−10) … L(n−1)) |  dB
 *
 * A place is a border where D reaches `energyThresholdDb` and is the largest within ten borders to
 * either side, the first of equals. So it is known 20 windows later; borders nearer to the end of
 * the audio than that, and the first ten, are none. The score is D.
 */
export class EnergyDetector implements Detector {
  readonly lookahead: number
  readonly #sampleRate: number
  readonly #channels: number
  readonly #thresholdDb: number
  /** Windows that are complete. */
  #windows = 0
  /** Of x² over the window that is not. */
  #sum = 0
  /** Of the last 2 × reach windows, each at its number modulo their count. */
  readonly #levels: Float64Array
  /** Of the last 2 × reach + 1 borders, likewise. */
  readonly #changes: Float64Array
  #found: CutPlace | null = null

  constructor(format: SampleFormat, settings: SegmentSettings, state: StateReader | null) {
    this.#sampleRate = format.sampleRate
    this.#channels = format.channels
    this.#thresholdDb = settings.energyThresholdDb
    // A window more than it takes, because borders are rounded to samples.
    this.lookahead = Math.ceil(((2 * reach + 1) * format.sampleRate) / windowsPerSecond)
    if (state === null) {
      this.#levels = new Float64Array(2 * reach)
      this.#changes = new Float64Array(2 * reach + 1)
      return
    }
    this.#windows = state.number()
    this.#sum = state.number()
    this.#levels = state.numbers()
    this.#changes = state.numbers()
  }

  save(state: StateWriter): void {
    state.number(this.#windows).number(this.#sum).numbers(this.#levels).numbers(this.#changes)
  }

  take(block: Float64Array, from: number, to: number, position: number): number {
    const channels = this.#channels
    let sample = from
    while (sample < to) {
      const border = windowStart(this.#windows + 1, this.#sampleRate)
      const end = Math.min(to, from + border - position)
      let sum = this.#sum
      for (let at = sample * channels; at < end * channels; at++) {
        const value = block[at] as number
        sum += value * value
      }
      this.#sum = sum
      sample = end
      if (position + sample - from < border) break
      this.#completeWindow(border - windowStart(this.#windows, this.#sampleRate))
      if (this.#found !== null) break
    }
    return sample
  }

  found(): CutPlace | null {
    const found = this.#found
    this.#found = null
    return found
  }

  /** Levels are of the audio, wherever it is cut. */
  cut(): void {}

  #completeWindow(samples: number): void {
    const level = 10 * Math.log10(this.#sum / (samples * this.#channels))
    this.#levels[this.#windows % (2 * reach)] = Math.max(levelFloorDb, level)
    this.#sum = 0
    this.#windows += 1
    const border = this.#windows - reach
    if (border < reach) return
    this.#changes[border % (2 * reach + 1)] = Math.abs(
      this.#meanLevel(border) - this.#meanLevel(border - reach),
    )
    this.#examine(border - reach)
  }

  #meanLevel(window: number): number {
    let sum = 0
    for (let i = 0; i < reach; i++) sum += this.#levels[(window + i) % (2 * reach)] as number
    return sum / reach
  }

  #examine(border: number): void {
    if (border < reach) return
    const change = this.#change(border)
    if (change < this.#thresholdDb) return
    for (let i = 1; i <= reach; i++) {
      if (border - i >= reach && this.#change(border - i) >= change) return
      if (this.#change(border + i) > change) return
    }
    this.#found = {
      sample: windowStart(border, this.#sampleRate),
      reason: 'energy',
      score: roundedDb(change),
      threshold: this.#thresholdDb,
      silence: null,
    }
  }

  #change(border: number): number {
    return this.#changes[border % (2 * reach + 1)] as number
  }
}
