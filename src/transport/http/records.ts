import { Type } from '@sinclair/typebox'
import { csvField } from '../../codecs/csv.ts'
import { invalidParameter } from '../../contracts/errors.ts'
import { IntervalPage, RecordPage } from '../../contracts/http.ts'
import type { AggregateQuery } from '../../ingest/record-aggregator.ts'
import { limits } from '../../limits.ts'
import type { SessionRow } from '../../store/interfaces.ts'
import { Reply, type RequestContext, route } from '../route.ts'
import { negotiate } from './accept.ts'
import { downsampleInterval } from './downsample.ts'
import { instant } from './instant.ts'
import { findSession, PageQuery, SessionParams } from './session-params.ts'

const types = ['application/json', 'application/x-ndjson', 'text/csv'] as const
const formats = {
  'application/json': 'json',
  'application/x-ndjson': 'ndjson',
  'text/csv': 'csv',
} as const

type Format = keyof typeof formats

export const readRecords = route({
  method: 'GET',
  path: '/api/streaming/sessions/:sessionId/records',
  summary: 'Telemetry records or their aggregates by interval, as JSON, NDJSON or CSV by Accept',
  scope: 'sessions:read',
  params: SessionParams,
  query: Type.Object({
    from: Type.Optional(
      Type.String({ description: 'RFC 3339 or milliseconds since the epoch, inclusive' }),
    ),
    to: Type.Optional(
      Type.String({ description: 'RFC 3339 or milliseconds since the epoch, exclusive' }),
    ),
    fields: Type.Optional(Type.String({ description: 'names of fields, separated by commas' })),
    ...PageQuery,
    downsample: Type.Optional(
      Type.String({
        description:
          'length of the intervals that minimum, maximum, mean and count of each field are given for: ' +
          'a whole number and ms, s, m, h or d, such as 1m; they begin at multiples of it since ' +
          '1970-01-01T00:00:00Z, and the reply has them all',
      }),
    ),
  }),
  replies: { 200: Type.Union([RecordPage, IntervalPage]) },
  errors: ['SESSION_NOT_FOUND', 'NOT_ACCEPTABLE', 'SATURATED', 'WORKER_FAILED'],
  handle: async ({ params, query }, context) => {
    const session = findSession(context, context.tenant, params.sessionId)
    const type = negotiate(context.headers.get('accept'), types)
    const fromMs = instant('from', query.from)
    const toMs = instant('to', query.to)
    if (fromMs !== null && toMs !== null && fromMs > toMs) {
      throw invalidParameter('to', 'a timestamp that is not before from')
    }
    const selection = { fromMs, toMs, fields: fieldNames(query.fields), format: formats[type] }
    const intervalMs = downsampleInterval(query)
    if (intervalMs !== null) {
      return readIntervals(session, { ...selection, intervalMs }, type, context)
    }
    const page = await context.records.read(session, {
      ...selection,
      limit: query.limit ?? limits.pageLimitDefault,
      cursor: query.cursor ?? null,
    })
    const cursor = page.nextCursor
    return framed(type, page.bytes, {
      json: ['{"records":[', `],"nextCursor":${JSON.stringify(cursor)}}`],
      csvHead: ['timestamp', 'address', ...page.columns],
      headers: cursor === null ? {} : { 'X-Next-Cursor': cursor },
    })
  },
})

async function readIntervals(
  session: SessionRow,
  query: AggregateQuery,
  type: Format,
  { aggregates, signal }: RequestContext,
): Promise<Reply> {
  const bytes = await aggregates.aggregate(session, query, signal)
  return framed(type, bytes ?? new Uint8Array(0), {
    json: ['{"intervals":[', ']}'],
    csvHead: ['start', 'field', 'min', 'max', 'mean', 'count'],
    headers: {},
  })
}

/** A worker's text as the body that was asked for. */
function framed(
  type: Format,
  bytes: Uint8Array,
  frame: {
    readonly json: readonly [head: string, tail: string]
    readonly csvHead: readonly string[]
    readonly headers: Readonly<Record<string, string>>
  },
): Reply {
  if (type === 'application/json') {
    const [head, tail] = frame.json
    return new Reply(200, joined(head, bytes, tail))
  }
  const headers = { 'Content-Type': `${type}; charset=utf-8`, ...frame.headers }
  if (type === 'application/x-ndjson') return new Reply(200, bytes, headers)
  const line = frame.csvHead.map(csvField).join(',')
  return new Reply(200, joined(`${line}\r\n`, bytes, ''), headers)
}

function fieldNames(text: string | undefined): string[] | null {
  if (text === undefined) return null
  const names = text.split(',').filter((name) => name !== '')
  if (names.length === 0 || names.length > limits.recordFieldsMax) {
    throw invalidParameter('fields', `1 to ${limits.recordFieldsMax} names separated by commas`)
  }
  return names
}

function joined(head: string, bytes: Uint8Array, tail: string): Uint8Array {
  return Buffer.concat([Buffer.from(head), bytes, Buffer.from(tail)])
}
