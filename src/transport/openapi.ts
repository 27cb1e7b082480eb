import type { TSchema } from '@sinclair/typebox'
import { type ErrorCode, errorBodySchema, errorCatalogue } from '../contracts/errors.ts'
import { connectionEvents, sessionEvents, tenantEvents } from '../contracts/events.ts'
import { UploadMessage, uploadBodies } from '../contracts/upload-bodies.ts'
import type { Route } from './route.ts'

type Json = Readonly<Record<string, unknown>>

/** What any authenticated route may answer beside its own errors. */
const commonErrors: readonly ErrorCode[] = [
  'INVALID_PARAMETER',
  'INVALID_FRAMING',
  'RATE_LIMIT_EXCEEDED',
  'INTERNAL',
  'SHUTTING_DOWN',
]
const keyErrors: readonly ErrorCode[] = ['UNAUTHORIZED', 'SCOPE_MISSING']
const bodyErrors: readonly ErrorCode[] = [
  'MALFORMED_JSON',
  'INVALID_UTF8',
  'NESTING_TOO_DEEP',
  'MALFORMED_ENCODING',
  'BODY_TOO_LARGE',
  'UNSUPPORTED_MEDIA_TYPE',
  'UNSUPPORTED_ENCODING',
  'INVALID_BODY',
  'SATURATED',
]
/** Answered before a route is found, so no operation lists them. */
const routingErrors: readonly ErrorCode[] = ['ROUTE_NOT_FOUND', 'METHOD_NOT_ALLOWED']

const rateHeaders = Object.fromEntries(
  ['Limit', 'Remaining', 'Reset'].map((name) => [
    `X-RateLimit-${name}`,
    { schema: { type: 'integer' }, description: 'absent where the limit is off' },
  ]),
)

/**
 * The OpenAPI 3.1 document of the routes; its schemas are the ones that requests are checked with.
 */
export function openApiDocument(routes: readonly Route[], version: string): Json {
  const paths: Record<string, Record<string, Json>> = {}
  for (const route of routes) {
    const path = route.path.replace(/:(\w+)/g, '{$1}')
    paths[path] ??= {}
    paths[path][route.method.toLowerCase()] = operation(route)
  }
  return {
    openapi: '3.1.0',
    info: {
      title: 'atomstream',
      version,
      description: 'Ingest of telemetry, video frames and audio buffers, and what became of them.',
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
    },
    paths,
    components: {
      securitySchemes: {
        bearer: { type: 'http', scheme: 'bearer' },
        apiKey: { type: 'apiKey', in: 'header', name: 'X-API-Key' },
        ticket: { type: 'apiKey', in: 'query', name: 'ticket' },
      },
      schemas: componentSchemas(),
      responses: componentResponses(),
    },
    'x-routing-errors': routingErrors,
  }
}

function operation(route: Route): Json {
  const [scope] = typeof route.scope === 'string' ? [route.scope] : (route.scope ?? [])
  return {
    operationId: `${route.method.toLowerCase()} ${route.path}`,
    summary: route.summary,
    ...(route.scope === null
      ? { security: [] }
      : { security: security(route), 'x-scope': route.scope, description: `Scope: ${scope}` }),
    parameters: [
      ...parameters(route, 'params', 'path'),
      ...parameters(route, 'query', 'query'),
      ...parameters(route, 'headers', 'header'),
    ],
    ...(route.body === undefined ? {} : { requestBody: requestBody(route) }),
    responses: { ...successes(route), ...failures(route) },
    ...(route.upgrade === true ? { 'x-websocket': webSocket() } : {}),
  }
}

function security(route: Route): Json[] {
  const schemes = route.ticket === true ? ['bearer', 'apiKey', 'ticket'] : ['bearer', 'apiKey']
  return schemes.map((scheme) => ({ [scheme]: [] }))
}

function parameters(
  route: Route,
  part: 'params' | 'query' | 'headers',
  place: 'path' | 'query' | 'header',
): Json[] {
  const schema = route[part]
  if (schema === undefined) return []
  return Object.entries(schema.properties).map(([name, property]) => ({
    name,
    in: place,
    required: place === 'path' || (schema.required?.includes(name) ?? false),
    schema: property,
    ...(property.type === 'object' ? { style: 'deepObject', explode: true } : {}),
  }))
}

function requestBody(route: Route): Json {
  if (route.body !== 'upload') {
    return {
      required: route.bodyOptional !== true,
      content: { 'application/json': { schema: route.body } },
    }
  }
  const schema = { $ref: '#/components/schemas/UploadBody' }
  const file = { schema: { type: 'string', format: 'binary' } }
  const files = Object.fromEntries((route.fileTypes ?? []).map((type) => [type, file]))
  return {
    required: true,
    description:
      'records for a telemetry session, frames for video, buffers for audio; in msgpack, bytes ' +
      'stand unencoded. Content-Encoding: gzip is taken. Or a media file as it is, for a session of ' +
      'its kind.',
    content: { 'application/json': { schema }, 'application/msgpack': { schema }, ...files },
  }
}

function successes(route: Route): Json {
  return Object.fromEntries(
    Object.entries(route.replies).map(([status, reply]) => [status, success(reply, route)]),
  )
}

function success(reply: TSchema | string, route: Route): Json {
  if (typeof reply !== 'string') {
    return {
      description: 'Done',
      headers: rateHeaders,
      content: { 'application/json': { schema: reply } },
    }
  }
  if (!/^[a-z]+\/[a-z]/.test(reply)) return { description: reply }
  if (reply !== 'text/event-stream') {
    return { description: 'Done', content: { [reply]: { schema: { type: 'string' } } } }
  }
  const ofSession = references(Object.keys(sessionEvents), 'Event.')
  const ofTenant = references(Object.keys(tenantEvents), 'Event.')
  const ofConnection = references(Object.keys(connectionEvents), 'ConnectionEvent.')
  return {
    description: 'Each event has id event_N and one JSON object as data',
    content: eventStream(
      route.refusesByEvent ? [...ofTenant, ...ofSession, ...ofConnection] : ofSession,
    ),
  }
}

function eventStream(events: readonly Json[]): Json {
  return { 'text/event-stream': { schema: { type: 'string' }, 'x-events': events } }
}

/** One reply a status; its body is that of any of the errors that have this status. */
function failures(route: Route): Json {
  const codes = new Set<ErrorCode>([...route.errors, ...commonErrors])
  if (route.scope !== null) for (const code of keyErrors) codes.add(code)
  if (route.body !== undefined) for (const code of bodyErrors) codes.add(code)
  const byStatus = new Map<number, ErrorCode[]>()
  for (const code of codes) {
    const { status } = errorCatalogue[code]
    byStatus.set(status, [...(byStatus.get(status) ?? []), code])
  }
  return Object.fromEntries(
    [...byStatus].map(([status, list]) => [
      status,
      {
        description: list.join(', '),
        ...(status === 429 || status === 503
          ? { headers: { 'Retry-After': { schema: { type: 'integer' }, description: 'seconds' } } }
          : {}),
        content:
          route.refusesByEvent && (status === 401 || status === 429)
            ? eventStream(references(['error'], 'ConnectionEvent.'))
            : { 'application/json': { schema: { oneOf: references(list, 'Error.') } } },
      },
    ]),
  )
}

function componentSchemas(): Json {
  const errors = Object.keys(errorCatalogue) as ErrorCode[]
  return {
    ...Object.fromEntries(errors.map((code) => [`Error.${code}`, errorBodySchema(code)])),
    ...Object.fromEntries(
      Object.entries({ ...sessionEvents, ...tenantEvents }).map(([name, schema]) => [
        `Event.${name}`,
        schema,
      ]),
    ),
    ...Object.fromEntries(
      Object.entries(connectionEvents).map(([name, schema]) => [`ConnectionEvent.${name}`, schema]),
    ),
    ...uploadBodies,
    UploadBody: { oneOf: references(Object.keys(uploadBodies), '') },
    UploadMessage,
  }
}

function componentResponses(): Json {
  return Object.fromEntries(
    routingErrors.map((code) => [
      code,
      {
        description: errorCatalogue[code].message,
        content: {
          'application/json': { schema: { $ref: `#/components/schemas/Error.${code}` } },
        },
      },
    ]),
  )
}

function webSocket(): Json {
  return {
    subprotocols: ['bearer'],
    receives: [{ $ref: '#/components/schemas/UploadMessage' }, 'ping', 'end'],
    sends: ['ack', 'rejected', 'pong', 'flow', ...Object.keys(sessionEvents)],
  }
}

function references(names: readonly string[], prefix: string): Json[] {
  return names.map((name) => ({ $ref: `#/components/schemas/${prefix}${name}` }))
}
