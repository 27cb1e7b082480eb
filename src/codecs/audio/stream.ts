import assert from 'node:assert/strict'
import { hash } from 'node:crypto'
import { ownBuffer } from '../../contracts/buffers.ts'
import type { SegmentSettings } from '../../contracts/media.ts'
import type {
  AnalyseResult,
  AnalyseTask,
  AudioCut,
  CutResult,
  CutTask,
  MediaItem,
} from '../../contracts/tasks.ts'
import { limits } from '../../limits.ts'
import { readWavHeader, type WavFormat } from '../wav.ts'
import { frameBytesOf, isSameFormat, type SampleFormat } from './sample-format.ts'
import { audioCut, segmentMetadata } from './segment.ts'
import { levelsOf, segmentBytes, writeSegment } from './segment-wav.ts'
import { createSegmenter, type SegmentCut, type Segmenter } from './segmenter.ts'
import { StateReader, StateWriter } from './state-bytes.ts'

/** The run that goes on. */
interface OpenRun {
  readonly format: SampleFormat
  /** When its first sample was taken, milliseconds since the epoch. */
  readonly beganAtMs: number
  readonly segmenter: Segmenter
}

interface Place {
  readonly run: number
  readonly startSample: number
  readonly samples: number
}

const digestBytes = 32

/**
 * Where the next buffers of a session are cut. Buffers follow each other as one run of audio,
 * whose time is that of its first buffer and the number of its samples; one of another format, or
 * whose time is off by more than `limits.audioGapMs`, ends the run and begins the next.
 */
export async function analyse(task: AnalyseTask): Promise<AnalyseResult> {
  const session = new Session(task.settings)
  await session.restore(task.state)
  const places: Place[] = []
  for (const { bytes, atMs } of task.buffers) places.push(await session.add(bytes, atMs))
  if (task.isEnd) session.endRun('end')
  return { state: session.save(), places, cuts: session.cuts }
}

class Session {
  readonly cuts: AudioCut[] = []
  readonly #settings: SegmentSettings
  /** Number of the run that goes on, or of the next. */
  #run = 0
  #open: OpenRun | null = null

  constructor(settings: SegmentSettings) {
    this.#settings = settings
  }

  async restore(state: Uint8Array | null): Promise<void> {
    if (state === null) return
    const reader = new StateReader(state)
    this.#run = reader.number()
    if (reader.number() === 0) return
    const format: SampleFormat = {
      format: required(formats[reader.number()]),
      sampleRate: reader.number(),
      channels: reader.number(),
      bitDepth: reader.number(),
    }
    const beganAtMs = reader.number()
    const segmenter = await createSegmenter(format, this.#settings, reader.bytes())
    this.#open = { format, beganAtMs, segmenter }
  }

  save(): Uint8Array {
    const state = new StateWriter().number(this.#run).number(this.#open === null ? 0 : 1)
    if (this.#open === null) return state.finish()
    const { format, beganAtMs, segmenter } = this.#open
    return state
      .number(formats.indexOf(format.format))
      .number(format.sampleRate)
      .number(format.channels)
      .number(format.bitDepth)
      .number(beganAtMs)
      .bytes(segmenter.save())
      .finish()
  }

  async add(bytes: Uint8Array, atMs: number): Promise<Place> {
    const { format, samples, pcm } = openBuffer(bytes)
    if (this.#open !== null) {
      const { segmenter, format: before, beganAtMs } = this.#open
      const expectedMs = beganAtMs + (segmenter.position * 1000) / before.sampleRate
      if (!isSameFormat(format, before)) this.endRun('format-change')
      else if (Math.abs(atMs - expectedMs) > limits.audioGapMs) this.endRun('gap')
    }
    this.#open ??= {
      format,
      beganAtMs: atMs,
      segmenter: await createSegmenter(format, this.#settings),
    }
    const { segmenter } = this.#open
    const startSample = segmenter.position
    this.#note(this.#open, segmenter.push(pcm))
    return { run: this.#run, startSample, samples }
  }

  endRun(reason: 'end' | 'format-change' | 'gap'): void {
    if (this.#open === null) return
    this.#note(this.#open, this.#open.segmenter.end(reason))
    this.#open = null
    this.#run += 1
  }

  #note({ format, beganAtMs }: OpenRun, cuts: readonly SegmentCut[]): void {
    for (const cut of cuts) this.cuts.push(audioCut(cut, this.#run, format, beganAtMs))
  }
}

/** Samples of a run that are in memory, from `startSample` on. */
interface HeldSamples {
  readonly format: SampleFormat
  readonly pcm: Uint8Array
  readonly startSample: number
}

/** What of them is in the segment; may be empty. */
function pieceOf(
  { format, pcm, startSample }: HeldSamples,
  wanted: Pick<SegmentCut, 'startSample' | 'endSample'>,
): Uint8Array {
  const frameBytes = frameBytesOf(format)
  const from = Math.max(0, (wanted.startSample - startSample) * frameBytes)
  const to = Math.max(from, (wanted.endSample - startSample) * frameBytes)
  return pcm.subarray(from, to)
}

/**
 * Cuts segments out of buffers. Both stand in order; a buffer may hold parts of several segments.
 */
export function cut(task: CutTask): CutResult {
  const sources = task.buffers.map(({ bytes, run, startSample }): Source => {
    const { format, samples, pcm } = openBuffer(bytes)
    return { run, startSample, endSample: startSample + samples, format, pcm }
  })
  let first = 0
  const segments = task.cuts.map((wanted) => {
    // What lies before this cut is of no use to those after it either.
    while (isBefore(required(sources[first]), wanted)) first += 1
    return { wanted, ...piecesOf(sources, first, wanted) }
  })
  return packed(task.mode, segments)
}

interface Source extends HeldSamples {
  readonly run: number
  readonly endSample: number
}

/** Throws where the samples of the cut are not all there. */
function piecesOf(
  sources: readonly Source[],
  first: number,
  wanted: AudioCut,
): { readonly format: SampleFormat; readonly pieces: readonly Uint8Array[] } {
  const pieces: Uint8Array[] = []
  let sample = wanted.startSample
  for (let at = first; sample < wanted.endSample; at++) {
    const source = required(sources[at])
    assert.ok(
      source.run === wanted.run && source.startSample <= sample,
      'the samples are not there',
    )
    pieces.push(pieceOf(source, wanted))
    sample = source.endSample
  }
  return { format: required(sources[first]).format, pieces }
}

/** Their WAV files in one buffer, their digests in another. */
function packed(
  mode: CutTask['mode'],
  segments: readonly {
    readonly format: SampleFormat
    readonly pieces: readonly Uint8Array[]
    readonly wanted: AudioCut
  }[],
): CutResult {
  const lengths = segments.map(({ format, wanted: { startSample, endSample } }) =>
    segmentBytes(format, (endSample - startSample) * frameBytesOf(format)),
  )
  const buffer = ownBuffer(lengths.reduce((sum, length) => sum + length, 0))
  const digests = new Uint8Array(digestBytes * segments.length)
  let byteOffset = 0
  const items = segments.map(({ format, pieces, wanted }, index): MediaItem => {
    const byteLength = required(lengths[index])
    const bytes = new Uint8Array(buffer, byteOffset, byteLength)
    writeSegment(bytes, format, pieces)
    const digest = digests.subarray(digestBytes * index, digestBytes * (index + 1))
    digest.set(hash('sha256', bytes, 'buffer'))
    const metadata = segmentMetadata(mode, format, wanted, levelsOf(format, pieces))
    const item = { byteOffset, byteLength, hash: digest, metadata }
    byteOffset += byteLength
    return item
  })
  return { buffer, items }
}

const formats: readonly WavFormat[] = ['pcm', 'ieee-float', 'a-law', 'mu-law']

/** A buffer's samples. Its upload has been checked by `readWav`. */
function openBuffer(bytes: Uint8Array): {
  readonly format: SampleFormat
  readonly samples: number
  readonly pcm: Uint8Array
} {
  const { dataByteOffset, dataByteLength, frames, ...structure } = readWavHeader(bytes)
  const { format, sampleRate, channels, bitDepth } = structure
  return {
    format: { format, sampleRate, channels, bitDepth },
    samples: frames,
    pcm: bytes.subarray(dataByteOffset, dataByteOffset + dataByteLength),
  }
}

function isBefore(source: Source, wanted: AudioCut): boolean {
  return (
    source.run < wanted.run || (source.run === wanted.run && source.endSample <= wanted.startSample)
  )
}

function required<T>(value: T | undefined): T {
  assert.ok(value !== undefined)
  return value
}
