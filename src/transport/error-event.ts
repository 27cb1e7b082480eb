import type { Refusal } from '../contracts/errors.ts'
import type { ConnectionEventData } from '../contracts/events.ts'
import type { Exchange, WireReply } from './exchange.ts'
import { formatFields } from './sse.ts'

/** `position` is the number of the event after which the client goes on. */
export function formatErrorEvent(position: number, data: ConnectionEventData<'error'>): string {
  return formatFields('error', `error_${position}`, JSON.stringify(data))
}

/**
 * The reply as a reader of events takes it: with the same status, an event stream of one `error`
 * event. Null for a refusal that has no such event. `lastEvent` is where a client that brought no id goes
 * on: the tenant's last, or 0 where nobody knows whose events it may read.
 */
export function errorEventReply(
  refusal: Refusal,
  reply: WireReply,
  exchange: Exchange,
  lastEvent: number,
): WireReply | null {
  const data = errorData(refusal)
  if (data === null) return null
  const headers = reply.headers.map(([name, value]): [string, string] => {
    return name === 'Content-Type' ? [name, 'text/event-stream'] : [name, value]
  })
  return { ...reply, headers, body: formatErrorEvent(positionOf(exchange) ?? lastEvent, data) }
}

function errorData({ code, message, detail }: Refusal): ConnectionEventData<'error'> | null {
  if (code === 'UNAUTHORIZED') return { code: 'AUTH_ERROR', message, retry_after: 0 }
  if (code !== 'RATE_LIMIT_EXCEEDED') return null
  const retryAfterS = Number(detail.fields?.retryAfter ?? 0)
  return { code: 'RATE_LIMITED', message, retry_after: retryAfterS * 1_000 }
}

/** From the id that the client came with, so that it does not lose its place by the refusal. */
function positionOf({ headers, query }: Exchange): number | null {
  const given = headers.get('last-event-id') || new URLSearchParams(query).get('lastEventId')
  return streamPosition(given ?? '')
}

/** The N of `event_N`, `heartbeat_N` and `error_N`; null for what is none of them. */
export function streamPosition(id: string): number | null {
  const number = /^(?:event|heartbeat|error)_(\d{1,15})$/.exec(id)?.[1]
  return number === undefined ? null : Number(number)
}
