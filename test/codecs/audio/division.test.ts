import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import fc from 'fast-check'
import { PcmCutter } from '../../../src/codecs/audio/pcm-cutter.ts'
import { frameBytesOf, type SampleFormat } from '../../../src/codecs/audio/sample-format.ts'
import { createSegmenter, type SegmentCut } from '../../../src/codecs/audio/segmenter.ts'
import { analyse, cut } from '../../../src/codecs/audio/stream.ts'
import { readWav } from '../../../src/codecs/wav.ts'
import type { SegmentSettings } from '../../../src/contracts/media.ts'
import type { AnalyseResult, AudioCut, MediaItem } from '../../../src/contracts/tasks.ts'
import { samplesOf, seededRandom, speechBuffers } from '../../support/data.ts'
import { encoded, encodeSegment, joined, noise, pieces, sampleKinds, sine } from './audio.ts'

const beginsAtMs = Date.UTC(2025, 0, 20, 10, 30)

interface Stretch {
  readonly kind: 'silence' | 'tone' | 'noise' | 'speech'
  readonly ms: number
  readonly level: number
  readonly seed: number
}

interface Scenario {
  readonly stretches: readonly Stretch[]
  readonly format: SampleFormat
  readonly settings: SegmentSettings
  /** Of the buffers, in samples. */
  readonly lengths: readonly number[]
  /** Whether the state is written and read again before each of the first buffers. */
  readonly restores: readonly boolean[]
  /** Buffers that one task takes. */
  readonly taskBuffers: number
}

const stretch: fc.Arbitrary<Stretch> = fc.record({
  kind: fc.constantFrom('silence', 'tone', 'noise', 'speech', 'speech'),
  ms: fc.integer({ min: 1, max: 1_500 }),
  level: fc.constantFrom(0.0001, 0.003, 0.05, 0.4, 1),
  seed: fc.nat(1_000),
})

const settings: fc.Arbitrary<SegmentSettings> = fc
  .record({
    mode: fc.constantFrom(
      ...(['fixed-duration', 'silence', 'energy', 'speech-detection', 'speech-detection'] as const),
    ),
    silenceThresholdDb: fc.constantFrom(-60, -40, -25, -10),
    minSilenceDurationMs: fc.integer({ min: 10, max: 300 }),
    minSegmentDurationMs: fc.integer({ min: 20, max: 600 }),
    moreMs: fc.integer({ min: 0, max: 4_000 }),
    energyThresholdDb: fc.constantFrom(3, 8, 15),
    speechAggressiveness: fc.integer({ min: 0, max: 3 }),
  })
  .map(({ moreMs, ...others }) => ({
    ...others,
    maxSegmentDurationMs: others.minSegmentDurationMs + moreMs,
  }))

const format: fc.Arbitrary<SampleFormat> = fc
  .tuple(
    fc.constantFrom(...sampleKinds),
    fc.constantFrom(1, 1, 2, 3, 8),
    fc.oneof(
      { weight: 4, arbitrary: fc.constantFrom(8_000, 11_025, 16_000, 22_050, 44_100, 48_000) },
      { weight: 1, arbitrary: fc.constantFrom(8_001, 32_000, 96_000, 192_000) },
    ),
  )
  .map(([kind, channels, sampleRate]) => ({
    format: kind.format,
    bitDepth: kind.bitDepth,
    channels,
    sampleRate,
  }))

const scenario: fc.Arbitrary<Scenario> = fc.record({
  stretches: fc.array(stretch, { minLength: 1, maxLength: 6 }),
  format,
  settings,
  lengths: fc.array(
    fc.oneof(fc.constant(1), fc.integer({ min: 1, max: 50 }), fc.integer({ min: 1, max: 30_000 })),
    { minLength: 1, maxLength: 40 },
  ),
  restores: fc.array(fc.boolean(), { maxLength: 40 }),
  taskBuffers: fc.integer({ min: 1, max: 7 }),
})

/** Some of its speech at any rate, the nearest sample at a time. */
function speechOf(t: TestContext): (samples: number, rate: number, seed: number) => Float64Array {
  const pcm = Buffer.concat(speechBuffers(t).map((wav) => samplesOf(Buffer.from(wav))))
  return (samples, rate, seed) =>
    Float64Array.from({ length: samples }, (_, i) => {
      const at = (seed * 160 + Math.floor((i * 16_000) / rate)) % (pcm.length / 2)
      return pcm.readInt16LE(2 * at) / 32_768
    })
}

function soundOf(
  { stretches, format: { sampleRate, channels } }: Scenario,
  speech: ReturnType<typeof speechOf>,
): Float64Array {
  const mono = stretches.map(({ kind, ms, level, seed }) => {
    const samples = Math.ceil((ms * sampleRate) / 1_000)
    if (kind === 'silence') return new Float64Array(samples)
    if (kind === 'tone') return sine(samples, (100 + seed) / sampleRate, level)
    if (kind === 'noise') return noise(samples, level, seed)
    return speech(samples, sampleRate, seed).map((value) => value * level)
  })
  const values = joined(...mono)
  const random = seededRandom(channels)
  const gains = Array.from({ length: channels }, () => 0.2 + 0.8 * random())
  return Float64Array.from(
    { length: values.length * channels },
    (_, i) => Number(values[Math.floor(i / channels)]) * Number(gains[i % channels]),
  )
}

/**
 * Cuts, and what the segmenter knew before the end: it may matter only to what comes much later.
 */
interface Found {
  readonly cuts: readonly SegmentCut[]
  readonly state: Uint8Array
}

async function inOnePiece({ format: of, settings: by }: Scenario, pcm: Uint8Array): Promise<Found> {
  const segmenter = await createSegmenter(of, by)
  const cuts = segmenter.push(pcm)
  const state = segmenter.save()
  return { cuts: [...cuts, ...segmenter.end('end')], state }
}

/** The state goes through bytes where the scenario says so. */
async function inBuffers(one: Scenario, buffers: readonly Uint8Array[]): Promise<Found> {
  let segmenter = await createSegmenter(one.format, one.settings)
  const cuts: SegmentCut[] = []
  for (const [i, buffer] of buffers.entries()) {
    if (one.restores[i]) {
      segmenter = await createSegmenter(one.format, one.settings, segmenter.save())
    }
    cuts.push(...segmenter.push(buffer))
  }
  const state = segmenter.save()
  return { cuts: [...cuts, ...segmenter.end('end')], state }
}

interface Segment {
  readonly bytes: Uint8Array
  readonly metadata: MediaItem['metadata']
}

/** As a file's job does; the first `skip` segments are there already. */
async function asFile(one: Scenario, buffers: readonly Uint8Array[], skip = 0): Promise<Segment[]> {
  const { format: of, settings: by } = one
  const cutter = await PcmCutter.open({ format: of, settings: by, beginsAtMs, skip })
  const segments: Segment[] = []
  for (const buffer of buffers) {
    for (const segment of cutter.push(buffer)) segments.push(copied(segment))
  }
  for (const segment of cutter.end()) segments.push(copied(segment))
  return segments
}

function copied({ bytes, metadata }: Segment): Segment {
  return { bytes: bytes.slice(), metadata }
}

/** As a session does: some WAV buffers a task, each with its time to the millisecond. */
async function asSession(one: Scenario, buffers: readonly Uint8Array[]): Promise<Segment[]> {
  const { format: of, settings: by, taskBuffers } = one
  let sample = 0
  const wavs = buffers.map((pcm) => {
    const atMs = Math.floor(beginsAtMs + (sample * 1_000) / of.sampleRate)
    sample += pcm.byteLength / frameBytesOf(of)
    return { bytes: encodeSegment(of, [pcm]).bytes, atMs }
  })
  let state: Uint8Array | null = null
  const places: AnalyseResult['places'][number][] = []
  const cuts: AudioCut[] = []
  for (let at = 0; at < wavs.length; at += taskBuffers) {
    const task = { kind: 'analyse', settings: by, state } as const
    const isEnd = at + taskBuffers >= wavs.length
    const taken = wavs.slice(at, at + taskBuffers)
    const result: AnalyseResult = await analyse({ ...task, buffers: taken, isEnd })
    state = result.state
    places.push(...result.places)
    cuts.push(...result.cuts)
  }
  const sources = wavs.map(({ bytes }, i) => ({
    bytes,
    run: Number(places[i]?.run),
    startSample: Number(places[i]?.startSample),
  }))
  // A few cuts a task, because their buffers may begin and end within one.
  const segments: Segment[] = []
  for (let at = 0; at < cuts.length; at += 3) {
    const some = cuts.slice(at, at + 3)
    const { buffer, items } = cut({ kind: 'cut', mode: by.mode, cuts: some, buffers: sources })
    for (const { byteOffset, byteLength, metadata } of items) {
      segments.push({ bytes: new Uint8Array(buffer, byteOffset, byteLength), metadata })
    }
  }
  return segments
}

function pcmOf({ bytes }: Segment): Uint8Array {
  const { dataByteOffset, dataByteLength } = readWav(bytes)
  return bytes.subarray(dataByteOffset, dataByteOffset + dataByteLength)
}

function assertSameSegments(found: readonly Segment[], expected: readonly Segment[]): void {
  assert.deepEqual(
    found.map(({ metadata }) => metadata),
    expected.map(({ metadata }) => metadata),
  )
  for (const [i, { bytes }] of found.entries()) {
    assert.ok(Buffer.from(bytes).equals(expected[i]?.bytes ?? Buffer.alloc(0)), `segment ${i}`)
  }
}

test('however audio is divided and its state passed on, it has the same segments', async (t) => {
  const speech = speechOf(t)
  const reasons = new Map<string, number>()
  await fc.assert(
    fc.asyncProperty(scenario, async (one) => {
      const pcm = encoded(one.format, soundOf(one, speech))
      const buffers = pieces(pcm, one.format, [...one.lengths, 20_000])
      const undivided = await inOnePiece(one, pcm)
      assert.deepEqual(await inBuffers(one, buffers), undivided)
      const expected = undivided.cuts
      const samples = pcm.byteLength / frameBytesOf(one.format)
      assertTiles(expected, samples, one)
      for (const { reason } of expected) reasons.set(reason, (reasons.get(reason) ?? 0) + 1)
      const ofFile = await asFile(one, [pcm])
      assert.deepEqual(
        ofFile.map(({ metadata }) => [metadata.startSample, metadata.endSample, metadata.reason]),
        expected.map(({ startSample, endSample, reason }) => [startSample, endSample, reason]),
      )
      assert.ok(Buffer.concat(ofFile.map(pcmOf)).equals(pcm), 'the segments are the audio')
      assertSameSegments(await asFile(one, buffers), ofFile)
      assertSameSegments(await asSession(one, buffers), ofFile)
      const skip = Math.floor(expected.length / 2)
      assertSameSegments(await asFile(one, buffers, skip), ofFile.slice(skip))
    }),
    { numRuns: 120, seed: 20_251_121 },
  )
  t.diagnostic(JSON.stringify(Object.fromEntries(reasons)))
  for (const reason of ['fixed-duration', 'silence', 'energy', 'speech', 'max-duration', 'end']) {
    assert.ok((reasons.get(reason) ?? 0) >= 3, `${reason}: ${reasons.get(reason) ?? 0} cuts`)
  }
})

/**
 * No gap, no overlap, none longer than the maximum, and only the last shorter than the minimum.
 */
function assertTiles(cuts: readonly SegmentCut[], samples: number, one: Scenario): void {
  const { sampleRate } = one.format
  const minSamples = Math.round((one.settings.minSegmentDurationMs * sampleRate) / 1_000)
  const maxSamples = Math.round((one.settings.maxSegmentDurationMs * sampleRate) / 1_000)
  let at = 0
  for (const [i, { startSample, endSample }] of cuts.entries()) {
    assert.equal(startSample, at)
    const length = endSample - startSample
    assert.ok(length > 0 && length <= maxSamples)
    assert.ok(length >= minSamples || i === cuts.length - 1)
    at = endSample
  }
  assert.equal(at, samples)
}

test('audio that comes sample by sample is cut as in one piece', async (t) => {
  const speech = speechOf(t)
  const stretches: Stretch[] = [
    { kind: 'speech', ms: 900, level: 1, seed: 30 },
    { kind: 'silence', ms: 400, level: 1, seed: 1 },
    { kind: 'tone', ms: 700, level: 0.4, seed: 300 },
  ]
  for (const mode of ['fixed-duration', 'silence', 'energy', 'speech-detection'] as const) {
    const one: Scenario = {
      stretches,
      format: { format: 'a-law', bitDepth: 8, channels: 2, sampleRate: 8_000 },
      settings: {
        mode,
        silenceThresholdDb: -30,
        minSilenceDurationMs: 200,
        minSegmentDurationMs: 100,
        maxSegmentDurationMs: 800,
        energyThresholdDb: 6,
        speechAggressiveness: 1,
      },
      lengths: [1],
      restores: Array.from({ length: 16_000 }, (_, i) => i % 97 === 0),
      taskBuffers: 50,
    }
    const pcm = encoded(one.format, soundOf(one, speech))
    const buffers = pieces(pcm, one.format, [1])
    const expected = await inOnePiece(one, pcm)
    assert.ok(expected.cuts.length > 1)
    assert.deepEqual(await inBuffers(one, buffers), expected)
  }
})
