import type { AggregateResult, AggregateTask } from '../../contracts/tasks.ts'
import { IntervalTable, TableFull } from './interval-table.ts'
import { type Column, openPage, type Page } from './page-reader.ts'

/**
 * Below it, milliseconds with microseconds as their fraction are exact enough to tell the interval: what
 * rounding takes from them and from their quotient by a length is less than a microsecond makes.
 */
const exactMsMax = 2 ** 43

interface Block {
  readonly bytes: Uint8Array
  readonly fromMs: number
  readonly toMs: number
}

/**
 * Minimum, maximum, sum and count of the blocks' numbers by field and interval. Intervals are whole
 * milliseconds, so that microseconds never move a record to another one. Rows that follow each other
 * within an interval are summed as a run, and a block that lies in one as a whole: then its times are not
 * looked at. Bounds are compared as `readRecords` does. Throws an Error where a block is damaged.
 */
export function aggregateRecords(task: AggregateTask): AggregateResult {
  const { buffer, blocks, fields } = task
  const asked = fields === null ? null : new Set(fields)
  const table = new IntervalTable()
  try {
    for (let at = 0; at < blocks.length; at += 4) {
      const [offset = 0, length = 0, fromMs = 0, toMs = 0] = blocks.subarray(at, at + 4)
      const block = { bytes: new Uint8Array(buffer, offset, length), fromMs, toMs }
      const page = openPage(block.bytes)
      const runs = isInOneInterval(block, task)
        ? wholePage(page, block, task, table)
        : runsOf(page, block, task, table)
      for (const column of page.columns) {
        if (asked === null || asked.has(column.name)) addColumn(table, column, runs)
      }
    }
    return { buffer, part: table.part() }
  } catch (error) {
    if (error instanceof TableFull) return { buffer, part: null }
    throw error
  }
}

/** Rows `[starts[i], ends[i])` lie in the interval at position `intervals[i]` of the table. */
interface Runs {
  readonly starts: number[]
  readonly ends: number[]
  readonly intervals: number[]
}

function isInOneInterval({ fromMs, toMs }: Block, task: AggregateTask): boolean {
  const { intervalMs } = task
  return (
    Math.abs(fromMs) < exactMsMax &&
    Math.abs(toMs) < exactMsMax &&
    Math.floor(fromMs / intervalMs) === Math.floor(toMs / intervalMs) &&
    isInRange({ fromMs, toMs }, task)
  )
}

function isInRange({ fromMs, toMs }: Pick<Block, 'fromMs' | 'toMs'>, task: AggregateTask): boolean {
  return (task.fromMs === null || fromMs >= task.fromMs) && (task.toMs === null || toMs < task.toMs)
}

function wholePage(page: Page, block: Block, task: AggregateTask, table: IntervalTable): Runs {
  const interval = table.interval(Math.floor(block.fromMs / task.intervalMs))
  return { starts: [0], ends: [page.rows], intervals: [interval] }
}

function runsOf(page: Page, block: Block, task: AggregateTask, table: IntervalTable): Runs {
  const runs: Runs = { starts: [], ends: [], intervals: [] }
  if (isInRange(block, task)) {
    addRuns(runs, page.ms, 0, page.rows, task.intervalMs, table)
    return runs
  }
  const { ms, us, rows } = page
  const from = task.fromMs ?? Number.NEGATIVE_INFINITY
  const to = task.toMs ?? Number.POSITIVE_INFINITY
  let start = 0
  for (let row = 0; row < rows; row += 1) {
    const at = (ms[row] as number) + (us === null ? 0 : (us[row] as number)) / 1000
    if (at >= from && at < to) continue
    addRuns(runs, ms, start, row, task.intervalMs, table)
    start = row + 1
  }
  addRuns(runs, ms, start, rows, task.intervalMs, table)
  return runs
}

/**
 * The runs of rows from `start` to before `end`. Times mostly rise, so the bounds of the interval are kept
 * until a row lies outside of them. The quotient of whole numbers below 2^48 never rounds up to the next
 * whole one.
 */
function addRuns(
  { starts, ends, intervals }: Runs,
  ms: Float64Array,
  start: number,
  end: number,
  intervalMs: number,
  table: IntervalTable,
): void {
  let row = start
  while (row < end) {
    const number = Math.floor((ms[row] as number) / intervalMs)
    const lowest = number * intervalMs
    const next = lowest + intervalMs
    starts.push(row)
    intervals.push(table.interval(number))
    row += 1
    while (row < end && (ms[row] as number) >= lowest && (ms[row] as number) < next) row += 1
    ends.push(row)
  }
}

function addColumn(table: IntervalTable, column: Column, { starts, ends, intervals }: Runs): void {
  const { name, numbers } = column
  if (column.isDense) {
    for (let run = 0; run < starts.length; run += 1) {
      const start = starts[run] as number
      table.addRun(name, intervals[run] as number, numbers, start, ends[run] as number)
    }
    return
  }
  // Else its strings would be decoded for nothing.
  if (numbers.length === 0) return
  let run = 0
  column.each((row, value) => {
    if (typeof value !== 'number') return
    while (run < ends.length && (ends[run] as number) <= row) run += 1
    if (run === ends.length || (starts[run] as number) > row) return
    table.add(name, intervals[run] as number, value)
  })
}
