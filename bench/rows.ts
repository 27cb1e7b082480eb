import type { BodyKind, BodySpec } from './bodies.ts'
import type { Pace, PacedPace, RunSpec } from './messages.ts'

export type TableName = 'batch' | 'throughput' | 'latency' | 'information'

interface RowBase {
  /** `table/name`, what `--only` is matched against. */
  readonly id: string
  readonly table: TableName
  readonly label: string
  readonly run: RunSpec
}

/** How fast records are taken; judged by the published rate times `factor`. */
export interface ThroughputRow extends RowBase {
  readonly kind: 'throughput'
  /** Records, frames or buffers a second. */
  readonly published: number
  readonly factor: number
  /**
   * A plain write and fdatasync of the same bytes is measured beside it and may lower the bound.
   */
  readonly disk: boolean
}

/** How long an upload takes from when it is due, at the published rate; judged at p50. */
export interface LatencyRow extends RowBase {
  readonly kind: 'latency'
  readonly publishedMs: number
  readonly publishedPerSecond: number
  readonly run: RunSpec & { readonly pace: PacedPace }
  /** As for throughput: it says what rate and what latency the disk leaves possible. */
  readonly disk: boolean
}

/** Not judged beyond its counts and its read-back. */
export interface InformationRow extends RowBase {
  readonly kind: 'information'
}

export type Row = ThroughputRow | LatencyRow | InformationRow

/** The pair whose quotient the Batch Processing paragraph publishes. */
export const speedUp = {
  id: 'batch/speed-up',
  label: 'batch of 1,000 over single records',
  published: 83,
  fast: 'batch/telemetry-1000',
  slow: 'batch/telemetry-1',
} as const

export const units: Readonly<Record<BodyKind, string>> = {
  telemetry: 'rec/s',
  mixed: 'rec/s',
  frames: 'frames/s',
  'small-frames': 'frames/s',
  buffers: 'buffers/s',
}
const names: Readonly<Record<BodyKind, string>> = {
  telemetry: 'telemetry',
  mixed: 'telemetry of three shapes',
  frames: 'video frames',
  'small-frames': 'video frames of 320×240',
  buffers: 'audio buffers',
}
export const sessionTypes = {
  telemetry: 'telemetry',
  mixed: 'telemetry',
  frames: 'video',
  'small-frames': 'video',
  buffers: 'audio',
} as const

/**
 * The published tables: kind, batch size, rate, latency; then what this bench asks of it: how many
 * times the rate, over how many connections that is judged, and for frames the disk's own rate.
 */
const published = [
  { kind: 'telemetry', records: 100, perSecond: 1_000, ms: 100, factor: 10, connections: 16 },
  { kind: 'telemetry', records: 1_000, perSecond: 8_333, ms: 120, factor: 10, connections: 8 },
  { kind: 'telemetry', records: 10_000, perSecond: 50_000, ms: 200, factor: 10, connections: 4 },
  { kind: 'buffers', records: 10, perSecond: 500, ms: 20, factor: 2, connections: 8 },
  { kind: 'frames', records: 10, perSecond: 300, ms: 33, factor: 1, connections: 8 },
  { kind: 'frames', records: 100, perSecond: 2_000, ms: 50, factor: 1, connections: 5 },
] as const

const warmUpMs = 1_000
const measureMs = 4_000
const shortMs = 2_500
const pacedMs = 5_000
/**
 * A new session's first uploads meet cold code and unmade files, which a rate for hours does not.
 */
const pacedWarmUpMs = 500
const pacedConnections = 4
/** Far beyond what the time allows. */
const uploadsMax = 1_000_000

function saturate(ms: number): Pace {
  return { kind: 'saturate', warmUpMs, measureMs: ms, uploadsMax }
}

function paced(perSecond: number, records: number): PacedPace {
  const uploadsPerSecond = perSecond / records
  return {
    kind: 'paced',
    warmUpMs: pacedWarmUpMs,
    uploadsPerSecond,
    uploads: Math.ceil((uploadsPerSecond * pacedMs) / 1_000),
  }
}

/** A session whose batches are the uploads, so that each is processed before its reply. */
function runSpec<P extends Pace>(
  body: BodySpec,
  connections: number,
  pace: P,
): RunSpec & { readonly pace: P } {
  const session = { sessionType: sessionTypes[body.kind], batchSize: body.records }
  return { body, connections, pace, session, expect: 'processed' }
}

function label(body: BodySpec): string {
  const size = body.records === 1 ? 'one a request' : `${body.records.toLocaleString('en')} a batch`
  return `${names[body.kind]}, ${size}`
}

/**
 * "Single record: 10 ms, 100 records/s; batch of 1000: 120 ms, 8,333 records/s" is what one
 * sender reaches who waits for each reply, so both are driven by just that, and the speed-up is
 * their quotient.
 */
function batchRows(): Row[] {
  const rows = [
    { records: 1, published: 100, publishedMs: 10 },
    { records: 1_000, published: 8_333, publishedMs: 120 },
  ]
  return rows.flatMap(({ records, published, publishedMs }): Row[] => {
    const body = { kind: 'telemetry', encoding: 'json', records } as const
    return [
      {
        kind: 'throughput',
        id: `batch/telemetry-${records}`,
        table: 'batch',
        label: `${label(body)}, one sender`,
        published,
        factor: 1,
        disk: false,
        run: runSpec(body, 1, saturate(shortMs)),
      },
      {
        kind: 'latency',
        id: `latency/batch-telemetry-${records}`,
        table: 'latency',
        label: `${label(body)}, one sender`,
        publishedMs,
        publishedPerSecond: published,
        disk: false,
        run: runSpec(body, 1, paced(published, records)),
      },
    ]
  })
}

function publishedRows(): Row[] {
  return published.flatMap((row): Row[] => {
    // Bytes go as msgpack: base64 would make the client and the parser part of what is measured.
    const encoding = row.kind === 'telemetry' ? 'json' : 'msgpack'
    const body = { kind: row.kind, encoding, records: row.records } as const
    const name = `${row.kind}-${row.records}`
    return [
      {
        kind: 'throughput',
        id: `throughput/${name}`,
        table: 'throughput',
        label: label(body),
        published: row.perSecond,
        factor: row.factor,
        disk: row.kind === 'frames',
        run: runSpec(body, row.connections, saturate(measureMs)),
      },
      {
        kind: 'latency',
        id: `latency/${name}`,
        table: 'latency',
        label: label(body),
        publishedMs: row.ms,
        publishedPerSecond: row.perSecond,
        disk: row.kind === 'frames',
        run: runSpec(body, pacedConnections, paced(row.perSecond, row.records)),
      },
    ]
  })
}

function informationRows(): Row[] {
  const journaled = { kind: 'telemetry', encoding: 'json', records: 100 } as const
  const base64 = (['frames', 'buffers'] as const).map((kind): Row => {
    const body = { kind, encoding: 'json', records: 10 } as const
    return {
      kind: 'information',
      id: `information/${kind}-10-json`,
      table: 'information',
      label: `${label(body)}, JSON with base64`,
      run: runSpec(body, 4, saturate(shortMs)),
    }
  })
  return [
    {
      kind: 'information',
      id: 'information/telemetry-100-journaled',
      table: 'information',
      label: 'telemetry, uploads of 100 in batches of 1,000',
      run: {
        ...runSpec(journaled, 16, saturate(shortMs)),
        session: { sessionType: 'telemetry', batchSize: 1_000 },
        expect: 'processed-or-queued',
      },
    },
    ...base64,
  ]
}

/** All rows, in the order in which they are run: what fills the disk comes last. */
export function allRows(): Row[] {
  const heavy = (row: Row) => (row.run.body.kind === 'frames' ? 1 : 0)
  return [...batchRows(), ...publishedRows(), ...informationRows()].toSorted(
    (a, b) => heavy(a) - heavy(b),
  )
}

const quickUploads = 4
/** A hundred frames are twenty megabytes, which tests need not move. */
const quickFrames = 10

/** The same row with a handful of uploads: enough for its counts, nothing for its speed. */
export function quickened(row: Row): Row {
  const run = row.run.body.kind === 'frames' ? withFrames(row.run, quickFrames) : row.run
  const name = run.body.records === row.run.body.records ? row.label : label(run.body)
  const common = { ...run, connections: 2 }
  if (row.kind === 'latency') {
    const pace = {
      kind: 'paced',
      warmUpMs: 0,
      uploadsPerSecond: 20,
      uploads: quickUploads,
    } as const
    return { ...row, label: name, run: { ...common, pace } }
  }
  const uploads = quickUploads * 2
  const pace = { kind: 'saturate', warmUpMs: 0, measureMs: 60_000, uploadsMax: uploads } as const
  return { ...row, label: name, run: { ...common, pace } }
}

function withFrames(run: RunSpec, records: number): RunSpec {
  return {
    ...run,
    body: { ...run.body, records },
    session: { ...run.session, batchSize: records },
  }
}
