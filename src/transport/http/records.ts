import { Type } from '@sinclair/typebox'
import { csvField } from '../../codecs/csv.ts'
import { invalidParameter } from '../../contracts/errors.ts'
import { RecordPage } from '../../contracts/http.ts'
import { limits } from '../../limits.ts'
import { Reply, route } from '../route.ts'
import { negotiate } from './accept.ts'
import { instant } from './instant.ts'
import { findSession, PageQuery, SessionParams } from './session-params.ts'

const types = ['application/json', 'application/x-ndjson', 'text/csv'] as const
const formats = {
  'application/json': 'json',
  'application/x-ndjson': 'ndjson',
  'text/csv': 'csv',
} as const

export const readRecords = route({
  method: 'GET',
  path: '/api/streaming/sessions/:sessionId/records',
  summary: 'Telemetry records in commit order, as JSON, NDJSON or CSV by Accept',
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
  }),
  replies: { 200: RecordPage },
  errors: ['SESSION_NOT_FOUND', 'NOT_ACCEPTABLE', 'WORKER_FAILED'],
  handle: async ({ params, query }, context) => {
    const session = findSession(context, context.tenant, params.sessionId)
    const type = negotiate(context.headers.get('accept'), types)
    const fromMs = instant('from', query.from)
    const toMs = instant('to', query.to)
    if (fromMs !== null && toMs !== null && fromMs > toMs) {
      throw invalidParameter('to', 'a timestamp that is not before from')
    }
    const page = await context.records.read(session, {
      fromMs,
      toMs,
      fields: fieldNames(query.fields),
      limit: query.limit ?? limits.pageLimitDefault,
      format: formats[type],
      cursor: query.cursor ?? null,
    })
    const cursor = page.nextCursor
    if (type === 'application/json') {
      return new Reply(
        200,
        joined('{"records":[', page.bytes, `],"nextCursor":${JSON.stringify(cursor)}}`),
      )
    }
    const headers = {
      'Content-Type': `${type}; charset=utf-8`,
      ...(cursor === null ? {} : { 'X-Next-Cursor': cursor }),
    }
    if (type === 'application/x-ndjson') return new Reply(200, page.bytes, headers)
    const line = ['timestamp', 'address', ...page.columns].map(csvField).join(',')
    return new Reply(200, joined(`${line}\r\n`, page.bytes, ''), headers)
  },
})

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
