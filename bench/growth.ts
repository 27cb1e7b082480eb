import { readdirSync, statfsSync, statSync } from 'node:fs'
import { join } from 'node:path'
import {
  fillRun,
  type GrowthRow,
  growthNote,
  growthOrder,
  growthRows,
  warmUpRun,
} from './growth-rows.ts'
import type { MediaBench as GrowthBench } from './media.ts'
import type { ReadBack } from './messages.ts'
import { type OwnServer, withOwnServer } from './own-server.ts'
import { formatFigure, plainOutcome, type RowOutcome } from './report.ts'

export const growthRowIds: readonly string[] = growthRows(false).map(({ id }) => id)

/** Left to whoever else uses the disk. */
const spareBytes = 2e9
/** The file grows by more than what is put into it. */
const fillOverhead = 1.25
const fillRoundsMax = 8

/**
 * How records a second and their latency change with one thing alone: each dimension on a server
 * of its own, its points in rising order. No bound judges them, but what was stored has to be what
 * was sent. Rejects where the server cannot be started, dies or does not stop.
 */
export async function benchGrowth(bench: GrowthBench): Promise<RowOutcome[]> {
  const outcomes: RowOutcome[] = []
  const selected = growthRows(bench.options.quick).filter(({ id }) => bench.selects(id))
  for (const dimension of growthOrder) {
    const rows = selected.filter(({ point }) => point.dimension === dimension)
    if (rows.length === 0) continue
    bench.signal.throwIfAborted()
    const measured = await withOwnServer(bench, `growth-${dimension}`, {}, async (own) => {
      await warmUp(bench, own)
      const points: RowOutcome[] = []
      for (const row of rows) points.push(await takePoint(bench, own, row))
      return points
    })
    outcomes.push(...measured)
  }
  return outcomes
}

/**
 * A server that has just started is several times slower than one whose code is compiled, which
 * would look like a fall or a rise along the axis.
 */
async function warmUp(bench: GrowthBench, own: OwnServer): Promise<void> {
  try {
    await own.run(warmUpRun(bench.options.quick))
  } catch (error) {
    await own.server.assertAlive()
    bench.signal.throwIfAborted()
    // The points that come will fail by the same cause and then tell of it.
    bench.progress((error as Error).message)
  }
}

async function takePoint(bench: GrowthBench, own: OwnServer, row: GrowthRow): Promise<RowOutcome> {
  const { id, label, point } = row
  const base = { id, table: 'growth', label, unit: 'rec/s', growth: point } as const
  let outcome: RowOutcome
  try {
    outcome = plainOutcome({ ...base, ...(await measurePoint(bench, own, row)) })
  } catch (error) {
    // A point may fail; without a server, or after an interrupt, the rest would fail for nothing.
    await own.server.assertAlive()
    bench.signal.throwIfAborted()
    bench.progress(own.server.logTail)
    const note = (error as Error).message.split('\n')[0] as string
    outcome = plainOutcome({ ...base, verdict: 'missed', note })
  }
  const { measured, p99Ms, verdict, note } = outcome
  const figures = `${formatFigure(measured)} rec/s, p99 ${formatFigure(p99Ms)} ms`
  bench.progress(`${id}: ${figures}, ${verdict}${note === '' ? '' : `; ${note}`}`)
  return outcome
}

type PointFigure = Pick<RowOutcome, 'verdict'> & Partial<RowOutcome>

async function measurePoint(
  bench: GrowthBench,
  own: OwnServer,
  row: GrowthRow,
): Promise<PointFigure> {
  const filled = row.point.dimension === 'store' ? await fill(bench, own, row.point.value) : null
  if (filled !== null && 'refusal' in filled) return { verdict: 'not run', note: filled.refusal }
  const notes = [growthNote(row), ...(filled === null ? [] : [filled.note])]
  own.server.takeAnonBytesMax()
  const { latency, readBack, ...result } = await own.run(row.run)
  const mismatches = [...(filled?.mismatches ?? []), ...readBack.mismatches]
  const differs = mismatches.length > 0
  const blobsCompared = readBack.blobsCompared + (filled?.blobsCompared ?? 0)
  const compared: ReadBack = { ...readBack, blobsCompared, mismatches }
  return {
    measured: result.recordsPerSecond,
    ...latency,
    bytesPerSecond: result.bytesPerSecond,
    serverAnonBytesMax: own.server.takeAnonBytesMax(),
    readBack: compared,
    verdict: differs ? 'missed' : 'information',
    note: differs ? 'what was read back differs' : notes.filter((note) => note !== '').join('; '),
  }
}

type Filled =
  | { readonly refusal: string }
  | {
      readonly note: string
      readonly blobsCompared: number
      readonly mismatches: readonly string[]
    }

/** Uploads frames until the files of the store take `bytes`, where the disk has room for that. */
async function fill(bench: GrowthBench, own: OwnServer, bytes: number): Promise<Filled> {
  const { quick } = bench.options
  const mismatches: string[] = []
  let blobsCompared = 0
  const GB = (value: number) => `${formatFigure(value / 1e9)} GB`
  const neededBytes = (bytes - folderBytes(own.dataDir)) * fillOverhead
  const { bavail, bsize } = statfsSync(bench.folder)
  const freeBytes = bavail * bsize - (quick ? 0 : spareBytes)
  if (neededBytes > freeBytes) {
    return { refusal: `${GB(neededBytes)} are needed, ${GB(Math.max(freeBytes, 0))} are to spare` }
  }
  for (let round = 0; round < fillRoundsMax; round++) {
    bench.signal.throwIfAborted()
    const missingBytes = bytes - folderBytes(own.dataDir)
    if (missingBytes <= 0) break
    const { readBack } = await own.run(fillRun(missingBytes, quick))
    blobsCompared += readBack.blobsCompared
    mismatches.push(...readBack.mismatches)
  }
  const onDisk = folderBytes(own.dataDir)
  if (onDisk < bytes) throw new Error(`the store has only grown to ${GB(onDisk)}`)
  return { note: `${GB(onDisk)} on disk`, blobsCompared, mismatches }
}

/** What the files of a folder take of the disk, holes left out. */
function folderBytes(folder: string): number {
  let bytes = 0
  for (const entry of readdirSync(folder, { recursive: true, withFileTypes: true })) {
    // A spool or lock file may just have gone.
    const stat = statSync(join(entry.parentPath, entry.name), { throwIfNoEntry: false })
    if (entry.isFile() && stat) bytes += stat.blocks * 512
  }
  return bytes
}
