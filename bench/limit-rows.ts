import type { BodySpec } from './bodies.ts'
import { diskBounds } from './disk.ts'
import { type InfluxProgram, InfluxServer } from './influx.ts'
import {
  figuresOf,
  joined,
  type LimitFigure,
  type LimitRun,
  sessionBatchSize,
} from './limit-run.ts'
import type { DiskResult, ReadingResult, RequestsResult, RunResult } from './messages.ts'
import { type RatioRound, ratioRound } from './rounds.ts'
import { judgeMemory } from './servers-memory.ts'
import { median } from './statistics.ts'
import { judgeAtLeast } from './verdict.ts'

const longMs = 4_000

function telemetry(records: number, encoding: BodySpec['encoding'] = 'json'): BodySpec {
  return { kind: 'telemetry', encoding, records }
}

function describe(body: BodySpec, connections: number): string {
  const batchSize = sessionBatchSize(body)
  const batches = body.records < batchSize ? `, ${describeBatches(batchSize)}` : ''
  return `${connections} connections${batches}`
}

/** Of batches that are larger than uploads: their label says what an upload is. */
function describeBatches(batchSize: number): string {
  return `batches of ${batchSize.toLocaleString('en')}, an upload 'queued' is durable and counts`
}

/** Records a second over those of `JSON.parse` alone on one thread. */
export async function measureOverParse(
  run: LimitRun,
  body: BodySpec,
  connections: number,
  required: number,
): Promise<LimitFigure> {
  const results: RunResult[] = []
  const rounds = await run.between(
    async (round) => {
      const result = await run.upload(body, connections, run.pace(round))
      results.push(result)
      return result.recordsPerSecond
    },
    () => run.parse(body),
  )
  return run.ratioFigure(rounds, required, { results, note: describe(body, connections) })
}

/** MessagePack over JSON, the same records by turns. */
export async function measurePacked(
  run: LimitRun,
  connections: number,
  required: number,
): Promise<LimitFigure> {
  const results: RunResult[] = []
  const read: RunResult[] = []
  const rounds: RatioRound[] = []
  for (let round = 0; round < run.rounds; round++) {
    const upload = (encoding: 'json' | 'msgpack') =>
      run.upload(telemetry(10_000, encoding), connections, run.pace(round))
    // Who begins changes, because the server of the first round is cold and a busy one is slower.
    const isPackedFirst = round % 2 === 1
    const early = isPackedFirst ? await upload('msgpack') : null
    const json = await upload('json')
    const packed = early ?? (await upload('msgpack'))
    rounds.push(ratioRound(packed.recordsPerSecond, json.recordsPerSecond))
    results.push(packed)
    read.push(json, packed)
  }
  for (const round of rounds) run.tell(round)
  const note = `${connections} connections`
  return { ...run.ratioFigure(rounds, required, { results, note }), readBack: joined(read) }
}

/**
 * InfluxDB and our server by turns, by the same client over as many connections. It starts on an
 * empty folder in each round and is stopped before ours is measured, because its compactions go on
 * after the last write.
 */
export async function measureOverInflux(
  run: LimitRun,
  records: number,
  connections: number,
  required: number,
): Promise<LimitFigure> {
  if (run.quick) return { measured: null, verdict: 'not run', note: 'a quick run has no peers' }
  const program = await run.influx()
  if (typeof program === 'string') return { measured: null, verdict: 'not run', note: program }
  const results: RunResult[] = []
  const rounds: RatioRound[] = []
  for (let round = 0; round < run.rounds; round++) {
    const theirs = await writePoints(run, program, records, connections)
    const ours = await run.upload(telemetry(records), connections, run.pace(round))
    rounds.push(ratioRound(ours.recordsPerSecond, theirs.recordsPerSecond))
    results.push(ours)
  }
  for (const round of rounds) run.tell(round)
  const note = `${describe(telemetry(records), connections)}; ${program.source}`
  return { ...run.ratioFigure(rounds, required, { results, note }), peer: program.source }
}

async function writePoints(
  run: LimitRun,
  program: InfluxProgram,
  records: number,
  connections: number,
): Promise<RequestsResult> {
  const { folder, signal, load } = run.bench
  const influx = await InfluxServer.start(program, folder, signal)
  try {
    const body = telemetry(records, 'lines')
    // Its folder is new in each round, so it is warmed up in each.
    const pace = run.pace(0)
    const result = await load.ask({
      kind: 'points',
      url: influx.writeUrl,
      body,
      connections,
      pace,
    })
    const counted = await influx.count(signal)
    if (counted !== result.acknowledgedRecords) {
      throw new Error(`InfluxDB holds ${counted} of ${result.acknowledgedRecords} points`)
    }
    return result
  } finally {
    await influx.stop()
  }
}

/** One record a message over one WebSocket, none waiting for the answer to another. */
export async function measureMessages(
  run: LimitRun,
  batchSize: number,
  required: number,
): Promise<LimitFigure> {
  const pace = run.pace(0, longMs)
  const { load } = run.bench
  const result = await load.ask({ kind: 'messages', ...run.target, batchSize, pace })
  const measured = result.recordsPerSecond
  const { readBack } = result
  const judgement = judgeAtLeast(measured, required)
  const note = describeBatches(batchSize)
  return run.judged({ measured, ...judgement, ...figuresOf(result), readBack, note })
}

/**
 * The most anonymous memory while many connections send large uploads: rows with few connections,
 * or with small bodies, would not show what a server holds of bodies that it cannot work on yet.
 */
export async function measureLargeBodies(
  run: LimitRun,
  records: number,
  connections: number,
): Promise<LimitFigure> {
  run.server.takeAnonBytesMax()
  const body = telemetry(records)
  const sent = run.quick ? 2 : connections
  const result = await run.upload(body, sent, run.pace(1))
  const serverAnonBytesMax = run.server.takeAnonBytesMax()
  const { readBack } = result
  const note =
    `${describe(body, sent)}, ` +
    `${Math.round(result.recordsPerSecond).toLocaleString('en')} rec/s meanwhile`
  const judgement = judgeMemory(serverAnonBytesMax, run.quick)
  const told = judgement.note === '' ? note : `${judgement.note}; ${note}`
  const figure = { ...judgement, ...figuresOf(result), serverAnonBytesMax, readBack, note: told }
  return judgement.verdict === 'not run' ? figure : run.judged(figure)
}

const singleConnections = 64

/** One record a POST over the requests a second of a route that does nothing. */
export async function measureSingles(
  run: LimitRun,
  required: number,
  p99MsAllowed: number,
): Promise<LimitFigure> {
  const results: RunResult[] = []
  const url = new URL('/health', run.server.url).href
  const rounds = await run.between(
    async (round) => {
      const result = await run.upload(telemetry(1), singleConnections, run.pace(round))
      results.push(result)
      return result.recordsPerSecond
    },
    async () => {
      const pace = { ...run.pace(1, 1_500), ...(run.quick ? { uploadsMax: 200 } : {}) }
      const asked = { url, connections: singleConnections, pace }
      return (await run.bench.load.ask({ kind: 'gets', ...asked })).requestsPerSecond
    },
  )
  // A latency is bound in every round.
  const p99Ms = Math.max(...results.map(({ latency }) => latency.p99Ms))
  const batches = describeBatches(sessionBatchSize(telemetry(1)))
  const note = `p99 at most ${p99MsAllowed} ms in each round; ${batches}`
  const figure = run.ratioFigure(rounds, required, { results, note })
  const isSlow = figure.verdict === 'met' && p99Ms >= p99MsAllowed
  return { ...figure, p99Ms, ...(isSlow ? { verdict: 'missed' } : {}) }
}

/** Frames a second, or their part of a plain write and fdatasync of the same bytes. */
export async function measureFrames(
  run: LimitRun,
  connections: number,
  required: number,
  diskShare: number,
): Promise<LimitFigure> {
  const body = { kind: 'frames', encoding: 'msgpack', records: run.quick ? 10 : 100 } as const
  const results: RunResult[] = []
  const disks: DiskResult[] = []
  const rounds = await run.between(
    async (round) => {
      const result = await run.upload(body, connections, run.pace(round, longMs))
      results.push(result)
      return result.recordsPerSecond
    },
    async () => {
      const { folder, load } = run.bench
      const disk = await load.ask({ kind: 'disk', body, folder, ...diskBounds(run.quick) })
      disks.push(disk)
      return disk.recordsPerSecond
    },
  )
  const share = run.ratioFigure(rounds, diskShare, { results, note: `${connections} connections` })
  const measured = median(rounds.map(({ ours }) => ours))
  const disk = median(rounds.map(({ yardstick }) => yardstick))
  const bound = judgeAtLeast(measured, required)
  const isMet = bound.verdict === 'met' || share.verdict === 'met'
  const ratio = share.measured?.toPrecision(3)
  return run.judged({
    ...share,
    measured,
    required: Math.min(required, diskShare * disk),
    verdict: isMet ? 'met' : 'missed',
    note: `${ratio} of plain write and fdatasync; ${share.note}`,
  })
}

/** Frames whose pixels are decoded over bare decodes of the same frames on as many threads. */
export async function measurePixels(
  run: LimitRun,
  connections: number,
  required: number,
): Promise<LimitFigure> {
  const records = run.quick ? 4 : 20
  const body = { kind: 'small-frames', encoding: 'msgpack', records } as const
  const results: RunResult[] = []
  const rounds = await run.between(
    async (round) => {
      const result = await run.uploadVerified(body, connections, run.pace(round))
      results.push(result)
      return result.recordsPerSecond
    },
    () => run.decode(),
  )
  const note = `${run.workers} threads, ${records} a batch, ${connections} connections`
  return run.ratioFigure(rounds, required, { results, note })
}

export async function measureBuffers(
  run: LimitRun,
  connections: number,
  required: number,
): Promise<LimitFigure> {
  const body = { kind: 'buffers', encoding: 'msgpack', records: 10 } as const
  const result = await run.upload(body, connections, run.pace(0, longMs))
  const measured = result.recordsPerSecond
  const { readBack } = result
  const judgement = judgeAtLeast(measured, required)
  const note = `${connections} connections`
  return run.judged({ measured, ...judgement, ...figuresOf(result), readBack, note })
}

const aggregateReads = 3

/** A whole session as aggregates of each minute, several times over. */
export async function measureAggregates(run: LimitRun, required: number): Promise<LimitFigure> {
  const { filled, ...fill } = await run.filled()
  const reads: ReadingResult[] = []
  const times = run.quick ? 1 : aggregateReads
  for (let read = 0; read < times; read++) {
    reads.push(await run.bench.load.ask({ kind: 'aggregates', ...run.target, filled }))
  }
  const measured = median(reads.map(({ recordsPerSecond }) => recordsPerSecond))
  const records = fill.acknowledgedRecords.toLocaleString('en')
  return run.judged({
    measured,
    ...judgeAtLeast(measured, required),
    rounds: reads.map(({ recordsPerSecond }) => absolute(recordsPerSecond)),
    readBack: joined([fill, ...reads]),
    note: `${records} records by the minute, median of ${times}`,
  })
}

function absolute(ours: number) {
  return { ours, yardstick: null, ratio: null }
}

/** A whole session line by line. */
export async function measureLines(run: LimitRun, required: number): Promise<LimitFigure> {
  const { filled, acknowledgedRecords } = await run.filled()
  const result = await run.bench.load.ask({ kind: 'lines', ...run.target, filled })
  const measured = result.recordsPerSecond
  const { bytesPerSecond, readBack } = result
  const judgement = judgeAtLeast(measured, required)
  const records = acknowledgedRecords.toLocaleString('en')
  const note = `${records} records by pages of 10,000, one reader with cursors`
  return run.judged({ measured, ...judgement, bytesPerSecond, readBack, note })
}
