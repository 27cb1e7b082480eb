import type { Api } from './api.ts'
import type { FilledSession, ReadingResult } from './messages.ts'
import { PageConnection } from './page-client.ts'
import { Differences } from './read-back.ts'
import { sum } from './statistics.ts'
import {
  telemetryNumberAt,
  telemetryRecord,
  telemetryTimeMs,
  telemetryValues,
} from './telemetry-bodies.ts'

const intervalMs = 60_000
/** Of sums that are added up in another order. */
const meanTolerance = 1e-9
const pageRecords = 10_000
const newline = 10

const fields = ['temperature', 'humidity', 'pressure'] as const

interface Aggregate {
  readonly min: number
  readonly max: number
  readonly mean: number
  readonly count: number
}

interface Interval {
  readonly start: string
  readonly fields: Readonly<Record<string, Aggregate>>
}

/** Asks for the whole session by the minute; the time is until the answer is parsed. */
export async function readAggregates(api: Api, filled: FilledSession): Promise<ReadingResult> {
  const connection = await PageConnection.open(new URL(api.baseUrl), api.apiKey)
  let intervals: readonly Interval[]
  let bytes: number
  const begin = performance.now()
  try {
    const query = new URLSearchParams({ downsample: '1m' })
    const { body } = await connection.get(recordsPath(filled, query), 'application/json')
    intervals = (JSON.parse(body.toString()) as { intervals: Interval[] }).intervals
    bytes = body.length
  } finally {
    connection.close()
  }
  const seconds = (performance.now() - begin) / 1_000
  const records = filled.firsts.length * filled.uploadRecords
  const differences = new Differences()
  const expected = expectedAggregates(filled)
  differences.expect('intervals', intervals.length, expected.size)
  for (const { start, fields: read } of intervals) {
    compareInterval(differences, start, read, expected.get(Date.parse(start)))
  }
  const counted = sum(intervals, (interval) => interval.fields[fields[0]]?.count ?? 0)
  return {
    recordsPerSecond: records / seconds,
    bytesPerSecond: bytes / seconds,
    readBack: {
      recordsCounted: counted,
      recordsCompared: counted,
      blobsCompared: 0,
      mismatches: differences.list(),
    },
  }
}

function recordsPath({ sessionId }: FilledSession, query: URLSearchParams): string {
  return `/api/streaming/sessions/${sessionId}/records?${query}`
}

function compareInterval(
  differences: Differences,
  start: string,
  read: Readonly<Record<string, Aggregate>>,
  expected: readonly RunningAggregate[] | undefined,
): void {
  differences.expect(`fields of ${start}`, Object.keys(read).length, fields.length)
  fields.forEach((field, index) => {
    const [one, own] = [read[field], expected?.[index]]
    differences.expect(`count of ${field} at ${start}`, one?.count, own?.count)
    if (one === undefined || own === undefined) return
    differences.expect(`min of ${field} at ${start}`, one.min, own.min)
    differences.expect(`max of ${field} at ${start}`, one.max, own.max)
    const off = Math.abs(one.mean - own.sum / own.count) / Math.abs(own.sum / own.count)
    differences.expect(`mean of ${field} at ${start} is as sent`, off < meanTolerance, true)
  })
}

interface RunningAggregate {
  min: number
  max: number
  sum: number
  count: number
}

/** By the start of their intervals, of each field in turn. */
function expectedAggregates({ firsts, uploadRecords }: FilledSession) {
  const intervals = new Map<number, RunningAggregate[]>()
  for (const first of firsts) {
    for (let number = first; number < first + uploadRecords; number++) {
      const start = Math.floor(telemetryTimeMs(number) / intervalMs) * intervalMs
      const values = telemetryValues(number)
      const all = intervals.get(start) ?? fields.map(emptyAggregate)
      if (all[0]?.count === 0) intervals.set(start, all)
      fields.forEach((field, index) => {
        add(all[index] as RunningAggregate, values[field])
      })
    }
  }
  return intervals
}

function emptyAggregate(): RunningAggregate {
  return { min: Number.POSITIVE_INFINITY, max: Number.NEGATIVE_INFINITY, sum: 0, count: 0 }
}

function add(aggregate: RunningAggregate, value: number): void {
  aggregate.min = Math.min(aggregate.min, value)
  aggregate.max = Math.max(aggregate.max, value)
  aggregate.sum += value
  aggregate.count += 1
}

/**
 * Reads the session by pages of 10,000 records over one connection, each by the cursor of the one
 * before. Every line is counted, the first and the last of each page are compared value for value,
 * and no record may begin two pages.
 */
export async function readLines(api: Api, filled: FilledSession): Promise<ReadingResult> {
  const connection = await PageConnection.open(new URL(api.baseUrl), api.apiKey)
  const differences = new Differences()
  const sent = new Set(filled.firsts)
  const seen = new Set<string>()
  let [records, bytes, compared] = [0, 0, 0]
  let cursor: string | null = null
  const begin = performance.now()
  try {
    do {
      const limit = String(pageRecords)
      const query = new URLSearchParams({ limit, ...(cursor === null ? {} : { cursor }) })
      const { head, body } = await connection.get(
        recordsPath(filled, query),
        'application/x-ndjson',
      )
      records += countLines(body)
      bytes += body.length
      for (const line of edgeLines(body)) {
        compareLine(differences, line, sent, filled.uploadRecords)
        seen.add(line)
        compared++
      }
      cursor = /\r\nx-next-cursor: *([^\r\n]+)/i.exec(head)?.[1] ?? null
    } while (cursor !== null)
  } finally {
    connection.close()
  }
  const seconds = (performance.now() - begin) / 1_000
  differences.expect('lines', records, filled.firsts.length * filled.uploadRecords)
  differences.expect('different lines of those compared', seen.size, compared)
  return {
    recordsPerSecond: records / seconds,
    bytesPerSecond: bytes / seconds,
    readBack: {
      recordsCounted: records,
      recordsCompared: compared,
      blobsCompared: 0,
      mismatches: differences.list(),
    },
  }
}

function countLines(body: Buffer): number {
  let lines = 0
  for (let at = body.indexOf(newline); at !== -1; at = body.indexOf(newline, at + 1)) lines++
  return lines
}

/** The first and the last line. */
function edgeLines(body: Buffer): string[] {
  if (body.length === 0) return []
  const firstEnd = body.indexOf(newline)
  const lastStart = body.lastIndexOf(newline, body.length - 2) + 1
  const lines = [body.toString('utf8', 0, firstEnd)]
  return lastStart === 0 ? lines : [...lines, body.toString('utf8', lastStart, body.length - 1)]
}

/** A timestamp names its record's number. */
function compareLine(
  differences: Differences,
  line: string,
  sent: ReadonlySet<number>,
  uploadRecords: number,
): void {
  const { timestamp, values } = JSON.parse(line) as {
    timestamp: string
    values: Record<string, unknown>
  }
  const number = telemetryNumberAt(Date.parse(timestamp))
  const upload = Math.floor(number / uploadRecords) * uploadRecords
  differences.expect(`record ${number} was sent`, sent.has(upload), true)
  if (!sent.has(upload)) return
  differences.expect(`time of record ${number}`, Date.parse(timestamp), telemetryTimeMs(number))
  for (const [field, value] of Object.entries(telemetryRecord(number).values)) {
    differences.expect(`record ${number} ${field}`, values[field], value)
  }
}
