import type { SegmentSettings } from '../../contracts/media.ts'
import { type CutPlace, type Detector, windowStart, windowsPerSecond } from './detector.ts'
import { Resampler } from './resampler.ts'
import { type SampleFormat, samplesIn } from './sample-format.ts'
import type { StateReader, StateWriter } from './state-bytes.ts'
import { type VoiceDetector, voiceRates } from './voice-detector.ts'

/** Speech frames in a row that begin speech: a click of 40 ms does not. */
const onsetFrames = 3

/**
 * Cuts in the middle of pauses between speech. WebRTC's detector judges the mean of the channels in
 * frames of 20 ms; it holds a word's end for 40 to 280 ms by itself, the shorter the more aggressive.
 * Three speech frames in a row begin speech, the first frame without it begins a pause. A pause of at
 * least `minSilenceDurationMs` between speech and speech is told of 60 ms after its end. What comes
 * before the first word is no pause; where a full segment was cut in one, what is left of it counts as
 * one if it is long enough. The score is the pause's length in ms, to the frame; the threshold is
 * `minSilenceDurationMs`.
 */
export class SpeechDetector implements Detector {
  readonly lookahead = 0
  readonly #voice: VoiceDetector
  readonly #sampleRate: number
  readonly #channels: number
  readonly #minSilenceMs: number
  readonly #minSamples: number
  /** libfvad's. */
  readonly #state: Uint8Array
  readonly #resampler: Resampler | null
  readonly #resampled = new Float64Array(Resampler.outputsMax)
  readonly #frame: Int16Array
  #filled = 0
  /** Frames that are judged. */
  #frames = 0
  /** Speech frames in a row up to now, at most `onsetFrames`. */
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
    } else if (this.#speechFrames < onsetFrames) {
      this.#speechFrames += 1
      if (this.#speechFrames === onsetFrames) this.#speak(this.#start(this.#frames - onsetFrames))
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
