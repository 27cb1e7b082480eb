import { roundedDb } from './detector.ts'
import { decoderOf, frameBytesOf, type SampleFormat } from './sample-format.ts'

/** Levels over all samples of all channels, in dB of full scale; null for digital silence. */
export interface SegmentLevels {
  /** 20 log10 of the root mean square: a full-scale square wave has 0, a sine −3.01. */
  readonly levelDbfs: number | null
  /** 20 log10 of the largest magnitude. Floats may pass full scale. */
  readonly peakDbfs: number | null
}

/** Format tags of the `fmt ` chunk (RFC 2361). */
const formatTags = { pcm: 1, 'ieee-float': 3, 'a-law': 6, 'mu-law': 7 } as const

const blockValues = 16_384
/** Nothing of it is kept from one call to the next. */
const block = new Float64Array(blockValues)
const blockBytes = new Uint8Array(block.byteLength)

/** A `fmt ` chunk of 16 bytes for PCM; others have one of 18, and a `fact` chunk. */
export function segmentHeaderBytes({ format }: SampleFormat): number {
  return format === 'pcm' ? 44 : 58
}

/** What the WAV file of a segment takes, its pad byte included. */
export function segmentBytes(format: SampleFormat, pcmBytes: number): number {
  return segmentHeaderBytes(format) + pcmBytes + (pcmBytes % 2)
}

/**
 * Fills `target`, which is `segmentBytes` long and zeroed, with our own header and the samples, their
 * bytes as they came. The pieces are whole samples of all channels and follow each other; how they are
 * divided makes no difference.
 */
export function writeSegment(
  target: Uint8Array,
  format: SampleFormat,
  pieces: readonly Uint8Array[],
): void {
  let at = segmentHeaderBytes(format)
  for (const piece of pieces) {
    target.set(piece, at)
    at += piece.byteLength
  }
  writeHeader(target, format, at - segmentHeaderBytes(format))
}

/** The header of a file that is `segmentBytes` long, into zeroes. */
export function writeHeader(target: Uint8Array, format: SampleFormat, pcmBytes: number): void {
  const view = Buffer.from(target.buffer, target.byteOffset, target.byteLength)
  const blockAlign = frameBytesOf(format)
  const isPcm = format.format === 'pcm'
  view.write('RIFF', 0, 'latin1')
  view.writeUInt32LE(target.byteLength - 8, 4)
  view.write('WAVEfmt ', 8, 'latin1')
  view.writeUInt32LE(isPcm ? 16 : 18, 16)
  view.writeUInt16LE(formatTags[format.format], 20)
  view.writeUInt16LE(format.channels, 22)
  view.writeUInt32LE(format.sampleRate, 24)
  view.writeUInt32LE(format.sampleRate * blockAlign, 28)
  view.writeUInt16LE(blockAlign, 32)
  view.writeUInt16LE(format.bitDepth, 34)
  if (!isPcm) {
    view.write('fact', 38, 'latin1')
    view.writeUInt32LE(4, 42)
    view.writeUInt32LE(pcmBytes / blockAlign, 46)
  }
  const dataByteOffset = segmentHeaderBytes(format)
  view.write('data', dataByteOffset - 8, 'latin1')
  view.writeUInt32LE(pcmBytes, dataByteOffset - 4)
}

/** Summed up in the order of the samples, so that the last bit is the same for all divisions. */
export function levelsOf(format: SampleFormat, pieces: readonly Uint8Array[]): SegmentLevels {
  const decode = decoderOf(format)
  const valueBytes = format.bitDepth / 8
  let sum = 0
  let peak = 0
  let values = 0
  for (const piece of pieces) {
    const pieceValues = piece.byteLength / valueBytes
    for (let from = 0; from < pieceValues; from += blockValues) {
      const count = Math.min(blockValues, pieceValues - from)
      // Reads of a buffer that can be resized are not compiled to plain loads.
      blockBytes.set(piece.subarray(from * valueBytes, (from + count) * valueBytes))
      decode(blockBytes, 0, count, block)
      for (let i = 0; i < count; i++) {
        const value = block[i] as number
        const magnitude = Math.abs(value)
        if (magnitude > peak) peak = magnitude
        sum += value * value
      }
    }
    values += pieceValues
  }
  if (peak === 0) return { levelDbfs: null, peakDbfs: null }
  // The square of the least double is zero: a level that cannot be told from silence's.
  const levelDbfs = sum === 0 ? null : roundedDb(10 * Math.log10(sum / values))
  return { levelDbfs, peakDbfs: roundedDb(20 * Math.log10(peak)) }
}
