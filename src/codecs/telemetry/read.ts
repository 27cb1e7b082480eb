import type { ReadBlock, ReadResult, ReadTask } from '../../contracts/tasks.ts'
import { limits } from '../../limits.ts'
import { csvField } from '../csv.ts'
import type { PageValue } from './page-format.ts'
import { type Column, openPage, type Page } from './page-reader.ts'
import { formatTimestamp } from './timestamp.ts'

/**
 * Rows of blocks as text. JSON: `{"timestamp","values","address"}`, joined by commas; NDJSON: one a line;
 * CSV (RFC 4180): timestamp, address, then `columns`, null and absent both empty, lines end in CR LF.
 * Bounds are compared as doubles of milliseconds: exact to the microsecond from 1970 to 2248, and further
 * off to 32 µs. Throws an Error where a block is damaged.
 */
export function readRecords(task: ReadTask): ReadResult {
  const pages = task.blocks.map((block) => ({ block, page: openPage(block.bytes) }))
  const isCsv = task.format === 'csv'
  const columns = isCsv ? (task.fields ?? columnNames(pages)) : []
  const limit = isCsv ? csvRows(task.limit, columns.length) : task.limit
  const parts: string[] = []
  let next: ReadResult['next'] = null
  for (const [position, { block, page }] of pages.entries()) {
    const { rows, nextIndex } = chooseRows(page, block.firstIndex, limit - parts.length, task)
    const texts = isCsv
      ? csvLines(page, block, rows, columns)
      : jsonObjects(page, block, rows, task)
    for (const text of texts) parts.push(text)
    if (nextIndex === null) continue
    next = { block: position, index: nextIndex }
    break
  }
  // A buffer of its own, because it leaves the thread by transfer.
  const bytes = new TextEncoder().encode(parts.join(task.format === 'json' ? ',' : ''))
  return { bytes, records: parts.length, next, columns }
}

function columnNames(pages: readonly { page: Page }[]): string[] {
  const names = new Set<string>()
  for (const { page } of pages) for (const column of page.columns) names.add(column.name)
  return [...names]
}

/** A row at least, else a reader would never get on. */
function csvRows(limit: number, columns: number): number {
  return Math.min(limit, Math.max(1, Math.floor(limits.csvCellsMax / (columns + 2))))
}

/** At most `limit` rows that lie in the task's range; `nextIndex` is the first one that is left over. */
function chooseRows(
  page: Page,
  firstIndex: number,
  limit: number,
  { fromMs, toMs }: ReadTask,
): { readonly rows: readonly number[]; readonly nextIndex: number | null } {
  const from = fromMs ?? Number.NEGATIVE_INFINITY
  const to = toMs ?? Number.POSITIVE_INFINITY
  const rows: number[] = []
  for (let index = firstIndex; index < page.rows; index += 1) {
    const at = (page.ms[index] ?? 0) + (page.us?.[index] ?? 0) / 1000
    if (at < from || at >= to) continue
    if (rows.length === limit) return { rows, nextIndex: index }
    rows.push(index)
  }
  return { rows, nextIndex: null }
}

/** Begins as JSON objects do, whichever of the two JSON formats is asked for. */
function jsonObjects(
  page: Page,
  block: ReadBlock,
  rows: readonly number[],
  { fields, format }: ReadTask,
): string[] {
  const asked = fields === null ? null : new Set(fields)
  const texts = rows.map(() => '')
  for (const column of page.columns) {
    if (asked !== null && !asked.has(column.name)) continue
    const key = `${JSON.stringify(column.name)}:`
    eachText(column, rows, jsonText, (position, text) => {
      const before = texts[position] as string
      texts[position] = before === '' ? key + text : `${before},${key}${text}`
    })
  }
  const times = new TimeWriter(page)
  const end = format === 'ndjson' ? '"}\n' : '"}'
  for (const [position, row] of rows.entries()) {
    const head = `{"timestamp":"${times.write(row)}","values":{`
    texts[position] = `${head}${texts[position]}},"address":"${block.hash}/${row}${end}`
  }
  return texts
}

function csvLines(
  page: Page,
  block: ReadBlock,
  rows: readonly number[],
  columns: readonly string[],
): string[] {
  const times = new TimeWriter(page)
  const texts = rows.map((row) => `${times.write(row)},${block.hash}/${row}`)
  const byName = new Map(page.columns.map((column) => [column.name, column]))
  for (const name of columns) {
    const cells = rows.map(() => '')
    const column = byName.get(name)
    if (column !== undefined) {
      eachText(column, rows, csvText, (position, text) => {
        cells[position] = text
      })
    }
    for (const [position, cell] of cells.entries()) texts[position] += `,${cell}`
  }
  return texts.map((text) => `${text}\r\n`)
}

/**
 * Visits the text of each entry of a column that lies in one of the rows (rising), with that row's
 * position. Column by column, because the work is then that of the values: a batch of sparse columns
 * has a thousand times as many cells.
 */
function eachText(
  column: Column,
  rows: readonly number[],
  textOf: (value: PageValue) => string,
  visit: (position: number, text: string) => void,
): void {
  if (column.isDense) {
    for (let position = 0; position < rows.length; position += 1) {
      visit(position, numberText(column.numbers[rows[position] as number] as number))
    }
    return
  }
  let position = 0
  column.each((row, value) => {
    while (position < rows.length && (rows[position] as number) < row) position += 1
    if (rows[position] === row) visit(position, textOf(value))
  })
}

function jsonText(value: PageValue): string {
  return typeof value === 'number' ? numberText(value) : JSON.stringify(value)
}

function csvText(value: PageValue): string {
  if (typeof value === 'number') return numberText(value)
  return typeof value === 'string' ? csvField(value) : String(value ?? '')
}

/** As JSON.stringify writes it, but for the sign of -0, which it loses. */
function numberText(value: number): string {
  return value === 0 && Object.is(value, -0) ? '-0' : String(value)
}

const dayMs = 86_400_000
const twoDigits = Array.from({ length: 60 }, (_, value) => String(value).padStart(2, '0'))
const threeDigits = Array.from({ length: 1000 }, (_, value) => String(value).padStart(3, '0'))
const two = (value: number): string => twoDigits[value] ?? ''
const three = (value: number): string => threeDigits[value] ?? ''

/** Writes timestamps as `formatTimestamp` does, but keeps the date from row to row: it costs the most. */
class TimeWriter {
  readonly #page: Page
  #day = Number.NaN
  #date = ''

  constructor(page: Page) {
    this.#page = page
  }

  write(row: number): string {
    const ms = this.#page.ms[row] ?? 0
    const us = this.#page.us?.[row] ?? 0
    const day = Math.floor(ms / dayMs)
    if (day !== this.#day) {
      this.#day = day
      this.#date = formatTimestamp({ ms: day * dayMs, us: 0 }).slice(0, 11)
    }
    const ofDay = ms - day * dayMs
    const second = Math.floor(ofDay / 1000)
    const hour = two(Math.floor(second / 3600))
    const time = `${hour}:${two(Math.floor(second / 60) % 60)}:${two(second % 60)}`
    return `${this.#date}${time}.${three(ofDay % 1000)}${us === 0 ? '' : three(us)}Z`
  }
}
