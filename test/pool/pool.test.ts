import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import type { Worker } from 'node:worker_threads'
import type { DecodeUpload, DecodeVerdict } from '../../src/contracts/tasks.ts'
import { WorkerFailure } from '../../src/contracts/worker-failure.ts'
import { limits } from '../../src/limits.ts'
import { WorkerPool } from '../../src/pool/pool.ts'
import { jpegFrame, wavBuffer } from '../support/media.ts'
import { telemetryDocument, uploadOf } from '../support/uploads.ts'

function openPool(t: TestContext, workers = 2): WorkerPool {
  const pool = new WorkerPool({ workers })
  t.after(() => pool.close())
  return pool
}

async function decode(pool: WorkerPool, upload: DecodeUpload): Promise<DecodeVerdict> {
  const { verdicts } = await pool.run({ kind: 'decode', uploads: [upload] })
  assert.equal(verdicts.length, 1)
  return verdicts[0] as DecodeVerdict
}

function small(): DecodeUpload {
  return uploadOf('telemetry', telemetryDocument(1))
}

/** Keeps a worker busy for some hundred milliseconds. */
function longUpload(): DecodeUpload {
  const audioData = Buffer.from(wavBuffer({ durationMs: 1 })).toString('base64')
  const buffers = Array.from({ length: limits.uploadRecordsMax }, (_, bufferNumber) => ({
    bufferNumber,
    timestamp: '2025-01-20T10:30:00Z',
    audioData,
    format: 'wav',
    sampleRate: 44_100,
    channels: 2,
    bitDepth: 16,
  }))
  return uploadOf('audio', { buffers })
}

test('a small body goes to a worker as a copy, a large one by transfer', async (t) => {
  const pool = openPool(t)
  const { copiedBodyBytesMax } = limits
  for (const [bytes, left] of [
    [copiedBodyBytesMax, copiedBodyBytesMax],
    [copiedBodyBytesMax + 1, 0],
  ] as const) {
    const document = telemetryDocument(100)
    const spareBytes = bytes - Buffer.byteLength(JSON.stringify(document))
    const upload = uploadOf('telemetry', document, { spareBytes })
    assert.equal((await decode(pool, upload)).kind, 'accepted')
    assert.equal(upload.body.byteLength, left)
  }
})

test('frames come back in the very buffer that carried them', async (t) => {
  const pool = openPool(t)
  const image = await jpegFrame({ width: 64, height: 48 })
  const frame = { frameNumber: 1, timestamp: 0, imageData: image, format: 'jpeg' }
  const document = { frames: [{ ...frame, width: 64, height: 48 }] }
  const spareBytes = limits.copiedBodyBytesMax
  const upload = uploadOf('video', document, { format: 'msgpack', spareBytes })
  const capacity = upload.body.byteLength
  const verdict = await decode(pool, upload)
  assert.ok(verdict.kind === 'accepted' && verdict.content.kind === 'media')
  assert.equal(upload.body.byteLength, 0)
  const { buffer, items } = verdict.content
  assert.equal(buffer.byteLength, capacity)
  const [item] = items
  assert.ok(item)
  assert.deepEqual(new Uint8Array(buffer, item.byteOffset, item.byteLength), image)
  assert.equal(item.hash.byteLength, 32)
})

test('telemetry goes through decode, merge and read and comes back as it was sent', async (t) => {
  const pool = openPool(t)
  const documents = [telemetryDocument(3, 0), telemetryDocument(4, 1)]
  const pages: Uint8Array[] = []
  for (const document of documents) {
    const verdict = await decode(pool, uploadOf('telemetry', document))
    assert.ok(verdict.kind === 'accepted' && verdict.content.kind === 'page')
    pages.push(verdict.content.page.bytes)
  }
  const block = await pool.run({ kind: 'merge', pages })
  assert.deepEqual(
    pages.map(({ byteLength }) => byteLength),
    [0, 0],
  )
  assert.equal(block.records, 7)
  const hash = Buffer.from(block.hash).toString('hex')
  const read = await pool.run({
    kind: 'read',
    blocks: [{ bytes: block.bytes, hash, firstIndex: 0 }],
    fromMs: null,
    toMs: null,
    fields: null,
    limit: 100,
    format: 'json',
  })
  assert.equal(block.bytes.byteLength, 0)
  assert.equal(read.records, 7)
  const rows = JSON.parse(`[${Buffer.from(read.bytes).toString()}]`) as { address?: string }[]
  assert.deepEqual(
    rows.map(({ address: _, ...record }) => record),
    documents.flatMap(({ records }) => records),
  )
  assert.equal(rows[6]?.address, `${hash}/6`)
})

test('a full queue refuses with SATURATED and leaves the body with the sender', async (t) => {
  const pool = openPool(t, 1)
  const running = [pool.run({ kind: 'decode', uploads: [longUpload()] })]
  while (pool.queueSize < limits.poolQueueTasksMax) {
    running.push(pool.run({ kind: 'decode', uploads: [small()] }))
  }
  const refused = small()
  await assert.rejects(decode(pool, refused), { code: 'SATURATED' })
  assert.ok(refused.body.byteLength > 0)
  await Promise.all(running)
})

test('a worker that dies fails its task alone, and another takes its place', async (t) => {
  const threads: Worker[] = []
  const onWorker = (worker: Worker) => threads.push(worker)
  process.on('worker', onWorker)
  t.after(() => process.off('worker', onWorker))
  const pool = openPool(t, 1)
  await decode(pool, small())
  const failed = decode(pool, longUpload())
  const next = decode(pool, small())
  const [thread] = threads
  assert.ok(thread)
  await Promise.all([assert.rejects(failed, WorkerFailure), thread.terminate()])
  assert.equal((await next).kind, 'accepted')
  assert.equal(threads.length, 2)
})

test('what a codec throws is a WorkerFailure, and the worker lives on', async (t) => {
  const pool = openPool(t, 1)
  const notPages = [new Uint8Array(64).fill(7)]
  await assert.rejects(pool.run({ kind: 'merge', pages: notPages }), WorkerFailure)
  assert.equal((await decode(pool, small())).kind, 'accepted')
})

test('close lets every running task finish, refuses new ones and may be called again', async () => {
  const pool = new WorkerPool({ workers: 2 })
  // Threads that are still starting would take of the time that close leaves them.
  await Promise.all([decode(pool, small()), decode(pool, small())])
  const running = [longUpload(), longUpload()].map((upload) => decode(pool, upload))
  const closing = pool.close()
  assert.equal(pool.close(), closing)
  await assert.rejects(decode(pool, small()), { code: 'SHUTTING_DOWN' })
  for (const verdict of await Promise.all(running)) assert.equal(verdict.kind, 'accepted')
  await closing
  await assert.rejects(decode(pool, small()), { code: 'SHUTTING_DOWN' })
})

test('a pool may be closed at any moment of the start of its threads', async () => {
  for (let waitMs = 20; waitMs <= 180; waitMs += 10) {
    const pool = new WorkerPool({ workers: 2 })
    await new Promise((resolve) => setTimeout(resolve, waitMs))
    await pool.close()
  }
})
