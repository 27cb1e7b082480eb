import { Type } from '@sinclair/typebox'
import { invalidParameter } from '../../contracts/errors.ts'
import type { SessionRow } from '../../store/interfaces.ts'
import { Reply, type RequestContext, route, SessionEventStream, SessionSocket } from '../route.ts'
import { negotiate } from './accept.ts'
import { findSession, SessionParams, sessionExists } from './session-params.ts'

const EventsQuery = Type.Object({
  lastEventId: Type.Optional(
    Type.String({ description: 'event_N: send what came after; the header Last-Event-ID wins' }),
  ),
})

export const streamEvents = route({
  method: 'GET',
  path: '/api/streaming/sessions/:sessionId/events',
  summary: 'Events of a session as text/event-stream: its whole log, then live, until it ends',
  scope: ['events:read', 'sessions:read'],
  ticket: true,
  exists: sessionExists,
  params: SessionParams,
  query: EventsQuery,
  replies: { 200: 'text/event-stream', 204: 'nothing comes any more' },
  errors: ['SESSION_NOT_FOUND', 'NOT_ACCEPTABLE'],
  handle: ({ params, query }, context) => {
    const session = findSession(context, context.tenant, params.sessionId)
    negotiate(context.headers.get('accept'), ['text/event-stream'])
    const after = eventsAfter(context, session, query.lastEventId)
    if (context.hub.isPastEnd(session, after)) return new Reply(204, null)
    return new SessionEventStream(session.number, after)
  },
})

export const openSocket = route({
  method: 'GET',
  path: '/api/streaming/sessions/:sessionId/ws',
  summary: 'WebSocket of a session: uploads in, acknowledgements and events out',
  scope: ['events:read', 'sessions:read', 'ingest'],
  ticket: true,
  upgrade: true,
  ownOrigin: true,
  exists: sessionExists,
  params: SessionParams,
  query: EventsQuery,
  replies: { 101: 'messages as JSON text or msgpack binary' },
  errors: ['SESSION_NOT_FOUND', 'ORIGIN_FORBIDDEN'],
  handle: ({ params, query }, context) => {
    const session = findSession(context, context.tenant, params.sessionId)
    return new SessionSocket(session, eventsAfter(context, session, query.lastEventId))
  },
})

/** The id that the client saw last, empty where it names none: browsers lose it on reload. */
export function givenEventId(
  headers: ReadonlyMap<string, string>,
  lastEventId: string | undefined,
): string {
  const header = headers.get('last-event-id')
  return header === undefined || header === '' ? (lastEventId ?? '') : header
}

/** The number of the event that the client saw last, 0 where it saw none. */
function eventsAfter(
  { headers, store }: RequestContext,
  session: SessionRow,
  lastEventId: string | undefined,
): number {
  const given = givenEventId(headers, lastEventId)
  if (given === '') return 0
  const number = /^event_(\d{1,15})$/.exec(given)?.[1]
  if (number === undefined) throw invalidParameter('lastEventId', 'event_N')
  // An id that was never given is one from another store: nothing is replayed and nothing is
  // missed.
  return Math.min(Number(number), store.events.last(session.tenant))
}
