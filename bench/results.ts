import { join } from 'node:path'
import type { BenchOptions } from './options.ts'
import { plotGrowth } from './plot.ts'
import type { BenchReport } from './report.ts'
import { writeResult } from './stored-report.ts'

export const plotName = 'growth.svg'

/**
 * Writes the report to the file that was asked for, or that of a run of all rows, with a plot of
 * its growth, to `folder`: a run of some rows, or of few uploads, never takes the place of a whole
 * one. Gives what was written.
 */
export function keepReport(
  { json, quick, only }: Pick<BenchOptions, 'json' | 'quick' | 'only'>,
  report: BenchReport,
  folder: string,
): string[] {
  const isWhole = !quick && only === null
  if (json === null && !isWhole) return []
  const path = json ?? join(folder, 'latest.json')
  writeResult(path, `${JSON.stringify(report, null, 2)}\n`)
  if (json !== null) return [path]
  const plot = join(folder, plotName)
  writeResult(plot, plotGrowth(report))
  return [path, plot]
}
