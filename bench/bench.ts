import { randomBytes } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { findFfmpeg } from '../src/codecs/ffmpeg/binary.ts'
import type { BodySpec } from './bodies.ts'
import { benchCodecs } from './codecs.ts'
import { benchDurability } from './durability.ts'
import { benchGrowth } from './growth.ts'
import { benchLimits, selectsLimits } from './limits.ts'
import { LoadProcess } from './load-process.ts'
import { describeMachine } from './machine.ts'
import { benchMedia } from './media.ts'
import { benchMemorySearch } from './memory-search.ts'
import type { BenchOptions } from './options.ts'
import { type BenchReport, plainOutcome, type RowOutcome, reportFormat } from './report.ts'
import { allRows, quickened, type Row, speedUp, units } from './rows.ts'
import { type RowRunner, runRow } from './run-row.ts'
import { ServerProcess } from './server-process.ts'
import { ServersMemory } from './servers-memory.ts'
import { median } from './statistics.ts'
import { benchStream } from './stream.ts'
import { judgeAtMost, overallVerdict } from './verdict.ts'

const startMsAllowed = 3_000
const starts = 3
const clientMs = 1_000

/** What one run of the bench works with. */
interface Bench {
  readonly options: BenchOptions
  readonly folder: string
  readonly apiKey: string
  readonly load: LoadProcess
  readonly memory: ServersMemory
  readonly signal: AbortSignal
  readonly progress: (text: string) => void
  readonly selects: (id: string) => boolean
}

/**
 * Runs all rows that are selected. Rejects where the server cannot be started, dies or does not
 * stop; whatever it leaves behind is removed, also when `signal` ends it early.
 */
export async function runBench(
  options: BenchOptions,
  progress: (text: string) => void,
  signal: AbortSignal,
): Promise<BenchReport> {
  const folder = mkdtempSync(join(options.dir ?? tmpdir(), 'atomstream-bench-'))
  const load = new LoadProcess()
  // What waits for the load process then ends at once.
  const interrupt = () => void load.close()
  signal.addEventListener('abort', interrupt, { once: true })
  try {
    const bench: Bench = {
      options,
      folder,
      apiKey: randomBytes(24).toString('hex'),
      load,
      memory: new ServersMemory(),
      signal,
      progress,
      selects: (id) => options.only === null || id.includes(options.only),
    }
    const machine = describeMachine(folder)
    const rows = [
      ...(await startRows(bench)),
      ...(await clientRows(bench)),
      ...(await serverRows(bench)),
      ...(await benchMedia(bench, await findFfmpeg(null))),
      ...(await benchStream(bench)),
      ...(await benchMemorySearch(bench)),
      ...(await benchDurability(bench)),
      ...(await benchGrowth(bench)),
      ...bench.memory.row(options.quick),
    ]
    const codecs = bench.selects('codecs') ? await benchCodecs(options.quick, progress, signal) : []
    if (rows.length === 0 && codecs.length === 0) throw new Error(`no row matches ${options.only}`)
    return {
      format: reportFormat,
      quick: options.quick,
      machine,
      settings: { rateLimit: 'off', durability: 'flush' },
      rows,
      codecs,
      verdict: overallVerdict(rows, options.quick),
    }
  } finally {
    signal.removeEventListener('abort', interrupt)
    await load.close()
    rmSync(folder, { recursive: true, force: true })
  }
}

/** Time from `npm start` on an existing install to the line that tells that it listens. */
async function startRows(bench: Bench): Promise<RowOutcome[]> {
  const id = 'server/start'
  // A test's build may stand elsewhere than where npm start looks.
  if (bench.options.quick || !bench.selects(id)) return []
  const times: number[] = []
  for (let i = 0; i < starts; i++) {
    const dataDir = join(bench.folder, `start-${i}`)
    const options = { dataDir, apiKey: bench.apiKey, command: 'npm' } as const
    const server = await ServerProcess.start(options, bench.signal)
    times.push(server.startMs)
    await server.stop()
  }
  const measured = median(times)
  bench.progress(`${id}: ${Math.round(measured)} ms`)
  const label = `npm start to listening, median of ${starts}`
  const judgement = judgeAtMost(measured, startMsAllowed)
  return [plainOutcome({ id, table: 'server', label, unit: 'ms', measured, ...judgement })]
}

/** What the load process reaches where the server costs nothing: no row can show more. */
async function clientRows(bench: Bench): Promise<RowOutcome[]> {
  if (bench.options.quick) return []
  const bodies: { body: BodySpec; connections: number }[] = [
    { body: { kind: 'telemetry', encoding: 'json', records: 1 }, connections: 16 },
    { body: { kind: 'telemetry', encoding: 'json', records: 100 }, connections: 16 },
    { body: { kind: 'telemetry', encoding: 'json', records: 10_000 }, connections: 4 },
    { body: { kind: 'frames', encoding: 'msgpack', records: 100 }, connections: 2 },
  ]
  const outcomes: RowOutcome[] = []
  for (const { body, connections } of bodies) {
    const id = `client/${body.kind}-${body.records}`
    if (!bench.selects(id)) continue
    bench.signal.throwIfAborted()
    const result = await bench.load.ask({ kind: 'client', body, connections, measureMs: clientMs })
    bench.progress(`${id}: ${Math.round(result.requestsPerSecond)} requests/s`)
    outcomes.push(
      plainOutcome({
        id,
        table: 'client',
        label: `${body.kind}, ${body.records.toLocaleString('en')} a request`,
        unit: units[body.kind],
        measured: result.recordsPerSecond,
        bytesPerSecond: result.bytesPerSecond,
        verdict: 'information',
        note: `${Math.round(result.requestsPerSecond).toLocaleString('en')} requests/s`,
      }),
    )
  }
  return outcomes
}

/** All rows that are uploads to one server. */
async function serverRows(bench: Bench): Promise<RowOutcome[]> {
  // The speed-up is selected by its own name too, and then needs the two rows it is made of.
  const pair: readonly string[] = bench.selects(speedUp.id) ? [speedUp.fast, speedUp.slow] : []
  const selected = allRows().filter((row) => bench.selects(row.id) || pair.includes(row.id))
  if (selected.length === 0 && !selectsLimits(bench.selects)) return []
  const dataDir = join(bench.folder, 'data')
  const options = { dataDir, apiKey: bench.apiKey, command: 'node' } as const
  const server = await ServerProcess.start(options, bench.signal)
  try {
    bench.memory.watch('published and limits', server)
    const limits = await benchLimits(bench, server)
    const outcomes = await runRows(bench, server, selected)
    return [...limits, ...outcomes, ...speedUpRow(outcomes, bench)]
  } finally {
    await server.stop()
  }
}

async function runRows(
  bench: Bench,
  server: ServerProcess,
  rows: readonly Row[],
): Promise<RowOutcome[]> {
  const { load, apiKey, folder } = bench
  const runner: RowRunner = { server, load, apiKey, folder, quick: bench.options.quick }
  const outcomes: RowOutcome[] = []
  for (const row of rows) {
    let outcome: RowOutcome
    try {
      outcome = await runRow(runner, runner.quick ? quickened(row) : row)
    } catch (error) {
      // A row may fail; without a server, or after an interrupt, the rest would fail for nothing.
      await server.assertAlive()
      bench.signal.throwIfAborted()
      outcome = failedOutcome(row, (error as Error).message)
      bench.progress(server.logTail)
    }
    const figure = outcome.measured === null ? outcome.note : Math.round(outcome.measured)
    bench.progress(`${row.id}: ${figure} ${outcome.unit}, ${outcome.verdict}`)
    outcomes.push(outcome)
  }
  return outcomes
}

function failedOutcome({ id, table, label, run }: Row, message: string): RowOutcome {
  const note = message.split('\n')[0] as string
  return plainOutcome({ id, table, label, unit: units[run.body.kind], verdict: 'missed', note })
}

function speedUpRow(outcomes: readonly RowOutcome[], bench: Bench): RowOutcome[] {
  const measured = (id: string) => outcomes.find((outcome) => outcome.id === id)?.measured ?? null
  const fast = measured(speedUp.fast)
  const slow = measured(speedUp.slow)
  if (fast === null || slow === null) return []
  const quotient = fast / slow
  const reached = quotient >= speedUp.published ? 'met' : 'missed'
  return [
    plainOutcome({
      id: speedUp.id,
      table: 'batch',
      label: speedUp.label,
      unit: '×',
      published: speedUp.published,
      required: speedUp.published,
      measured: quotient,
      verdict: bench.options.quick ? 'not judged' : reached,
    }),
  ]
}
