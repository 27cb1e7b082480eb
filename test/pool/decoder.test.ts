import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import type { DecodeUpload, TaskResults, WorkerTask } from '../../src/contracts/tasks.ts'
import { limits } from '../../src/limits.ts'
import { Decoder } from '../../src/pool/decoder.ts'
import { WorkerPool } from '../../src/pool/pool.ts'
import {
  faultsFolderVariable,
  faultyWorkerFile,
  type InflictedFault,
  markText,
  tasksMarked,
} from '../support/faulty-mark.ts'
import { temporaryFolder } from '../support/server.ts'
import { telemetryDocument, uploadOf } from '../support/uploads.ts'

/**
 * A pool that also notes how many uploads each task carries, in the order in which it takes them, and
 * how many tasks it had at a time that carried wide records.
 */
class CountingPool extends WorkerPool {
  readonly taskSizes: number[] = []
  largeAtOnceMax = 0
  #largeNow = 0

  override run<K extends WorkerTask['kind']>(
    task: Extract<WorkerTask, { kind: K }>,
  ): Promise<TaskResults[K]> {
    if (!('uploads' in task)) return super.run(task)
    this.taskSizes.push(task.uploads.length)
    const isLarge = task.uploads.some(({ gzip, byteLength }) => gzip || byteLength > 8_000_000)
    if (!isLarge) return super.run(task)
    this.#largeNow += 1
    this.largeAtOnceMax = Math.max(this.largeAtOnceMax, this.#largeNow)
    return super.run(task).finally(() => {
      this.#largeNow -= 1
    })
  }
}

function open(
  t: TestContext,
  workers = 2,
  workerFile?: URL,
): { decoder: Decoder; taskSizes: number[] } {
  const pool = new CountingPool({ workers, workerFile })
  const decoder = new Decoder(pool, workers)
  t.after(async () => {
    await decoder.close()
    await pool.close()
  })
  return { decoder, taskSizes: pool.taskSizes }
}

/** Asked for its fingerprint, a small body goes to a worker as a large one does. */
function telemetry(records: number, seed = 0): DecodeUpload {
  return { ...uploadOf('telemetry', telemetryDocument(records, seed)), fingerprint: true }
}

function marked(fault: InflictedFault, times: number | 'always', spareBytes = 0): DecodeUpload {
  const text = markText({ task: 'decode', fault, times, name: 'mark' })
  const record = { timestamp: '2025-01-20T10:30:00Z', values: { fault: text } }
  return { ...uploadOf('telemetry', { records: [record] }, { spareBytes }), fingerprint: true }
}

/** A body of more than `limits.lightBodyBytesMax`, inflated. */
function wide(gzip: boolean): DecodeUpload {
  const values = Object.fromEntries(Array.from({ length: 90 }, (_, n) => [`sensor ${n}`, n / 7]))
  const record = { timestamp: '2025-01-20T10:30:00Z', values }
  return uploadOf('telemetry', { records: Array.from({ length: 4_000 }, () => record) }, { gzip })
}

test('a small body of plain records is decoded in place, anything else by a worker', async (t) => {
  const { decoder, taskSizes } = open(t)
  const small = uploadOf('telemetry', telemetryDocument(10))
  const inPlace = await decoder.decode(small)
  assert.deepEqual(taskSizes, [])
  const byWorker = await decoder.decode({ ...small, fingerprint: true })
  assert.deepEqual(taskSizes, [1])
  assert(inPlace.kind === 'accepted' && inPlace.content.kind === 'page')
  assert(byWorker.kind === 'accepted' && byWorker.content.kind === 'page')
  assert.equal(inPlace.received, 10)
  assert.deepEqual(inPlace.content.page.bytes, byWorker.content.page.bytes)
  const large = telemetryDocument(Math.ceil(limits.inPlaceBodyBytesMax / 50))
  assert.equal((await decoder.decode(uploadOf('telemetry', large))).kind, 'accepted')
  const wrong = uploadOf('telemetry', { records: [{ timestamp: 'yesterday', values: {} }] })
  assert.equal((await decoder.decode(wrong)).kind, 'refused')
  assert.deepEqual(taskSizes, [1, 1, 1])
})

test('small uploads that come together take turns of the event loop, or workers where many wait', async (t) => {
  const { decoder } = open(t)
  let turns = 0
  let hasEnded = false
  const count = () => {
    turns += 1
    if (!hasEnded) setImmediate(count)
  }
  setImmediate(count)
  const records = Array.from({ length: 200 }, (_, index) => 900 + index)
  const decoding = records.map((each) =>
    decoder.decode(uploadOf('telemetry', telemetryDocument(each))),
  )
  assert.ok(!(decoding[0] instanceof Promise))
  assert.ok(decoding.at(-1) instanceof Promise)
  const verdicts = await Promise.all(decoding)
  hasEnded = true
  assert.deepEqual(
    verdicts.map((verdict) => verdict.kind === 'accepted' && verdict.received),
    records,
  )
  assert.ok(turns > 1, `${turns} turns`)
})

test('what waits for its turn is decoded when the decoder closes', async (t) => {
  const { decoder, taskSizes } = open(t)
  const decoding = Array.from({ length: 40 }, () =>
    decoder.decode(uploadOf('telemetry', telemetryDocument(1_000))),
  )
  await decoder.close()
  const verdicts = await Promise.all(decoding)
  assert.ok(verdicts.every(({ kind }) => kind === 'accepted'))
  assert.ok(taskSizes.length < 40)
  await assert.rejects(async () => decoder.decode(telemetry(1)), { code: 'SHUTTING_DOWN' })
})

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
  await assert.rejects(async () => decoder.decode(telemetry(1)), { code: 'SATURATED' })
  const verdicts = await Promise.all(decoding)
  assert.ok(verdicts.every(({ kind }) => kind === 'accepted'))
})

test('a worker that dies takes nothing along but the upload that killed it', async (t) => {
  process.env[faultsFolderVariable] = await temporaryFolder(t)
  const { decoder, taskSizes } = open(t, 1, faultyWorkerFile)
  const first = [decoder.decode(telemetry(1)), decoder.decode(telemetry(1))]
  const bad = marked('exit', 'always')
  const shared = Array.from({ length: 10 }, (_, index) =>
    decoder.decode(index === 4 ? bad : telemetry(2, index)),
  )
  const refusal = assert.rejects(async () => shared[4], {
    name: 'Refusal',
    code: 'WORKER_FAILED',
    status: 503,
    detail: { fields: { retryAfter: limits.retryAfterS } },
  })
  await Promise.all(first)
  const settled = await Promise.allSettled(shared)
  await refusal
  const done = settled.map(({ status }) => status === 'fulfilled')
  assert.deepEqual(
    done,
    done.map((_, index) => index !== 4),
  )
  assert.deepEqual(taskSizes.slice(2), [10, ...Array.from({ length: 10 }, () => 1)])
})

test('an upload whose worker fails by chance is decoded again, unless it was alone', async (t) => {
  process.env[faultsFolderVariable] = await temporaryFolder(t)
  const { decoder } = open(t, 1, faultyWorkerFile)
  const busy = [decoder.decode(telemetry(1)), decoder.decode(telemetry(1))]
  const shared = [decoder.decode(marked('throw', 1)), decoder.decode(telemetry(2))]
  for (const verdict of await Promise.all([...busy, ...shared])) {
    assert.equal(verdict.kind, 'accepted')
  }
  await assert.rejects(async () => decoder.decode(marked('throw', 'always')), {
    code: 'WORKER_FAILED',
  })
})

test('a large upload goes alone by transfer and is refused at once', async (t) => {
  const folder = await temporaryFolder(t)
  process.env[faultsFolderVariable] = folder
  const { decoder, taskSizes } = open(t, 1, faultyWorkerFile)
  const busy = [decoder.decode(telemetry(1)), decoder.decode(telemetry(1))]
  const large = marked('throw', 'always', limits.copiedBodyBytesMax)
  const refusal = assert.rejects(async () => decoder.decode(large), { code: 'WORKER_FAILED' })
  const others = Array.from({ length: 4 }, () => decoder.decode(telemetry(1)))
  await Promise.all([...busy, refusal, ...others])
  assert.equal(large.body.byteLength, 0)
  assert.equal(await tasksMarked(folder, 'mark'), 1)
  assert.deepEqual(taskSizes, [1, 1, 1, 4])
})

for (const workers of [1, 3]) {
  test(`one heavy body at a time is decoded, light ones go by, with ${workers} workers`, async (t) => {
    const pool = new CountingPool({ workers })
    const decoder = new Decoder(pool, workers)
    t.after(() => pool.close())
    await pool.ready()
    const settled: string[] = []
    const decode = async (upload: DecodeUpload, name: string): Promise<void> => {
      assert.equal((await decoder.decode(upload)).kind, 'accepted')
      settled.push(name)
    }
    const heavy = [wide(false), wide(true), wide(false), wide(true)]
    const heavies = heavy.map((upload, index) => decode(upload, `heavy ${index}`))
    const lights = Array.from({ length: 60 }, (_, index) =>
      decode(telemetry(500, index), `light ${index}`),
    )
    await Promise.all([...heavies, ...lights])
    assert.equal(pool.largeAtOnceMax, 1)
    // Neither kind waits for the other to be through.
    const order = (kind: string) => settled.filter((name) => name.startsWith(kind))
    assert.deepEqual(order('heavy'), ['heavy 0', 'heavy 1', 'heavy 2', 'heavy 3'])
    assert(settled.indexOf('light 59') < settled.indexOf('heavy 3'), settled.join())
    if (workers > 1) return
    assert(settled.indexOf('heavy 0') < settled.indexOf('light 59'), settled.join())
  })
}

test('close finishes what waits, refuses what comes and may be called again', async (t) => {
  const { decoder } = open(t)
  const decoding = Array.from({ length: 200 }, (_, seed) => decoder.decode(telemetry(20, seed)))
  const closing = decoder.close()
  assert.equal(decoder.close(), closing)
  await assert.rejects(async () => decoder.decode(telemetry(1)), { code: 'SHUTTING_DOWN' })
  for (const verdict of await Promise.all(decoding)) assert.equal(verdict.kind, 'accepted')
  await closing
  assert.equal(decoder.tasksInFlight, 0)
})

test('a closed pool fails its uploads instead of leaving them', async () => {
  const pool = new WorkerPool({ workers: 1 })
  const decoder = new Decoder(pool, 1)
  await pool.close()
  await assert.rejects(async () => decoder.decode(telemetry(1)), { code: 'SHUTTING_DOWN' })
  await decoder.close()
})
