import assert from 'node:assert/strict'
import type { CutReason, SegmentSettings } from '../../contracts/media.ts'
import type { AudioCut } from '../../contracts/tasks.ts'
import { limits } from '../../limits.ts'
import type { CutPlace, Detector } from './detector.ts'
import { EnergyDetector } from './energy-detector.ts'
import {
  decoderOf,
  frameBytesOf,
  type SampleDecoder,
  type SampleFormat,
  samplesIn,
} from './sample-format.ts'
import { segmentHeaderBytes } from './segment-wav.ts'
import { SilenceDetector } from './silence-detector.ts'
import { SpeechDetector } from './speech-detector.ts'
import { StateReader, StateWriter } from './state-bytes.ts'
import { loadVoiceDetector, type VoiceDetector } from './voice-detector.ts'

/** A segment of a run of audio, by its samples. */
export type SegmentCut = Omit<AudioCut, 'run' | 'fromMs' | 'toMs'>

/** Changes with what `save` writes: another version's state cannot be gone on from. */
const stateVersion = 1
/** Values that are decoded at a time: 128 KiB, which stay in the second cache. */
const blockValues = 16_384
/** Nothing of it is kept from one push to the next. */
const block = new Float64Array(blockValues)

/**
 * A Segmenter at the beginning of a run, or where the one stood that gave `state`; with the voice
 * detector loaded where it needs one.
 */
export async function createSegmenter(
  format: SampleFormat,
  settings: SegmentSettings,
  state: Uint8Array | null = null,
): Promise<Segmenter> {
  const voice = settings.mode === 'speech-detection' ? await loadVoiceDetector() : null
  return new Segmenter(format, settings, state, voice)
}

/**
 * Says where a run of audio of one format is cut. It sees each sample once and holds none. Its
 * cuts depend on the samples alone: not on how they are divided into pushes, nor on where it was
 * saved and made anew from its state.
 *
 * A place that the detector finds is cut at where the segment has `minSegmentDurationMs` by then;
 * a segment that no such place ends within `maxSegmentDurationMs`, or within the bytes of
 * `limits.segmentBytesMax`, ends there.
 */
export class Segmenter {
  readonly #format: SampleFormat
  readonly #decode: SampleDecoder
  /** Null where every segment is filled up. */
  readonly #detector: Detector | null
  readonly #minSamples: number
  readonly #maxSamples: number
  readonly #maxReason: CutReason
  #position = 0
  #startSample = 0
  #cuts: SegmentCut[] = []

  constructor(
    format: SampleFormat,
    settings: SegmentSettings,
    state: Uint8Array | null,
    voice: VoiceDetector | null,
  ) {
    this.#format = format
    this.#decode = decoderOf(format)
    this.#minSamples = samplesIn(format, settings.minSegmentDurationMs)
    const durationSamples = samplesIn(format, settings.maxSegmentDurationMs)
    const bytes = limits.segmentBytesMax - segmentHeaderBytes(format)
    const byteSamples = Math.floor(bytes / frameBytesOf(format))
    this.#maxSamples = Math.min(durationSamples, byteSamples)
    const isFixed = settings.mode === 'fixed-duration'
    const durationReason = isFixed ? 'fixed-duration' : 'max-duration'
    this.#maxReason = byteSamples < durationSamples ? 'max-bytes' : durationReason
    const reader = state === null ? null : new StateReader(state)
    if (reader !== null) {
      assert.equal(reader.number(), stateVersion, 'the state is of another version')
      this.#position = reader.number()
      this.#startSample = reader.number()
    }
    this.#detector = createDetector(format, settings, voice, reader)
  }

  /** Samples of each channel that it has seen. */
  get position(): number {
    return this.#position
  }

  /**
   * Goes over whole samples of all channels. Returns the segments that are known to end with them.
   */
  push(pcm: Uint8Array): SegmentCut[] {
    const { channels } = this.#format
    const frameBytes = frameBytesOf(this.#format)
    assert.equal(pcm.byteLength % frameBytes, 0, 'samples come whole')
    const samples = pcm.byteLength / frameBytes
    if (this.#detector === null) {
      this.#position += samples
      this.#fill(this.#position)
      return this.#takeCuts()
    }
    const blockSamples = Math.floor(blockValues / channels)
    for (let from = 0; from < samples; from += blockSamples) {
      const count = Math.min(blockSamples, samples - from)
      this.#decode(pcm, from * frameBytes, count * channels, block)
      this.#detect(this.#detector, count)
    }
    return this.#takeCuts()
  }

  /** The last segments. Nothing comes after them. */
  end(reason: 'end' | 'format-change' | 'gap'): SegmentCut[] {
    this.#fill(this.#position)
    if (this.#position > this.#startSample) this.#cut(this.#position, { reason })
    return this.#takeCuts()
  }

  /** In a buffer of its own, 3 KB at most. */
  save(): Uint8Array {
    const state = new StateWriter()
    state.number(stateVersion).number(this.#position).number(this.#startSample)
    this.#detector?.save(state)
    return state.finish()
  }

  /**
   * Stops wherever a segment is full, because what the detector finds later depends on where it
   * was cut. By then it has told of all places within the segment.
   */
  #detect(detector: Detector, samples: number): void {
    let from = 0
    while (from < samples) {
      const full = this.#startSample + this.#maxSamples + detector.lookahead
      const to = Math.min(samples, from + full - this.#position)
      const next = detector.take(block, from, to, this.#position)
      this.#position += next - from
      from = next
      const place = detector.found()
      if (place !== null) this.#consider(place)
      this.#fill(this.#position - detector.lookahead)
    }
  }

  #consider(place: CutPlace): void {
    // Beyond the end of a segment that is waiting only for what may still be found within it.
    this.#fill(place.sample - 1)
    if (place.sample - this.#startSample >= Math.max(1, this.#minSamples)) {
      this.#cut(place.sample, place)
    }
  }

  /** Cuts full segments up to `sample`. */
  #fill(sample: number): void {
    while (this.#startSample + this.#maxSamples <= sample) {
      this.#cut(this.#startSample + this.#maxSamples, { reason: this.#maxReason })
    }
  }

  #cut(
    endSample: number,
    { reason, score = null, threshold = null, silence = null }: CutPlace | FullSegment,
  ): void {
    this.#cuts.push({
      startSample: this.#startSample,
      endSample,
      reason,
      score,
      threshold,
      silence,
    })
    this.#startSample = endSample
    this.#detector?.cut(endSample)
  }

  #takeCuts(): SegmentCut[] {
    const cuts = this.#cuts
    this.#cuts = []
    return cuts
  }
}

/** What ends a segment where nothing was found. */
interface FullSegment {
  readonly reason: CutReason
  readonly score?: null
  readonly threshold?: null
  readonly silence?: null
}

function createDetector(
  format: SampleFormat,
  settings: SegmentSettings,
  voice: VoiceDetector | null,
  state: StateReader | null,
): Detector | null {
  switch (settings.mode) {
    case 'fixed-duration':
      return null
    case 'silence':
      return new SilenceDetector(format, settings, state)
    case 'energy':
      return new EnergyDetector(format, settings, state)
    case 'speech-detection':
      assert.ok(voice !== null, 'createSegmenter loads the voice detector')
      return new SpeechDetector(format, settings, voice, state)
  }
}
