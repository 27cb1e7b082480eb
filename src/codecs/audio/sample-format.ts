import type { WavFormat } from '../wav.ts'

/** How the samples of a stretch of audio are written. */
export interface SampleFormat {
  readonly format: WavFormat
  readonly sampleRate: number
  readonly channels: number
  /** Bits that a sample takes: 8, 16, 24, 32 or 64. */
  readonly bitDepth: number
}

/** Bytes of one sample of all channels. */
export function frameBytesOf({ channels, bitDepth }: SampleFormat): number {
  return (channels * bitDepth) / 8
}

export function isSameFormat(a: SampleFormat, b: SampleFormat): boolean {
  return (
    a.format === b.format &&
    a.sampleRate === b.sampleRate &&
    a.channels === b.channels &&
    a.bitDepth === b.bitDepth
  )
}

/** The samples that so many milliseconds are, rounded once. */
export function samplesIn({ sampleRate }: SampleFormat, ms: number): number {
  return Math.round((ms * sampleRate) / 1000)
}

/**
 * Writes `count` values (channels interleaved) that begin at `byteOffset` into `out`, full scale
 * being ±1. Float samples are taken as they are, but for what no level can be computed of.
 */
export type SampleDecoder = (
  bytes: Uint8Array,
  byteOffset: number,
  count: number,
  out: Float64Array,
) => void

export function decoderOf({ format, bitDepth }: SampleFormat): SampleDecoder {
  if (format === 'a-law') return (...places) => expand(aLaw, ...places)
  if (format === 'mu-law') return (...places) => expand(muLaw, ...places)
  if (format === 'ieee-float') return bitDepth === 32 ? decodeFloat32 : decodeFloat64
  if (bitDepth === 8) return (...places) => expand(unsigned8, ...places)
  if (bitDepth === 16) return decodeInt16
  return bitDepth === 24 ? decodeInt24 : decodeInt32
}

/** 120 dB over full scale. */
const floatMax = 1e6

const unsigned8 = Float64Array.from({ length: 256 }, (_, byte) => (byte - 128) / 128)
const aLaw = Float64Array.from({ length: 256 }, (_, byte) => expandALaw(byte) / 32_768)
const muLaw = Float64Array.from({ length: 256 }, (_, byte) => expandMuLaw(byte) / 32_768)

/**
 * ITU-T G.711, table 1, scaled to 16 bits: every second bit is inverted, a set sign bit is
 * positive.
 */
function expandALaw(byte: number): number {
  const code = byte ^ 0x55
  const segment = (code >> 4) & 7
  const step = ((code & 15) << 4) + (segment === 0 ? 8 : 0x108)
  const magnitude = segment > 1 ? step << (segment - 1) : step
  return (code & 0x80) !== 0 ? magnitude : -magnitude
}

/**
 * ITU-T G.711, table 2, scaled to 16 bits: all bits are inverted, and the bias is 33 of 14 bits.
 */
function expandMuLaw(byte: number): number {
  const code = ~byte & 0xff
  const magnitude = ((((code & 15) << 3) + 0x84) << ((code >> 4) & 7)) - 0x84
  // A zero is a zero, whatever its sign bit says.
  return (code & 0x80) !== 0 ? 0 - magnitude : magnitude
}

function expand(
  table: Float64Array,
  bytes: Uint8Array,
  byteOffset: number,
  count: number,
  out: Float64Array,
): void {
  for (let i = 0; i < count; i++) {
    out[i] = table[bytes[byteOffset + i] as number] as number
  }
}

// A DataView, because samples may lie at odd addresses; V8 compiles its reads to plain loads.
function decodeInt16(bytes: Uint8Array, byteOffset: number, count: number, out: Float64Array) {
  const view = viewOf(bytes)
  for (let i = 0, at = byteOffset; i < count; i++, at += 2)
    out[i] = view.getInt16(at, true) / 32_768
}

function decodeInt24(bytes: Uint8Array, byteOffset: number, count: number, out: Float64Array) {
  for (let i = 0, at = byteOffset; i < count; i++, at += 3) {
    const low = (bytes[at] as number) << 8
    const middle = (bytes[at + 1] as number) << 16
    out[i] = (((bytes[at + 2] as number) << 24) | middle | low) / 2_147_483_648
  }
}

function decodeInt32(bytes: Uint8Array, byteOffset: number, count: number, out: Float64Array) {
  const view = viewOf(bytes)
  for (let i = 0, at = byteOffset; i < count; i++, at += 4) {
    out[i] = view.getInt32(at, true) / 2_147_483_648
  }
}

function decodeFloat32(bytes: Uint8Array, byteOffset: number, count: number, out: Float64Array) {
  const view = viewOf(bytes)
  for (let i = 0, at = byteOffset; i < count; i++, at += 4)
    out[i] = bounded(view.getFloat32(at, true))
}

function decodeFloat64(bytes: Uint8Array, byteOffset: number, count: number, out: Float64Array) {
  const view = viewOf(bytes)
  for (let i = 0, at = byteOffset; i < count; i++, at += 8)
    out[i] = bounded(view.getFloat64(at, true))
}

/** What is no number counts as zero: it would spoil every sum that it is in. */
function bounded(value: number): number {
  if (value > floatMax) return floatMax
  if (value < -floatMax) return -floatMax
  return Number.isNaN(value) ? 0 : value
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}
