import type { ReadBlock, ReadResult, ReadTask } from '../../contracts/tasks.ts'
import { limits } from '../../limits.ts'
import { CellWriter } from './cell-writer.ts'
import { tags } from './page-format.ts'
import { type Column, openPage, type Page } from './page-reader.ts'
import { TextWriter } from './text-writer.ts'
import { formatTimestamp } from './timestamp.ts'

/**
 * Rows of blocks as text. JSON: `{"timestamp","values","address"}`, joined by commas; NDJSON: one
 * a line; CSV (RFC 4180): timestamp, address, then `columns`, null and absent both empty, lines
 * end in CR LF. Ends with the row that makes the text `limits.pageTextBytesMax` long, or the limit
 * full. Bounds are compared as doubles of milliseconds: exact to the microsecond from 1970 to
 * 2248, and further off to 32 µs. Throws an Error where a block is damaged.
 */
export function readRecords(task: ReadTask): ReadResult {
  const isCsv = task.format === 'csv'
  const columns = isCsv ? (task.fields ?? columnNames(task.blocks)) : []
  const limit = isCsv ? csvRows(task.limit, columns.length) : task.limit
  const out = new TextWriter()
  let records = 0
  let next: ReadResult['next'] = null
  for (const [position, block] of task.blocks.entries()) {
    const page = openPage(block.bytes)
    const rowsLeft = isFull(out) ? 0 : limit - records
    const { rows, nextIndex } = chooseRows(page, block.firstIndex, rowsLeft, task)
    const written = isCsv
      ? writeCsv(out, page, block, rows, columns)
      : writeJson(out, page, block, rows, task)
    records += written
    const index = rows[written] ?? nextIndex
    if (index === null) continue
    next = { block: position, index }
    break
  }
  return { bytes: out.finish(), records, next, columns }
}

/** A page tells what repeats once: its text can be a hundred times as long. */
function isFull(out: TextWriter): boolean {
  return out.length >= limits.pageTextBytesMax
}

function columnNames(blocks: readonly ReadBlock[]): string[] {
  const names = new Set<string>()
  for (const { bytes } of blocks) {
    for (const column of openPage(bytes).columns) names.add(column.name)
  }
  return [...names]
}

/** A row at least, else a reader would never get on. */
function csvRows(limit: number, columns: number): number {
  return Math.min(limit, Math.max(1, Math.floor(limits.csvCellsMax / (columns + 2))))
}

/**
 * At most `limit` rows that lie in the task's range; `nextIndex` is the first one that is left
 * over.
 */
function chooseRows(
  page: Page,
  firstIndex: number,
  limit: number,
  { fromMs, toMs }: ReadTask,
): { readonly rows: readonly number[]; readonly nextIndex: number | null } {
  const from = fromMs ?? Number.NEGATIVE_INFINITY
  const to = toMs ?? Number.POSITIVE_INFINITY
  const { ms, us } = page
  const rows: number[] = []
  for (let index = firstIndex; index < page.rows; index += 1) {
    const at = (ms[index] as number) + (us === null ? 0 : (us[index] as number) / 1000)
    if (at < from || at >= to) continue
    if (rows.length === limit) return { rows, nextIndex: index }
    rows.push(index)
  }
  return { rows, nextIndex: null }
}

const comma = 0x2c
const jsonBegin = Buffer.from('{"timestamp":"')
const jsonValues = Buffer.from('","values":{')
const lineEnd = Buffer.from('\r\n')

/**
 * A member of `values`: its key begins with the comma that the first one of a record leaves out.
 */
interface Member {
  readonly position: number
  readonly key: Buffer
  readonly cells: CellWriter
}

/** Gives the number of rows that were written before the text was full: one at least. */
function writeJson(
  out: TextWriter,
  page: Page,
  block: ReadBlock,
  rows: readonly number[],
  { fields, format }: ReadTask,
): number {
  const asked = fields === null ? null : new Set(fields)
  const members = page.columns
    .filter(({ name }) => asked === null || asked.has(name))
    .map((column, position): Member => {
      const key = Buffer.from(`,${JSON.stringify(column.name)}:`)
      return { position, key, cells: new CellWriter(column) }
    })
  const inAllRows = members.filter(({ cells }) => cells.column.rows === null)
  const inFew = new FewRows(page, members)
  const times = new TimeWriter(page)
  const address = Buffer.from(`},"address":"${block.hash}/`)
  const end = Buffer.from(format === 'ndjson' ? '"}\n' : '"}')
  for (const [position, row] of rows.entries()) {
    if (format === 'json' && out.length > 0) out.byte(comma)
    out.raw(jsonBegin)
    times.write(out, row)
    out.raw(jsonValues)
    const start = out.length
    inFew.begin(row)
    for (const member of inAllRows) {
      for (let few = inFew.next(member.position); few !== null; few = inFew.next(member.position)) {
        writeMember(out, few, row, start)
      }
      writeMember(out, member, row, start)
    }
    for (let few = inFew.next(members.length); few !== null; few = inFew.next(members.length)) {
      writeMember(out, few, row, start)
    }
    out.raw(address)
    out.number(row)
    out.raw(end)
    if (isFull(out)) return position + 1
  }
  return rows.length
}

function writeMember(out: TextWriter, { key, cells }: Member, row: number, start: number): void {
  const tag = cells.moveTo(row)
  if (tag === tags.absent) return
  out.raw(key, out.length === start ? 1 : 0)
  cells.writeJson(out, tag)
}

/**
 * The members whose columns name their rows, row by row. A batch of them can have a thousand times
 * as many cells as values, so that no row may ask each of them.
 */
class FewRows {
  readonly #members: readonly Member[]
  /** Where the members of each row begin in `order`. */
  readonly #starts: Uint32Array
  readonly #order: Uint32Array
  #at = 0
  #end = 0

  constructor(page: Page, members: readonly Member[]) {
    const few = members.filter(({ cells }) => cells.column.rows !== null)
    const starts = new Uint32Array(few.length === 0 ? 0 : page.rows + 1)
    let entries = 0
    for (const { cells } of few) {
      for (const row of cells.column.rows ?? []) starts[row] = (starts[row] as number) + 1
      entries += cells.column.entryCount
    }
    // From the end of each row back to its beginning, as the last of its members come first.
    for (let row = 1; row < starts.length; row += 1) {
      starts[row] = (starts[row] as number) + (starts[row - 1] as number)
    }
    const order = new Uint32Array(entries)
    for (const { position, cells } of few.toReversed()) {
      for (const row of cells.column.rows ?? []) {
        const place = (starts[row] as number) - 1
        starts[row] = place
        order[place] = position
      }
    }
    this.#members = members
    this.#starts = starts
    this.#order = order
  }

  begin(row: number): void {
    this.#at = this.#starts[row] ?? 0
    this.#end = this.#starts[row + 1] ?? 0
  }

  /** The row's next member that stands before `position`. */
  next(position: number): Member | null {
    if (this.#at === this.#end || (this.#order[this.#at] as number) >= position) return null
    this.#at += 1
    return this.#members[this.#order[this.#at - 1] as number] as Member
  }
}

function writeCsv(
  out: TextWriter,
  page: Page,
  block: ReadBlock,
  rows: readonly number[],
  columns: readonly string[],
): number {
  const byName = new Map(page.columns.map((column): [string, Column] => [column.name, column]))
  const cells = columns.map((name) => {
    const column = byName.get(name)
    return column === undefined ? null : new CellWriter(column)
  })
  const times = new TimeWriter(page)
  const address = Buffer.from(`,${block.hash}/`)
  for (const [position, row] of rows.entries()) {
    times.write(out, row)
    out.raw(address)
    out.number(row)
    for (const cell of cells) {
      out.byte(comma)
      cell?.writeCsv(out, cell.moveTo(row))
    }
    out.raw(lineEnd)
    if (isFull(out)) return position + 1
  }
  return rows.length
}

const dayMs = 86_400_000
const colon = 0x3a
const point = 0x2e
const zulu = 0x5a

/**
 * Writes timestamps as `formatTimestamp` does, but keeps the date from row to row: it costs the
 * most.
 */
class TimeWriter {
  readonly #ms: Float64Array
  readonly #us: Uint16Array | null
  #day = Number.NaN
  #date = Buffer.alloc(0)

  constructor({ ms, us }: Page) {
    this.#ms = ms
    this.#us = us
  }

  write(out: TextWriter, row: number): void {
    const ms = this.#ms[row] as number
    const us = this.#us === null ? 0 : (this.#us[row] as number)
    const day = Math.floor(ms / dayMs)
    if (day !== this.#day) {
      this.#date = Buffer.from(formatTimestamp({ ms: day * dayMs, us: 0 }).slice(0, 11))
      this.#day = day
    }
    const ofDay = (ms - day * dayMs) | 0
    const second = (ofDay / 1000) | 0
    const minute = (second / 60) | 0
    out.raw(this.#date)
    out.digits((minute / 60) | 0, 2)
    out.byte(colon)
    out.digits(minute % 60, 2)
    out.byte(colon)
    out.digits(second % 60, 2)
    out.byte(point)
    out.digits(ofDay % 1000, 3)
    if (us !== 0) out.digits(us, 3)
    out.byte(zulu)
  }
}
