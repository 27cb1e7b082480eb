import assert from 'node:assert/strict'
import type { FvadModule } from '@echogarden/fvad-wasm'

/** Rates that the detector takes as they are. */
export const voiceRates: readonly number[] = [8_000, 16_000, 32_000, 48_000]
/** 20 ms at the highest rate. */
const frameSamplesMax = 960

/**
 * libfvad's `struct Fvad` as this build has it: WebRTC's state, integers and arrays of integers
 * without a pointer in it, then the number of the rate. So its bytes are all of its state, and go
 * anywhere.
 */
const structBytes = 740
const initFlagOffset = 732
const rateOffset = 736
/** What libfvad writes there, to know its own. */
const initFlag = 42

/**
 * WebRTC's voice activity detector, once a thread. Its state is kept by whoever asks, as bytes
 * that are copied into the wasm memory for each frame and out of it again: 0.1 µs beside the 10
 * that it takes.
 */
export class VoiceDetector {
  readonly #fvad: FvadModule
  readonly #instance: number
  readonly #struct: Uint8Array
  readonly #frameAt: number
  readonly #frame: Int16Array

  constructor(fvad: FvadModule) {
    this.#fvad = fvad
    this.#instance = fvad._fvad_new()
    this.#frameAt = fvad._malloc(2 * frameSamplesMax)
    // Nothing is allocated in it afterwards, so the memory never grows and the views stay good.
    const { buffer } = fvad.HEAPU8
    this.#struct = new Uint8Array(buffer, this.#instance, structBytes)
    this.#frame = new Int16Array(buffer, this.#frameAt, frameSamplesMax)
    this.begin(48_000, 0)
    const words = new DataView(buffer, this.#instance, structBytes)
    assert.equal(words.getInt32(initFlagOffset, true), initFlag, 'the struct of another libfvad')
    assert.equal(words.getInt32(rateOffset, true), voiceRates.indexOf(48_000))
  }

  /** The state before the first frame. `aggressiveness` 0 to 3. */
  begin(sampleRate: number, aggressiveness: number): Uint8Array {
    this.#fvad._fvad_reset(this.#instance)
    assert.equal(this.#fvad._fvad_set_mode(this.#instance, aggressiveness), 0)
    assert.equal(this.#fvad._fvad_set_sample_rate(this.#instance, sampleRate), 0)
    return this.#struct.slice()
  }

  /** Whether 20 ms are speech. `state` becomes the state after them. */
  isSpeech(state: Uint8Array, frame: Int16Array): boolean {
    this.#struct.set(state)
    this.#frame.set(frame)
    const verdict = this.#fvad._fvad_process(this.#instance, this.#frameAt, frame.length)
    assert.ok(verdict >= 0, 'a frame of 20 ms')
    state.set(this.#struct)
    return verdict === 1
  }
}

let loading: Promise<VoiceDetector> | null = null

/** Compiles the wasm the first time, in a few milliseconds. */
export function loadVoiceDetector(): Promise<VoiceDetector> {
  loading ??= import('@echogarden/fvad-wasm').then(
    async ({ default: load }) => new VoiceDetector(await load()),
  )
  return loading
}
