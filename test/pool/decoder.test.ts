import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import type { Worker } from 'node:worker_threads'
import type { DecodeUpload, TaskResults, WorkerTask } from '../../src/contracts/tasks.ts'
import { limits } from '../../src/limits.ts'
import { Decoder } from '../../src/pool/decoder.ts'
import { WorkerPool } from '../../src/pool/pool.ts'
import { WorkerFailure } from '../../src/pool/worker-failure.ts'
import { telemetryDocument, uploadOf } from '../support/uploads.ts'

/**
 * A pool that also notes how many uploads each task carries, in the order in which it takes them.
 */
class CountingPool extends WorkerPool {
  readonly taskSizes: number[] = []

  override run<K extends WorkerTask['kind']>(
    task: Extract<WorkerTask, { kind: K }>,
  ): Promise<TaskResults[K]> {
    if ('uploads' in task) this.taskSizes.push(task.uploads.length)
    return super.run(task)
  }
}

function open(t: TestContext, workers = 2): { decoder: Decoder; taskSizes: number[] } {
  const pool = new CountingPool({ workers })
  const decoder = new Decoder(pool, workers)
  t.after(async () => {
    await decoder.close()
    await pool.close()
  })
  return { decoder, taskSizes: pool.taskSizes }
}

function telemetry(records: number, seed = 0): DecodeUpload {
  return uploadOf('telemetry', telemetryDocument(records, seed))
}

test('a lone upload goes at once, by itself', async (t) => {
  const { decoder, taskSizes } = open(t)
  const decoding = decoder.decode(telemetry(10))
  assert.equal(decoder.tasksInFlight, 1)
  assert.equal(decoder.waitingUploads, 0)
  assert.equal((await decoding).kind, 'accepted')
  assert.deepEqual(taskSizes, [1])
})

test('uploads that find every worker busy share tasks and each gets its own verdict', async (t) => {
  const { decoder, taskSizes } = open(t)
  const counts = Array.from({ length: 1_000 }, (_, index) => 1 + (index % 7))
  const decoding = counts.map((records, seed) => decoder.decode(telemetry(records, seed)))
  assert.equal(decoder.tasksInFlight, 3)
  assert.equal(decoder.waitingUploads, 997)
  const verdicts = await Promise.all(decoding)
  assert.deepEqual(
    verdicts.map((verdict) => verdict.kind === 'accepted' && verdict.received),
    counts,
  )
  assert.deepEqual(taskSizes.slice(0, 3), [1, 1, 1])
  assert.ok(taskSizes.length < 30, `${taskSizes.length} tasks`)
  assert.ok(Math.max(...taskSizes) <= limits.taskUploadsMax)
  assert.equal(decoder.waitingUploads, 0)
})

test('a bad upload among good ones in one task refuses itself alone', async (t) => {
  const { decoder, taskSizes } = open(t, 1)
  const broken = { ...telemetry(1), byteLength: 1 }
  const decoding = Array.from({ length: 12 }, (_, index) =>
    decoder.decode(index === 7 ? broken : telemetry(2, index)),
  )
  const kinds = (await Promise.all(decoding)).map(({ kind }) => kind)
  const expected = kinds.map((_, index) => (index === 7 ? 'refused' : 'accepted'))
  assert.deepEqual(kinds, expected)
  assert.deepEqual(taskSizes, [1, 1, 10])
})

test('a task carries no more bytes than its bound, but at least one upload', async (t) => {
  const { decoder, taskSizes } = open(t, 1)
  const decoding = Array.from({ length: 5 }, () => {
    const upload = uploadOf('telemetry', telemetryDocument(1), { spareBytes: limits.taskBytesMax })
    new Uint8Array(upload.body).fill(0x20, upload.byteLength)
    return decoder.decode({ ...upload, byteLength: upload.body.byteLength })
  })
  for (const verdict of await Promise.all(decoding)) assert.equal(verdict.kind, 'accepted')
  assert.deepEqual(taskSizes, [1, 1, 1, 1, 1])
})

test('a full queue refuses with SATURATED and the rest is still decoded', async (t) => {
  const { decoder } = open(t, 1)
  const decoding = Array.from({ length: limits.decodeQueueUploadsMax + 2 }, () =>
    decoder.decode(telemetry(1)),
  )
  assert.equal(decoder.waitingUploads, limits.decodeQueueUploadsMax)
  await assert.rejects(decoder.decode(telemetry(1)), { code: 'SATURATED' })
  const verdicts = await Promise.all(decoding)
  assert.ok(verdicts.every(({ kind }) => kind === 'accepted'))
})

test('a worker that dies fails the uploads of its task, those that wait go on', async (t) => {
  const threads: Worker[] = []
  const onWorker = (worker: Worker) => threads.push(worker)
  process.on('worker', onWorker)
  t.after(() => process.off('worker', onWorker))
  const { decoder } = open(t, 1)
  await decoder.decode(telemetry(1))
  const dying = decoder.decode(telemetry(limits.uploadRecordsMax))
  const others = Array.from({ length: 20 }, () => decoder.decode(telemetry(2)))
  const [thread] = threads
  assert.ok(thread)
  await Promise.all([assert.rejects(dying, WorkerFailure), thread.terminate()])
  for (const verdict of await Promise.all(others)) assert.equal(verdict.kind, 'accepted')
})

test('close finishes what waits, refuses what comes and may be called again', async (t) => {
  const { decoder } = open(t)
  const decoding = Array.from({ length: 200 }, (_, seed) => decoder.decode(telemetry(20, seed)))
  const closing = decoder.close()
  assert.equal(decoder.close(), closing)
  await assert.rejects(decoder.decode(telemetry(1)), { code: 'SHUTTING_DOWN' })
  for (const verdict of await Promise.all(decoding)) assert.equal(verdict.kind, 'accepted')
  await closing
  assert.equal(decoder.tasksInFlight, 0)
})

test('a closed pool fails its uploads instead of leaving them', async () => {
  const pool = new WorkerPool({ workers: 1 })
  const decoder = new Decoder(pool, 1)
  await pool.close()
  await assert.rejects(decoder.decode(telemetry(1)), { code: 'SHUTTING_DOWN' })
  await decoder.close()
})
