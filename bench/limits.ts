import {
  measureAggregates,
  measureBuffers,
  measureFrames,
  measureLargeBodies,
  measureLines,
  measureMessages,
  measureOverInflux,
  measureOverParse,
  measurePacked,
  measurePixels,
  measureSingles,
} from './limit-rows.ts'
import { type LimitBench, type LimitFigure, LimitRun } from './limit-run.ts'
import { formatFigure, plainOutcome, type RowOutcome } from './report.ts'
import type { ServerProcess } from './server-process.ts'
import { judgeMemory } from './servers-memory.ts'

interface LimitRow {
  readonly id: string
  readonly label: string
  readonly unit: string
  readonly run: (run: LimitRun) => Promise<LimitFigure>
}

/** By batch: how many connections serve it best, and what is asked of it. */
const batches = [
  { records: 10_000, connections: 12, overParse: 2.2, overInflux: 5 },
  { records: 1_000, connections: 96, overParse: 1.7, overInflux: 5 },
  { records: 100, connections: 128, overParse: 0.5, overInflux: 2.2 },
] as const
const largest = batches[0]
/** Half a megabyte each, which a server that holds all of them at once has to bear. */
const largeBodies = { records: 5_000, connections: 128 } as const
const messagesBatchSize = 10_000

function sized(records: number): string {
  return `${records.toLocaleString('en')} an upload`
}

const rows: readonly LimitRow[] = [
  ...batches.map(
    ({ records, connections, overParse }): LimitRow => ({
      id: `limits/parse-${records}`,
      label: `telemetry JSON, ${sized(records)}, over JSON.parse on one thread`,
      unit: '×',
      run: (run) => {
        const body = { kind: 'telemetry', encoding: 'json', records } as const
        return measureOverParse(run, body, connections, overParse)
      },
    }),
  ),
  {
    id: 'limits/parse-mixed',
    label: `telemetry JSON of three shapes, ${sized(largest.records)}, over JSON.parse`,
    unit: '×',
    run: (run) => {
      const body = { kind: 'mixed', encoding: 'json', records: largest.records } as const
      return measureOverParse(run, body, largest.connections, 1)
    },
  },
  {
    id: 'limits/msgpack',
    label: `telemetry msgpack, ${sized(largest.records)}, over JSON`,
    unit: '×',
    run: (run) => measurePacked(run, largest.connections, 1),
  },
  ...batches.toReversed().map(
    ({ records, connections, overInflux }): LimitRow => ({
      id: `limits/influxdb-${records}`,
      label: `telemetry JSON, ${sized(records)}, over InfluxDB`,
      unit: '×',
      run: (run) => measureOverInflux(run, records, connections, overInflux),
    }),
  ),
  {
    id: 'limits/large-bodies',
    label: `most RssAnon, telemetry JSON, ${sized(largeBodies.records)}, many connections`,
    unit: 'MiB',
    run: (run) => measureLargeBodies(run, largeBodies.records, largeBodies.connections),
  },
  {
    id: 'limits/web-socket',
    label: 'one record a message, one WebSocket',
    unit: 'rec/s',
    run: (run) => measureMessages(run, messagesBatchSize, 60_000),
  },
  {
    id: 'limits/single',
    label: 'one record a POST into batches of 1,000, 64 connections, over GET /health',
    unit: '×',
    run: (run) => measureSingles(run, 0.2, 25),
  },
  {
    id: 'limits/buffers-10',
    label: 'audio buffers of 100 ms, 10 a batch',
    unit: 'buffers/s',
    run: (run) => measureBuffers(run, 16, 5_000),
  },
  {
    id: 'limits/pixels',
    label: 'video frames of 320×240, verify: "pixels", over bare sharp decodes',
    unit: '×',
    run: (run) => measurePixels(run, 8, 0.85),
  },
  {
    id: 'limits/frames-100',
    label: 'video frames of 1920×1080, 100 a batch',
    unit: 'frames/s',
    run: (run) => measureFrames(run, 5, 2_000, 0.85),
  },
  {
    id: 'limits/aggregates',
    label: 'a session of 10 million records read as aggregates',
    unit: 'rec/s',
    run: (run) => measureAggregates(run, 20_000_000),
  },
  {
    id: 'limits/ndjson',
    label: 'a session of 10 million records read as NDJSON',
    unit: 'rec/s',
    run: (run) => measureLines(run, 400_000),
  },
]

const memory = {
  id: 'limits/memory',
  label: 'most anonymous memory (RssAnon) through the rows above',
  unit: 'MiB',
} as const

export const limitRowIds: readonly string[] = [...rows.map(({ id }) => id), memory.id]

/** The rows of the table that are selected; the memory is selected with any of them. */
export function selectsLimits(selects: (id: string) => boolean): boolean {
  return limitRowIds.some(selects)
}

/**
 * The rows that are selected, on a server whose memory is watched. Rejects where it dies.
 */
export async function benchLimits(bench: LimitBench, server: ServerProcess): Promise<RowOutcome[]> {
  const named = rows.filter(({ id }) => bench.selects(id))
  // The memory is selected by its own name too, and then needs all that it is measured through.
  const selected = named.length === 0 && bench.selects(memory.id) ? rows : named
  if (selected.length === 0) return []
  const run = new LimitRun(bench, server)
  const outcomes: RowOutcome[] = []
  try {
    await run.warmUp()
    for (const row of selected) {
      bench.signal.throwIfAborted()
      server.takeAnonBytesMax()
      const attempted = await attempt(run, row)
      const serverAnonBytesMax = attempted.serverAnonBytesMax ?? server.takeAnonBytesMax()
      const outcome = { ...attempted, serverAnonBytesMax }
      const figure = outcome.measured === null ? '-' : formatFigure(outcome.measured)
      bench.progress(`${row.id}: ${figure} ${row.unit}, ${outcome.verdict}; ${outcome.note}`)
      outcomes.push(outcome)
    }
  } finally {
    await run.close()
  }
  return [...outcomes, memoryRow(bench, outcomes)]
}

async function attempt(run: LimitRun, row: LimitRow): Promise<RowOutcome> {
  const { bench, server } = run
  const base = { id: row.id, label: row.label, unit: row.unit, table: 'limits' } as const
  try {
    return plainOutcome({ ...base, ...(await row.run(run)) })
  } catch (error) {
    // A row may fail; without a server, or after an interrupt, the rest would fail for nothing.
    await server.assertAlive()
    bench.signal.throwIfAborted()
    bench.progress(server.logTail)
    const note = (error as Error).message.split('\n')[0] as string
    return plainOutcome({ ...base, verdict: 'missed', note })
  }
}

function memoryRow(bench: LimitBench, outcomes: readonly RowOutcome[]): RowOutcome {
  const row = { ...memory, table: 'limits' } as const
  const bytes = Math.max(...outcomes.map(({ serverAnonBytesMax }) => serverAnonBytesMax ?? 0))
  return plainOutcome({ ...row, ...judgeMemory(bytes, bench.options.quick) })
}
