import { diskBounds } from './disk.ts'
import type { LoadProcess } from './load-process.ts'
import type { DiskResult, RunResult, RunSpec } from './messages.ts'
import { plainOutcome, type RowOutcome } from './report.ts'
import { type LatencyRow, type Row, units } from './rows.ts'
import type { ServerProcess } from './server-process.ts'
import {
  carriedPerSecond,
  type Judgement,
  judgeDiskBound,
  judgeLatency,
  judgeThroughput,
} from './verdict.ts'

const onDiskUploadsMin = 30

/** Where a row is run: against which server, by which load process. */
export interface RowRunner {
  readonly server: ServerProcess
  readonly load: LoadProcess
  readonly apiKey: string
  /** On the disk that the server writes to. */
  readonly folder: string
  /** Counts and read-back decide alone. */
  readonly quick: boolean
}

/** Runs one row and judges it. Rejects where an upload fails or a count in a reply is wrong. */
export async function runRow(runner: RowRunner, row: Row): Promise<RowOutcome> {
  runner.server.takeAnonBytesMax()
  const measuresDisk = row.kind !== 'information' && row.disk
  const before = measuresDisk ? await measureDisk(runner, row) : null
  const first = await run(runner, row.run)
  // Before and after, because a disk's rate drifts while others use it.
  const disk = before && meanDisk(before, await measureDisk(runner, row))
  const { result, judgement } = runner.quick
    ? { result: first, judgement: unjudged(row) }
    : await judge(runner, row, first, disk)
  const { latency, readBack, recordsPerSecond } = result
  const isLatency = row.kind === 'latency'
  const outcome = plainOutcome({
    id: row.id,
    table: row.table,
    label: row.label,
    unit: isLatency ? 'ms' : units[row.run.body.kind],
    measured: isLatency ? latency.p50Ms : recordsPerSecond,
    p50Ms: latency.p50Ms,
    p99Ms: latency.p99Ms,
    samples: latency.samples,
    bytesPerSecond: result.bytesPerSecond,
    serverAnonBytesMax: runner.server.takeAnonBytesMax(),
    disk,
    readBack,
    published: publishedFigure(row),
    ...judgement,
  })
  if (first.readBack.mismatches.length + readBack.mismatches.length === 0) return outcome
  const shown = readBack.mismatches.length > 0 ? readBack : first.readBack
  return { ...outcome, readBack: shown, verdict: 'missed', note: 'what was read back differs' }
}

function publishedFigure(row: Row): number | null {
  if (row.kind === 'information') return null
  return row.kind === 'latency' ? row.publishedMs : row.published
}

type RowJudgement = Pick<RowOutcome, 'required' | 'verdict' | 'note'>

function unjudged(row: Row): RowJudgement {
  const verdict = row.kind === 'information' ? 'information' : 'not judged'
  return { required: null, verdict, note: '' }
}

interface Judged {
  readonly result: RunResult
  readonly judgement: Judgement | RowJudgement
}

async function judge(
  runner: RowRunner,
  row: Row,
  result: RunResult,
  disk: DiskResult | null,
): Promise<Judged> {
  if (row.kind === 'information') return { result, judgement: unjudged(row) }
  if (row.kind === 'throughput') {
    return { result, judgement: judgeThroughput(result.recordsPerSecond, { ...row, disk }) }
  }
  const judgement = judgeLatency(result.latency.p50Ms, row.publishedMs, null)
  const rate = `at ${row.publishedPerSecond.toLocaleString('en')} ${units[row.run.body.kind]}`
  if (judgement.verdict === 'met' || disk === null) {
    return { result, judgement: { ...judgement, note: rate } }
  }
  return judgeOnDisk(runner, row, result, disk)
}

/**
 * The published rate is more than this disk takes: whatever is sent at that rate queues without
 * end, so its latency tells how long the bench ran. The row is run again at the rate that is
 * asked of this disk for throughput, and its bound is what a plain write of one upload takes by
 * the same share.
 */
async function judgeOnDisk(
  runner: RowRunner,
  row: LatencyRow,
  atPublished: RunResult,
  disk: DiskResult,
): Promise<Judged> {
  const perSecond = Math.min(row.publishedPerSecond, carriedPerSecond(disk))
  const uploadsPerSecond = perSecond / row.run.body.records
  const { pace } = row.run
  // As long as at the published rate, but for so many that their median says something.
  const scheduledSeconds = pace.uploads / pace.uploadsPerSecond
  const uploads = Math.max(onDiskUploadsMin, Math.ceil(scheduledSeconds * uploadsPerSecond))
  const onDisk = { ...pace, uploadsPerSecond, uploads: Math.min(uploads, pace.uploads) }
  const result = await run(runner, { ...row.run, pace: onDisk })
  const judgement = judgeDiskBound(result.latency.p50Ms, row, disk)
  const figure = (value: number) => Math.round(value).toLocaleString('en')
  const unit = units[row.run.body.kind]
  const note =
    `at ${figure(perSecond)} ${unit}; ${judgement.note}; ` +
    `at ${figure(row.publishedPerSecond)} ${unit} p50 was ${figure(atPublished.latency.p50Ms)} ms`
  return { result, judgement: { ...judgement, note } }
}

function run({ server, load, apiKey }: RowRunner, spec: RunSpec): Promise<RunResult> {
  return load.ask({ kind: 'run', baseUrl: server.url, apiKey, run: spec })
}

function measureDisk({ load, folder, quick }: RowRunner, row: Row): Promise<DiskResult> {
  return load.ask({ kind: 'disk', body: row.run.body, folder, ...diskBounds(quick) })
}

function meanDisk(before: DiskResult, after: DiskResult): DiskResult {
  const mean = (pick: (disk: DiskResult) => number) => (pick(before) + pick(after)) / 2
  return {
    recordsPerSecond: mean((disk) => disk.recordsPerSecond),
    bytesPerSecond: mean((disk) => disk.bytesPerSecond),
    latency: {
      p50Ms: mean((disk) => disk.latency.p50Ms),
      p99Ms: mean((disk) => disk.latency.p99Ms),
      samples: before.latency.samples + after.latency.samples,
    },
  }
}
