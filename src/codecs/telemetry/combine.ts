import type { CombineResult, CombineTask, ReadFormat } from '../../contracts/tasks.ts'
import { limits } from '../../limits.ts'
import { csvField } from '../csv.ts'
import { IntervalTable, TableFull } from './interval-table.ts'
import { formatTimestamp } from './timestamp.ts'

/** RFC 3339 has no earlier time. An interval that begins before it begins with it. */
const firstMs = Date.parse('0000-01-01T00:00:00Z')
const chunkChars = 65_536

/**
 * Parts as one, added in their order; with a format as text, the intervals from the earliest on. JSON:
 * `{"start","fields":{name:{min,max,mean,count}}}`, joined by commas; NDJSON: one a line; CSV (RFC 4180): a
 * line for each field of each interval: start, field, min, max, mean, count.
 */
export function combineParts({ parts, intervalMs, format }: CombineTask): CombineResult {
  const table = new IntervalTable()
  try {
    for (const part of parts) table.addPart(part)
  } catch (error) {
    if (error instanceof TableFull) return { kind: 'too-large' }
    throw error
  }
  if (format === null) return { kind: 'part', part: table.part() }
  const pieces =
    format === 'csv' ? csvPieces(table, intervalMs) : jsonPieces(table, intervalMs, format)
  const bytes = encode(pieces)
  return bytes === null ? { kind: 'too-large' } : { kind: 'text', bytes }
}

function startOf(number: number, intervalMs: number): string {
  return formatTimestamp({ ms: Math.max(firstMs, number * intervalMs), us: 0 })
}

function* jsonPieces(
  table: IntervalTable,
  intervalMs: number,
  format: ReadFormat,
): Iterable<string> {
  let between = ''
  for (const { number, cells } of table.rows()) {
    yield `${between}{"start":"${startOf(number, intervalMs)}","fields":{`
    let comma = ''
    for (const [name, cell] of cells) {
      yield `${comma}${JSON.stringify(name)}:${JSON.stringify(cell)}`
      comma = ','
    }
    yield format === 'ndjson' ? '}}\n' : '}}'
    between = format === 'ndjson' ? '' : ','
  }
}

function* csvPieces(table: IntervalTable, intervalMs: number): Iterable<string> {
  for (const { number, cells } of table.rows()) {
    const start = startOf(number, intervalMs)
    for (const [name, { min, max, mean, count }] of cells) {
      yield `${start},${csvField(name)},${min},${max},${mean},${count}\r\n`
    }
  }
}

/** UTF-8 in a buffer of its own, or null where it is longer than `limits.downsampleTextBytesMax`. */
function encode(pieces: Iterable<string>): Uint8Array | null {
  const chunks: Uint8Array[] = []
  let bytes = 0
  let text = ''
  const flush = (): void => {
    const chunk = Buffer.from(text)
    chunks.push(chunk)
    bytes += chunk.byteLength
    text = ''
  }
  for (const piece of pieces) {
    text += piece
    if (text.length < chunkChars) continue
    flush()
    if (bytes > limits.downsampleTextBytesMax) return null
  }
  flush()
  if (bytes > limits.downsampleTextBytesMax) return null
  const whole = new Uint8Array(bytes)
  let at = 0
  for (const chunk of chunks) {
    whole.set(chunk, at)
    at += chunk.byteLength
  }
  return whole
}
