import assert from 'node:assert/strict'
import { mkdir, mkdtemp } from 'node:fs/promises'
import { join } from 'node:path'
import { DeadLetterList, type SessionStatus } from '../../src/contracts/http.ts'
import type { Client } from '../support/client.ts'
import {
  faultsFolderVariable,
  type InflictedFault,
  longValues,
  markText,
  tasksMarked,
  taskTimeoutVariable,
} from '../support/faulty-mark.ts'
import { createKey, startServer, type TestServer } from '../support/server.ts'
import { eventually } from '../support/waiting.ts'
import { Bystander } from './bystander.ts'
import { CleanUps } from './clean-ups.ts'
import type { Fault, FaultOrder, FaultReport } from './fault.ts'
import { partSeed, Random } from './random.ts'

const faults: readonly InflictedFault[] = ['exit', 'throw', 'heap', 'hang']
const taskTimeoutMs = 2_000
const settleTimeoutMs = 60_000
const retry = { maxRetries: 2, retryDelayMs: 10, retryBackoffMultiplier: 1 }
const attemptsMax = 1 + retry.maxRetries
const recordsPerUpload = 10
const program = join(import.meta.dirname, '../support/faulty-server.js')

/** Threads that really fail, at checking an upload and at merging a batch, beside a tenant that is well. */
export const workerFault: Fault = {
  name: 'worker exit, throw, heap exhaustion, hang',
  holds: 'batch done or in the DLQ, other tenants unaffected',
  runs: { test: 4, torture: 100 },
  inflict,
}

interface Totals {
  done: number
  dead: number
  refused: number
  uploads: number
  slowestMs: number
}

async function inflict(order: FaultOrder): Promise<FaultReport> {
  const totals: Totals = { done: 0, dead: 0, refused: 0, uploads: 0, slowestMs: 0 }
  const failures: string[] = []
  const cleanUps = new CleanUps()
  let runs = 0
  try {
    const faultsFolder = await mkdtemp(join(order.folder, 'faults-'))
    const server = await startFaultyServer(cleanUps, order.folder, faultsFolder)
    const { key } = await createKey(server.dataDir, { tenant: 1 })
    while (runs < order.runs && !order.signal.aborted) {
      const trial = new WorkerTrial(server.client, faultsFolder, order.seed, runs)
      runs += 1
      const failed = await trial.run(new Bystander(server.clientWith(key)), totals)
      failures.push(...failed.map((text) => `run ${runs} (${trial.plan}): ${text}`))
      order.say(`run ${runs} (${trial.plan}): ${measured(totals)}, ${failures.length} failures`)
      if (!server.running) break
    }
    const exit = await server.stop()
    if (exit.code !== 0) failures.push(`the server ended with ${exit.code}: ${server.errors}`)
  } finally {
    await cleanUps.run()
  }
  return { runs, measured: measured(totals), failures }
}

function measured({ done, dead, refused, uploads, slowestMs }: Totals): string {
  return [
    `${done} batches done after retries, ${dead} in the DLQ, ${refused} uploads sent again;`,
    `${uploads.toLocaleString('en')} uploads of another tenant meanwhile,`,
    `the slowest answered in ${Math.round(slowestMs)} ms`,
  ].join(' ')
}

async function startFaultyServer(
  cleanUps: CleanUps,
  folder: string,
  faultsFolder: string,
): Promise<TestServer> {
  const dataDir = join(folder, 'data')
  await mkdir(dataDir)
  return startServer(cleanUps, {
    dataDir,
    program,
    env: {
      ATOMSTREAM_WORKERS: '2',
      // Two threads that fill their heaps at once pass the default bound, and then everybody is told to
      // wait; that is not what is looked at here.
      ATOMSTREAM_MEMORY_MAX_MIB: '4096',
      [faultsFolderVariable]: faultsFolder,
      [taskTimeoutVariable]: String(taskTimeoutMs),
    },
  })
}

/** One fault, at decoding and at merging at the same time. */
class WorkerTrial {
  /** What the seed has chosen, in words. */
  readonly plan: string
  readonly #client: Client
  readonly #faultsFolder: string
  readonly #fault: InflictedFault
  readonly #mergeTimes: number | 'always'
  readonly #name: string

  constructor(client: Client, faultsFolder: string, seed: number, run: number) {
    const random = new Random(partSeed(seed, run))
    this.#client = client
    this.#faultsFolder = faultsFolder
    this.#fault = faults[run % faults.length] ?? 'exit'
    // Both ends are seen in the first four runs already, for any seed.
    const isHealed = run % 2 === 0 ? run % 4 === 0 : random.chance(0.5)
    this.#mergeTimes = isHealed ? random.int(1, retry.maxRetries) : 'always'
    this.#name = `run-${run}`
    this.plan = `${this.#fault}, merges fail ${this.#mergeTimes}, seed ${seed}`
  }

  /** What did not hold. */
  async run(bystander: Bystander, totals: Totals): Promise<string[]> {
    await bystander.start()
    const parts = [
      this.#failAtMerging().then((end) => {
        totals[end] += 1
      }),
      this.#failAtDecoding().then((refusals) => {
        totals.refused += refusals
      }),
    ]
    const settled = await Promise.allSettled(parts)
    settled.push(...(await Promise.allSettled([bystander.stop()])))
    totals.uploads += bystander.uploads
    totals.slowestMs = Math.max(totals.slowestMs, bystander.slowestMs)
    const thrown = settled.flatMap((part) => (part.status === 'rejected' ? [part.reason] : []))
    return [
      ...bystander.failures,
      ...thrown.map((reason) => (reason instanceof Error ? (reason.stack ?? '') : String(reason))),
    ]
  }

  /** A batch of two uploads whose merge fails, for as often as was chosen, and how it ends. */
  async #failAtMerging(): Promise<'done' | 'dead'> {
    const batchSize = 2 * recordsPerUpload
    const sessionId = await this.#startSession(batchSize)
    const name = `${this.#name}-merge`
    const mark = markText({ task: 'merge', fault: this.#fault, times: this.#mergeTimes, name })
    await this.#client.upload(sessionId, markedRecords(0, mark))
    const closing = await this.#client.upload(sessionId, markedRecords(recordsPerUpload, mark), 202)
    const { statistics } = await this.#settled(sessionId)
    const letters = await this.#deadLetters(sessionId)
    const records = await this.#client.records(sessionId)
    const isDead = this.#mergeTimes === 'always'
    const attempts = isDead ? attemptsMax : Number(this.#mergeTimes) + 1
    assert.equal(await tasksMarked(this.#faultsFolder, name), attempts)
    assert.deepEqual(
      letters.map(({ batchId, recordCount, errorCode }) => ({ batchId, recordCount, errorCode })),
      isDead
        ? [{ batchId: closing.batchId, recordCount: batchSize, errorCode: 'WORKER_FAILED' }]
        : [],
    )
    assert.equal(statistics.totalRecordsDeadLettered, isDead ? batchSize : 0)
    assert.deepEqual(
      records.map(({ values }) => values.n),
      isDead ? [] : Array.from({ length: batchSize }, (_, n) => n),
    )
    const end = await this.#client.raw('POST', this.#client.session(sessionId, 'end'), { json: {} })
    assert.equal((end.json as { status?: string }).status, isDead ? 'failed' : 'completed')
    return isDead ? 'dead' : 'done'
  }

  /** An upload whose first decode fails; sent again it is taken, once. Gives how often it was refused. */
  async #failAtDecoding(): Promise<number> {
    const sessionId = await this.#startSession(recordsPerUpload)
    const name = `${this.#name}-decode`
    const mark = markText({ task: 'decode', fault: this.#fault, times: 1, name })
    const path = this.#client.session(sessionId, 'upload')
    const json = markedRecords(0, mark, longValues())
    const first = await this.#client.raw('POST', path, { json })
    // Where it shared its task with others it has been tried a second time already.
    const isRefused = first.status !== 200
    if (isRefused) {
      first.refused(503, 'WORKER_FAILED')
      assert.match(first.headers.get('retry-after') ?? '', /^\d+$/)
      await this.#client.upload(sessionId, json)
    }
    const records = await this.#client.records(sessionId)
    assert.equal(records.length, recordsPerUpload)
    assert.equal((await this.#client.end(sessionId)).status, 'completed')
    assert(await tasksMarked(this.#faultsFolder, name), 'the fault was committed')
    return isRefused ? 1 : 0
  }

  async #startSession(batchSize: number): Promise<string> {
    const { sessionId } = await this.#client.start({
      sessionName: this.#name,
      sessionType: 'telemetry',
      batchSize,
      maxBatchDelayMs: 3_600_000,
      retry,
    })
    return sessionId
  }

  /** The session's status once none of its records waits any more. */
  #settled(sessionId: string): Promise<SessionStatus> {
    return eventually(
      async () => {
        const status = await this.#client.status(sessionId)
        return status.statistics.totalRecordsQueued === 0 ? status : undefined
      },
      'the end of the batch',
      settleTimeoutMs,
    )
  }

  async #deadLetters(sessionId: string) {
    const reply = await this.#client.get('/api/streaming/dlq', { sessionId })
    return reply.as(DeadLetterList).deadLetters
  }
}

function markedRecords(
  first: number,
  mark: string,
  others: Readonly<Record<string, string>> = {},
): { records: unknown[] } {
  const records = Array.from({ length: recordsPerUpload }, (_, index) => ({
    timestamp: Date.UTC(2025, 0, 1) + first + index,
    values: { n: first + index, fault: mark, ...others },
  }))
  return { records }
}
