import { limits } from '../../src/limits.ts'
import { type BadCase, record, type Wire } from './bad-case.ts'

const startPath = '/api/streaming/sessions/start'
const good = JSON.stringify({ records: [record] })
const get = { method: 'GET' } as const

function head({ host, path, authorization }: Wire, headers: readonly string[]): string {
  const lines = [
    `POST ${path} HTTP/1.1`,
    `Host: ${host}`,
    `Authorization: ${authorization}`,
    'Content-Type: application/json',
    ...headers,
  ]
  return `${lines.join('\r\n')}\r\n\r\n`
}

const length = `Content-Length: ${good.length}`
const chunkedGood = `${good.length.toString(16)}\r\n${good}\r\n0\r\n\r\n`

function* endlessChunks(wire: Wire, bytesMax: number): Generator<string | Uint8Array> {
  const chunk = Buffer.alloc(1024 * 1024, ' ')
  yield head(wire, ['Transfer-Encoding: chunked'])
  for (let sent = 0; sent <= bytesMax; sent += chunk.length) {
    yield `${chunk.length.toString(16)}\r\n`
    yield chunk
    yield '\r\n'
  }
  yield '0\r\n\r\n'
}

const tooLarge = {
  status: 413,
  code: 'BODY_TOO_LARGE',
  fields: { maxBytes: limits.uploadBodyBytesMax },
} as const
const framing: BadCase[] = [
  {
    name: 'a body that is announced as too long',
    raw: (wire) => [head(wire, [`Content-Length: ${limits.uploadBodyBytesMax + 1}`])],
    ...tooLarge,
  },
  {
    name: 'a chunked body that turns out too long',
    raw: (wire) => endlessChunks(wire, limits.uploadBodyBytesMax),
    ...tooLarge,
  },
  {
    name: 'a chunked body that is too long for anything but an upload',
    path: startPath,
    raw: (wire) => endlessChunks(wire, limits.requestBodyBytesMax),
    ...tooLarge,
    fields: { maxBytes: limits.requestBodyBytesMax },
  },
  {
    name: 'two Content-Length headers that differ',
    raw: (wire) => [head(wire, [length, `Content-Length: ${good.length + 1}`]), good],
    status: 400,
    code: 'INVALID_FRAMING',
  },
  {
    name: 'the same Content-Length twice',
    raw: (wire) => [head(wire, [length, length]), good],
    status: 400,
    code: 'INVALID_FRAMING',
  },
  {
    name: 'Content-Length with Transfer-Encoding',
    raw: (wire) => [head(wire, [length, 'Transfer-Encoding: chunked']), chunkedGood],
    status: 400,
    code: null,
  },
  {
    name: 'a Content-Length in words',
    raw: (wire) => [head(wire, ['Content-Length: many']), good],
    status: 400,
    code: null,
  },
  {
    name: 'a negative Content-Length',
    raw: (wire) => [head(wire, ['Content-Length: -1']), good],
    status: 400,
    code: null,
  },
  {
    name: 'a transfer encoding that is not taken',
    raw: (wire) => [head(wire, ['Transfer-Encoding: gzip'])],
    status: 400,
    code: 'INVALID_FRAMING',
  },
]

const notFound = {
  status: 404,
  code: 'SESSION_NOT_FOUND',
  fields: {
    error: 'Session not found',
    message: 'No active session found with this ID',
    suggestions: [
      'Verify session ID is correct',
      'Check if session expired (max 24 hours)',
      'Start a new session',
    ],
  },
} as const
const sessions = '/api/streaming/sessions'
const unknown: BadCase[] = [
  ...['upload', 'end'].flatMap((what) =>
    ['stream-session-invalid', '{foreign}', 'nonsense', '%00', '..%2f..', 'ü'].map((id) => ({
      name: `POST ${what} to the session ${id}`,
      path: `${sessions}/${id}/${what}`,
      json: what === 'upload' ? { records: [record] } : {},
      ...notFound,
    })),
  ),
  ...['status', 'events', 'records', 'atoms', 'rejected'].flatMap((what) =>
    ['stream-session-invalid', '{foreign}'].map((id) => ({
      name: `GET ${what} of the session ${id}`,
      ...get,
      path: `${sessions}/${id}/${what}`,
      ...notFound,
    })),
  ),
  {
    name: 'a percent sign that encodes nothing',
    ...get,
    path: `${sessions}/%zz/status`,
    status: 404,
    code: 'SESSION_NOT_FOUND',
  },
  {
    name: 'an atom that is not there',
    ...get,
    path: `/api/atoms/${'0'.repeat(64)}`,
    status: 404,
    code: 'ATOM_NOT_FOUND',
  },
  {
    name: 'an atom whose name is no hash',
    ...get,
    path: '/api/atoms/nonsense',
    status: 404,
    code: 'ATOM_NOT_FOUND',
  },
  {
    name: 'a record of a block that is not there',
    ...get,
    path: `/api/atoms/${'0'.repeat(64)}/0`,
    status: 404,
    code: 'ATOM_NOT_FOUND',
  },
]

const keys: BadCase[] = (
  [
    ['no key', { key: 'none' }, 401, 'UNAUTHORIZED'],
    ['a wrong key', { key: 'wrong' }, 401, 'UNAUTHORIZED'],
    ['a wrong X-API-Key', { key: 'none', headers: { 'x-api-key': 'wrong' } }, 401, 'UNAUTHORIZED'],
    ['a right and a wrong key', { headers: { 'x-api-key': 'wrong-wrong' } }, 401, 'UNAUTHORIZED'],
    ['two wrong keys', { key: 'wrong', headers: { 'x-api-key': 'wrong' } }, 401, 'UNAUTHORIZED'],
    ['Basic in place of Bearer', { headers: { authorization: 'Basic eDp5' } }, 401, 'UNAUTHORIZED'],
    ['Bearer without key', { headers: { authorization: 'Bearer ' } }, 401, 'UNAUTHORIZED'],
    ['a key without the scope', { key: 'reader' }, 403, 'SCOPE_MISSING'],
    ['a key of another tenant', { key: 'foreign' }, 404, 'SESSION_NOT_FOUND'],
  ] as const
).map(([name, change, status, code]) => ({
  name,
  json: { records: [record] },
  ...change,
  status,
  code,
}))

function badStart(name: string, json: unknown, field?: string): BadCase {
  const fields = field === undefined ? {} : { fields: { field } }
  return { name, path: startPath, json, status: 422, code: 'INVALID_BODY', ...fields }
}
const telemetry = { sessionType: 'telemetry' }
const strangeSchema = { fields: [{ name: 'a', type: 'complex' }] }
const starts: BadCase[] = [
  badStart('a session without type', {}, 'sessionType'),
  badStart('a session of an unknown type', { sessionType: 'smell' }, 'sessionType'),
  badStart('a batch size of nothing', { ...telemetry, batchSize: 0 }, 'batchSize'),
  badStart('a batch size past the bound', { ...telemetry, batchSize: 10_001 }, 'batchSize'),
  badStart('a fraction as batch size', { ...telemetry, batchSize: 1.5 }, 'batchSize'),
  badStart('a batch size in words', { ...telemetry, batchSize: '10' }, 'batchSize'),
  badStart('a negative delay', { ...telemetry, maxBatchDelayMs: -1 }, 'maxBatchDelayMs'),
  badStart('metadata that is an array', { ...telemetry, metadata: [] }, 'metadata'),
  badStart('metadata past the bound', {
    ...telemetry,
    metadata: { a: 'x'.repeat(limits.metadataBytesMax) },
  }),
  badStart('an empty name', { ...telemetry, sessionName: '' }, 'sessionName'),
  badStart('an unknown member of start', { ...telemetry, batchsize: 1 }),
  badStart('an unknown way with invalid records', { ...telemetry, onInvalid: 'ignore' }),
  badStart('a schema with an unknown type', { ...telemetry, schema: strangeSchema }),
  badStart('a schema whose pattern is no expression', {
    ...telemetry,
    schema: { fields: [{ name: 'a', type: 'string', validation: { pattern: '(' } }] },
  }),
  badStart('a schema that names a field twice', {
    ...telemetry,
    schema: {
      fields: [
        { name: 'a', type: 'float' },
        { name: 'a', type: 'string' },
      ],
    },
  }),
  {
    name: 'a schema that is not registered',
    path: startPath,
    json: { ...telemetry, schema: { name: 'none', version: '1' } },
    status: 404,
    code: 'SCHEMA_NOT_FOUND',
    fields: { schemaName: 'none', schemaVersion: '1' },
  },
  {
    name: 'the tenant of somebody else',
    path: startPath,
    json: { ...telemetry, tenantId: 1 },
    status: 403,
    code: 'TENANT_MISMATCH',
  },
  {
    name: 'an upload to a session that has ended',
    target: 'ended',
    json: { records: [record] },
    status: 409,
    code: 'SESSION_STATE_CONFLICT',
    fields: { status: 'completed' },
  },
  {
    name: 'an end with a negative timeout',
    path: `${sessions}/{telemetry}/end`,
    json: { timeoutMs: -1 },
    status: 422,
    code: 'INVALID_BODY',
    fields: { field: 'timeoutMs' },
  },
  {
    name: 'an end that waits for a word',
    path: `${sessions}/{telemetry}/end`,
    json: { waitForCompletion: 'yes' },
    status: 422,
    code: 'INVALID_BODY',
    fields: { field: 'waitForCompletion' },
  },
  {
    name: 'a ticket for nothing',
    path: '/api/streaming/tickets',
    json: {},
    status: 422,
    code: 'INVALID_BODY',
    fields: { field: 'resource' },
  },
  {
    name: 'a ticket for another server',
    path: '/api/streaming/tickets',
    json: { resource: 'https://elsewhere.example/' },
    status: 422,
    code: 'INVALID_BODY',
    fields: { field: 'resource' },
  },
]

const queries: BadCase[] = (
  [
    ['records?limit=0', 'limit'],
    ['records?limit=10001', 'limit'],
    ['records?limit=abc', 'limit'],
    ['records?limit=1.5', 'limit'],
    ['records?limit=', 'limit'],
    ['records?cursor=garbage', 'cursor'],
    ['records?cursor=', 'cursor'],
    ['records?from=yesterday', 'from'],
    ['records?from=2025-02-30T00:00:00Z', 'from'],
    ['records?to=2025-01-20T00:00:00', 'to'],
    ['records?from=2025-01-21T00:00:00Z&to=2025-01-20T00:00:00Z', 'to'],
    ['records?limits=1', 'limits'],
    ['records?limit=1&limit=2', 'limit'],
    ['atoms?limit=0', 'limit'],
    ['atoms?cursor=garbage', 'cursor'],
    ['rejected?cursor=garbage', 'cursor'],
    ['status?verbose=1', 'verbose'],
    ['events?lastEventId=garbage', 'lastEventId'],
  ] as const
).map(([path, field]) => ({
  name: `GET ${path}`,
  ...get,
  path: `${sessions}/{telemetry}/${path}`,
  status: 400,
  code: 'INVALID_PARAMETER',
  fields: { field },
}))

/** Everything around the bodies: framing, names, keys, settings and parameters. */
export const badRequests: readonly BadCase[] = [
  ...framing,
  ...unknown,
  ...keys,
  ...starts,
  ...queries,
]
