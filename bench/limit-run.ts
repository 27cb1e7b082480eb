import { availableParallelism } from 'node:os'
import { limits } from '../src/limits.ts'
import type { BodySpec } from './bodies.ts'
import { Decodes } from './decodes.ts'
import { findInflux, type InfluxProgram } from './influx.ts'
import type { LoadProcess } from './load-process.ts'
import type { FillResult, ReadBack, RunResult, RunSpec, SaturatingPace } from './messages.ts'
import type { RowOutcome } from './report.ts'
import { between, middleOf, type RatioRound } from './rounds.ts'
import { sessionTypes } from './rows.ts'
import type { ServerProcess } from './server-process.ts'
import { median, sum } from './statistics.ts'
import { judgeAtLeast } from './verdict.ts'

/** What the table needs of the run of the bench that it is part of. */
export interface LimitBench {
  readonly options: { readonly quick: boolean }
  readonly folder: string
  readonly apiKey: string
  readonly load: LoadProcess
  readonly signal: AbortSignal
  readonly progress: (text: string) => void
  readonly selects: (id: string) => boolean
}

export type LimitFigure = Pick<RowOutcome, 'measured' | 'verdict'> & Partial<RowOutcome>

/** Of the server, before the first row: small uploads run all of its code soonest. */
const serverWarmUp = { records: 100, connections: 64, ms: 6_000 } as const
/** Of the first round: the server meets cold code. Later ones only need their connections warm. */
const firstWarmUpMs = 3_000
const laterWarmUpMs = 300
const roundMs = 2_000
const quickUploads = 4
/** Far beyond what the time allows. */
const uploadsMax = 10_000_000
const filledUploads = 1_000
const filledConnections = 8
const filledMsMax = 120_000

/** What the rows measure with; it keeps what several of them need. */
export class LimitRun {
  readonly quick: boolean
  /** Ratios are medians of so many. */
  readonly rounds: number
  #influx: Promise<InfluxProgram | string> | undefined
  #decodes: Decodes | undefined
  #filled: Promise<FillResult> | undefined

  constructor(
    readonly bench: LimitBench,
    readonly server: ServerProcess,
  ) {
    this.quick = bench.options.quick
    this.rounds = this.quick ? 1 : 3
  }

  get target(): { baseUrl: string; apiKey: string } {
    return { baseUrl: this.server.url, apiKey: this.bench.apiKey }
  }

  /** As many threads as the server has workers. */
  get workers(): number {
    return Math.min(availableParallelism(), limits.workersMax)
  }

  pace(round: number, measureMs = roundMs): SaturatingPace {
    if (this.quick) return { kind: 'saturate', warmUpMs: 0, measureMs: 60_000, uploadsMax: 8 }
    const warmUpMs = round === 0 ? firstWarmUpMs : laterWarmUpMs
    return { kind: 'saturate', warmUpMs, measureMs, uploadsMax }
  }

  /** What a server does that has just started says little of it. */
  async warmUp(): Promise<void> {
    if (this.quick) return
    const { records, connections, ms } = serverWarmUp
    const body = { kind: 'telemetry', encoding: 'json', records } as const
    const pace = { kind: 'saturate', warmUpMs: 0, measureMs: ms, uploadsMax } as const
    await this.upload(body, connections, pace)
  }

  /** Uploads to a session of its own, whose batches they are. */
  upload(body: BodySpec, connections: number, pace: SaturatingPace): Promise<RunResult> {
    const run = this.#runSpec(body, connections, pace)
    return this.bench.load.ask({ kind: 'run', ...this.target, run })
  }

  uploadVerified(body: BodySpec, connections: number, pace: SaturatingPace): Promise<RunResult> {
    const run = this.#runSpec(body, connections, pace)
    const session = { ...run.session, verify: 'pixels' } as const
    return this.bench.load.ask({ kind: 'run', ...this.target, run: { ...run, session } })
  }

  #runSpec(body: BodySpec, connections: number, pace: SaturatingPace): RunSpec {
    const sessionType = sessionTypes[body.kind]
    const batchSize = sessionBatchSize(body)
    const session = { sessionType, batchSize }
    return { body, connections, pace, session, expect: 'processed-or-queued' }
  }

  /** Records a second of `JSON.parse` over bodies of the same kind. */
  parse(body: BodySpec): Promise<number> {
    const measureMs = this.quick ? 1 : 1_000
    return this.bench.load.ask({ kind: 'parse', body, measureMs })
  }

  influx(): Promise<InfluxProgram | string> {
    this.#influx ??= findInflux(this.bench.folder, this.bench.signal)
    return this.#influx
  }

  /** Bare decodes a second. */
  decode(): Promise<number> {
    this.#decodes ??= new Decodes()
    const times = this.quick ? { warmUpMs: 0, measureMs: 1 } : { warmUpMs: 300, measureMs: 1_500 }
    return this.#decodes.ask({ kind: 'decodes', threads: this.workers, ...times })
  }

  /** A session of ten million records, filled once. */
  filled(): Promise<FillResult> {
    const body = { kind: 'telemetry', encoding: 'json', records: 10_000 } as const
    const uploads = this.quick ? quickUploads : filledUploads
    const times = { warmUpMs: 0, measureMs: filledMsMax, uploadsMax: uploads }
    const run = this.#runSpec(body, filledConnections, { kind: 'saturate', ...times })
    this.#filled ??= this.bench.load.ask({ kind: 'fill', ...this.target, run })
    return this.#filled
  }

  async close(): Promise<void> {
    await this.#decodes?.close()
  }

  async between(
    ours: (round: number) => Promise<number>,
    yardstick: () => Promise<number>,
  ): Promise<RatioRound[]> {
    const rounds = await between(this.rounds, ours, yardstick)
    for (const round of rounds) this.tell(round)
    return rounds
  }

  tell({ ours, yardstick, ratio }: RatioRound): void {
    if (this.quick) return
    const figure = (value: number) => Math.round(value).toLocaleString('en')
    const text = `${figure(ours)}/s over ${figure(yardstick)}/s, ${ratio.toPrecision(3)} ×`
    this.bench.progress(`  ${text}`)
  }

  /** Judged by the median of the ratios; what was read back decides first. */
  ratioFigure(
    rounds: readonly RatioRound[],
    required: number,
    told: { readonly results: readonly RunResult[]; readonly note: string },
  ): LimitFigure {
    const place = middleOf(rounds)
    const measured = (rounds[place] as RatioRound).ratio
    const middle = told.results[place]
    const figure = (pick: (round: RatioRound) => number) =>
      Math.round(median(rounds.map(pick))).toLocaleString('en')
    const rates = `${figure((round) => round.ours)}/s over ${figure((round) => round.yardstick)}/s`
    return this.judged({
      measured,
      ...judgeAtLeast(measured, required),
      ...(middle === undefined ? {} : figuresOf(middle)),
      rounds,
      readBack: joined(told.results),
      note: `${rates}, ${told.note}`,
    })
  }

  judged(figure: LimitFigure): LimitFigure {
    if ((figure.readBack?.mismatches.length ?? 0) > 0) {
      const note = `what was read back differs; ${figure.note ?? ''}`
      return { ...figure, note, verdict: 'missed' }
    }
    return this.quick ? { ...figure, required: null, verdict: 'not judged' } : figure
  }
}

export function figuresOf({ latency, bytesPerSecond }: RunResult): Partial<RowOutcome> {
  const { p50Ms, p99Ms, samples } = latency
  return { p50Ms, p99Ms, samples, bytesPerSecond }
}

/** What was read back in all rounds. */
export function joined(results: readonly { readonly readBack: ReadBack }[]): ReadBack {
  const all = results.map(({ readBack }) => readBack)
  return {
    recordsCounted: sum(all, (one) => one.recordsCounted),
    recordsCompared: sum(all, (one) => one.recordsCompared),
    blobsCompared: sum(all, (one) => one.blobsCompared),
    mismatches: all.flatMap((one) => one.mismatches),
  }
}

/**
 * Records of the session's batches. Small uploads of telemetry go into batches of the size that sessions have
 * unless told: some are acknowledged as queued then, which is on disk as well.
 */
export function sessionBatchSize({ kind, records }: BodySpec): number {
  const isMedia = kind === 'frames' || kind === 'buffers'
  return isMedia ? records : Math.max(records, limits.batchSizeDefault)
}
