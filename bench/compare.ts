import type { Machine } from './machine.ts'
import { type BenchReport, formatFigure, formatTable, type RowOutcome } from './report.ts'

/** A report, and how a reader knows it: its file, or "this run". */
export interface NamedReport {
  readonly name: string
  readonly report: BenchReport
}

const header = ['row', 'unit', 'old', 'new', 'new/old', 'old p99 ms', 'new p99 ms', 'new/old']

/**
 * Old and new figures of every row that both reports have under the same id and in the same unit,
 * with their quotient, and the names of all other rows. Which of two figures is the better one the
 * unit tells.
 */
export function formatComparison(older: NamedReport, newer: NamedReport): string {
  const before = new Map(older.report.rows.map((row) => [row.id, row]))
  const after = new Map(newer.report.rows.map((row) => [row.id, row]))
  const both = newer.report.rows.flatMap((row) => {
    const old = before.get(row.id)
    return old ? [{ old, row }] : []
  })
  const comparable = both.filter(({ old, row }) => old.unit === row.unit)
  const parts = [
    [
      'Compared',
      `  old: ${describe(older)}`,
      `  new: ${describe(newer)}`,
      ...remarks(older, newer),
    ],
    [
      comparable.length === 0
        ? 'No row is in both.'
        : formatTable(
            header,
            comparable.map(({ old, row }) => cells(old, row)),
          ),
    ],
    codecLines(older.report, newer.report),
    [
      ...list(
        'Only in the old one',
        [...before.keys()].filter((id) => !after.has(id)),
      ),
      ...list(
        'Only in the new one',
        [...after.keys()].filter((id) => !before.has(id)),
      ),
      ...list(
        'Not in the same unit',
        both.filter(({ old, row }) => old.unit !== row.unit).map(({ row }) => row.id),
      ),
    ],
  ]
  const texts = parts.filter((lines) => lines.length > 0).map((lines) => lines.join('\n'))
  return `${texts.join('\n\n')}\n`
}

function cells(old: RowOutcome, row: RowOutcome): string[] {
  return [
    row.id,
    row.unit,
    formatFigure(old.measured),
    formatFigure(row.measured),
    quotient(old.measured, row.measured),
    formatFigure(old.p99Ms),
    formatFigure(row.p99Ms),
    quotient(old.p99Ms, row.p99Ms),
  ]
}

function quotient(old: number | null, value: number | null): string {
  return old === null || value === null || old === 0 ? '-' : (value / old).toFixed(2)
}

function codecLines(older: BenchReport, newer: BenchReport): string[] {
  const rows = newer.codecs.flatMap(({ label, p50Us }) => {
    const old = older.codecs.find((each) => each.label === label)
    if (!old) return []
    return [[label, formatFigure(old.p50Us), formatFigure(p50Us), quotient(old.p50Us, p50Us)]]
  })
  if (rows.length === 0) return []
  return [formatTable(['codec, on one thread', 'old µs p50', 'new µs p50', 'new/old'], rows)]
}

function describe({ name, report: { machine } }: NamedReport): string {
  const code = `commit ${machine.commit ?? 'unknown'}`
  return `${name}: ${machine.date}, ${code}, ${hardware(machine)}, Node ${machine.node}`
}

function hardware({ cpu, cores, memoryBytes, kernel, fileSystem }: Machine): string {
  const memory = `${Math.round(memoryBytes / 2 ** 30)} GiB`
  return `${cpu}, ${cores} cores, ${memory}, ${kernel}, ${fileSystem}`
}

/** What makes the quotients say less than they seem to. */
function remarks(older: NamedReport, newer: NamedReport): string[] {
  const quick = [older, newer].filter(({ report }) => report.quick).map(({ name }) => name)
  const [from, to] = [older.report.machine, newer.report.machine]
  const isOther = hardware(from) !== hardware(to)
  return [
    ...(quick.length === 0 ? [] : [`  A quick run tells nothing of speed: ${quick.join(', ')}`]),
    ...(isOther
      ? ['  They are not of the same machine: the change is not of the code alone.']
      : []),
  ]
}

function list(what: string, ids: readonly string[]): string[] {
  return ids.length === 0 ? [] : [`${what}: ${ids.join(', ')}`]
}
