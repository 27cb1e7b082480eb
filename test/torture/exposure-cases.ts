import { type TSchema, Type } from '@sinclair/typebox'
import type { Route } from '../../src/transport/route.ts'
import { type Asked, decoded, upgradeHeaders } from './exposure-wire.ts'
import { type Segments, type Tenant, unknownThings } from './exposure-world.ts'

/** One way to name a thing in a request, and what of it a reply may repeat. */
export interface Target {
  readonly kind: 'own' | 'foreign' | 'unknown' | 'malformed'
  readonly path: string
  readonly ids: readonly string[]
}

/** The parameters of a route's path, in order, as one name: `hash/index`. */
export function thingOf(route: Route): string {
  const names = route.path.split('/').filter((segment) => segment.startsWith(':'))
  return names.map((name) => name.slice(1)).join('/')
}

/**
 * Every way to name a thing in a route's path. Throws for a route whose parameters nobody has taught
 * the matrix to fill.
 */
export function targetsOf(route: Route, asker: Tenant, other: Tenant): Target[] {
  const thing = thingOf(route)
  if (thing === '') return [{ kind: 'own', path: route.path, ids: [] }]
  const own = asker.things.get(thing)
  const foreign = other.things.get(thing)
  const unknown = unknownThings.get(thing)
  if (own === undefined || foreign === undefined || unknown === undefined) {
    throw new Error(
      `${route.method} ${route.path}: the matrix has no things named by "${thing}"; ` +
        'make some of each tenant, and an unknown one, in test/torture/exposure-world.ts',
    )
  }
  const target = (kind: Target['kind']) => (segments: Segments) => ({
    kind,
    path: filled(route.path, segments),
    ids: segments.map(decoded),
  })
  return [
    ...own.map(target('own')),
    target('unknown')(unknown),
    ...foreign.map(target('foreign')),
    ...foreign.slice(0, 1).flatMap(malformed).map(target('malformed')),
  ]
}

function filled(path: string, segments: Segments): string {
  let next = 0
  return path.replace(/:\w+/g, () => segments[next++] ?? '')
}

/** What looks like the id of a foreign thing, or like no id at all, one segment at a time. */
export function malformed(segments: Segments): Segments[] {
  return segments.flatMap((segment, at) =>
    malformedTexts(segment).map((text) => segments.map((kept, i) => (i === at ? text : kept))),
  )
}

function malformedTexts(id: string): string[] {
  const everyByte = [...Buffer.from(id)].map((byte) => `%${byte.toString(16).padStart(2, '0')}`)
  return [
    everyByte.join(''),
    otherCase(id),
    // Never nothing: an empty segment belongs to another route, or none.
    id.slice(0, -1) || '~',
    `${id}0`,
    `x${id}`,
    `${id}%00`,
    `${id}%20`,
    `${id}%2F..`,
    `${id};a=b`,
    '%20',
    '%00',
    '%zz',
    '%ff',
    '.',
    '..',
    '%2e%2e%2f',
    '%C3%A9',
    '%E2%80%A8',
    '%F0%9F%98%80',
    '%0d%0aX-Injected:%20yes',
    "'%20OR%20''='",
    '__proto__',
    'constructor',
    '-1',
    '1e9',
    '18446744073709551616',
    'x'.repeat(2_000),
  ]
}

/** Hashes are hex, whose case does not matter: theirs stays foreign. */
function otherCase(id: string): string {
  return id === id.toUpperCase() ? id.toLowerCase() : id.toUpperCase()
}

const json = { 'Content-Type': 'application/json' }
const upload = JSON.stringify({
  records: [{ timestamp: '2025-01-20T10:30:00Z', values: { a: 1 } }],
})

/** Valid bodies of the routes that need one and have no empty one. */
const bodies: ReadonlyMap<string, string> = new Map([
  ['POST /api/streaming/sessions/start', '{"sessionType":"telemetry"}'],
  ['POST /api/streaming/tickets', '{"resource":"/api/streaming/sessions/none/events"}'],
  ['POST /api/streaming/dlq/retry', '{"all":true}'],
  ['POST /api/v1/memories', '{"content":"mine"}'],
  ['PUT /api/v1/memories/:memoryId', '{"title":"other"}'],
  ['POST /api/v1/memories/search', '{"query":"secret"}'],
  [
    'POST /api/streaming/schemas',
    '{"schemaName":"mine","schemaVersion":"1","fields":[{"name":"a","type":"float"}]}',
  ],
])

/** The request of a route for a target as a well-meaning client sends it. */
export function plainRequest(route: Route, path: string): Asked {
  const name = `${route.method} ${route.path}`
  if (route.body === undefined) return { method: route.method, path }
  if (route.body === 'upload') return { method: route.method, path, headers: json, body: upload }
  const body = route.bodyOptional === true ? '{}' : bodies.get(name)
  if (body === undefined) {
    throw new Error(`${name}: give the matrix a body for it in test/torture/exposure-cases.ts`)
  }
  return { method: route.method, path, headers: json, body }
}

/** Wrong in its query and body: who may not ask is told that alone. */
export function brokenRequest(route: Route, path: string): Asked {
  const plain = plainRequest(route, path)
  const body = route.body === undefined ? {} : { body: '{' }
  return { ...plain, ...body, path: `${path}?nonsense=1&a=%zz` }
}

/**
 * The same request made wrong in every way that is looked at before or after the thing itself: none of
 * them may tell a foreign thing from an unknown one.
 */
export function twistedRequests(route: Route, path: string): Asked[] {
  const plain = plainRequest(route, path)
  const headers = (more: Readonly<Record<string, string>>) => ({
    ...plain,
    headers: { ...plain.headers, ...more },
  })
  const twisted: Asked[] = [
    plain,
    ...[
      'limit=0',
      'limit=5',
      'cursor=x',
      'cursor=1',
      'nonsense=1',
      'lastEventId=x',
      'a=%zz',
      'wait=1',
      'timestamp=x',
    ].map((query) => ({ ...plain, path: `${path}?${query}` })),
    headers({ Accept: 'image/png' }),
    headers({ 'Last-Event-ID': 'event_1' }),
    headers({ 'Last-Event-ID': 'nonsense' }),
    headers({ 'If-None-Match': '*' }),
    headers({ 'Idempotency-Key': 'one', Prefer: 'respond-async' }),
    headers({ Origin: 'https://elsewhere.example' }),
    headers({ Range: 'bytes=0-1' }),
    { method: 'OPTIONS', path },
    { method: 'PATCH', path },
  ]
  if (route.method === 'GET') twisted.push({ method: 'HEAD', path })
  if (route.upgrade === true) twisted.push({ ...plain, headers: upgradeHeaders })
  if (route.body === undefined) return twisted
  const bodiesOf = (body: string, type: string) => ({ ...headers({ 'Content-Type': type }), body })
  return [
    ...twisted,
    bodiesOf('{', 'application/json'),
    bodiesOf('', 'application/json'),
    bodiesOf('{"nonsense":1}', 'application/json'),
    bodiesOf('[]', 'application/json'),
    bodiesOf('{}', 'text/plain'),
    bodiesOf('\u00c1', 'application/msgpack'),
    bodiesOf('no file', 'audio/wav'),
    bodiesOf('no file', 'video/mp4'),
    headers({ 'Content-Encoding': 'gzip' }),
    headers({ 'Content-Encoding': 'br' }),
  ]
}

/** Requests that name a thing elsewhere than in their path: in the query or the body. */
export function references(route: Route, segments: Segments, thing: string): Asked[] {
  const ids = segments.map(decoded)
  const [id = '', second = ''] = ids
  const plain = { method: route.method, path: route.path }
  const found: Asked[] = []
  if (Object.hasOwn(route.query?.properties ?? {}, thing)) {
    found.push({ ...plain, path: `${route.path}?${thing}=${encodeURIComponent(id)}` })
  }
  const members = memberNames(route.body)
  const post = (body: unknown) =>
    found.push({ ...plain, headers: json, body: JSON.stringify(body) })
  if (members.has(thing)) post({ [thing]: id })
  if (members.has(`${thing}s`)) post({ [`${thing}s`]: [id] })
  if (members.has('resource') && thing === 'sessionId') {
    for (const kind of ['events', 'ws']) {
      post({ resource: `/api/streaming/sessions/${segments[0]}/${kind}` })
    }
  }
  if (members.has('schema') && thing === 'name/version') {
    post({ sessionType: 'telemetry', schema: { name: id, version: second } })
  }
  return found
}

function memberNames(body: Route['body']): Set<string> {
  const schema: TSchema = body === undefined || body === 'upload' ? Type.Object({}) : body
  return new Set(Object.keys(schema.properties ?? {}))
}
