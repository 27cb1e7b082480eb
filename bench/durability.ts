import type { MediaBench as DurabilityBench } from './media.ts'
import type { RunResult, RunSpec } from './messages.ts'
import { type OwnServer, withOwnServer } from './own-server.ts'
import { formatFigure, plainOutcome, type RowOutcome } from './report.ts'
import { median, sum } from './statistics.ts'

const modes = ['flush', 'commit'] as const
type Mode = (typeof modes)[number]

interface Size {
  readonly records: number
  readonly connections: number
}

const sizes: readonly Size[] = [
  { records: 1, connections: 64 },
  { records: 100, connections: 16 },
  { records: 1_000, connections: 8 },
  { records: 10_000, connections: 4 },
]
const rounds = 3
const quickUploads = 8

/** The ids of a size: its two modes, and their quotient. */
function idsOf({ records }: Size): { flush: string; commit: string; ratio: string } {
  const ratio = `durability/telemetry-${records}`
  return { flush: `${ratio}-flush`, commit: `${ratio}-commit`, ratio }
}

export const durabilityRowIds: readonly string[] = sizes.flatMap((size) =>
  Object.values(idsOf(size)),
)

/**
 * The same uploads to a server that has them on disk before it replies, and to one that leaves
 * flushing to the kernel: by turns, because the disk's rate drifts. Rejects where a server cannot
 * be started, dies or does not stop.
 */
export async function benchDurability(bench: DurabilityBench): Promise<RowOutcome[]> {
  const selected = sizes.filter((size) => Object.values(idsOf(size)).some(bench.selects))
  if (selected.length === 0) return []
  bench.signal.throwIfAborted()
  const open = <T>(mode: Mode, use: (own: OwnServer) => Promise<T>): Promise<T> =>
    withOwnServer(bench, `durability-${mode}`, { ATOMSTREAM_DURABILITY: mode }, use)
  return open('flush', (flush) =>
    open('commit', async (commit) => {
      const outcomes: RowOutcome[] = []
      for (const size of selected)
        outcomes.push(...(await takeSize(bench, { flush, commit }, size)))
      return outcomes
    }),
  )
}

type Servers = Readonly<Record<Mode, OwnServer>>

async function takeSize(
  bench: DurabilityBench,
  servers: Servers,
  size: Size,
): Promise<RowOutcome[]> {
  let outcomes: RowOutcome[]
  try {
    for (const mode of modes) servers[mode].server.takeAnonBytesMax()
    const results = await runByTurns(bench, servers, size)
    const anonBytesMax = (mode: Mode) => servers[mode].server.takeAnonBytesMax()
    outcomes = outcomesOf(size, results, anonBytesMax)
  } catch (error) {
    // A size may fail; without a server, or after an interrupt, the rest would fail for nothing.
    for (const mode of modes) await servers[mode].server.assertAlive()
    bench.signal.throwIfAborted()
    const note = (error as Error).message.split('\n')[0] as string
    outcomes = [plainOutcome({ ...named(size, 'ratio', '×'), verdict: 'missed', note })]
  }
  for (const { id, measured, unit, verdict } of outcomes) {
    bench.progress(`${id}: ${formatFigure(measured)} ${unit}, ${verdict}`)
  }
  return outcomes
}

async function runByTurns(
  bench: DurabilityBench,
  servers: Servers,
  size: Size,
): Promise<Record<Mode, RunResult[]>> {
  const { quick } = bench.options
  const results: Record<Mode, RunResult[]> = { flush: [], commit: [] }
  for (let round = 0; round < (quick ? 1 : rounds); round++) {
    // Who begins changes, because a processor that was busy is slower.
    for (const mode of round % 2 === 0 ? modes : modes.toReversed()) {
      bench.signal.throwIfAborted()
      results[mode].push(await servers[mode].run(runOf(size, quick)))
    }
  }
  return results
}

function runOf({ records, connections }: Size, quick: boolean): RunSpec {
  return {
    body: { kind: 'telemetry', encoding: 'json', records },
    connections: quick ? 2 : connections,
    pace: quick
      ? { kind: 'saturate', warmUpMs: 0, measureMs: 60_000, uploadsMax: quickUploads }
      : { kind: 'saturate', warmUpMs: 300, measureMs: 1_000, uploadsMax: 1_000_000 },
    session: { sessionType: 'telemetry', batchSize: records },
    expect: 'processed',
  }
}

function named(size: Size, which: keyof ReturnType<typeof idsOf>, unit: string) {
  const batch = `${size.records.toLocaleString('en')} a batch`
  const label = size.records === 1 ? 'one record a request' : batch
  return { id: idsOf(size)[which], table: 'durability', label, unit } as const
}

function outcomesOf(
  size: Size,
  results: Record<Mode, RunResult[]>,
  anonBytesMax: (mode: Mode) => number,
): RowOutcome[] {
  const ratio = median(
    results.flush.map(({ recordsPerSecond }, round) => {
      const commit = results.commit[round] as RunResult
      return commit.recordsPerSecond / recordsPerSecond
    }),
  )
  const rows = modes.map((mode) => ({
    ...modeOutcome(size, mode, results[mode]),
    serverAnonBytesMax: anonBytesMax(mode),
  }))
  const note = `commit over flush, median of ${results.flush.length}`
  return [
    ...rows,
    plainOutcome({ ...named(size, 'ratio', '×'), measured: ratio, verdict: 'information', note }),
  ]
}

function modeOutcome(size: Size, mode: Mode, results: readonly RunResult[]): RowOutcome {
  const middle = (pick: (result: RunResult) => number) => median(results.map(pick))
  const mismatches = results.flatMap(({ readBack }) => readBack.mismatches)
  const differs = mismatches.length > 0
  return plainOutcome({
    ...named(size, mode, 'rec/s'),
    measured: middle(({ recordsPerSecond }) => recordsPerSecond),
    p50Ms: middle(({ latency }) => latency.p50Ms),
    p99Ms: middle(({ latency }) => latency.p99Ms),
    samples: sum(results, ({ latency }) => latency.samples),
    bytesPerSecond: middle(({ bytesPerSecond }) => bytesPerSecond),
    readBack: {
      recordsCounted: sum(results, ({ readBack }) => readBack.recordsCounted),
      recordsCompared: sum(results, ({ readBack }) => readBack.recordsCompared),
      blobsCompared: 0,
      mismatches,
    },
    verdict: differs ? 'missed' : 'information',
    note: differs ? 'what was read back differs' : mode,
  })
}
