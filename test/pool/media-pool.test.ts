import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { type TestContext, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import type { MediaMessage, MediaTask } from '../../src/contracts/tasks.ts'
import type { WorkerFault } from '../../src/contracts/worker-failure.ts'
import { limits } from '../../src/limits.ts'
import { type MediaHandlers, MediaPool } from '../../src/pool/media-pool.ts'
import { childrenOf } from '../support/jobs.ts'
import { clip, mediaFile } from '../support/media-files.ts'
import { watchThreads } from '../support/threads.ts'
import { eventually, Inbox, within } from '../support/waiting.ts'

const faultyFile = new URL('../support/faulty-media.js', import.meta.url)

type Chunk = Extract<MediaMessage, { kind: 'chunk' }>

function open(t: TestContext, workerFile?: URL): MediaPool {
  const pool = new MediaPool({ workerFile })
  t.after(() => pool.close())
  return pool
}

async function task(
  file: 'clip' | 'looped.mp4',
  mode: 'all-frames' | 'keyframes' = 'all-frames',
): Promise<MediaTask> {
  const { path, byteLength, container, ffmpeg } = await (file === 'clip' ? clip() : mediaFile(file))
  return {
    path,
    byteLength,
    type: { kind: 'video', container },
    ffmpeg,
    settings: {
      mode,
      frameRateFps: null,
      resolution: null,
      compressionQuality: null,
      interval: 30,
      sceneThreshold: 0.3,
    },
    beginsAtMs: 0,
    checkpoint: { emitted: 0, position: 0 },
    deadlineMs: 120_000,
  }
}

/** What a faulty thread makes of it. */
async function faulty(fault: string): Promise<MediaTask> {
  return { ...(await task('clip')), path: fault }
}

/** Notes what it is told; what becomes of a chunk is for `store` to say. */
class Listener implements MediaHandlers {
  readonly told = new Inbox<string>()
  readonly chunks: Chunk[] = []
  readonly #store: () => Promise<void>

  constructor(store: () => Promise<void> = () => Promise.resolve()) {
    this.#store = store
  }

  validated({ description }: { description: string }): void {
    this.told.push(description)
  }

  progress(position: number): void {
    this.told.push(`at ${position}`)
  }

  chunk(message: Chunk): Promise<void> {
    this.chunks.push({ ...message, buffer: message.buffer.slice(0) })
    this.told.push(`chunk ${this.chunks.length}`)
    return this.#store()
  }
}

const never = new AbortController().signal

test('a task is done on a thread of its own, which is there for no longer', async (t) => {
  const threads = watchThreads(t)
  const pool = open(t)
  assert.equal(threads.size, 0)
  const listener = new Listener()
  const result = await pool.run(await task('clip', 'keyframes'), listener, never)
  assert.deepEqual(result, { kind: 'done', position: 1_189 })
  assert.equal(threads.size, 0)
  assert.match(listener.told.items[0] ?? '', /640×360, 1189 frames/)
  const items = listener.chunks.flatMap(({ buffer, items: found }) =>
    found.map(({ byteOffset, byteLength, hash }) => {
      const bytes = new Uint8Array(buffer, byteOffset, byteLength)
      assert.deepEqual(Buffer.from(hash), createHash('sha256').update(bytes).digest())
      return byteLength
    }),
  )
  assert.equal(items.length, 5)
  assert.equal(listener.chunks.at(-1)?.checkpoint.emitted, 5)
})

test('chunks that are not stored hold the decoder back, and an abort ends both', async (t) => {
  const threads = watchThreads(t)
  const pool = open(t)
  const aborter = new AbortController()
  const listener = new Listener(() => new Promise(() => {}))
  const running = pool.run(await task('looped.mp4'), listener, aborter.signal)
  const { mediaChunksInFlightMax: inFlightMax } = limits
  await listener.told.waitFor((text) => text === `chunk ${inFlightMax}`, 'the last chunk')
  await delay(1_500)
  assert.equal(listener.chunks.length, inFlightMax)
  assert.equal((await childrenOf(process.pid)).length, 1)
  const abortedAtMs = performance.now()
  aborter.abort()
  assert.equal((await running).kind, 'cancelled')
  assert.ok(performance.now() - abortedAtMs < 1_000)
  assert.equal(threads.size, 0)
  assert.deepEqual(await childrenOf(process.pid), [])
})

test('a chunk that cannot be stored stops its task with that error', async (t) => {
  const threads = watchThreads(t)
  const pool = open(t)
  const error = new Error('the disk is gone')
  const listener = new Listener(() => Promise.reject(error))
  await assert.rejects(pool.run(await task('looped.mp4'), listener, never), error)
  const thrower = new Listener(() => {
    throw error
  })
  await assert.rejects(pool.run(await task('looped.mp4'), thrower, never), error)
  assert.equal(threads.size, 0)
  assert.deepEqual(await childrenOf(process.pid), [])
})

const faults: readonly (readonly [string, WorkerFault])[] = [
  ['exit', 'exit'],
  ['throw', 'threw'],
  ['heap', 'out of memory'],
  ['hang', 'deadline'],
]

for (const [fault, reported] of faults) {
  test(`a thread's ${fault} fails its own task alone`, async (t) => {
    const threads = watchThreads(t)
    const pool = open(t, faultyFile)
    const failing = pool.run(
      { ...(await faulty(fault)), deadlineMs: fault === 'hang' ? 1_000 : 60_000 },
      new Listener(),
      never,
    )
    await assert.rejects(failing, { name: 'WorkerFailure', task: 'media', fault: reported })
    assert.equal(threads.size, 0)
  })
}

test('a thread that does not hear is ended, and its decoder with it', async (t) => {
  const threads = watchThreads(t)
  const pool = open(t, faultyFile)
  for (const hanging of [await faulty('hang'), await task('looped.mp4')]) {
    const aborter = new AbortController()
    const listener = new Listener()
    const running = pool.run(hanging, listener, aborter.signal)
    await listener.told.waitFor((text) => text === 'at 1', 'the hang')
    const decoders = await childrenOf(process.pid)
    assert.equal(decoders.length, hanging.path === 'hang' ? 0 : 1)
    const abortedAtMs = performance.now()
    aborter.abort()
    assert.deepEqual(await running, { kind: 'cancelled', position: 0 })
    assert.ok(performance.now() - abortedAtMs < limits.mediaCancelGraceMs + 1_000)
    assert.equal(threads.size, 0)
    if (!existsSync('/usr/bin/setpriv')) continue
    const decodersEnded = async () => (await childrenOf(process.pid)).length === 0 || undefined
    await eventually(decodersEnded, 'the end of the decoder', 1_000)
  }
})

test('a thread that fails while it is cancelled is told as failed, to who waits alone', async (t) => {
  const pool = open(t, faultyFile)
  const aborter = new AbortController()
  const listener = new Listener()
  const running = pool.run(await faulty('throw when told'), listener, aborter.signal)
  await listener.told.waitFor((text) => text === 'at 1', 'the thread')
  aborter.abort()
  await assert.rejects(running, { name: 'WorkerFailure', fault: 'threw' })
})

test('a task that was cancelled before it begins ends without a chunk', async (t) => {
  const pool = open(t)
  const listener = new Listener()
  const result = await pool.run(await task('looped.mp4'), listener, AbortSignal.abort())
  assert.equal(result.kind, 'cancelled')
  assert.deepEqual(listener.chunks, [])
})

test('close cancels what runs, leaves no thread, and refuses what comes', async (t) => {
  const threads = watchThreads(t)
  const pool = open(t)
  const listeners = [new Listener(), new Listener()]
  const looped = await task('looped.mp4')
  const running = listeners.map((listener) => pool.run(looped, listener, never))
  for (const { told } of listeners) await told.waitFor((text) => text === 'chunk 1', 'a chunk')
  assert.equal(threads.size, 2)
  await within(pool.close(), 'the close', 2_000)
  assert.equal(threads.size, 0)
  for (const result of await Promise.all(running)) assert.equal(result.kind, 'cancelled')
  assert.deepEqual(await childrenOf(process.pid), [])
  await assert.rejects(pool.run(looped, new Listener(), never), { code: 'SHUTTING_DOWN' })
  await pool.close()
})
