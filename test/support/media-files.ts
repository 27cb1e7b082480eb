import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { findFfmpeg } from '../../src/codecs/ffmpeg/binary.ts'
import type { MediaOptions, MediaSource } from '../../src/codecs/ffmpeg/source.ts'
import type { FfmpegBinary, MediaContainer } from '../../src/contracts/media.ts'
import { seededRandom } from './data.ts'

/**
 * Media files for tests, made once a process by the ffmpeg that findFfmpeg finds.
 * The clip and the speech are the real files where they lie beside the project. Else they are made of
 * ffmpeg's test sources with the same structure: 1,189 frames of 640×360 with 5 keyframes, 250 frames
 * apart; eleven seconds of 16 kHz mono. `isReal` tells which.
 */
const dataFolder = join(projectFolder(import.meta.dirname), '../shared/data')
let folder: string | null = null
const made = new Map<string, string>()

export const isRealClip = existsSync(join(dataFolder, 'bottle-detection.mp4'))
const openGop = [
  '-t 4 -i %clip -c:v libx264 -g 30 -bf 3 -preset veryfast -threads 1',
  '-x264-params open-gop=1:scenecut=0:b-adapt=0',
]
const h264 = ['-c:v', 'libx264', '-g', '60', '-bf', '2', '-preset', 'veryfast', '-threads', '1']

/** Each file: the container, and ffmpeg's arguments; `%clip` and `%speech` stand for the inputs. */
const recipes = {
  'moov-first.mp4': ['mov', '-t 6 -i %clip', ...h264, '-movflags +faststart'],
  'moov-last.mp4': ['mov', '-t 6 -i %clip', ...h264],
  'clip.mov': ['mov', '-t 6 -i %clip', ...h264],
  'clip.mkv': ['matroska', '-t 6 -i %clip', ...h264],
  'clip.ts': ['mpegts', '-t 6 -i %clip', ...h264],
  'open.mp4': ['mov', ...openGop],
  'open.mkv': ['matroska', ...openGop],
  'open.ts': ['mpegts', ...openGop],
  'b-frames.avi': ['avi', '-t 3 -i %clip -c:v mpeg4 -bf 2 -q:v 5'],
  'vp8.webm': ['matroska', '-t 3 -i %clip -c:v libvpx -deadline realtime -g 30'],
  'mpeg4.avi': ['avi', '-t 4 -i %clip -c:v mpeg4 -q:v 5'],
  'mpeg4.mp4': ['mov', '-t 4 -i %clip -c:v mpeg4 -bf 2 -q:v 5 -movflags +faststart'],
  'images.mjpeg': ['mjpeg', '-t 3 -i %clip -c:v mjpeg -q:v 5 -f mjpeg'],
  'images.avi': ['avi', '-t 3 -i %clip -c:v mjpeg -q:v 5'],
  'looped.mp4': ['mov', '-stream_loop 19 -i %clip -c copy'],
  'speech.mp3': ['mp3', '-i %speech'],
  'speech.aac': ['aac', '-i %speech -f adts'],
  'vorbis.ogg': ['ogg', '-i %speech -c:a libvorbis'],
  'opus.ogg': ['ogg', '-i %speech -c:a libopus'],
  'speech.flac': ['flac', '-i %speech'],
  'deep.flac': ['flac', '-i %speech -ar 96000 -ac 2 -af volume=0.37 -c:a flac -sample_fmt s32'],
  'speech.m4a': ['mov', '-i %speech -movflags +faststart'],
  'longer-video.mp4': [
    'mov',
    '-t 6 -i %clip -t 3 -i %speech -map 0:v -map 1:a -c:v copy -c:a aac -movflags +faststart',
  ],
  'late.m4a': ['mov', '-itsoffset 2 -i %speech -c:a aac'],
  'opus.webm': ['matroska', '-i %speech -c:a libopus'],
  'many-channels.flac': ['flac', '-i %speech -t 1 -ac 8 -c:a flac'],
  'hour.flac': ['flac', '-f lavfi -i anullsrc=r=16000:cl=mono -t 3600'],
  'six-scenes.mp4': ['mov', sixScenes(), '-c:v mpeg4 -q:v 3'],
} as const satisfies Readonly<Record<string, readonly [MediaContainer, ...string[]]>>
export type MediaFileName = keyof typeof recipes

/** A second each at 25 frames a second. The second and third differ only in their hue. */
export const sceneCuts = [25, 50, 75, 100, 125]

function sixScenes(): string {
  const colours = ['0x804040', '0x2f8f2f', '0x0000ff', 'yellow', 'gray', 'black']
  const inputs = colours.map((colour) => `-f lavfi -i color=${colour}:s=320x180:r=25:d=1`)
  return `${inputs.join(' ')} -filter_complex concat=n=6`
}

export async function mediaFile(name: MediaFileName): Promise<MediaSource> {
  const [container] = recipes[name]
  return sourceOf(await pathOf(name), container)
}

/** The clip itself, an MP4 of 39.9 s. */
export async function clip(): Promise<MediaSource> {
  return sourceOf(await clipPath(), 'mov')
}

export async function sourceOf(path: string, container: MediaContainer): Promise<MediaSource> {
  return { path, byteLength: statSync(path).size, container, ffmpeg: await machineFfmpeg() }
}

/** All ffmpegs there are: the machine's and the one that a package brings. */
export async function ffmpegs(): Promise<FfmpegBinary[]> {
  const packaged = createRequire(import.meta.url)('@ffmpeg-installer/ffmpeg') as { path: string }
  const found = [await machineFfmpeg(), await findFfmpeg(packaged.path)]
  const known = new Map(found.flatMap((binary) => (binary === null ? [] : [[binary.path, binary]])))
  return [...known.values()]
}

export async function machineFfmpeg(): Promise<FfmpegBinary> {
  const binary = await findFfmpeg(null)
  if (binary === null) throw new Error('there is no ffmpeg, not even the packaged one')
  return binary
}

/** The first `share` of a file. */
export async function truncated(name: MediaFileName, share: number): Promise<MediaSource> {
  const source = await mediaFile(name)
  const bytes = readFileSync(source.path)
  return fileOf(`${share}-${name}`, bytes.subarray(0, bytes.length * share), source.container)
}

/**
 * Two recordings, one after the other, as `cat` joins them; of a transport stream, as a recorder goes on:
 * where its packets do not count on, one may be lost.
 */
export async function joined(name: MediaFileName): Promise<MediaSource> {
  const source = await mediaFile(name)
  const bytes = readFileSync(source.path)
  const both = Buffer.concat([bytes, bytes])
  if (source.container === 'mpegts') countOn(both)
  return fileOf(`joined-${name}`, both, source.container)
}

/** ISO/IEC 13818-1 2.4.3.3: four bits that count the packets with a payload of each stream. */
function countOn(packets: Buffer): void {
  const counts = new Map<number, number>()
  for (let at = 0; at < packets.length; at += 188) {
    const stream = packets.readUInt16BE(at + 1) & 0x1fff
    const flags = packets[at + 3] ?? 0
    const hasPayload = (flags & 0x10) !== 0
    const count = ((counts.get(stream) ?? -1) + (hasPayload ? 1 : 0)) & 0x0f
    counts.set(stream, count)
    packets[at + 3] = (flags & 0xf0) | count
  }
}

/** A file with bits flipped in its middle, from 30 to 70 % of it, at random with a fixed seed. */
export async function flipped(name: MediaFileName, seed: number, flips = 5): Promise<MediaSource> {
  const source = await mediaFile(name)
  const bytes = readFileSync(source.path)
  const random = seededRandom(seed)
  for (let i = 0; i < flips; i += 1) {
    const at = Math.floor(bytes.length * (0.3 + 0.4 * random()))
    bytes[at] = (bytes[at] ?? 0) ^ (1 << Math.floor(random() * 8))
  }
  return fileOf(`flipped-${seed}-${name}`, bytes, source.container)
}

/** Any bytes as a file of the kind that somebody says it is. */
export function fileOf(
  name: string,
  bytes: Uint8Array | string,
  container: MediaContainer,
): Promise<MediaSource> {
  const path = join(ownFolder(), name)
  writeFileSync(path, bytes)
  return sourceOf(path, container)
}

/** An AVI of MJPEG whose header and image claim 16,000 × 16,000 pixels. */
export async function pixelBomb(): Promise<MediaSource> {
  const source = await mediaFile('images.avi')
  const bytes = readFileSync(source.path)
  const [height, width] = [360, 640]
  for (let at = bytes.indexOf('strf'); at < bytes.length - 9; at += 1) {
    const isFrameHeader = bytes[at] === 0xff && bytes[at + 1] === 0xc0
    if (isFrameHeader && bytes.readUInt16BE(at + 5) === height) {
      bytes.writeUInt16BE(16_000, at + 5)
      bytes.writeUInt16BE(16_000, at + 7)
    }
  }
  const format = bytes.indexOf('strf') + 8
  if (bytes.readUInt32LE(format + 4) !== width) throw new Error('the AVI has another header')
  bytes.writeUInt32LE(16_000, format + 4)
  bytes.writeUInt32LE(16_000, format + 8)
  return fileOf('bomb.avi', bytes, 'avi')
}

/** What ends no work before its end. */
export function patient(deadlineMs = 120_000): MediaOptions {
  return { signal: new AbortController().signal, deadlineMs }
}

/** Collects all that a generator gives, and what it throws at the end. */
export async function drain<T>(
  items: AsyncGenerator<T, void, void>,
): Promise<{ items: T[]; error: unknown }> {
  const collected: T[] = []
  try {
    for await (const item of items) collected.push(item)
    return { items: collected, error: null }
  } catch (error) {
    return { items: collected, error }
  }
}

async function pathOf(name: MediaFileName): Promise<string> {
  const known = made.get(name)
  if (known !== undefined) return known
  const path = join(ownFolder(), name)
  const [, ...parts] = recipes[name]
  const clipFile = parts.join(' ').includes('%clip') ? await clipPath() : ''
  const speechFile = parts.join(' ').includes('%speech') ? await speechPath() : ''
  const words = parts.join(' ').split(' ')
  const inputs: Readonly<Record<string, string>> = { '%clip': clipFile, '%speech': speechFile }
  await encode(
    words.map((word) => inputs[word] ?? word),
    path,
  )
  made.set(name, path)
  return path
}

function clipPath(): Promise<string> {
  const source = '-f lavfi -i testsrc2=s=640x360:r=29.8333 -frames:v 1189 -pix_fmt yuv420p'
  const coding = '-c:v libx264 -preset ultrafast -bf 2 -g 250 -sc_threshold 0 -threads 1'
  return realOrMade('bottle-detection.mp4', `${source} ${coding}`)
}

function speechPath(): Promise<string> {
  const tone = 'sine=f=220:r=16000:d=11,tremolo=f=1:d=0.9'
  return realOrMade('jfk.wav', `-f lavfi -i ${tone} -c:a pcm_s16le`)
}

async function realOrMade(name: string, recipe: string): Promise<string> {
  const real = join(dataFolder, name)
  if (existsSync(real)) return real
  const path = join(ownFolder(), name)
  if (!existsSync(path)) await encode(recipe.split(' '), path)
  return path
}

async function encode(parameters: readonly string[], path: string): Promise<void> {
  const { path: program } = await machineFfmpeg()
  const always = ['-nostdin', '-v', 'error', '-y', ...parameters, '-bitexact', path]
  const { status, stderr } = spawnSync(program, always, { stdio: ['ignore', 'ignore', 'pipe'] })
  if (status !== 0) throw new Error(`${path} could not be made: ${String(stderr).trim()}`)
}

/** Made with the first file, removed with the process. */
function ownFolder(): string {
  if (folder !== null) return folder
  const made = mkdtempSync(join(tmpdir(), 'media-files-'))
  process.once('exit', () => rmSync(made, { recursive: true, force: true }))
  folder = made
  return made
}

/** The nearest folder upwards that holds package.json. */
function projectFolder(from: string): string {
  if (existsSync(join(from, 'package.json'))) return from
  return projectFolder(dirname(from))
}
