import { readFileSync } from 'node:fs'
import { mkdtemp } from 'node:fs/promises'
import { setPriority } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { Worker } from 'node:worker_threads'
import { seededRandom } from '../support/data.ts'
import { startServer, type TestServer } from '../support/server.ts'
import { strace, straceMissing } from '../support/strace.ts'
import { CleanUps } from './clean-ups.ts'
import type { Fault, FaultOrder, FaultReport } from './fault.ts'
import { type Outcome, Pusher } from './pusher.ts'

const MiB = 1024 * 1024
const recordsEach = 10_000
const recordTextBytes = 730
const sessions = 20
const sampleMs = 20
const healthMsMax = 1_000
/** The load gives way to the server and to the probe, so that a slow answer is the server's own. */
const loadPriority = 10
/** Each flush of the store begins so much later. */
const flushDelayUs = 200_000

interface Load {
  readonly connections: number
  readonly durationMs: number
  readonly memoryMaxMiB: number
}

/**
 * Far more is sent than the server can store, because its disk is slow: what it cannot keep it must
 * refuse, and what it refuses must cost it no memory. The bodies do not repeat, so none is stored twice.
 */
export const memoryFault: Fault = {
  name: 'memory under backpressure',
  holds:
    'RssAnon stays under the bound with 200 connections each pushing 8 MB bodies at a slow store; ' +
    'every request is answered, nothing acknowledged is lost',
  runs: { test: 1, torture: 3 },
  inflict: inflictMemory,
}

async function inflictMemory(order: FaultOrder): Promise<FaultReport> {
  const missing = straceMissing()
  if (missing !== null) return { runs: 0, measured: '', failures: [], notRun: missing }
  const loads: readonly Load[] = order.thorough
    ? [
        { connections: 200, durationMs: 60_000, memoryMaxMiB: 1_024 },
        { connections: 200, durationMs: 60_000, memoryMaxMiB: 384 },
        { connections: 200, durationMs: 60_000, memoryMaxMiB: 512 },
      ]
    : [{ connections: 40, durationMs: 5_000, memoryMaxMiB: 384 }]
  const failures: string[] = []
  const measured: string[] = []
  let runs = 0
  while (runs < order.runs && !order.signal.aborted) {
    const load = loads[runs % loads.length] as Load
    runs += 1
    const { told, failed } = await pushHard(order, load)
    failures.push(...failed.map((failure) => `run ${runs}, seed ${order.seed}: ${failure}`))
    measured.push(told)
    order.say(`run ${runs}: ${told}`)
  }
  return { runs, measured: measured.join('; '), failures }
}

async function pushHard(
  order: FaultOrder,
  load: Load,
): Promise<{ told: string; failed: readonly string[] }> {
  const scope = new CleanUps()
  try {
    const own = await mkdtemp(join(order.folder, 'memory-'))
    const server = await startServer(scope, {
      dataDir: join(own, 'data'),
      env: { ATOMSTREAM_MEMORY_MAX_MIB: String(load.memoryMaxMiB), ATOMSTREAM_WORKERS: '2' },
      under: strace({
        output: '/dev/null',
        calls: ['fdatasync', 'pwrite64', 'msync'],
        inject: `fdatasync:delay_enter=${flushDelayUs}`,
      }),
    })
    const watch = new MemoryWatch(scope, server)
    const slowestMs = probeHealth(scope, server)
    setPriority(loadPriority)
    const tally = await pushAll(order, server, load)
    const health = slowestMs()
    const received = await receivedRecords(server, tally.sessionIds)
    return judge({ load, tally, peakBytes: watch.peakBytes, healthMs: health, received, order })
  } finally {
    await scope.run()
  }
}

/** The highest RssAnon of the process, looked at all the time. */
class MemoryWatch {
  peakBytes = 0

  constructor(scope: CleanUps, server: TestServer) {
    const timer = setInterval(() => {
      this.peakBytes = Math.max(this.peakBytes, anonymousBytes(server.pid))
    }, sampleMs)
    scope.after(() => clearInterval(timer))
  }
}

function anonymousBytes(pid: number): number {
  const text = readFileSync(`/proc/${pid}/status`, 'latin1')
  return Number(/^RssAnon:\s+(\d+) kB$/m.exec(text)?.[1] ?? 0) * 1024
}

/** Asks /health all the time; gives how to learn what the slowest answer has taken so far. */
function probeHealth(scope: CleanUps, { url }: TestServer): () => number {
  const slowest = new SharedArrayBuffer(Float64Array.BYTES_PER_ELEMENT)
  const worker = new Worker(join(import.meta.dirname, 'health-probe.js'), {
    workerData: { url, slowest },
  })
  const slowestMs = new Float64Array(slowest)
  worker.on('error', () => {
    slowestMs[0] = Number.POSITIVE_INFINITY
  })
  scope.after(() => worker.terminate())
  return () => slowestMs[0] ?? 0
}

interface Tally {
  readonly sessionIds: readonly string[]
  /** Uploads that were acknowledged, by session. */
  readonly acknowledged: number[]
  /** How often each status came. */
  readonly statuses: Map<number, number>
  readonly failures: string[]
}

async function pushAll(order: FaultOrder, server: TestServer, load: Load): Promise<Tally> {
  const { client } = server
  const started = await Promise.all(
    Array.from({ length: sessions }, () =>
      client.start({ sessionType: 'telemetry', batchSize: recordsEach }),
    ),
  )
  const tally: Tally = {
    sessionIds: started.map(({ sessionId }) => sessionId),
    acknowledged: started.map(() => 0),
    statuses: new Map(),
    failures: [],
  }
  const random = seededRandom(order.seed)
  const rest = restOfBody(random)
  const untilMs = performance.now() + load.durationMs
  let body = 0
  const pushInTurn = async (connection: number): Promise<void> => {
    const { hostname, port } = new URL(server.url)
    const pusher = new Pusher({ host: hostname, port: Number(port), key: server.key })
    const session = connection % sessions
    const path = client.session(tally.sessionIds[session] ?? '', 'upload')
    while (performance.now() < untilMs && !order.signal.aborted) {
      body += 1
      const outcome = await pusher.push(path, [firstOfBody(body), rest])
      const waitMs = note(tally, session, outcome)
      await delay(Math.min(waitMs * (1 + random()), Math.max(0, untilMs - performance.now())))
    }
    pusher.close()
  }
  await Promise.all(Array.from({ length: load.connections }, (_, index) => pushInTurn(index)))
  return tally
}

/** Gives how long the client is asked to stay away. */
function note(tally: Tally, session: number, outcome: Outcome): number {
  if (outcome.kind === 'cut') {
    tally.failures.push(`no reply: ${outcome.why}`)
    return 1_000
  }
  const { status, retryAfterS } = outcome
  tally.statuses.set(status, (tally.statuses.get(status) ?? 0) + 1)
  if (status === 200 || status === 202) {
    tally.acknowledged[session] = (tally.acknowledged[session] ?? 0) + 1
    return 0
  }
  if (status !== 503) tally.failures.push(`a reply was ${status}`)
  else if (retryAfterS === null) tally.failures.push('a 503 had no Retry-After')
  return (retryAfterS ?? 1) * 1_000
}

const time = '2025-01-20T10:30:00.000Z'

function firstOfBody(body: number): Uint8Array {
  return Buffer.from(`{"records":[{"timestamp":"${time}","values":{"n":0,"text":"body ${body}"}}`)
}

/** All records but the first: the same in each body, because making 8 MB anew takes longer than sending. */
function restOfBody(random: () => number): Uint8Array {
  const letters = Array.from({ length: recordTextBytes }, () =>
    String.fromCharCode(97 + Math.floor(random() * 26)),
  ).join('')
  const records = Array.from(
    { length: recordsEach - 1 },
    (_, index) => `,{"timestamp":"${time}","values":{"n":${index},"text":"${index}${letters}"}}`,
  )
  return Buffer.from(`${records.join('')}]}`)
}

async function receivedRecords(
  { client }: TestServer,
  sessionIds: readonly string[],
): Promise<number[]> {
  const statuses = await Promise.all(sessionIds.map((id) => client.status(id)))
  return statuses.map(({ statistics }) => statistics.totalRecordsReceived)
}

function judge(seen: {
  load: Load
  tally: Tally
  peakBytes: number
  healthMs: number
  received: readonly number[]
  order: FaultOrder
}): { told: string; failed: readonly string[] } {
  const { load, tally, peakBytes, healthMs, received, order } = seen
  const failed = tallied(tally.failures)
  const peakMiB = Math.round(peakBytes / MiB)
  if (peakBytes > load.memoryMaxMiB * MiB) {
    failed.push(`RssAnon reached ${peakMiB} MiB of ${load.memoryMaxMiB}`)
  }
  const uploads = tally.acknowledged.reduce((sum, count) => sum + count, 0)
  if (uploads === 0) failed.push('no upload was acknowledged')
  tally.acknowledged.forEach((count, session) => {
    if (received[session] === count * recordsEach) return
    failed.push(`a session has ${received[session]} records of ${count * recordsEach}`)
  })
  if (order.thorough && healthMs > healthMsMax) {
    failed.push(`/health took ${Math.round(healthMs)} ms`)
  }
  const refused = tally.statuses.get(503) ?? 0
  const told =
    `${load.connections} connections: ${uploads} uploads of 8 MB stored, ${refused} refused, ` +
    `RssAnon at most ${peakMiB} of ${load.memoryMaxMiB} MiB, /health ${Math.round(healthMs)} ms`
  return { told, failed }
}

/** Each failure once, with how often it came. */
function tallied(failures: readonly string[]): string[] {
  const counts = new Map<string, number>()
  for (const failure of failures) counts.set(failure, (counts.get(failure) ?? 0) + 1)
  return [...counts].map(([failure, count]) => `${failure} (${count} times)`)
}
