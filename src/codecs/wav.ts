import wavefile from 'wavefile'
import { limits } from '../limits.ts'
import { MediaFault, nameByMagic } from './media-fault.ts'

export type WavFormat = 'pcm' | 'ieee-float' | 'a-law' | 'mu-law'

/** A WAV file whose header has been found to tell the truth. */
export interface WavStructure {
  readonly format: WavFormat
  readonly sampleRate: number
  readonly channels: number
  /** Bits that a sample takes in the file: 8, 16, 24, 32 or 64. */
  readonly bitDepth: number
  /** Samples of each channel, at least 1. */
  readonly frames: number
  readonly durationMs: number
  /** Where the samples lie in the bytes. */
  readonly dataByteOffset: number
  readonly dataByteLength: number
}

/** Format tags of the `fmt ` chunk (RFC 2361) and the bit depths that each may have. */
const formats: Readonly<Record<number, { format: WavFormat; bitDepths: readonly number[] }>> = {
  1: { format: 'pcm', bitDepths: [8, 16, 24, 32] },
  3: { format: 'ieee-float', bitDepths: [32, 64] },
  6: { format: 'a-law', bitDepths: [8] },
  7: { format: 'mu-law', bitDepths: [8] },
}
const EXTENSIBLE = 0xfffe
/** The end of every KSDATAFORMAT_SUBTYPE GUID that stands for a format tag. */
const subformatTail = '000000001000800000aa00389b71'

const refusedContainers: Readonly<Record<string, string>> = {
  RIFX: 'big-endian WAV (RIFX)',
  RF64: '64-bit WAV (RF64)',
  BW64: '64-bit WAV (BW64)',
}

interface Chunk {
  readonly byteOffset: number
  readonly byteLength: number
}

interface Header {
  readonly tag: number
  readonly channels: number
  readonly sampleRate: number
  readonly blockAlign: number
  readonly bitDepth: number
}

/**
 * Reads a whole WAV file: its header is checked against its bytes here, because wavefile believes
 * whatever a header says, then wavefile parses it and must agree. Throws MediaFault.
 */
export function readWav(bytes: Uint8Array): WavStructure {
  const file = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  checkContainer(file)
  const { format: formatChunk, data } = findChunks(file)
  const header = readFormat(file, formatChunk)
  const format = checkFormat(formatChunk, header)
  if (data.byteLength === 0) fault('empty', data.byteOffset, 'The WAV file holds no samples')
  if (data.byteLength % header.blockAlign !== 0) {
    fault('malformed', data.byteOffset, 'The WAV data is not a whole number of sample frames')
  }
  const frames = data.byteLength / header.blockAlign
  const { channels, sampleRate, bitDepth } = header
  const structure = {
    format,
    sampleRate,
    channels,
    bitDepth,
    frames,
    durationMs: (frames * 1000) / sampleRate,
    dataByteOffset: data.byteOffset,
    dataByteLength: data.byteLength,
  }
  confirm(file, formatChunk, structure)
  return structure
}

function checkContainer(file: Buffer): void {
  if (file.length === 0) fault('empty', 0, 'The WAV file is empty')
  const container = file.toString('latin1', 0, 4)
  const refused = refusedContainers[container]
  if (refused !== undefined) fault('unsupported', 0, `${refused} is not taken`)
  if (
    !'RIFF'.startsWith(container) ||
    (file.length >= 12 && file.toString('latin1', 8, 12) !== 'WAVE')
  ) {
    const name = nameByMagic(file) ?? 'not a WAV file'
    fault('wrong-format', 0, `Expected a WAV file, but this is ${name}`)
  }
  if (file.length < 12) fault('truncated', file.length, 'The WAV file is truncated in its header')
  const claimed = file.readUInt32LE(4) + 8
  // A writer may count the pad byte of an odd data chunk or leave it out, in the size and in the
  // file.
  if (claimed > file.length + (claimed % 2 === 0 && file.length % 2 === 1 ? 1 : 0)) {
    fault('truncated', 4, `The WAV header claims ${claimed} bytes, ${file.length} are there`)
  }
  if (file.length > claimed + (claimed % 2)) {
    fault('trailing-bytes', claimed, 'Bytes follow the end of the WAV file')
  }
}

/** Walks the chunks up to the end; `fmt ` and `data` must be there once, in this order. */
function findChunks(file: Buffer): { readonly format: Chunk; readonly data: Chunk } {
  let format: Chunk | null = null
  let data: Chunk | null = null
  let at = 12
  while (at < file.length) {
    if (file.length - at < 8) fault('malformed', at, 'The WAV file ends inside a chunk header')
    const id = file.toString('latin1', at, at + 4)
    const chunk = { byteOffset: at + 8, byteLength: file.readUInt32LE(at + 4) }
    if (chunk.byteLength > file.length - chunk.byteOffset) {
      fault(
        'truncated',
        at + 4,
        `The WAV chunk '${printable(id)}' claims ${chunk.byteLength} bytes, ` +
          `${file.length - chunk.byteOffset} are there`,
      )
    }
    if (id === 'fmt ') {
      if (format !== null) fault('malformed', at, 'The WAV file holds more than one fmt chunk')
      format = chunk
    } else if (id === 'data') {
      if (format === null) fault('malformed', at, 'The WAV file has data before its fmt chunk')
      if (data !== null) fault('malformed', at, 'The WAV file holds more than one data chunk')
      data = chunk
    }
    at = chunk.byteOffset + chunk.byteLength + (chunk.byteLength % 2)
  }
  if (format === null) fault('malformed', file.length, 'The WAV file has no fmt chunk')
  if (data === null) fault('malformed', file.length, 'The WAV file has no data chunk')
  return { format, data }
}

function readFormat(file: Buffer, { byteOffset, byteLength }: Chunk): Header {
  const extended = byteLength >= 18
  if (byteLength < 16 || (extended && 18 + file.readUInt16LE(byteOffset + 16) !== byteLength)) {
    if (byteLength !== 16) fault('malformed', byteOffset, 'The WAV fmt chunk has a wrong length')
  }
  const bitDepth = file.readUInt16LE(byteOffset + 14)
  let tag = file.readUInt16LE(byteOffset)
  if (tag === EXTENSIBLE) {
    if (byteLength !== 40) fault('malformed', byteOffset, 'The WAV fmt chunk has a wrong length')
    const validBits = file.readUInt16LE(byteOffset + 18)
    if (validBits < 1 || validBits > bitDepth) {
      fault('malformed', byteOffset + 18, `The WAV claims ${validBits} valid bits of ${bitDepth}`)
    }
    if (file.toString('hex', byteOffset + 26, byteOffset + 40) !== subformatTail) {
      fault('unsupported', byteOffset + 24, 'The WAV subformat is not taken')
    }
    tag = file.readUInt16LE(byteOffset + 24)
  }
  return {
    tag,
    channels: file.readUInt16LE(byteOffset + 2),
    sampleRate: checkByteRate(file, byteOffset),
    blockAlign: file.readUInt16LE(byteOffset + 12),
    bitDepth,
  }
}

/** Gives the sample rate once byteRate has been found to be sampleRate × blockAlign. */
function checkByteRate(file: Buffer, byteOffset: number): number {
  const sampleRate = file.readUInt32LE(byteOffset + 4)
  const expected = sampleRate * file.readUInt16LE(byteOffset + 12)
  const byteRate = file.readUInt32LE(byteOffset + 8)
  if (byteRate !== expected) {
    fault('malformed', byteOffset + 8, `The WAV byteRate is ${byteRate}, expected ${expected}`)
  }
  return sampleRate
}

function checkFormat(chunk: Chunk, header: Header): WavFormat {
  const { tag, channels, sampleRate, blockAlign, bitDepth } = header
  const { byteOffset } = chunk
  const known = formats[tag]
  if (known === undefined) {
    fault('unsupported', byteOffset, `The WAV format tag ${tag} is not taken`)
  }
  if (!known.bitDepths.includes(bitDepth)) {
    fault('unsupported', byteOffset + 14, `${bitDepth} bits of ${known.format} are not taken`)
  }
  if (channels < 1 || channels > limits.audioChannelsMax) {
    fault(
      'out-of-range',
      byteOffset + 2,
      `The WAV has ${channels} channels, 1 to ${limits.audioChannelsMax} are allowed`,
    )
  }
  if (sampleRate < limits.sampleRateHzMin || sampleRate > limits.sampleRateHzMax) {
    fault(
      'out-of-range',
      byteOffset + 4,
      `The WAV has ${sampleRate} Hz, ${limits.sampleRateHzMin} to ` +
        `${limits.sampleRateHzMax} are allowed`,
    )
  }
  const expected = (channels * bitDepth) / 8
  if (blockAlign !== expected) {
    fault('malformed', byteOffset + 12, `The WAV blockAlign is ${blockAlign}, expected ${expected}`)
  }
  return known.format
}

/** What wavefile holds after parsing; its own types say `object`. */
interface ParsedFormat {
  readonly numChannels: number
  readonly sampleRate: number
  readonly bitsPerSample: number
  readonly blockAlign: number
}
interface ParsedData {
  readonly samples: Uint8Array
}

/**
 * Has wavefile parse the `fmt ` and `data` chunks and compares. It gets these two alone: it takes
 * the number of cue points and loops from their chunks without looking at their size, and nested
 * LIST chunks cost it exponential time.
 */
function confirm(file: Buffer, formatChunk: Chunk, expected: WavStructure): void {
  const formatEnd = 20 + formatChunk.byteLength
  const bare = Buffer.allocUnsafe(formatEnd + 8 + expected.dataByteLength)
  bare.write('RIFF', 0, 'latin1')
  bare.writeUInt32LE(bare.length - 8, 4)
  bare.write('WAVEfmt ', 8, 'latin1')
  bare.writeUInt32LE(formatChunk.byteLength, 16)
  file.copy(bare, 20, formatChunk.byteOffset, formatChunk.byteOffset + formatChunk.byteLength)
  bare.write('data', formatEnd, 'latin1')
  bare.writeUInt32LE(expected.dataByteLength, formatEnd + 4)
  const { dataByteOffset, dataByteLength } = expected
  file.copy(bare, formatEnd + 8, dataByteOffset, dataByteOffset + dataByteLength)
  const parsed = new wavefile.WaveFile()
  try {
    parsed.fromBuffer(bare)
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error)
    fault('malformed', 0, `The WAV file cannot be parsed: ${message}`)
  }
  const format = parsed.fmt as ParsedFormat
  const { samples } = parsed.data as ParsedData
  if (
    format.numChannels !== expected.channels ||
    format.sampleRate !== expected.sampleRate ||
    format.bitsPerSample !== expected.bitDepth ||
    samples.length / format.blockAlign !== expected.frames
  ) {
    fault('malformed', 0, 'The WAV file parses to other than its header tells')
  }
}

function printable(id: string): string {
  return id.replace(/[^\x20-\x7e]/g, '?')
}

function fault(
  reason: ConstructorParameters<typeof MediaFault>[0],
  byteOffset: number,
  message: string,
): never {
  throw new MediaFault(reason, byteOffset, message)
}
