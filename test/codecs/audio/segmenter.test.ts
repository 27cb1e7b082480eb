import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { SampleFormat } from '../../../src/codecs/audio/sample-format.ts'
import { createSegmenter } from '../../../src/codecs/audio/segmenter.ts'
import { cutsOf, encoded, inChannels, outline, pcm16, settings, square } from './audio.ts'

const loud = 0.5

test('fixed durations are cut to the sample, and the rest is the last segment', async () => {
  const audio = square([40_000, loud])
  const cuts = await cutsOf(audio, { mode: 'fixed-duration', maxSegmentDurationMs: 1_000 })
  assert.deepEqual(outline(cuts), [
    [0, 16_000, 'fixed-duration'],
    [16_000, 32_000, 'fixed-duration'],
    [32_000, 40_000, 'end'],
  ])
  const whole = { mode: 'fixed-duration', maxSegmentDurationMs: 1_250 } as const
  assert.deepEqual(outline(await cutsOf(audio, whole)), [
    [0, 20_000, 'fixed-duration'],
    [20_000, 40_000, 'fixed-duration'],
  ])
  const odd: SampleFormat = { ...pcm16, sampleRate: 11_025 }
  const short = { mode: 'fixed-duration', maxSegmentDurationMs: 20 } as const
  // 220.5 samples are rounded once, so that all segments are of one length.
  assert.deepEqual(
    outline(await cutsOf(square([600, loud]), short, odd)).map(([start]) => start),
    [0, 221, 442],
  )
})

test('audio without samples has no segments', async () => {
  for (const mode of ['fixed-duration', 'silence', 'energy', 'speech-detection'] as const) {
    const segmenter = await createSegmenter(pcm16, { ...settings, mode })
    assert.deepEqual(segmenter.push(new Uint8Array(0)), [])
    assert.deepEqual(segmenter.end('gap'), [])
  }
})

test('a silence is cut in its middle, and told of with its peak', async () => {
  const audio = square([8_000, loud], [4_801, 164 / 32_768], [8_000, loud])
  assert.deepEqual(await cutsOf(audio, {}), [
    {
      startSample: 0,
      endSample: 10_400,
      reason: 'silence',
      score: -46.01,
      threshold: -40,
      silence: { startSample: 8_000, endSample: 12_801 },
    },
    {
      startSample: 10_400,
      endSample: 20_801,
      reason: 'end',
      score: null,
      threshold: null,
      silence: null,
    },
  ])
})

test('a silence counts from its minimum on, below its threshold, in all channels', async () => {
  const isCut = async (samples: number, level: number, format = pcm16) => {
    const audio = inChannels(
      square([8_000, loud], [samples, level], [8_000, loud]),
      format.channels,
    )
    return (await cutsOf(audio, {}, format)).length > 1
  }
  assert.equal(await isCut(4_800, 0), true)
  assert.equal(await isCut(4_799, 0), false)
  // −40 dB of 32,767 are 327.67, of which ffmpeg takes 327, and silence lies below that.
  assert.equal(await isCut(4_800, 326 / 32_768), true)
  assert.equal(await isCut(4_800, 327 / 32_768), false)
  const stereo = { ...pcm16, channels: 2 }
  assert.equal(await isCut(4_800, 0, stereo), true)
  const oneSided = inChannels(square([8_000, loud], [4_800, 0], [8_000, loud]), 2)
  oneSided[2 * 10_000 + 1] = 0.02
  assert.equal((await cutsOf(oneSided, {}, stereo)).length, 1)
})

test('digital silence is silent under the lowest threshold', async () => {
  const audio = square([8_000, loud], [4_800, 0], [8_000, loud])
  const [first] = await cutsOf(audio, { silenceThresholdDb: -120 })
  assert.deepEqual([first?.endSample, first?.score], [10_400, -120])
})

test('silence at the beginning is cut like any other, silence at the end is not', async () => {
  const audio = square([16_000, 0], [16_000, loud], [16_000, 0])
  assert.deepEqual(outline(await cutsOf(audio, {})), [
    [0, 8_000, 'silence'],
    [8_000, 48_000, 'end'],
  ])
})

test('a segment is not cut before its minimum', async () => {
  const audio = square([8_000, loud], [8_000, 0], [8_000, loud], [8_000, 0], [8_000, loud])
  assert.deepEqual(outline(await cutsOf(audio, { minSegmentDurationMs: 750 })), [
    [0, 12_000, 'silence'],
    [12_000, 28_000, 'silence'],
    [28_000, 40_000, 'end'],
  ])
  assert.deepEqual(outline(await cutsOf(audio, { minSegmentDurationMs: 751 })), [
    [0, 28_000, 'silence'],
    [28_000, 40_000, 'end'],
  ])
})

test('a segment that nothing ends is cut at its maximum, in a long silence as well', async () => {
  const sound = square([40_000, loud])
  for (const mode of ['silence', 'energy', 'speech-detection'] as const) {
    assert.deepEqual(outline(await cutsOf(sound, { mode, maxSegmentDurationMs: 1_000 })), [
      [0, 16_000, 'max-duration'],
      [16_000, 32_000, 'max-duration'],
      [32_000, 40_000, 'end'],
    ])
  }
  const pause = square([8_000, loud], [40_000, 0], [8_000, loud])
  // What the last full segment has left of the silence, 12,000 samples, is a silence of its own.
  assert.deepEqual(outline(await cutsOf(pause, { maxSegmentDurationMs: 2_250 })), [
    [0, 36_000, 'max-duration'],
    [36_000, 42_000, 'silence'],
    [42_000, 56_000, 'end'],
  ])
})

test('the silence that ends a full segment at its very end is cut as full', async () => {
  const audio = square([8_000, loud], [8_000, 0], [8_000, loud])
  assert.deepEqual(outline(await cutsOf(audio, { maxSegmentDurationMs: 1_000 })).slice(0, 1), [
    [0, 16_000, 'max-duration'],
  ])
  assert.deepEqual(outline(await cutsOf(audio, { maxSegmentDurationMs: 1_001 })).slice(0, 1), [
    [0, 12_000, 'silence'],
  ])
})

test('a change of level is cut at its border, with the change as score', async () => {
  // Half of full scale, then a twentieth of that: 26.02 dB less.
  const audio = square([16_000, loud], [16_000, loud / 20], [16_000, loud])
  const cuts = await cutsOf(audio, { mode: 'energy' })
  assert.deepEqual(outline(cuts), [
    [0, 16_000, 'energy'],
    [16_000, 32_000, 'energy'],
    [32_000, 48_000, 'end'],
  ])
  assert.deepEqual(
    cuts.map(({ score, threshold }) => [score, threshold]),
    [
      [26.02, 12],
      [26.02, 12],
      [null, null],
    ],
  )
  assert.equal((await cutsOf(audio, { mode: 'energy', energyThresholdDb: 27 })).length, 1)
  const apart = { mode: 'energy', minSegmentDurationMs: 1_001 } as const
  assert.deepEqual(outline(await cutsOf(audio, apart)), [
    [0, 32_000, 'energy'],
    [32_000, 48_000, 'end'],
  ])
})

test('digital silence has a level of −96 dBFS', async () => {
  const audio = square([16_000, 1], [16_000, 0])
  const [first] = await cutsOf(audio, { mode: 'energy' })
  assert.deepEqual([first?.endSample, first?.score], [16_000, 96])
})

test('a change just before a segment is full is found before it is cut as full', async () => {
  const audio = square([15_680, loud], [30_000, loud / 20])
  assert.deepEqual(outline(await cutsOf(audio, { mode: 'energy', maxSegmentDurationMs: 1_000 })), [
    [0, 15_680, 'energy'],
    [15_680, 31_680, 'max-duration'],
    [31_680, 45_680, 'end'],
  ])
  // 320 samples on, the border is behind the end of the full segment.
  const late = square([16_320, loud], [30_000, loud / 20])
  assert.deepEqual(outline(await cutsOf(late, { mode: 'energy', maxSegmentDurationMs: 1_000 })), [
    [0, 16_000, 'max-duration'],
    [16_000, 16_320, 'energy'],
    [16_320, 32_320, 'max-duration'],
    [32_320, 46_320, 'end'],
  ])
})

test('changes too near to the end are none', async () => {
  for (const [after, count] of [
    [6_399, 1],
    [6_400, 2],
  ] as const) {
    const audio = square([16_000, loud], [after, loud / 20])
    assert.equal((await cutsOf(audio, { mode: 'energy' })).length, count, `${after} samples after`)
  }
})

test('a segment is cut before its file is larger than it may be', async () => {
  const large: SampleFormat = { format: 'pcm', sampleRate: 192_000, channels: 8, bitDepth: 32 }
  const quiet = new Uint8Array(8 * 1_048_576)
  const segmenter = await createSegmenter(large, { ...settings, mode: 'fixed-duration' })
  // 8 MiB less a header of 44 bytes hold 262,142 samples of 32 bytes.
  assert.deepEqual(
    outline([...segmenter.push(quiet), ...segmenter.push(quiet), ...segmenter.end('end')]),
    [
      [0, 262_142, 'max-bytes'],
      [262_142, 524_284, 'max-bytes'],
      [524_284, 524_288, 'end'],
    ],
  )
  const float: SampleFormat = { ...large, format: 'ieee-float', bitDepth: 64 }
  const other = await createSegmenter(float, settings)
  const [first] = other.push(quiet)
  assert.deepEqual([first?.endSample, first?.reason], [131_071, 'max-bytes'])
})

test('half a sample, and the state of another version, are refused', async () => {
  const segmenter = await createSegmenter(pcm16, settings)
  assert.throws(() => segmenter.push(new Uint8Array(3)), /samples come whole/)
  const state = segmenter.save()
  new DataView(state.buffer).setFloat64(0, 99, true)
  await assert.rejects(createSegmenter(pcm16, settings, state), /another version/)
  const whole = segmenter.save()
  await assert.rejects(createSegmenter(pcm16, settings, whole.subarray(0, 20)), /cut off/)
})

test('a state is small', async () => {
  const audio = square([16_000, loud], [5_000, 0], [16_000, loud])
  for (const mode of ['fixed-duration', 'silence', 'energy', 'speech-detection'] as const) {
    for (const sampleRate of [8_000, 44_100, 48_000]) {
      const format = { ...pcm16, sampleRate }
      const segmenter = await createSegmenter(format, { ...settings, mode })
      segmenter.push(encoded(format, audio.subarray(0, 36_959)))
      assert.ok(segmenter.save().byteLength < 3_000)
    }
  }
})
