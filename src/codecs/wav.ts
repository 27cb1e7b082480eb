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

/** A data chunk's length where the writer did not know it. */
const unknownLength = 0xffffffff
/** From here on a length that is not there was no more than a guess: sox writes 2 GiB less 4 KiB. */
const unknownLengthMin = 0x7fff0000
/** The header of a PCM file without samples. */
const emptyFileBytes = 44

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
 * A WAV file whose header is walked over: one in memory, or one on disk that is not read whole.
 */
export interface WavBytes {
  readonly length: number
  /** Those bytes, less where the file ends before. */
  at(byteOffset: number, byteLength: number): Buffer
}

/** What the header of a file tells, and how much of what it claims is not there. */
export interface WavLayout extends WavStructure {
  /** Samples of each channel that are claimed and missing; 0 unless `truncation` is `keep`. */
  readonly missing: number
  /** The `fmt ` chunk's own bytes. */
  readonly formatBytes: Buffer
}

/**
 * Reads a whole WAV file: its header is checked against its bytes here, because wavefile believes
 * whatever a header says, then wavefile parses it and must agree. Throws MediaFault.
 */
export function readWav(bytes: Uint8Array): WavStructure {
  const file = inMemory(bytes)
  const { missing: _missing, formatBytes, ...structure } = layOutWav(file, 'refuse')
  const data = file.at(structure.dataByteOffset, structure.dataByteLength)
  confirmWav(formatBytes, data, structure)
  return structure
}

/** The same of a file that `readWav` has found sound, at the cost of its header alone. */
export function readWavHeader(bytes: Uint8Array): WavStructure {
  const {
    missing: _missing,
    formatBytes: _formatBytes,
    ...structure
  } = layOutWav(inMemory(bytes), 'refuse')
  return structure
}

function inMemory(bytes: Uint8Array): WavBytes {
  const file = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  return {
    length: file.length,
    at: (byteOffset, byteLength) => file.subarray(byteOffset, byteOffset + byteLength),
  }
}

/**
 * Finds and checks the chunks of a WAV file. With `keep`, one that ends within its samples is laid
 * out as far as it goes, and one whose length its writer did not know, as writers to a pipe leave it
 * (none, or about 2 GiB or 4 GiB), up to its end. Throws MediaFault.
 */
export function layOutWav(file: WavBytes, truncation: 'refuse' | 'keep'): WavLayout {
  checkContainer(file, truncation)
  const { format: formatChunk, data, claimed } = findChunks(file, truncation)
  const formatBytes = file.at(formatChunk.byteOffset, formatChunk.byteLength)
  const header = readFormat(formatBytes, formatChunk)
  const format = checkFormat(formatChunk, header)
  const { channels, sampleRate, bitDepth, blockAlign } = header
  if (claimed === 0) fault('empty', data.byteOffset, 'The WAV file holds no samples')
  const isCutOff = claimed > data.byteLength
  if (!isCutOff && data.byteLength % blockAlign !== 0) {
    fault('malformed', data.byteOffset, 'The WAV data is not a whole number of sample frames')
  }
  const frames = Math.floor(data.byteLength / blockAlign)
  if (frames === 0) fault('truncated', data.byteOffset, 'The WAV file ends before its samples')
  const isUnknown = isCutOff && claimed >= unknownLengthMin
  return {
    format,
    sampleRate,
    channels,
    bitDepth,
    frames,
    durationMs: (frames * 1000) / sampleRate,
    dataByteOffset: data.byteOffset,
    dataByteLength: frames * blockAlign,
    missing: isUnknown ? 0 : Math.floor(claimed / blockAlign) - frames,
    formatBytes,
  }
}

function checkContainer(file: WavBytes, truncation: 'refuse' | 'keep'): void {
  if (file.length === 0) fault('empty', 0, 'The WAV file is empty')
  const head = file.at(0, 16)
  const container = head.toString('latin1', 0, 4)
  const refused = refusedContainers[container]
  if (refused !== undefined) fault('unsupported', 0, `${refused} is not taken`)
  if (
    !'RIFF'.startsWith(container) ||
    (file.length >= 12 && head.toString('latin1', 8, 12) !== 'WAVE')
  ) {
    const name = nameByMagic(head) ?? 'not a WAV file'
    fault('wrong-format', 0, `Expected a WAV file, but this is ${name}`)
  }
  if (file.length < 12) fault('truncated', file.length, 'The WAV file is truncated in its header')
  const claimed = head.readUInt32LE(4) + 8
  // A writer may count the pad byte of an odd data chunk or leave it out, in the size and in the
  // file.
  const padding = claimed % 2 === 0 && file.length % 2 === 1 ? 1 : 0
  if (claimed > file.length + padding && truncation === 'refuse') {
    fault('truncated', 4, `The WAV header claims ${claimed} bytes, ${file.length} are there`)
  }
  const end = claimed + (claimed % 2)
  if (file.length > end && !(truncation === 'keep' && isHarmless(file, end))) {
    fault('trailing-bytes', claimed, 'Bytes follow the end of the WAV file')
  }
}

/** A tagger's words behind a file on disk, or a length that a pipe's writer never came to know. */
function isHarmless(file: WavBytes, end: number): boolean {
  const isUnknown = end <= emptyFileBytes
  return isUnknown || /^(TAG|ID3|APETAGEX)/.test(file.at(end, 8).toString('latin1'))
}

interface Chunks {
  readonly format: Chunk
  /** What is there of it. */
  readonly data: Chunk
  /** Bytes that the data chunk claims. */
  readonly claimed: number
}

/** Walks the chunks up to the end; `fmt ` and `data` must be there once, in this order. */
function findChunks(file: WavBytes, truncation: 'refuse' | 'keep'): Chunks {
  let format: Chunk | null = null
  let data: Chunk | null = null
  let claimed = 0
  let at = 12
  while (at < file.length) {
    // What is cut off behind the samples is none of their business.
    const isComplete = data !== null && truncation === 'keep'
    if (file.length - at < 8) {
      if (isComplete) break
      fault('malformed', at, 'The WAV file ends inside a chunk header')
    }
    const head = file.at(at, 8)
    const id = head.toString('latin1', 0, 4)
    const left = file.length - at - 8
    const byteLength = head.readUInt32LE(4)
    const isKept = truncation === 'keep' && (isComplete || id === 'data')
    if (
      isKept &&
      id === 'data' &&
      data === null &&
      byteLength === 0 &&
      left > 0 &&
      format !== null
    ) {
      return { format, data: { byteOffset: at + 8, byteLength: left }, claimed: unknownLength }
    }
    if (byteLength > left && !isKept) {
      fault(
        'truncated',
        at + 4,
        `The WAV chunk '${printable(id)}' claims ${byteLength} bytes, ${left} are there`,
      )
    }
    const chunk = { byteOffset: at + 8, byteLength: Math.min(byteLength, left) }
    if (id === 'fmt ') {
      if (format !== null) fault('malformed', at, 'The WAV file holds more than one fmt chunk')
      format = chunk
    } else if (id === 'data') {
      if (format === null) fault('malformed', at, 'The WAV file has data before its fmt chunk')
      if (data !== null) fault('malformed', at, 'The WAV file holds more than one data chunk')
      data = chunk
      claimed = byteLength
    }
    at = chunk.byteOffset + byteLength + (byteLength % 2)
  }
  if (format === null) fault('malformed', file.length, 'The WAV file has no fmt chunk')
  if (data === null) fault('malformed', file.length, 'The WAV file has no data chunk')
  return { format, data, claimed }
}

/** `bytes` are the chunk's; faults name their place in the file. */
function readFormat(bytes: Buffer, { byteOffset, byteLength }: Chunk): Header {
  const extended = byteLength >= 18
  if (byteLength < 16 || (extended && 18 + bytes.readUInt16LE(16) !== byteLength)) {
    if (byteLength !== 16) fault('malformed', byteOffset, 'The WAV fmt chunk has a wrong length')
  }
  const bitDepth = bytes.readUInt16LE(14)
  let tag = bytes.readUInt16LE(0)
  if (tag === EXTENSIBLE) {
    if (byteLength !== 40) fault('malformed', byteOffset, 'The WAV fmt chunk has a wrong length')
    const validBits = bytes.readUInt16LE(18)
    if (validBits < 1 || validBits > bitDepth) {
      fault('malformed', byteOffset + 18, `The WAV claims ${validBits} valid bits of ${bitDepth}`)
    }
    if (bytes.toString('hex', 26, 40) !== subformatTail) {
      fault('unsupported', byteOffset + 24, 'The WAV subformat is not taken')
    }
    tag = bytes.readUInt16LE(24)
  }
  return {
    tag,
    channels: bytes.readUInt16LE(2),
    sampleRate: checkByteRate(bytes, byteOffset),
    blockAlign: bytes.readUInt16LE(12),
    bitDepth,
  }
}

/** Gives the sample rate once byteRate has been found to be sampleRate × blockAlign. */
function checkByteRate(bytes: Buffer, byteOffset: number): number {
  const sampleRate = bytes.readUInt32LE(4)
  const expected = sampleRate * bytes.readUInt16LE(12)
  const byteRate = bytes.readUInt32LE(8)
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
export function confirmWav(
  formatBytes: Buffer,
  data: Buffer,
  expected: Pick<WavStructure, 'channels' | 'sampleRate' | 'bitDepth' | 'frames'>,
): void {
  const formatEnd = 20 + formatBytes.length
  const bare = scratch(formatEnd + 8 + data.length)
  bare.write('RIFF', 0, 'latin1')
  bare.writeUInt32LE(bare.length - 8, 4)
  bare.write('WAVEfmt ', 8, 'latin1')
  bare.writeUInt32LE(formatBytes.length, 16)
  formatBytes.copy(bare, 20)
  bare.write('data', formatEnd, 'latin1')
  bare.writeUInt32LE(data.length, formatEnd + 4)
  data.copy(bare, formatEnd + 8)
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

/**
 * Bytes for one file at a time. New ones for each cost more than all else here: 17 KB a buffer of 100 ms
 * brings the collector about, a thousand times a second.
 */
function scratch(byteLength: number): Buffer {
  if (byteLength > limits.wavScratchBytesMax) return Buffer.allocUnsafeSlow(byteLength)
  kept ??= Buffer.allocUnsafeSlow(limits.wavScratchBytesMax)
  return kept.subarray(0, byteLength)
}

let kept: Buffer | undefined

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
