import {
  decoderOf,
  frameBytesOf,
  type SampleFormat,
} from '../../../src/codecs/audio/sample-format.ts'
import {
  levelsOf,
  type SegmentLevels,
  segmentBytes,
  writeSegment,
} from '../../../src/codecs/audio/segment-wav.ts'
import { createSegmenter, type SegmentCut } from '../../../src/codecs/audio/segmenter.ts'
import type { SegmentSettings } from '../../../src/contracts/media.ts'
import { seededRandom } from '../../support/data.ts'

/** Audio as numbers, full scale being ±1, and what it becomes in each format. */

export const pcm16: SampleFormat = { format: 'pcm', sampleRate: 16_000, channels: 1, bitDepth: 16 }

/** Every way to write a sample, with ffmpeg's name of it. */
export const sampleKinds = [
  { format: 'pcm', bitDepth: 8, codec: 'u8' },
  { format: 'pcm', bitDepth: 16, codec: 's16le' },
  { format: 'pcm', bitDepth: 24, codec: 's24le' },
  { format: 'pcm', bitDepth: 32, codec: 's32le' },
  { format: 'ieee-float', bitDepth: 32, codec: 'f32le' },
  { format: 'ieee-float', bitDepth: 64, codec: 'f64le' },
  { format: 'a-law', bitDepth: 8, codec: 'alaw' },
  { format: 'mu-law', bitDepth: 8, codec: 'mulaw' },
] as const

export const settings: SegmentSettings = {
  mode: 'silence',
  silenceThresholdDb: -40,
  minSilenceDurationMs: 300,
  minSegmentDurationMs: 20,
  maxSegmentDurationMs: 600_000,
  energyThresholdDb: 12,
  speechAggressiveness: 2,
}

/**
 * One stretch after the other, each so many samples of a constant magnitude that changes its sign.
 */
export function square(...stretches: readonly (readonly [samples: number, level: number])[]) {
  return Float64Array.from(
    stretches.flatMap(([samples, level]) =>
      Array.from({ length: samples }, (_, i) => (i % 2 === 0 ? level : -level)),
    ),
  )
}

export function sine(samples: number, cyclesPerSample: number, level = 1): Float64Array {
  return Float64Array.from(
    { length: samples },
    (_, i) => level * Math.sin(2 * Math.PI * cyclesPerSample * i),
  )
}

export function noise(samples: number, level: number, seed: number): Float64Array {
  const random = seededRandom(seed)
  return Float64Array.from({ length: samples }, () => (2 * random() - 1) * level)
}

export function joined(...parts: readonly Float64Array[]): Float64Array {
  return Float64Array.from(parts.flatMap((part) => [...part]))
}

/** The values, of interleaved channels, as bytes of a format. */
export function encoded({ format, bitDepth }: SampleFormat, values: Float64Array): Uint8Array {
  const bytes = Buffer.alloc((values.length * bitDepth) / 8)
  const write = writerOf(format, bitDepth)
  for (const [i, value] of values.entries()) write(bytes, (i * bitDepth) / 8, value)
  return new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}

type Writer = (bytes: Buffer, at: number, value: number) => void

function writerOf(format: SampleFormat['format'], bitDepth: number): Writer {
  if (format === 'a-law' || format === 'mu-law') return compander(format)
  if (format === 'ieee-float') {
    if (bitDepth === 32) return (bytes, at, value) => bytes.writeFloatLE(value, at)
    return (bytes, at, value) => bytes.writeDoubleLE(value, at)
  }
  const scale = 2 ** (bitDepth - 1)
  const whole = (value: number) => Math.min(scale - 1, Math.max(-scale, Math.round(value * scale)))
  if (bitDepth === 8) return (bytes, at, value) => bytes.writeUInt8(whole(value) + 128, at)
  return (bytes, at, value) => bytes.writeIntLE(whole(value), at, bitDepth / 8)
}

/** The byte whose value is nearest, looked up in what each byte means. */
function compander(format: 'a-law' | 'mu-law'): Writer {
  const all = Uint8Array.from({ length: 256 }, (_, byte) => byte)
  const meanings = new Float64Array(256)
  decoderOf({ ...pcm16, format, bitDepth: 8 })(all, 0, 256, meanings)
  const sorted = [...all].sort((a, b) => (meanings[a] as number) - (meanings[b] as number))
  return (bytes, at, value) => {
    let low = 0
    let high = 255
    while (high - low > 1) {
      const middle = (low + high) >> 1
      if ((meanings[sorted[middle] as number] as number) > value) high = middle
      else low = middle
    }
    const [below, above] = [sorted[low] as number, sorted[high] as number]
    const isNearer = value - (meanings[below] as number) < (meanings[above] as number) - value
    bytes[at] = isNearer ? below : above
  }
}

/** The same values in each channel. */
export function inChannels(values: Float64Array, channels: number): Float64Array {
  return Float64Array.from({ length: values.length * channels }, (_, i) =>
    Number(values[Math.floor(i / channels)]),
  )
}

/** Cuts audio that comes in one piece. */
export async function cutsOf(
  values: Float64Array,
  changes: Partial<SegmentSettings>,
  format: SampleFormat = pcm16,
): Promise<SegmentCut[]> {
  const segmenter = await createSegmenter(format, { ...settings, ...changes })
  return [...segmenter.push(encoded(format, values)), ...segmenter.end('end')]
}

/** Start, end and reason. */
export function outline(cuts: readonly SegmentCut[]): [number, number, string][] {
  return cuts.map(({ startSample, endSample, reason }) => [startSample, endSample, reason])
}

/** `pcm` in pieces of so many samples, of the last of `lengths` once they are used up. */
export function pieces(
  pcm: Uint8Array,
  format: SampleFormat,
  lengths: readonly number[],
): Uint8Array[] {
  const frameBytes = frameBytesOf(format)
  const parts: Uint8Array[] = []
  for (let at = 0; at < pcm.byteLength; ) {
    const samples = lengths[Math.min(parts.length, lengths.length - 1)] ?? 1
    parts.push(pcm.subarray(at, at + samples * frameBytes))
    at += samples * frameBytes
  }
  return parts
}

/** The samples as a segment's WAV file, and its levels. */
export function encodeSegment(
  format: SampleFormat,
  pieces: readonly Uint8Array[],
): SegmentLevels & { readonly bytes: Uint8Array<ArrayBuffer> } {
  const pcmBytes = pieces.reduce((sum, { byteLength }) => sum + byteLength, 0)
  const bytes = new Uint8Array(segmentBytes(format, pcmBytes))
  writeSegment(bytes, format, pieces)
  return { bytes, ...levelsOf(format, pieces) }
}
