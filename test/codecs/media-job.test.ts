import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { chmod, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { MessageChannel } from 'node:worker_threads'
import type { MediaSource } from '../../src/codecs/ffmpeg/source.ts'
import { ChunkSender } from '../../src/codecs/media-job/chunks.ts'
import { runMediaTask } from '../../src/codecs/media-job/task.ts'
import type {
  FrameSettings,
  MediaCheckpoint,
  MediaType,
  SegmentSettings,
} from '../../src/contracts/media.ts'
import type {
  MediaCommand,
  MediaItem,
  MediaMessage,
  MediaResult,
  MediaTask,
} from '../../src/contracts/tasks.ts'
import { limits } from '../../src/limits.ts'
import { samplesOf, speechFile, wavFile } from '../support/data.ts'
import { childrenOf } from '../support/jobs.ts'
import { clip, isRealClip, machineFfmpeg, mediaFile, truncated } from '../support/media-files.ts'
import { temporaryFolder } from '../support/server.ts'
import { Inbox, within } from '../support/waiting.ts'

const frames: FrameSettings = {
  mode: 'all-frames',
  frameRateFps: null,
  resolution: null,
  compressionQuality: null,
  interval: 30,
  sceneThreshold: 0.3,
}

const segments: SegmentSettings = {
  mode: 'fixed-duration',
  silenceThresholdDb: -25,
  minSilenceDurationMs: 300,
  minSegmentDurationMs: 200,
  maxSegmentDurationMs: 700,
  energyThresholdDb: 12,
  speechAggressiveness: 2,
}

const beginsAtMs = Date.UTC(2025, 0, 20, 10, 30)

type Told<K extends MediaMessage['kind']> = Extract<MediaMessage, { kind: K }>

interface Atom {
  readonly bytes: Uint8Array
  readonly metadata: MediaItem['metadata']
}

/** A media task on this thread, and the other end of its link. */
class Job {
  readonly messages = new Inbox<MediaMessage>()
  readonly result: Promise<MediaResult>
  readonly #channel = new MessageChannel()

  /** `answers`: each chunk is told to be stored as it comes. */
  constructor(t: TestContext, task: MediaTask, { answers = true } = {}) {
    const { port1, port2 } = this.#channel
    port2.on('message', (message: MediaMessage) => {
      this.messages.push(message)
      if (answers && message.kind === 'chunk') this.tell({ kind: 'stored' })
    })
    const result = runMediaTask(task, {
      post: (message, transfer = []) => port1.postMessage(message, transfer),
      onCommand: (listener) => port1.on('message', listener),
    })
    this.result = result.then(async (ended) => {
      // What was posted before comes before.
      port1.postMessage({ kind: 'result', result: ended } satisfies MediaMessage)
      await this.messages.waitFor(({ kind }) => kind === 'result', 'the result')
      return ended
    })
    t.after(() => port1.close())
  }

  tell(command: MediaCommand): void {
    this.#channel.port2.postMessage(command)
  }

  get chunks(): Told<'chunk'>[] {
    return this.messages.items.filter((message) => message.kind === 'chunk')
  }

  get atoms(): Atom[] {
    return this.chunks.flatMap(({ buffer, items }) =>
      items.map(({ byteOffset, byteLength, hash, metadata }) => {
        const bytes = new Uint8Array(buffer, byteOffset, byteLength)
        const digest = createHash('sha256').update(bytes).digest()
        assert.deepEqual(Buffer.from(hash), digest)
        return { bytes, metadata }
      }),
    )
  }
}

function videoTask(source: MediaSource, changes: Partial<FrameSettings> = {}): MediaTask {
  const settings = { ...frames, ...changes }
  return taskOf(source, { kind: 'video', container: source.container }, settings)
}

function taskOf(
  { path, byteLength, ffmpeg }: Pick<MediaSource, 'path' | 'byteLength'> & Partial<MediaSource>,
  type: MediaType,
  settings: MediaTask['settings'],
): MediaTask {
  return {
    path,
    byteLength,
    type,
    ffmpeg: ffmpeg ?? null,
    settings,
    beginsAtMs,
    checkpoint: { emitted: 0, position: 0 },
    deadlineMs: 120_000,
  }
}

async function wavTask(path: string, changes: Partial<SegmentSettings> = {}): Promise<MediaTask> {
  const { byteLength } = await readFile(path)
  const type = { kind: 'audio', container: 'wav' } as const
  return taskOf({ path, byteLength }, type, { ...segments, ...changes })
}

/** The whole task, every chunk answered. */
async function run(
  t: TestContext,
  task: MediaTask,
): Promise<{ result: MediaResult; atoms: Atom[]; job: Job }> {
  const job = new Job(t, task)
  const result = await job.result
  return { result, atoms: job.atoms, job }
}

/** Ten minutes of the speech, again and again. */
async function longSpeech(t: TestContext): Promise<string> {
  const folder = await temporaryFolder(t)
  const samples = samplesOf(await readFile(speechFile(folder)))
  const path = join(folder, 'long.wav')
  await writeFile(path, wavFile(Buffer.concat(Array.from({ length: 55 }, () => samples))))
  return path
}

test('the clip becomes its keyframes, or every thirtieth frame, each with its place', async (t) => {
  t.diagnostic(isRealClip ? 'real input: bottle-detection.mp4' : 'generated input')
  const { result, atoms, job } = await run(t, videoTask(await clip(), { mode: 'keyframes' }))
  assert.deepEqual(result, { kind: 'done', position: 1_189 })
  assert.equal(atoms.length, 5)
  const [validated] = job.messages.items
  assert.ok(validated?.kind === 'validated')
  assert.equal(validated.itemsTotal, 1_189)
  for (const { bytes, metadata } of atoms) {
    assert.deepEqual([...bytes.subarray(0, 2)], [0xff, 0xd8])
    const { frameNumber, ptsMs, timestamp, ...others } = metadata
    assert.equal(Number(frameNumber) % 250, 0)
    assert.equal(Date.parse(String(timestamp)), Math.trunc(beginsAtMs + Number(ptsMs)))
    assert.deepEqual(others, {
      mode: 'keyframes',
      width: 640,
      height: 360,
      format: 'jpeg',
      quality: limits.compressionQualityDefault,
    })
  }
  const every30th = await run(t, videoTask(await clip(), { mode: 'interval' }))
  assert.deepEqual(
    every30th.atoms.map(({ metadata }) => metadata.frameNumber),
    Array.from({ length: 40 }, (_, index) => index * 30),
  )
})

test('a scene keeps its score and the threshold that it is above', async (t) => {
  const task = videoTask(await mediaFile('six-scenes.mp4'), { mode: 'scene-changes' })
  const { atoms } = await run(t, task)
  assert.equal(atoms.length, 5)
  for (const { metadata } of atoms) {
    assert.equal(metadata.threshold, 0.3)
    assert.ok(Number(metadata.score) > 0.3)
  }
})

test('the segments of a WAV file are all of its samples, one after the other', async (t) => {
  const path = speechFile(await temporaryFolder(t))
  const samples = samplesOf(await readFile(path))
  for (const mode of ['fixed-duration', 'silence', 'energy', 'speech-detection'] as const) {
    const { result, atoms } = await run(t, await wavTask(path, { mode }))
    assert.deepEqual(result, { kind: 'done', position: samples.length / 2 })
    assert.ok(atoms.length > 5, `${atoms.length} segments by ${mode}`)
    const pieces = atoms.map(({ bytes }) => samplesOf(Buffer.from(bytes)))
    assert.ok(Buffer.concat(pieces).equals(samples), mode)
    const places = atoms.map(({ metadata }) => [metadata.startSample, metadata.endSample])
    assert.deepEqual(
      places.map(([startSample]) => startSample),
      [0, ...places.map(([, endSample]) => endSample).slice(0, -1)],
    )
  }
})

test('a lossless file that ffmpeg decodes is cut into the same segments as the WAV file', async (t) => {
  const source = await mediaFile('speech.flac')
  const flac = taskOf(source, { kind: 'audio', container: 'flac' }, segments)
  const wav = await wavTask(speechFile(await temporaryFolder(t)))
  assert.deepEqual((await run(t, flac)).atoms, (await run(t, wav)).atoms)
})

test('two runs give the same atoms, and one from a checkpoint exactly the rest', async (t) => {
  const speech = speechFile(await temporaryFolder(t))
  const flac = await mediaFile('speech.flac')
  const tasks = [
    videoTask(await mediaFile('moov-first.mp4')),
    videoTask(await mediaFile('clip.mkv'), { mode: 'interval', interval: 7 }),
    videoTask(await clip(), { mode: 'keyframes' }),
    videoTask(await mediaFile('six-scenes.mp4'), { mode: 'scene-changes' }),
    await wavTask(speech, { mode: 'silence' }),
    taskOf(flac, { kind: 'audio', container: 'flac' }, { ...segments, mode: 'speech-detection' }),
  ]
  for (const task of tasks) {
    const whole = await run(t, task)
    assert.deepEqual((await run(t, task)).atoms, whole.atoms)
    const lastCheckpoint: MediaCheckpoint | undefined = whole.job.chunks.at(-1)?.checkpoint
    assert.equal(lastCheckpoint?.emitted, whole.atoms.length)
    for (const emitted of [1, Math.floor(whole.atoms.length / 2), whole.atoms.length]) {
      const rest = await run(t, { ...task, checkpoint: { emitted, position: emitted } })
      assert.deepEqual(rest.result, whole.result)
      assert.deepEqual(rest.atoms, whole.atoms.slice(emitted))
      const last = rest.job.chunks.at(-1)
      assert.deepEqual(last?.checkpoint, rest.atoms.length === 0 ? undefined : lastCheckpoint)
    }
  }
})

test('while chunks are unanswered nothing more is decoded, and each answer lets one come', async (t) => {
  const job = new Job(t, videoTask(await mediaFile('looped.mp4')), { answers: false })
  const { mediaChunksInFlightMax: inFlightMax } = limits
  const chunkAt = (index: number) => job.chunks[index]
  await job.messages.waitFor(() => chunkAt(inFlightMax - 1) !== undefined, 'the last chunk')
  await delay(1_500)
  assert.equal(job.chunks.length, inFlightMax)
  job.tell({ kind: 'stored' })
  await job.messages.waitFor(() => chunkAt(inFlightMax) !== undefined, 'one chunk more')
  await delay(1_500)
  assert.equal(job.chunks.length, inFlightMax + 1)
  assert.equal((await childrenOf(process.pid)).length, 1)
  const cancelledAtMs = performance.now()
  job.tell({ kind: 'cancel' })
  assert.equal((await job.result).kind, 'cancelled')
  assert.ok(performance.now() - cancelledAtMs < 1_000)
  assert.deepEqual(await childrenOf(process.pid), [])
  assert.equal(job.chunks.length, inFlightMax + 1)
})

test('atoms that come seldom wait for an answer as well, and go at once with it', async () => {
  const sent: Told<'chunk'>[] = []
  const post = (message: MediaMessage) => {
    if (message.kind === 'chunk') sent.push(message)
  }
  const sender = new ChunkSender({ post, onCommand: () => {} }, { emitted: 0, position: 0 })
  const longerMs = limits.mediaChunkDelayMs + 250
  const add = (index: number) => sender.add(Uint8Array.of(index), { index }, index + 1)
  for (let index = 0; index < limits.mediaChunksInFlightMax; index += 1) {
    await add(index)
    assert.equal(sent.length, index)
    await delay(longerMs)
    assert.equal(sent.length, index + 1)
  }
  const adding = add(9)
  await delay(longerMs)
  assert.equal(sent.length, limits.mediaChunksInFlightMax)
  sender.answered()
  assert.equal(sent.length, limits.mediaChunksInFlightMax + 1)
  sender.answered()
  await within(adding, 'the turn of the next atom')
  assert.deepEqual(
    sent.map(({ checkpoint }) => checkpoint.emitted),
    [1, 2, 3],
  )
  sender.stop()
})

test('a cancelled task stops within a second, waiting or at work', async (t) => {
  const path = await longSpeech(t)
  const busy = videoTask(await mediaFile('looped.mp4'), { mode: 'interval', interval: 5_000 })
  const tasks: [MediaTask, MediaMessage['kind'], boolean][] = [
    [await wavTask(path, { mode: 'silence' }), 'chunk', false],
    [await wavTask(path, { mode: 'speech-detection' }), 'validated', true],
    [busy, 'progress', true],
  ]
  for (const [task, kind, answers] of tasks) {
    const job = new Job(t, task, { answers })
    await job.messages.waitFor((message) => message.kind === kind, kind)
    const cancelledAtMs = performance.now()
    job.tell({ kind: 'cancel' })
    assert.equal((await job.result).kind, 'cancelled')
    assert.ok(performance.now() - cancelledAtMs < 1_000)
    assert.deepEqual(await childrenOf(process.pid), [])
  }
})

test('a WAV file without all of its samples gives what is there, then its fault', async (t) => {
  const folder = await temporaryFolder(t)
  const whole = await readFile(speechFile(folder))
  const path = join(folder, 'short.wav')
  await writeFile(path, whole.subarray(0, 100_001))
  const { result, atoms } = await run(t, await wavTask(path))
  assert.ok(result.kind === 'failed')
  const there = samplesOf(await readFile(path)).length >> 1
  assert.equal(result.code, 'ATOMIZATION_ERROR')
  assert.equal(result.message, `Failed to parse audio sample ${there + 1}`)
  assert.equal(result.position, there)
  assert.equal(atoms.at(-1)?.metadata.endSample, there)
  const pieces = atoms.map(({ bytes }) => samplesOf(Buffer.from(bytes)))
  assert.ok(Buffer.concat(pieces).equals(samplesOf(whole).subarray(0, there * 2)))
})

test('a video that is cut off gives its good frames, then its fault', async (t) => {
  const whole = await run(t, videoTask(await mediaFile('moov-first.mp4')))
  const { result, atoms } = await run(t, videoTask(await truncated('moov-first.mp4', 0.6)))
  assert.ok(result.kind === 'failed')
  assert.equal(result.code, 'ATOMIZATION_ERROR')
  assert.equal(result.position, atoms.length)
  assert.ok(atoms.length > 20 && atoms.length < whole.atoms.length, `${atoms.length} frames`)
  assert.deepEqual(atoms, whole.atoms.slice(0, atoms.length))
})

test('what cannot be begun says why, and sends nothing', async (t) => {
  const folder = await temporaryFolder(t)
  const speech = await readFile(speechFile(folder))
  const nonsense = join(folder, 'nonsense.wav')
  await writeFile(nonsense, 'this is no audio at all')
  const crowded = join(folder, 'crowded.wav')
  const channels = Buffer.from(speech)
  channels.writeUInt16LE(9, 22)
  channels.writeUInt32LE(channels.readUInt32LE(28) * 9, 28)
  channels.writeUInt16LE(18, 32)
  await writeFile(crowded, channels)
  const source = await mediaFile('moov-first.mp4')
  const cases: [MediaTask, string][] = [
    [await wavTask(nonsense), 'MEDIA_NOT_RECOGNISED'],
    [await wavTask(crowded), 'MEDIA_LIMIT_EXCEEDED'],
    [{ ...(await wavTask(nonsense)), path: join(folder, 'nowhere') }, 'SPOOL_MISSING'],
    [{ ...videoTask(source), path: join(folder, 'nowhere') }, 'SPOOL_MISSING'],
    [{ ...videoTask(source), ffmpeg: null }, 'DECODER_MISSING'],
  ]
  for (const [task, code] of cases) {
    const { result, job } = await run(t, task)
    assert.ok(result.kind === 'failed', code)
    assert.equal(result.code, code)
    assert.equal(result.position, null)
    assert.deepEqual(job.chunks, [])
  }
})

test('looking the file over and taking it apart share one deadline', async (t) => {
  const folder = await temporaryFolder(t)
  const { path: real, version, year } = await machineFfmpeg()
  const path = join(folder, 'slow-ffmpeg')
  const slow = `case "$*" in *framecrc*) sleep 1.4; exec ${real} "$@";; esac\nexec sleep 60`
  await writeFile(path, `#!/bin/sh\n${slow}\n`)
  await chmod(path, 0o755)
  const source = await mediaFile('moov-first.mp4')
  const task = { ...videoTask(source), ffmpeg: { path, version, year }, deadlineMs: 2_000 }
  const startedAtMs = performance.now()
  const { result, job } = await run(t, task)
  assert.ok(performance.now() - startedAtMs < 3_000)
  assert.ok(result.kind === 'failed')
  assert.equal(result.code, 'MEDIA_TIMEOUT')
  assert.equal(job.messages.items[0]?.kind, 'validated')
  assert.deepEqual(await childrenOf(process.pid), [])
})
