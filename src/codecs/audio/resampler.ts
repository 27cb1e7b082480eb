import type { StateReader, StateWriter } from './state-bytes.ts'

/**
 * Brings any rate of 8 kHz or more to 16 kHz: each output is the mean of the input over its time,
 * an input at a border counting by its share. Plain, but exact in time and the same wherever the
 * input is divided; speech is told by what lies below 4 kHz, where it damps by less than 1 dB.
 */
export class Resampler {
  static readonly rate = 16_000
  /** Of one input: at 8 kHz each becomes two. */
  static readonly outputsMax = 2
  readonly #sampleRate: number
  /** An input lasts 16,000 units, an output as many as the input's rate. */
  #filled = 0
  #sum = 0

  constructor(sampleRate: number, state: StateReader | null) {
    this.#sampleRate = sampleRate
    if (state === null) return
    this.#filled = state.number()
    this.#sum = state.number()
  }

  save(state: StateWriter): void {
    state.number(this.#filled).number(this.#sum)
  }

  /** Puts the outputs that `value` completes into `out` and returns how many they are. */
  push(value: number, out: Float64Array): number {
    let units = Resampler.rate
    let outputs = 0
    while (this.#filled + units >= this.#sampleRate) {
      const share = this.#sampleRate - this.#filled
      out[outputs] = (this.#sum + value * share) / this.#sampleRate
      outputs += 1
      units -= share
      this.#filled = 0
      this.#sum = 0
    }
    this.#filled += units
    this.#sum += value * units
    return outputs
  }
}
