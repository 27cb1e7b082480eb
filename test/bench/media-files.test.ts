import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { bareHashes, timeBareFfmpeg } from '../../bench/ffmpeg.ts'
import { benchMedia, mediaRowIds } from '../../bench/media.ts'
import { makeAudio, makeClip, makeVideo } from '../../bench/media-files.ts'
import { anonBytes, childrenOf, isThere } from '../../bench/processes.ts'
import { ServersMemory } from '../../bench/servers-memory.ts'
import { findFfmpeg } from '../../src/codecs/ffmpeg/binary.ts'
import { readWav } from '../../src/codecs/wav.ts'
import type { FfmpegBinary } from '../../src/contracts/media.ts'

function temporaryFolder(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'bench-test-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

async function ffmpegOrSkip(t: TestContext): Promise<FfmpegBinary | null> {
  const ffmpeg = await findFfmpeg(null)
  if (ffmpeg === null) t.skip('there is no ffmpeg')
  return ffmpeg
}

const { signal } = new AbortController()

test('the audio of a bench has the length that was asked for and is the same each time', (t) => {
  const folder = temporaryFolder(t)
  const files = ['a', 'b'].map((name) => {
    mkdirSync(join(folder, name))
    return makeAudio(join(folder, name), 20)
  })
  const [first, second] = files.map(({ path }) => readFileSync(path))
  assert(first !== undefined && second !== undefined && first.equals(second))
  const { channels, sampleRate, bitDepth, frames, dataByteOffset } = readWav(first)
  assert.deepEqual([channels, sampleRate, bitDepth, frames], [1, 16_000, 16, 320_000])
  assert.equal(files[0]?.samples, frames)
  assert.equal(files[0]?.headerBytes, dataByteOffset)
  // Speech or tones, then at least half a second as quiet as a room.
  const samples = new Int16Array(Uint8Array.from(first.subarray(dataByteOffset)).buffer)
  const loudest = (from: number, to: number) =>
    samples.subarray(from, to).reduce((most, value) => Math.max(most, Math.abs(value)), 0)
  assert(loudest(0, 176_000) > 3_000)
  assert(loudest(176_000, 184_000) <= 3)
})

test('a looped clip has the same pictures in each round, and as many as it claims', async (t) => {
  const ffmpeg = await ffmpegOrSkip(t)
  if (ffmpeg === null) return
  const { clip, looped } = await makeVideo(temporaryFolder(t), ffmpeg, true, signal)
  const keyframes = await bareHashes(ffmpeg, 'keyframes', clip.path, signal)
  assert.equal(keyframes.length, clip.keyframes)
  const rounds = await bareHashes(ffmpeg, 'keyframes', looped.path, signal)
  assert.equal(rounds.length, looped.keyframes)
  assert(rounds.every((hash, index) => hash === keyframes[index % keyframes.length]))
  assert((await timeBareFfmpeg(ffmpeg, 'keyframes', clip.path, signal)) > 0)
})

test('a clip that is made has the frames and keyframes that it claims', async (t) => {
  const ffmpeg = await ffmpegOrSkip(t)
  if (ffmpeg === null) return
  const clip = await makeClip(temporaryFolder(t), ffmpeg, 11, signal)
  const keyframes = await bareHashes(ffmpeg, 'keyframes', clip.path, signal)
  const frames = await bareHashes(ffmpeg, 'all-frames', clip.path, signal)
  assert.deepEqual([frames.length, keyframes.length], [clip.frames, clip.keyframes])
  assert.equal(keyframes[0], frames[0])
  assert.deepEqual([clip.frames, clip.keyframes], [275, 2])
})

test('what ffmpeg refuses rejects with what it said', async (t) => {
  const ffmpeg = await ffmpegOrSkip(t)
  if (ffmpeg === null) return
  const missing = join(temporaryFolder(t), 'missing.mp4')
  await assert.rejects(timeBareFfmpeg(ffmpeg, 'keyframes', missing, signal), /No such file/)
  const aborted = AbortSignal.abort()
  await assert.rejects(timeBareFfmpeg(ffmpeg, 'keyframes', missing, aborted), /abort/)
})

test('children of a process are seen while they are there', {
  skip: !isThere(process.pid),
}, async () => {
  const child = spawn(process.execPath, ['-e', 'process.stdin.resume()'], {
    stdio: ['pipe', 'ignore', 'inherit'],
  })
  await once(child, 'spawn')
  const pid = child.pid as number
  assert(childrenOf(process.pid).includes(pid))
  assert(isThere(pid))
  assert(anonBytes(process.pid) > 0)
  child.stdin.end()
  await once(child, 'exit')
  assert(!childrenOf(process.pid).includes(pid))
  assert.equal(anonBytes(pid), 0)
})

test('without ffmpeg the rows that need it are not run, whatever else they could claim', async (t) => {
  const wanted = ['media/keyframes', 'media/all-frames', 'media/cancel', 'media/memory']
  const outcomes = await benchMedia(
    {
      options: { quick: false },
      memory: new ServersMemory(),
      folder: temporaryFolder(t),
      apiKey: 'never-used-0123456789',
      signal,
      progress: () => undefined,
      selects: (id) => wanted.includes(id),
    },
    null,
  )
  assert.deepEqual(
    outcomes.map(({ id }) => id),
    mediaRowIds.filter((id) => wanted.includes(id)),
  )
  for (const { verdict, measured, note } of outcomes) {
    assert.deepEqual([verdict, measured, note], ['not run', null, 'there is no ffmpeg'])
  }
})
