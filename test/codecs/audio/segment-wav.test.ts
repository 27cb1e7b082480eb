import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { SampleFormat } from '../../../src/codecs/audio/sample-format.ts'
import { readWav } from '../../../src/codecs/wav.ts'
import {
  encoded,
  encodeSegment,
  inChannels,
  noise,
  pcm16,
  pieces,
  sampleKinds,
  sine,
  square,
} from './audio.ts'

test('a segment in any format is a sound WAV file around the bytes as they came', () => {
  for (const { format, bitDepth } of sampleKinds) {
    for (const [channels, sampleRate] of [
      [1, 8_000],
      [3, 44_100],
      [8, 192_000],
    ] as const) {
      const sampleFormat: SampleFormat = { format, bitDepth, channels, sampleRate }
      const pcm = encoded(sampleFormat, inChannels(noise(37, 0.8, 2), channels))
      const { bytes } = encodeSegment(sampleFormat, [pcm])
      const wav = readWav(bytes)
      assert.deepEqual(
        [wav.format, wav.bitDepth, wav.channels, wav.sampleRate, wav.frames],
        [format, bitDepth, channels, sampleRate, 37],
      )
      const { dataByteOffset, dataByteLength } = wav
      assert.deepEqual(bytes.subarray(dataByteOffset, dataByteOffset + dataByteLength), pcm)
      assert.equal(dataByteOffset, format === 'pcm' ? 44 : 58)
      assert.equal(bytes.byteLength % 2, 0)
      assert.equal(bytes.byteOffset, 0)
    }
  }
})

test('the header of 16-bit PCM is the canonical one, and others tell their length in fact', () => {
  const { bytes } = encodeSegment(pcm16, [Uint8Array.of(1, 2, 3, 4)])
  assert.equal(
    Buffer.from(bytes).toString('hex'),
    `${hex('RIFF')}28000000${hex('WAVEfmt ')}1000000001000100803e0000007d000002001000` +
      `${hex('data')}0400000001020304`,
  )
  const muLaw: SampleFormat = { ...pcm16, format: 'mu-law', bitDepth: 8 }
  const odd = encodeSegment(muLaw, [Uint8Array.of(9, 8, 7)])
  assert.equal(
    Buffer.from(odd.bytes).toString('hex'),
    `${hex('RIFF')}36000000${hex('WAVEfmt ')}1200000007000100803e0000803e0000010008000000` +
      `${hex('fact')}0400000003000000${hex('data')}0300000009080700`,
  )
})

function hex(text: string): string {
  return Buffer.from(text, 'latin1').toString('hex')
}

test('levels are those that are known', () => {
  const float: SampleFormat = { ...pcm16, format: 'ieee-float', bitDepth: 64 }
  const levels = (values: Float64Array, format = float) => {
    const { levelDbfs, peakDbfs } = encodeSegment(format, [encoded(format, values)])
    return [levelDbfs, peakDbfs]
  }
  assert.deepEqual(levels(sine(16_000, 1 / 64)), [-3.01, 0])
  assert.deepEqual(levels(sine(16_000, 1 / 64, 0.1)), [-23.01, -20])
  assert.deepEqual(levels(square([1_000, 1])), [0, 0])
  assert.deepEqual(levels(square([1_000, 2])), [6.02, 6.02])
  assert.deepEqual(levels(square([1_000, 0])), [null, null])
  assert.deepEqual(levels(sine(16_000, 1 / 64), pcm16), [-3.01, 0])
  const stereo = { ...float, channels: 2 }
  // One channel of two is silent: half of the power.
  const half = square([1_000, 1]).map((value, i) => (i % 2 === 0 ? value : 0))
  assert.deepEqual(levels(half, stereo), [-3.01, 0])
})

test('neither bytes nor levels depend on the pieces', () => {
  for (const { format, bitDepth } of sampleKinds) {
    const sampleFormat: SampleFormat = { ...pcm16, format, bitDepth, channels: 2 }
    const pcm = encoded(sampleFormat, inChannels(noise(40_000, 0.7, 8), 2))
    const expected = encodeSegment(sampleFormat, [pcm])
    for (const lengths of [[1], [16_383, 1, 7_000], [1, 2, 39_997]]) {
      const parts = pieces(pcm, sampleFormat, lengths)
      assert.deepEqual(encodeSegment(sampleFormat, parts), expected)
    }
  }
})
