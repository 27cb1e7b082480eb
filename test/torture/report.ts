import type { FaultReport } from './fault.ts'

/** One line of the table, and of the JSON file. */
export interface Row {
  readonly id: string
  readonly fault: string
  readonly runs: number
  readonly runsOrdered: number
  readonly mustHold: string
  readonly measured: string
  readonly held: 'yes' | 'NO' | 'not run'
  readonly failures: readonly string[]
  readonly durationMs: number
}

export interface TortureReport {
  readonly version: string
  readonly date: string
  readonly node: string
  readonly seed: number
  readonly quick: boolean
  readonly rows: readonly Row[]
}

const header = ['fault', 'runs', 'must hold', 'measured', 'held'] as const
/** A column's text is broken where it is longer; numbers and verdicts never are. */
const widthsMax = [26, 20, 44, 48, 7] as const

/** Fewer runs than ordered is a failure too: what was not tried has not held. */
export function rowOf(
  subject: Pick<Row, 'id' | 'fault' | 'mustHold' | 'runsOrdered'>,
  report: FaultReport,
  durationMs: number,
): Row {
  const { runs, measured, notRun } = report
  const isShort = notRun === undefined && runs < subject.runsOrdered
  const shortfall = isShort ? [`${runs} of ${subject.runsOrdered} runs were made`] : []
  const failures = [...report.failures, ...shortfall]
  const untried = notRun === undefined ? 'yes' : 'not run'
  return {
    ...subject,
    runs,
    measured: notRun ?? measured,
    held: failures.length > 0 ? 'NO' : untried,
    failures,
    durationMs,
  }
}

/** Whether the whole has held. */
export function allHeld(rows: readonly Row[], { allowNotRun }: { allowNotRun: boolean }): boolean {
  return rows.every(({ held }) => held === 'yes' || (allowNotRun && held === 'not run'))
}

export function formatReport(report: TortureReport): string {
  const { rows, seed, version, node, date } = report
  const cells = rows.map((row) => [
    row.fault,
    row.runs.toLocaleString('en'),
    row.mustHold,
    row.measured,
    row.held,
  ])
  const failures = rows.flatMap((row) => row.failures.map((text) => `${row.id}: ${text}`))
  const head = `atomstream ${version}, Node ${node}, ${date}, seed ${seed}${report.quick ? ', quick' : ''}`
  const parts = [head, formatTable(header, cells, widthsMax)]
  if (failures.length > 0) {
    parts.push(`What did not hold (again with --seed ${seed}):\n${failures.join('\n')}`)
  }
  return `${parts.join('\n\n')}\n`
}

/** Aligned text; a cell that is longer than its column may be goes on in the next line. */
export function formatTable(
  names: readonly string[],
  rows: readonly (readonly string[])[],
  maxima: readonly number[],
): string {
  const wrapped = [names, ...rows].map((row) =>
    row.map((text, column) => wrap(text, maxima[column] ?? text.length)),
  )
  const widths = names.map((_, column) =>
    Math.max(...wrapped.flatMap((row) => (row[column] ?? []).map((line) => line.length))),
  )
  const rule = widths.map((width) => '-'.repeat(width)).join('-+-')
  const blocks = wrapped.map((row) => {
    const height = Math.max(...row.map((lines) => lines.length))
    return Array.from({ length: height }, (_, line) =>
      row
        .map((lines, column) => (lines[line] ?? '').padEnd(widths[column] ?? 0))
        .join(' | ')
        .trimEnd(),
    ).join('\n')
  })
  return blocks.join(`\n${rule}\n`)
}

/** Broken at spaces; a word that is longer than a line is cut. */
function wrap(text: string, width: number): string[] {
  const lines: string[] = []
  let line = ''
  for (const word of text.split(' ')) {
    let rest = word
    if (line !== '' && line.length + 1 + rest.length > width) {
      lines.push(line)
      line = ''
    }
    while (rest.length > width) {
      lines.push(rest.slice(0, width))
      rest = rest.slice(width)
    }
    line = line === '' ? rest : `${line} ${rest}`
  }
  return [...lines, line]
}
