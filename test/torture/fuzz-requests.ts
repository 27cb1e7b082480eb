import { requestPlaces } from './corpus.ts'
import { type FuzzBodies, nastyBody } from './fuzz-bodies.ts'
import { mutate } from './mutations.ts'
import type { Random } from './random.ts'

export interface FuzzRequest {
  readonly bytes: Buffer
  /** Kind of the session that it uploads to, with its head as it should be; else null. */
  readonly upload: 'telemetry' | 'video' | 'audio' | null
  /** Its head is so damaged that the HTTP parser itself may refuse it, or wait for more of it. */
  readonly isMangled: boolean
  readonly origin: string
}

export interface FuzzTarget {
  readonly host: string
  readonly key: string
  readonly sessionIds: Readonly<Record<'telemetry' | 'video' | 'audio', string>>
}

const chunkBytesMax = 4_096
const methods = [
  'GET',
  'GET',
  'GET',
  'POST',
  'PUT',
  'DELETE',
  'PATCH',
  'OPTIONS',
  'TRACE',
  'get',
  'X',
]
const paths = [
  '/',
  '/health',
  '/metrics',
  '/openapi.json',
  '/api/streaming/sessions',
  '/api/streaming/sessions/#/status',
  '/api/streaming/sessions/#/records',
  '/api/streaming/sessions/#/atoms',
  '/api/streaming/sessions/#/rejected',
  '/api/streaming/sessions/#/events',
  '/api/streaming/sessions/#/upload',
  '/api/streaming/sessions/#/#',
  '/api/streaming/jobs',
  '/api/streaming/jobs/#/status',
  '/api/streaming/dlq/#',
  '/api/streaming/schemas/#/#',
  '/api/atoms/#',
  '/api/atoms/#/#',
  '/#',
  '#',
]
const pieces = [
  '',
  '.',
  '..',
  '../../../../etc/passwd',
  '%2e%2e%2f%2e%2e%2f',
  '%00',
  '%',
  '%f',
  '%zz',
  '%ff%fe',
  '%c0%af',
  '%ed%a0%80',
  '%0d%0aX-Injected:%20yes',
  '\u00ff\u00fe',
  '//',
  '*',
  'null',
  '__proto__',
  'constructor',
  '-1',
  '0',
  '1e9',
  '99999999999999999999',
  '{}',
  '[]',
  "'--",
  '{{7*7}}',
  '?',
  '#',
  ';a=b',
  '+',
  '%20',
  'a'.repeat(1_000),
  '0'.repeat(64),
  'event_1',
  'stream-session-00000000000000000000000000000000',
]
const queryNames = [
  'limit',
  'cursor',
  'from',
  'to',
  'fields',
  'status',
  'type',
  'sessionId',
  'ticket',
  'lastEventId',
  'wait',
  'downsample',
  '__proto__',
  'more',
]
const headerNames = [
  'content-type',
  'content-encoding',
  'idempotency-key',
  'accept',
  'accept-encoding',
  'origin',
  'x-api-key',
  'if-none-match',
  'last-event-id',
  'prefer',
  'range',
  'cookie',
  'x-forwarded-for',
  'x-forwarded-host',
  'te',
  'upgrade',
  'sec-websocket-protocol',
  'x-more',
]

/** One request, whose kind and bytes follow from the source given. */
export function fuzzRequest(bodies: FuzzBodies, target: FuzzTarget, random: Random): FuzzRequest {
  const way = random.float(0, 1)
  if (way < 0.84) return uploadRequest(bodies, target, random)
  if (way < 0.91) {
    const { path, text } = random.pick(requestPlaces)
    const body = nastyBody(text, random)
    const bytes = request('POST', path, target, ['Content-Type: application/json'], body)
    return { bytes, upload: null, isMangled: false, origin: `${path} ${text}` }
  }
  if (way < 0.985) return hostileRequest(bodies, target, random)
  const { bytes, origin } = hostileRequest(bodies, target, random)
  const mangled = mutate(bytes, random, bytes)
  return { bytes: mangled, upload: null, isMangled: true, origin: `mangled ${origin}` }
}

function uploadRequest(bodies: FuzzBodies, target: FuzzTarget, random: Random): FuzzRequest {
  const { kind, encoding, gzip, bytes, origin } = bodies.next(random)
  const headers = [
    `Content-Type: application/${encoding}`,
    ...(gzip ? ['Content-Encoding: gzip'] : []),
    ...(random.chance(0.1) ? [`Idempotency-Key: key-${random.int(0, 1e15)}`] : []),
  ]
  const path = `/api/streaming/sessions/${target.sessionIds[kind]}/upload`
  const made = random.chance(0.03)
    ? chunkedRequest(path, target, headers, bytes, random)
    : request('POST', path, target, headers, bytes)
  return { bytes: made, upload: kind, isMangled: false, origin: `${kind} ${encoding} ${origin}` }
}

/** A strange path, query and headers, with a body now and then. */
function hostileRequest(bodies: FuzzBodies, target: FuzzTarget, random: Random): FuzzRequest {
  const method = random.pick(methods)
  const ids = Object.values(target.sessionIds)
  const path = random
    .pick(paths)
    .replaceAll('#', () => (random.chance(0.5) ? random.pick(ids) : random.pick(pieces)))
  const queries = Array.from({ length: random.int(0, 3) }, () => {
    return `${random.pick(queryNames)}=${random.pick(pieces)}`
  })
  const headers = Array.from({ length: random.int(0, 3) }, () => {
    return `${random.pick(headerNames)}: ${headerValue(random)}`
  })
  const isGet = method.toUpperCase() === 'GET'
  const body = isGet || random.chance(0.5) ? null : bodies.next(random).bytes
  // A request target holds no space or control character; those are for the mangled ones.
  const full = [path, ...queries].join(queries.length > 0 ? '?' : '').replace(/[\s#]/g, '_')
  const bytes = request(method, full.startsWith('/') ? full : `/${full}`, target, headers, body)
  return { bytes, upload: null, isMangled: false, origin: `${method} ${full.slice(0, 200)}` }
}

function headerValue(random: Random): string {
  if (random.chance(0.5)) return random.pick(pieces).replace(/[\r\n\0]/g, '_')
  const codes = Array.from({ length: random.int(0, 40) }, () => random.int(0x20, 0xff))
  return String.fromCharCode(...codes).replace('\u007f', '_')
}

function request(
  method: string,
  path: string,
  target: FuzzTarget,
  headers: readonly string[],
  body: Buffer | null,
): Buffer {
  const lines = [
    `${method} ${path} HTTP/1.1`,
    `Host: ${target.host}`,
    `Authorization: Bearer ${target.key}`,
    ...headers,
    ...(body === null ? [] : [`Content-Length: ${body.length}`]),
  ]
  const head = Buffer.from(`${lines.join('\r\n')}\r\n\r\n`, 'latin1')
  return body === null ? head : Buffer.concat([head, body])
}

function chunkedRequest(
  path: string,
  target: FuzzTarget,
  headers: readonly string[],
  body: Buffer,
  random: Random,
): Buffer {
  const parts = [request('POST', path, target, [...headers, 'Transfer-Encoding: chunked'], null)]
  for (let at = 0; at < body.length; ) {
    const chunk = body.subarray(at, at + random.int(1, chunkBytesMax))
    parts.push(Buffer.from(`${chunk.length.toString(16)}\r\n`), chunk, Buffer.from('\r\n'))
    at += chunk.length
  }
  return Buffer.concat([...parts, Buffer.from('0\r\n\r\n')])
}
