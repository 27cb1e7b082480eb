import type { ReadBlock, ReadResult, ReadTask } from '../../contracts/tasks.ts'
import { limits } from '../../limits.ts'
import { type Column, openPage, type Page, tags } from './page.ts'
import { formatTimestamp } from './timestamp.ts'

/**
 * Rows of blocks as text. JSON: `{"timestamp","values","address"}`, joined by commas; NDJSON: one a line;
 * CSV (RFC 4180): timestamp, address, then `columns`, null and absent both empty, lines end in CR LF.
 */
export function readRecords(task: ReadTask): ReadResult {
  const pages = task.blocks.map((block) => ({ block, page: openPage(block.bytes) }))
  const columns = task.format === 'csv' ? (task.fields ?? columnNames(pages)) : []
  const limit =
    task.format === 'csv'
      ? Math.min(task.limit, Math.max(1, Math.floor(limits.csvCellsMax / (columns.length + 2))))
      : task.limit
  const parts: string[] = []
  let records = 0
  for (const [position, { block, page }] of pages.entries()) {
    const rows = new RowWriter(page, block, task, columns)
    for (let index = block.firstIndex; index < page.rows; index += 1) {
      if (!isInRange(page, index, task)) continue
      if (records === limit)
        return result(parts, task, records, { block: position, index }, columns)
      parts.push(rows.write(index))
      records += 1
    }
  }
  return result(parts, task, records, null, columns)
}

function result(
  parts: readonly string[],
  task: ReadTask,
  records: number,
  next: ReadResult['next'],
  columns: readonly string[],
): ReadResult {
  // A buffer of its own, because it leaves the thread by transfer.
  const bytes = new TextEncoder().encode(parts.join(task.format === 'json' ? ',' : ''))
  return { bytes, records, next, columns }
}

function columnNames(pages: readonly { page: Page }[]): string[] {
  const names = new Set<string>()
  for (const { page } of pages) for (const column of page.columns) names.add(column.name)
  return [...names]
}

function isInRange(page: Page, index: number, { fromMs, toMs }: ReadTask): boolean {
  if (fromMs === null && toMs === null) return true
  const at = (page.ms[index] ?? 0) + (page.us?.[index] ?? 0) / 1000
  return (fromMs === null || at >= fromMs) && (toMs === null || at < toMs)
}

/** Writes rows of one page; each index once, rising. */
class RowWriter {
  readonly #page: Page
  readonly #hash: string
  readonly #format: ReadTask['format']
  readonly #cursors: readonly { readonly key: string; readonly cursor: ColumnCursor }[]
  /** CSV: the cursor of each asked column, null where this page lacks it. */
  readonly #cells: readonly (ColumnCursor | null)[]
  #day = Number.NaN
  #dayText = ''

  constructor(page: Page, block: ReadBlock, task: ReadTask, columns: readonly string[]) {
    this.#page = page
    this.#hash = block.hash
    this.#format = task.format
    const asked = task.fields === null ? null : new Set(task.fields)
    const cursorOf = (column: Column) => new ColumnCursor(column, task.format === 'csv')
    const chosen = page.columns.filter(({ name }) => asked === null || asked.has(name))
    this.#cursors =
      task.format === 'csv'
        ? []
        : chosen.map((column) => ({
            key: `${JSON.stringify(column.name)}:`,
            cursor: cursorOf(column),
          }))
    const byName = new Map(chosen.map((column) => [column.name, column]))
    this.#cells = columns.map((name) => {
      const column = byName.get(name)
      return column === undefined ? null : cursorOf(column)
    })
  }

  write(index: number): string {
    if (this.#format === 'csv') return this.#csv(index)
    let values = ''
    for (const { key, cursor } of this.#cursors) {
      const text = cursor.textAt(index)
      if (text !== null) values += values === '' ? key + text : `,${key}${text}`
    }
    const row = `{"timestamp":"${this.#timestamp(index)}","values":{${values}},"address":"${this.#hash}/${index}"}`
    return this.#format === 'ndjson' ? `${row}\n` : row
  }

  #csv(index: number): string {
    let row = `${this.#timestamp(index)},${this.#hash}/${index}`
    for (const cursor of this.#cells) row += `,${cursor?.textAt(index) ?? ''}`
    return `${row}\r\n`
  }

  /** The date is kept from row to row: making it costs more than all the rest of a row. */
  #timestamp(index: number): string {
    const ms = this.#page.ms[index] ?? 0
    const us = this.#page.us?.[index] ?? 0
    const day = Math.floor(ms / dayMs)
    if (day !== this.#day) {
      this.#day = day
      this.#dayText = formatTimestamp({ ms: day * dayMs, us: 0 }).slice(0, 11)
    }
    const ofDay = ms - day * dayMs
    const second = Math.floor(ofDay / 1000)
    const fraction = ofDay % 1000
    return (
      this.#dayText +
      two(Math.floor(second / 3600)) +
      ':' +
      two(Math.floor(second / 60) % 60) +
      ':' +
      two(second % 60) +
      '.' +
      three(fraction) +
      (us === 0 ? 'Z' : `${three(us)}Z`)
    )
  }
}

const dayMs = 86_400_000
const twoDigits = Array.from({ length: 60 }, (_, value) => String(value).padStart(2, '0'))
const threeDigits = Array.from({ length: 1000 }, (_, value) => String(value).padStart(3, '0'))
const two = (value: number): string => twoDigits[value] ?? ''
const three = (value: number): string => threeDigits[value] ?? ''

/** Reads a column row by row, forward only, so that packed values need no index of their own. */
class ColumnCursor {
  readonly #column: Column
  readonly #isCsv: boolean
  #entry = 0
  #number = 0
  #string = 0

  constructor(column: Column, isCsv: boolean) {
    this.#column = column
    this.#isCsv = isCsv
  }

  /** The value's text; null where the row lacks the field. */
  textAt(row: number): string | null {
    const { rows, tags: entryTags, numbers } = this.#column
    if (entryTags === null) return numberText(numbers[row] ?? 0)
    for (; this.#entry < entryTags.length; this.#entry += 1) {
      const entryRow = rows === null ? this.#entry : (rows[this.#entry] ?? 0)
      if (entryRow > row) return null
      const tag = entryTags[this.#entry]
      if (entryRow === row) {
        this.#entry += 1
        return this.#take(tag)
      }
      if (tag === tags.number) this.#number += 1
      if (tag === tags.string) this.#string += 1
    }
    return null
  }

  #take(tag: number | undefined): string | null {
    switch (tag) {
      case tags.number:
        this.#number += 1
        return numberText(this.#column.numbers[this.#number - 1] ?? 0)
      case tags.string: {
        this.#string += 1
        const text = this.#column.strings[this.#string - 1] ?? ''
        return this.#isCsv ? csvText(text) : JSON.stringify(text)
      }
      case tags.null:
        return this.#isCsv ? '' : 'null'
      case tags.true:
        return 'true'
      case tags.false:
        return 'false'
      default:
        return null
    }
  }
}

function numberText(value: number): string {
  return value === 0 && Object.is(value, -0) ? '-0' : String(value)
}

/** RFC 4180: quoted where it holds a comma, a quote or a line break. */
export function csvText(text: string): string {
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text
}
