import { closeSync, existsSync, openSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { readWav } from '../src/codecs/wav.ts'
import type { FfmpegBinary } from '../src/contracts/media.ts'
import { makeWithFfmpeg } from './ffmpeg.ts'
import { seededRandom } from './random.ts'
import { projectFolder } from './server-process.ts'

/** Real input where it lies beside the project. */
const dataFolder = join(projectFolder, '../shared/data')

export interface VideoFile {
  readonly path: string
  /** As ffmpeg counts them. */
  readonly frames: number
  readonly keyframes: number
  /** What it is, for the row's note. */
  readonly source: string
}

export interface VideoFiles {
  readonly clip: VideoFile
  /** The clip so many times over, in one file: each round's pictures are the first one's. */
  readonly looped: VideoFile
}

export interface AudioFile {
  readonly path: string
  readonly samples: number
  readonly sampleRate: number
  readonly headerBytes: number
  readonly bytesPerSample: number
  readonly source: string
}

export const videoType = 'video/mp4'
export const audioType = 'audio/wav'
const rounds = 20

const realClip = {
  path: join(dataFolder, 'bottle-detection.mp4'),
  frames: 1_189,
  keyframes: 5,
  source: 'bottle-detection.mp4',
} as const
const madeSeconds = 40
const madeSecondsQuick = 2
const madeFps = 25
const madeKeyframeEvery = 250

/** Rejects where ffmpeg cannot make them. */
export async function makeVideo(
  folder: string,
  ffmpeg: FfmpegBinary,
  quick: boolean,
  signal: AbortSignal,
): Promise<VideoFiles> {
  const clip = existsSync(realClip.path)
    ? realClip
    : await makeClip(folder, ffmpeg, quick ? madeSecondsQuick : madeSeconds, signal)
  const path = join(folder, 'looped.mp4')
  const loop = ['-stream_loop', `${rounds - 1}`, '-i', clip.path, '-c', 'copy']
  await makeWithFfmpeg(ffmpeg, loop, path, signal)
  const looped = {
    path,
    frames: clip.frames * rounds,
    keyframes: clip.keyframes * rounds,
    source: `${clip.source}, ${rounds} times`,
  }
  return { clip, looped }
}

/** A moving test picture, H.264 where ffmpeg can write it. Rejects where it can write neither. */
export async function makeClip(
  folder: string,
  ffmpeg: FfmpegBinary,
  seconds: number,
  signal: AbortSignal,
): Promise<VideoFile> {
  const path = join(folder, 'clip.mp4')
  const input = `testsrc2=size=640x360:rate=${madeFps}:duration=${seconds}`
  const make = (codec: string, sceneThreshold: number) => {
    const output = [
      '-c:v',
      codec,
      '-g',
      `${madeKeyframeEvery}`,
      '-sc_threshold',
      `${sceneThreshold}`,
    ]
    const parameters = ['-f', 'lavfi', '-i', input, '-pix_fmt', 'yuv420p', ...output]
    return makeWithFfmpeg(ffmpeg, parameters, path, signal)
  }
  // No scene begins a keyframe: 0 says so to the one encoder, a huge number to the other.
  let codec = 'H.264'
  try {
    await make('libx264', 0)
  } catch {
    signal.throwIfAborted()
    codec = 'MPEG-4'
    await make('mpeg4', 1_000_000_000)
  }
  const frames = seconds * madeFps
  return {
    path,
    frames,
    keyframes: Math.ceil(frames / madeKeyframeEvery),
    source: `testsrc2 640×360, ${seconds} s, ${codec}`,
  }
}

const sampleRate = 16_000
const bytesPerSample = 2
const headerBytes = 44
const pauseMsMin = 500
const pauseMsMax = 3_000
/** About −80 dBFS: a quiet room. */
const pauseAmplitude = 3
const seed = 44

/**
 * Speech over and over, each time with another pause behind it: mono, 16 kHz, 16 bit. The same file
 * each time.
 */
export function makeAudio(folder: string, seconds: number): AudioFile {
  const { speech, source } = readSpeech()
  const random = seededRandom(seed)
  const room = noise(samplesOf(pauseMsMax) * 2, random)
  const path = join(folder, 'speech.wav')
  const samples = seconds * sampleRate
  const bytesTotal = samples * bytesPerSample
  const file = openSync(path, 'wx')
  try {
    writeFileSync(file, wavHeader(bytesTotal))
    for (let written = 0; written < bytesTotal; ) {
      const pauseMs = pauseMsMin + random() * (pauseMsMax - pauseMsMin)
      const from = Math.floor(random() * samplesOf(pauseMsMax)) * bytesPerSample
      const pause = room.subarray(from, from + samplesOf(pauseMs) * bytesPerSample)
      const piece = Buffer.concat([speech, pause]).subarray(0, bytesTotal - written)
      writeFileSync(file, piece)
      written += piece.length
    }
  } finally {
    closeSync(file)
  }
  return { path, samples, sampleRate, headerBytes, bytesPerSample, source }
}

function samplesOf(ms: number): number {
  return Math.floor((ms * sampleRate) / 1_000)
}

function readSpeech(): { speech: Buffer; source: string } {
  const path = join(dataFolder, 'jfk.wav')
  if (!existsSync(path))
    return { speech: babble(seededRandom(seed)), source: 'tones that come and go' }
  const wav = readFileSync(path)
  const { dataByteOffset, dataByteLength } = readWav(wav)
  return {
    speech: wav.subarray(dataByteOffset, dataByteOffset + dataByteLength),
    source: 'jfk.wav',
  }
}

/** Eleven seconds of a tone whose loudness rises and falls as syllables do, over noise. */
function babble(random: () => number): Buffer {
  const count = 11 * sampleRate
  const samples = Buffer.alloc(count * bytesPerSample)
  for (let i = 0; i < count; i++) {
    const loudness = Math.max(0, Math.sin(i / 900) + Math.sin(i / 9_000)) * 6_000
    const tone = Math.sin((i / sampleRate) * 2 * Math.PI * 220) * loudness
    samples.writeInt16LE(Math.round(tone + (random() - 0.5) * 200), i * bytesPerSample)
  }
  return samples
}

function noise(count: number, random: () => number): Buffer {
  const samples = Buffer.alloc(count * bytesPerSample)
  for (let i = 0; i < count; i++) {
    samples.writeInt16LE(Math.round((random() * 2 - 1) * pauseAmplitude), i * bytesPerSample)
  }
  return samples
}

function wavHeader(dataBytes: number): Buffer {
  const header = Buffer.alloc(headerBytes)
  header.write('RIFF', 0, 'latin1')
  header.writeUInt32LE(headerBytes - 8 + dataBytes, 4)
  header.write('WAVEfmt ', 8, 'latin1')
  header.writeUInt32LE(16, 16)
  header.writeUInt16LE(1, 20)
  header.writeUInt16LE(1, 22)
  header.writeUInt32LE(sampleRate, 24)
  header.writeUInt32LE(sampleRate * bytesPerSample, 28)
  header.writeUInt16LE(bytesPerSample, 32)
  header.writeUInt16LE(bytesPerSample * 8, 34)
  header.write('data', 36, 'latin1')
  header.writeUInt32LE(dataBytes, 40)
  return header
}
