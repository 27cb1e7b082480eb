import type { SegmentSettings } from '../../contracts/media.ts'
import { type CutPlace, type Detector, windowStart, windowsPerSecond } from './detector.ts'
import { Resampler } from './resampler.ts'
import { type SampleFormat, samplesIn } from './sample-format.ts'
import type { StateReader, StateWriter } from './state-bytes.ts'
import { type VoiceDetector, voiceRates } from './voice-detector.ts'

/**
 * Frames for which libfvad takes the end of a short sound for speech still, by aggressiveness (its
 * vad_core.c, kOverHangMax1, at 20 ms).
 */
const heldFrames = [4, 4, 3, 3]
/** Frames of its own that speech must have: what is shorter than 60 ms is a click. */
const onsetFramesMin = 3

/**
 * Cuts in the middle of pauses between speech. WebRTC's detector judges the mean of the channels
 * in frames of 20 ms; by itself it holds the end of a word for 60 to 280 ms, the shorter the more
 * aggressive. Speech begins with as many speech frames in a row as no click makes, 6 or 7 with
 * those that are held; a pause begins with the first frame without. A pause of at least
 * `minSilenceDurationMs` between speech and speech is told of once that many frames have followed
 * it. What comes before the first word is no pause; where a full segment was cut in one, what is
 * left of it counts as one if it is long enough. The score is the pause's length in ms, the
 * threshold `minSilenceDurationMs`.
 */
export class SpeechDetector implements Detector {
  readonly lookahead = 0
  readonly #voice: VoiceDetector
  readonly #sampleRate: number
  readonly #channels: number
  readonly #minSilenceMs: number
  readonly #minSamples: number
  readonly #onsetFrames: number
  /** libfvad's. */
  readonly #state: Uint8Array
  readonly #resampler: Resampler | null
  readonly #resampled = new Float64Array(Resampler.outputsMax)
  readonly #frame: Int16Array
  #filled = 0
  /** Frames that are judged. */
  #frames = 0
  /** Speech frames in a row up to now, at most `#onsetFrames`. */
  #speechFrames = 0
  #hasSpoken = false
  /** Where the pause began that goes on; -1 where there is none. */
  #pauseStart = -1
  #found: CutPlace | null = null

  constructor(
    format: SampleFormat,
    settings: SegmentSettings,
    voice: VoiceDetector,
    state: StateReader | null,
  ) {
    const { sampleRate, channels } = format
    this.#voice = voice
    this.#sampleRate = sampleRate
    this.#channels = channels
    this.#minSilenceMs = settings.minSilenceDurationMs
    this.#minSamples = samplesIn(format, settings.minSilenceDurationMs)
    this.#onsetFrames = onsetFramesMin + (heldFrames[settings.speechAggressiveness] as number)
    const isTaken = voiceRates.includes(sampleRate)
    const rate = isTaken ? sampleRate : Resampler.rate
    this.#frame = new Int16Array(rate / windowsPerSecond)
    if (state === null) {
      this.#state = voice.begin(rate, settings.speechAggressiveness)
    } else {
      this.#state = state.bytes()
      const waiting = new Int16Array(state.bytes().buffer)
      this.#frame.set(waiting)
      this.#filled = waiting.length
      this.#frames = state.number()
      this.#speechFrames = state.number()
      this.#hasSpoken = state.number() === 1
      this.#pauseStart = state.number()
    }
    this.#resampler = isTaken ? null : new Resampler(sampleRate, state)
  }

  save(state: StateWriter): void {
    const waiting = this.#frame.slice(0, this.#filled)
    state.bytes(this.#state).bytes(new Uint8Array(waiting.buffer))
    state.number(this.#frames).number(this.#speechFrames)
    state.number(this.#hasSpoken ? 1 : 0).number(this.#pauseStart)
    this.#resampler?.save(state)
  }

  take(block: Float64Array, from: number, to: number): number {
    if (this.#resampler !== null) return this.#takeResampled(this.#resampler, block, from, to)
    const channels = this.#channels
    const frame = this.#frame
    let sample = from
    while (sample < to) {
      const end = Math.min(to, sample + frame.length - this.#filled)
      let filled = this.#filled
      for (; sample < end; sample++) frame[filled++] = mixed(block, sample, channels)
      this.#filled = filled
      if (filled === frame.length) this.#judge()
      if (this.#found !== null) break
    }
    return sample
  }

  found(): CutPlace | null {
    const found = this.#found
    this.#found = null
    return found
  }

  cut(sample: number): void {
    if (this.#pauseStart >= 0) this.#pauseStart = Math.max(this.#pauseStart, sample)
  }

  #takeResampled(resampler: Resampler, block: Float64Array, from: number, to: number): number {
    const resampled = this.#resampled
    for (let sample = from; sample < to; sample++) {
      const outputs = resampler.push(mixed(block, sample, this.#channels), resampled)
      for (let i = 0; i < outputs; i++) {
        this.#frame[this.#filled++] = Math.round(resampled[i] as number)
        if (this.#filled === this.#frame.length) this.#judge()
      }
      if (this.#found !== null) return sample + 1
    }
    return to
  }

  #judge(): void {
    const isSpeech = this.#voice.isSpeech(this.#state, this.#frame)
    this.#filled = 0
    this.#frames += 1
    if (!isSpeech) {
      this.#speechFrames = 0
      if (this.#hasSpoken && this.#pauseStart < 0) this.#pauseStart = this.#start(this.#frames - 1)
    } else if (this.#speechFrames < this.#onsetFrames) {
      this.#speechFrames += 1
      const isSpeaking = this.#speechFrames === this.#onsetFrames
      if (isSpeaking) this.#speak(this.#start(this.#frames - this.#onsetFrames))
    }
  }

  #speak(startSample: number): void {
    const pauseStart = this.#pauseStart
    this.#hasSpoken = true
    this.#pauseStart = -1
    const samples = startSample - pauseStart
    if (pauseStart < 0 || samples < this.#minSamples) return
    this.#found = {
      sample: pauseStart + Math.floor(samples / 2),
      reason: 'speech',
      score: Math.round((samples * 1000) / this.#sampleRate),
      threshold: this.#minSilenceMs,
      silence: { startSample: pauseStart, endSample: startSample },
    }
  }

  #start(frame: number): number {
    return windowStart(frame, this.#sampleRate)
  }
}

/** The mean of a sample's channels on the scale of 16 bits. */
function mixed(block: Float64Array, sample: number, channels: number): number {
  let sum = 0
  for (let at = sample * channels; at < (sample + 1) * channels; at++) sum += block[at] as number
  const value = Math.round((sum / channels) * 32_768)
  return Math.max(-32_768, Math.min(32_767, value))
}
