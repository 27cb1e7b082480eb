import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { test } from 'node:test'
import type { SampleFormat } from '../../../src/codecs/audio/sample-format.ts'
import { analyse, cut } from '../../../src/codecs/audio/stream.ts'
import type { SegmentSettings } from '../../../src/contracts/media.ts'
import type { AudioCut } from '../../../src/contracts/tasks.ts'
import { encoded, encodeSegment, pcm16, settings, square } from './audio.ts'

const beganAtMs = Date.UTC(2025, 0, 20)

interface Buffered {
  readonly format: SampleFormat
  readonly values: Float64Array
  readonly atMs: number
}

function wavOf({ format, values }: Buffered): Uint8Array {
  return encodeSegment(format, [encoded(format, values)]).bytes
}

async function analysed(options: Partial<SegmentSettings>, buffers: readonly Buffered[]) {
  return analyse({
    kind: 'analyse',
    settings: { ...settings, ...options },
    state: null,
    buffers: buffers.map((buffer) => ({ bytes: wavOf(buffer), atMs: buffer.atMs })),
    isEnd: true,
  })
}

function outline(cuts: readonly AudioCut[]) {
  return cuts.map(({ run, startSample, endSample, reason, fromMs, toMs }) => [
    run,
    startSample,
    endSample,
    reason,
    fromMs - beganAtMs,
    toMs - beganAtMs,
  ])
}

test('a buffer of another format or time begins a new run at its own time', async () => {
  const second = square([16_000, 0.5])
  const buffer = (atMs: number, format = pcm16) => ({
    format,
    values: second,
    atMs: beganAtMs + atMs,
  })
  const stereo = { ...pcm16, channels: 2 }
  const result = await analysed({ mode: 'fixed-duration' }, [
    buffer(0),
    // Off by as much as may be, in either direction, but by no more.
    buffer(2_000),
    buffer(1_000),
    buffer(4_001),
    buffer(5_001, stereo),
    buffer(5_501, { ...stereo, sampleRate: 8_000 }),
    buffer(5_501),
    buffer(5_500),
  ])
  assert.deepEqual(outline(result.cuts), [
    [0, 0, 48_000, 'gap', 0, 3_000],
    [1, 0, 16_000, 'format-change', 4_001, 5_001],
    [2, 0, 8_000, 'format-change', 5_001, 5_501],
    [3, 0, 8_000, 'format-change', 5_501, 6_501],
    [4, 0, 16_000, 'gap', 5_501, 6_501],
    [5, 0, 16_000, 'end', 5_500, 6_500],
  ])
  assert.deepEqual(
    result.places.map(({ run, startSample, samples }) => [run, startSample, samples]),
    [
      [0, 0, 16_000],
      [0, 16_000, 16_000],
      [0, 32_000, 16_000],
      [1, 0, 16_000],
      [2, 0, 8_000],
      [3, 0, 8_000],
      [4, 0, 16_000],
      [5, 0, 16_000],
    ],
  )
})

test('what goes on has no end yet, and nothing at all has none', async () => {
  const values = square([16_000, 0.5])
  const first = await analyse({
    kind: 'analyse',
    settings,
    state: null,
    buffers: [{ bytes: wavOf({ format: pcm16, values, atMs: 0 }), atMs: beganAtMs }],
    isEnd: false,
  })
  assert.deepEqual(first.cuts, [])
  const { state } = first
  const last = await analyse({ kind: 'analyse', settings, state, buffers: [], isEnd: true })
  assert.deepEqual(outline(last.cuts), [[0, 0, 16_000, 'end', 0, 1_000]])
  const after = { kind: 'analyse', settings, state: last.state, buffers: [], isEnd: true } as const
  assert.deepEqual((await analyse(after)).cuts, [])
  assert.deepEqual((await analyse({ ...after, state: null })).cuts, [])
})

test('a segment atom tells why it was cut, when it was taken, and how loud it is', async () => {
  const buffers = [
    { format: pcm16, values: square([8_000, 0.5], [4_801, 0]), atMs: beganAtMs },
    { format: pcm16, values: square([8_000, 0.25]), atMs: beganAtMs + 800 },
  ]
  const { cuts, places } = await analysed({}, buffers)
  const { buffer, items } = cut({
    kind: 'cut',
    mode: 'silence',
    cuts,
    buffers: buffers.map((one, i) => ({
      bytes: wavOf(one),
      run: Number(places[i]?.run),
      startSample: Number(places[i]?.startSample),
    })),
  })
  assert.deepEqual(
    items.map(({ metadata }) => metadata),
    [
      {
        timestamp: '2025-01-20T00:00:00.000Z',
        endTimestamp: '2025-01-20T00:00:00.650Z',
        mode: 'silence',
        reason: 'silence',
        score: -120,
        threshold: -40,
        run: 0,
        startSample: 0,
        endSample: 10_400,
        silenceStartSample: 8_000,
        silenceEndSample: 12_801,
        levelDbfs: -7.16,
        peakDbfs: -6.02,
        format: 'wav',
        encoding: 'pcm',
        sampleRate: 16_000,
        channels: 1,
        bitDepth: 16,
        durationMs: 650,
      },
      {
        timestamp: '2025-01-20T00:00:00.650Z',
        endTimestamp: '2025-01-20T00:00:01.300063Z',
        mode: 'silence',
        reason: 'end',
        score: null,
        threshold: null,
        run: 0,
        startSample: 10_400,
        endSample: 20_801,
        silenceStartSample: null,
        silenceEndSample: null,
        levelDbfs: -13.18,
        peakDbfs: -12.04,
        format: 'wav',
        encoding: 'pcm',
        sampleRate: 16_000,
        channels: 1,
        bitDepth: 16,
        durationMs: 650.0625,
      },
    ],
  )
  const audio = square([8_000, 0.5], [4_801, 0], [8_000, 0.25])
  for (const [i, { byteOffset, byteLength, hash }] of items.entries()) {
    const bytes = new Uint8Array(buffer, byteOffset, byteLength)
    const values = i === 0 ? audio.subarray(0, 10_400) : audio.subarray(10_400)
    assert.deepEqual(bytes, encodeSegment(pcm16, [encoded(pcm16, values)]).bytes)
    assert.deepEqual(Buffer.from(hash), createHash('sha256').update(bytes).digest())
  }
})

test('a segment whose samples are not all there is not cut', async () => {
  const buffers = [{ format: pcm16, values: square([16_000, 0.5]), atMs: beganAtMs }]
  const { cuts } = await analysed({}, buffers)
  const bytes = wavOf({ format: pcm16, values: square([8_000, 0.5]), atMs: 0 })
  const task = { kind: 'cut', mode: 'silence', cuts } as const
  assert.throws(() => cut({ ...task, buffers: [] }))
  assert.throws(() => cut({ ...task, buffers: [{ bytes, run: 0, startSample: 0 }] }))
  assert.throws(() => cut({ ...task, buffers: [{ bytes, run: 0, startSample: 8_000 }] }))
  assert.throws(() => cut({ ...task, buffers: [{ bytes, run: 1, startSample: 0 }] }))
})
