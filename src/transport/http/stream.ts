import { Type } from '@sinclair/typebox'
import { invalidParameter } from '../../contracts/errors.ts'
import { selectableEvents, tenantEvents } from '../../contracts/events.ts'
import { Selection } from '../../events/selection.ts'
import { limits } from '../../limits.ts'
import { streamPosition } from '../error-event.ts'
import { type RequestContext, route, TenantEventStream } from '../route.ts'
import { negotiate } from './accept.ts'
import { givenEventId } from './events.ts'

const selectable: ReadonlySet<string> = new Set(selectableEvents)

const StreamQuery = Type.Object({
  events: Type.Optional(
    Type.Array(Type.String(), {
      description: `names, of ${selectableEvents.join(', ')}; without it those with a dot`,
    }),
  ),
  filters: Type.Optional(
    Type.Record(Type.String(), Type.Unknown(), {
      maxProperties: limits.streamFiltersMax,
      description: 'members that the data of an event, or its metadata, must have; all must match',
    }),
  ),
  heartbeat: Type.Optional(
    Type.Integer({
      minimum: limits.streamHeartbeatSMin,
      maximum: limits.streamHeartbeatSMax,
      default: limits.streamHeartbeatSMin,
      description: 'seconds',
    }),
  ),
  lastEventId: Type.Optional(
    Type.String({
      description:
        'event_N, heartbeat_N or error_N: send what came after, else what comes from now on; ' +
        'the header Last-Event-ID wins',
    }),
  ),
})

export const streamTenant = route({
  method: 'GET',
  path: '/api/v1/stream',
  summary:
    'All that happens to the tenant as text/event-stream, by name and filter, with heartbeat',
  scope: 'events:read',
  ticket: true,
  refusesByEvent: true,
  query: StreamQuery,
  replies: { 200: 'text/event-stream' },
  errors: ['NOT_ACCEPTABLE', 'SATURATED'],
  handle: ({ query }, context) => {
    negotiate(context.headers.get('accept'), ['text/event-stream'])
    return new TenantEventStream(
      new Selection(eventNames(query.events ?? []), query.filters),
      startAfter(context, query.lastEventId),
      query.heartbeat ?? limits.streamHeartbeatSMin,
    )
  },
})

function eventNames(given: readonly string[]): readonly string[] {
  const names = given.filter((name) => name !== '')
  if (!names.every((name) => selectable.has(name))) {
    throw invalidParameter('events', `names of: ${selectableEvents.join(', ')}`)
  }
  return names.length === 0 ? Object.keys(tenantEvents) : names
}

/** The number of the event that the client saw last, else of the last one that there is. */
function startAfter(
  { headers, store, tenant }: RequestContext,
  lastEventId: string | undefined,
): number {
  const last = store.events.last(tenant)
  const given = givenEventId(headers, lastEventId)
  if (given === '') return last
  const position = streamPosition(given)
  if (position === null) throw invalidParameter('lastEventId', 'event_N, heartbeat_N or error_N')
  // An id that was never given is one from another store: nothing is replayed and nothing is
  // missed.
  return Math.min(position, last)
}
