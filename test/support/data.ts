import { spawn } from 'node:child_process'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import type { TestContext } from 'node:test'
import { jpegFrame } from './media.ts'

export interface TelemetryRecord {
  readonly timestamp: string | number
  readonly values: Readonly<Record<string, string | number | boolean | null>>
}

export interface Frame {
  readonly bytes: Uint8Array
  readonly width: number
  readonly height: number
}

/** Real input where it lies beside the project, else generated input of the same shape. */
const dataFolder = join(projectFolder(import.meta.dirname), '../shared/data')
const clipSize = { width: 640, height: 360 }
export const speechFormat = { sampleRate: 16_000, channels: 1, bitDepth: 16 }

/** The nearest folder upwards that holds package.json. */
function projectFolder(from: string): string {
  if (existsSync(join(from, 'package.json'))) return from
  const parent = dirname(from)
  if (parent === from) throw new Error('no package.json above the tests')
  return projectFolder(parent)
}

function realFile(t: TestContext, name: string): string | null {
  const path = join(dataFolder, name)
  if (existsSync(path)) {
    t.diagnostic(`real input: ${name}`)
    return path
  }
  t.diagnostic(`generated input: ${name} is not there`)
  return null
}

/** Hourly temperatures. The file's times bear no zone: they are read as UTC. */
export function temperatureReadings(t: TestContext): TelemetryRecord[] {
  const path = realFile(t, 'ambient_temperature.csv')
  if (path === null) return generatedReadings(7_267)
  const [, ...lines] = readFileSync(path, 'utf8').trimEnd().split('\n')
  return lines.map((line) => {
    const [time = '', value = ''] = line.trim().split(',')
    return { timestamp: `${time.replace(' ', 'T')}Z`, values: { temperature: Number(value) } }
  })
}

function generatedReadings(count: number): TelemetryRecord[] {
  const random = seededRandom(7)
  const startMs = Date.UTC(2013, 6, 4)
  return Array.from({ length: count }, (_, hour) => {
    const daily = 71 + 3 * Math.sin((hour / 24) * 2 * Math.PI)
    return {
      timestamp: new Date(startMs + hour * 3_600_000).toISOString(),
      values: { temperature: Number((daily + random()).toFixed(8)) },
    }
  })
}

/** Mulberry32: the same numbers in [0, 1) for the same seed. */
export function seededRandom(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296
  }
}

/** The first frames of the clip as JPEG, cut by ffmpeg where the machine has one. */
export async function clipFrames(t: TestContext, count: number): Promise<Frame[]> {
  const path = realFile(t, 'bottle-detection.mp4')
  for (const program of path === null ? [] : ffmpegPrograms()) {
    const frames = await cutFrames(program, path ?? '', count)
    if (frames !== null) return frames.map((bytes) => ({ bytes, ...clipSize }))
    t.diagnostic(`${program} could not cut frames`)
  }
  const seeds = Array.from({ length: count }, (_, index) => index + 1)
  return Promise.all(
    seeds.map(async (seed) => ({
      bytes: await jpegFrame({ ...clipSize, seed, quality: 80 }),
      ...clipSize,
    })),
  )
}

/** Null where ffmpeg is missing or fails. */
function cutFrames(program: string, path: string, count: number): Promise<Uint8Array[] | null> {
  const output = ['-frames:v', `${count}`, '-q:v', '3', '-f', 'image2pipe', '-c:v', 'mjpeg', '-']
  const child = spawn(program, ['-nostdin', '-v', 'error', '-i', path, ...output], {
    stdio: ['ignore', 'pipe', 'ignore'],
  })
  const chunks: Buffer[] = []
  child.stdout.on('data', (chunk: Buffer) => chunks.push(chunk))
  return new Promise((resolve) => {
    child.once('error', () => resolve(null))
    child.once('close', (code) => {
      const frames = splitJpegs(Buffer.concat(chunks))
      resolve(code === 0 && frames.length === count ? frames : null)
    })
  })
}

/** The machine's own ffmpeg, then the one that a package has brought, if it is installed. */
function ffmpegPrograms(): string[] {
  try {
    const installed = createRequire(import.meta.url)('@ffmpeg-installer/ffmpeg') as { path: string }
    return ['ffmpeg', installed.path]
  } catch {
    return ['ffmpeg']
  }
}

/** Cuts where one image's end marker is followed by the next one's start marker. */
function splitJpegs(stream: Buffer): Uint8Array[] {
  const border = Buffer.from([0xff, 0xd9, 0xff, 0xd8])
  const frames: Uint8Array[] = []
  let start = 0
  for (let at = stream.indexOf(border); at >= 0; at = stream.indexOf(border, start)) {
    frames.push(Uint8Array.from(stream.subarray(start, at + 2)))
    start = at + 2
  }
  if (start < stream.length) frames.push(Uint8Array.from(stream.subarray(start)))
  return frames
}

/** The path of the speech as a WAV file; where it is not there, one is made in `folder`. */
export function speechFile(folder: string): string {
  const path = join(dataFolder, 'jfk.wav')
  if (existsSync(path)) return path
  const made = join(folder, 'speech.wav')
  writeFileSync(made, wavFile(generatedSamples()))
  return made
}

/** Speech in WAV buffers of 100 ms, each with its own header; the last may be shorter. */
export function speechBuffers(t: TestContext): Uint8Array[] {
  const path = realFile(t, 'jfk.wav')
  const samples = path === null ? generatedSamples() : samplesOf(readFileSync(path))
  const bufferBytes = (speechFormat.sampleRate / 10) * 2
  const buffers: Uint8Array[] = []
  for (let start = 0; start < samples.length; start += bufferBytes) {
    buffers.push(wavFile(samples.subarray(start, start + bufferBytes)))
  }
  return buffers
}

/** The bytes of the data chunk; chunks are padded to an even length. */
export function samplesOf(wav: Buffer): Buffer {
  for (let at = 12; at + 8 <= wav.length; ) {
    const size = wav.readUInt32LE(at + 4)
    if (wav.toString('latin1', at, at + 4) === 'data') return wav.subarray(at + 8, at + 8 + size)
    at += 8 + size + (size % 2)
  }
  throw new Error('the WAV file has no data chunk')
}

/** Eleven seconds of a tone that comes and goes over noise, a bit more than whole buffers. */
function generatedSamples(): Buffer {
  const random = seededRandom(11)
  const count = speechFormat.sampleRate * 11 + 37
  const samples = Buffer.alloc(count * 2)
  for (let i = 0; i < count; i += 1) {
    const loudness = Math.max(0, Math.sin(i / 9_000)) * 12_000
    const tone = Math.sin((i / speechFormat.sampleRate) * 2 * Math.PI * 220) * loudness
    samples.writeInt16LE(Math.round(tone + (random() - 0.5) * 200), i * 2)
  }
  return samples
}

/** PCM in the smallest WAV file that holds it, in the format of the speech. */
export function wavFile(samples: Uint8Array): Uint8Array {
  const header = Buffer.alloc(44)
  const frameBytes = (speechFormat.channels * speechFormat.bitDepth) / 8
  header.write('RIFF', 0, 'latin1')
  header.writeUInt32LE(36 + samples.length, 4)
  header.write('WAVEfmt ', 8, 'latin1')
  header.writeUInt32LE(16, 16)
  header.writeUInt16LE(1, 20)
  header.writeUInt16LE(speechFormat.channels, 22)
  header.writeUInt32LE(speechFormat.sampleRate, 24)
  header.writeUInt32LE(speechFormat.sampleRate * frameBytes, 28)
  header.writeUInt16LE(frameBytes, 32)
  header.writeUInt16LE(speechFormat.bitDepth, 34)
  header.write('data', 36, 'latin1')
  header.writeUInt32LE(samples.length, 40)
  return Uint8Array.from(Buffer.concat([header, samples]))
}

/** `items` in runs of `size`, the last one shorter. */
export function chunksOf<T>(items: readonly T[], size: number): T[][] {
  const count = Math.ceil(items.length / size)
  return Array.from({ length: count }, (_, i) => items.slice(i * size, (i + 1) * size))
}

/** Microseconds since the epoch of an RFC 3339 time or of a number of milliseconds. */
export function microsecondsOf(time: string | number): number {
  if (typeof time === 'number') return Math.round(time * 1_000)
  const parts = /^(.*?)(?:\.(\d+))?(Z|[+-]\d\d:\d\d)$/i.exec(time)
  if (parts === null) throw new Error(`${time} is no time with a zone`)
  const [, whole = '', fraction = '', zone = ''] = parts
  return Date.parse(`${whole}${zone}`) * 1_000 + Number(fraction.padEnd(6, '0').slice(0, 6))
}
