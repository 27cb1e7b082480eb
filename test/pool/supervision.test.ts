import assert from 'node:assert/strict'
import { rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import type { Worker } from 'node:worker_threads'
import type { DecodeUpload, DecodeVerdict, WorkerTask } from '../../src/contracts/tasks.ts'
import type { WorkerFault } from '../../src/contracts/worker-failure.ts'
import { frameDefaults, segmentDefaults } from '../../src/ingest/new-session.ts'
import { limits } from '../../src/limits.ts'
import { WorkerPool, type WorkerPoolOptions } from '../../src/pool/pool.ts'
import {
  type FaultMark,
  faultsFolderVariable,
  faultyWorkerFile,
  type InflictedFault,
  markText,
} from '../support/faulty-mark.ts'
import { temporaryFolder } from '../support/server.ts'
import { telemetryDocument, uploadOf } from '../support/uploads.ts'
import { eventually } from '../support/waiting.ts'

/** A pool whose threads commit the faults that their tasks ask for, and the threads as they start. */
async function openFaulty(
  t: TestContext,
  options: Partial<WorkerPoolOptions> = {},
): Promise<{ pool: WorkerPool; threads: Worker[] }> {
  process.env[faultsFolderVariable] = await temporaryFolder(t)
  const threads = watchThreads(t)
  const pool = new WorkerPool({ workers: 1, workerFile: faultyWorkerFile, ...options })
  t.after(() => pool.close())
  return { pool, threads }
}

function watchThreads(t: TestContext): Worker[] {
  const threads: Worker[] = []
  const onWorker = (worker: Worker) => threads.push(worker)
  process.on('worker', onWorker)
  t.after(() => process.off('worker', onWorker))
  return threads
}

function marked(fault: InflictedFault, task: FaultMark['task'] = 'decode'): DecodeUpload {
  const text = markText({ task, fault, times: 'always', name: 'mark' })
  const { records } = telemetryDocument(2)
  const bad = { timestamp: '2025-01-20T10:30:00Z', values: { fault: text } }
  return uploadOf('telemetry', { records: [...records, bad] })
}

function sound(): DecodeUpload {
  return uploadOf('telemetry', telemetryDocument(2))
}

async function decode(pool: WorkerPool, upload: DecodeUpload): Promise<DecodeVerdict> {
  const { verdicts } = await pool.run({ kind: 'decode', uploads: [upload] })
  return verdicts[0] as DecodeVerdict
}

const faults: readonly (readonly [InflictedFault, WorkerFault])[] = [
  ['exit', 'exit'],
  ['throw', 'threw'],
  ['heap', 'out of memory'],
  ['hang', 'deadline'],
]

for (const [fault, reported] of faults) {
  test(`a worker's ${fault} fails its own task alone, and what waits goes on`, async (t) => {
    const taskTimeoutMs = fault === 'hang' ? 1_000 : limits.taskTimeoutMs
    const { pool, threads } = await openFaulty(t, { taskTimeoutMs })
    const failing = decode(pool, marked(fault))
    const waiting = Array.from({ length: 5 }, () => decode(pool, sound()))
    await assert.rejects(failing, { name: 'WorkerFailure', task: 'decode', fault: reported })
    for (const verdict of await Promise.all(waiting)) assert.equal(verdict.kind, 'accepted')
    assert.equal(threads.length, fault === 'throw' ? 1 : 2)
  })
}

for (const kind of ['merge', 'read'] as const) {
  test(`a ${kind} task that hangs is ended by its deadline`, async (t) => {
    const { pool } = await openFaulty(t, { taskTimeoutMs: 1_000 })
    const verdict = await decode(pool, marked('hang', kind))
    assert(verdict.kind === 'accepted' && verdict.content.kind === 'page')
    const { bytes } = verdict.content.page
    const task: Extract<WorkerTask, { kind: 'merge' | 'read' }> =
      kind === 'merge'
        ? { kind, pages: [bytes] }
        : {
            kind,
            blocks: [{ bytes, hash: '', firstIndex: 0 }],
            fromMs: null,
            toMs: null,
            fields: null,
            limit: 10,
            format: 'json',
          }
    await assert.rejects(pool.run(task), { task: kind, fault: 'deadline' })
    assert.equal((await decode(pool, sound())).kind, 'accepted')
  })
}

for (const kind of ['select', 'analyse', 'cut'] as const) {
  test(`a ${kind} task that hangs is ended by its deadline`, async (t) => {
    const { pool } = await openFaulty(t, { taskTimeoutMs: 1_000 })
    const mark = markText({ task: kind, fault: 'hang', times: 'always', name: 'mark' })
    const bytes = Uint8Array.from(Buffer.from(mark))
    await assert.rejects(pool.run(streamTask(kind, bytes)), { task: kind, fault: 'deadline' })
    assert.equal(bytes.byteLength, 0)
    assert.equal((await decode(pool, sound())).kind, 'accepted')
  })
}

function streamTask(
  kind: 'select' | 'analyse' | 'cut',
  bytes: Uint8Array,
): Extract<WorkerTask, { kind: 'select' | 'analyse' | 'cut' }> {
  const state = null
  if (kind === 'cut') {
    return { kind, mode: 'silence', cuts: [], buffers: [{ bytes, run: 0, startSample: 0 }] }
  }
  if (kind === 'select') {
    return { kind, settings: frameDefaults, state, frames: [{ bytes, atMs: 0 }] }
  }
  return { kind, settings: segmentDefaults, state, buffers: [{ bytes, atMs: 0 }], isEnd: false }
}

test('a task that waits for longer than the deadline is done all the same', async (t) => {
  const taskTimeoutMs = 3_000
  const { pool, threads } = await openFaulty(t, { taskTimeoutMs })
  const decoding = Array.from({ length: 11 }, () => decode(pool, marked('pause')))
  const startedMs = performance.now()
  for (const verdict of await Promise.all(decoding)) assert.equal(verdict.kind, 'accepted')
  assert(performance.now() - startedMs > taskTimeoutMs, 'all pauses take longer than the deadline')
  assert.equal(threads.length, 1)
})

test('tasks are done in the order in which they came, also behind a hang', async (t) => {
  const { pool } = await openFaulty(t, { taskTimeoutMs: 1_000 })
  const order: number[] = []
  const done = (number: number) => () => {
    order.push(number)
  }
  const uploads = [marked('pause'), sound(), marked('hang'), sound(), marked('pause'), sound()]
  const decoding = uploads.map((upload, number) =>
    decode(pool, upload).then(done(number), done(number)),
  )
  assert.equal(pool.queueSize, 5)
  await Promise.all(decoding)
  assert.deepEqual(order, [0, 1, 2, 3, 4, 5])
})

test('close during a hang refuses what is left and ends in time', async (t) => {
  const { pool } = await openFaulty(t)
  const left = [decode(pool, marked('hang')), decode(pool, sound())]
  const refusals = left.map((task) => assert.rejects(task, { code: 'SHUTTING_DOWN' }))
  await delay(500)
  const startedMs = performance.now()
  await pool.close()
  const tookMs = performance.now() - startedMs
  assert(tookMs < limits.poolCloseTimeoutMs + 2_000, `close took ${tookMs} ms`)
  await Promise.all(refusals)
})

for (const workers of [1, 2]) {
  test(`threads that do not start are tried again at leisure, by ${workers}`, async (t) => {
    const folder = await temporaryFolder(t)
    const startFile = join(folder, 'broken')
    process.env.TEST_FAULTY_START_FILE = startFile
    const workerFile = new URL('../support/faulty-start.cjs', import.meta.url)
    const { pool, threads } = await openFaulty(t, { workers, workerFile })
    await pool.ready()
    await writeFile(startFile, '')
    await Promise.all(threads.map((thread) => thread.terminate()))
    const startedBefore = threads.length
    const startedMs = performance.now()
    let failures = 0
    while (performance.now() - startedMs < 1_500) {
      await decode(pool, sound()).then(
        () => assert.fail('no thread can have done it'),
        (error) => {
          assert.equal(error.name, 'WorkerFailure')
          failures += 1
        },
      )
    }
    const started = threads.length - startedBefore
    assert(failures >= 2, 'who waits is told')
    assert(started <= workers * 4, `${started} threads were started`)
    await rm(startFile)
    await eventually(async () => {
      const verdict = await decode(pool, sound()).catch(() => undefined)
      return verdict?.kind === 'accepted' ? true : undefined
    }, 'the recovery of the pool')
  })
}

test('a pool whose module does not load is never ready', async (t) => {
  const folder = await temporaryFolder(t)
  process.env.TEST_FAULTY_START_FILE = folder
  const workerFile = new URL('../support/faulty-start.cjs', import.meta.url)
  const { pool } = await openFaulty(t, { workers: 2, workerFile })
  await assert.rejects(pool.ready(), /does not load on purpose/)
})
