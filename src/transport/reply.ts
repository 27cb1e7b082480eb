import assert from 'node:assert/strict'
import type { Refusal } from '../contracts/errors.ts'
import { limits } from '../limits.ts'
import type { Exchange, HeaderList, WireReply } from './exchange.ts'
import { Reply } from './route.ts'

const json = 'application/json'

/** The reply for what a handler gave: a Reply as it says, anything else as 200 with JSON. */
export function valueReply(result: unknown, common: HeaderList): WireReply {
  const { status, body, headers } = result instanceof Reply ? result : new Reply(200, result)
  const list: [string, string][] = [
    ...common.map(([name, value]): [string, string] => [name, value]),
  ]
  const given = new Set(Object.keys(headers).map((name) => name.toLowerCase()))
  for (const header of Object.entries(headers)) list.push(oneLine(header))
  if (!given.has('cache-control')) list.push(['Cache-Control', 'no-store'])
  const isRaw = body === null || typeof body === 'string' || body instanceof Uint8Array
  if (body !== null && !given.has('content-type')) list.push(['Content-Type', json])
  return {
    status,
    headers: list,
    body: isRaw ? body : JSON.stringify(body),
    close: false,
  }
}

/** The documented body of an error, and its headers. */
export function errorReply(
  refusal: Refusal,
  requestId: string,
  common: HeaderList,
  exchange: Exchange,
): WireReply {
  const { status, detail } = refusal
  const body = refusal.body(requestId)
  const headers: [string, string][] = [
    ...common.map(([name, value]): [string, string] => [name, value]),
  ]
  headers.push(['Content-Type', json], ['Cache-Control', 'no-store'])
  for (const header of Object.entries(detail.headers ?? {})) headers.push(oneLine(header))
  if (status === 429 || status === 503) {
    body.retryAfter ??= limits.retryAfterS
    headers.push(['Retry-After', String(body.retryAfter)])
  }
  return { status, headers, body: JSON.stringify(body), close: mustClose(refusal, exchange) }
}

/** The socket library writes headers as they are: a line break in one would begin another. */
function oneLine(header: [name: string, value: string]): [string, string] {
  assert(/^[\t -~]*$/.test(header[1]), `${header[0]} holds what no header may`)
  return header
}

/** Where a body is left unread that is long or has no known end, and where the server stops. */
function mustClose(refusal: Refusal, exchange: Exchange): boolean {
  switch (refusal.code) {
    case 'SHUTTING_DOWN':
    case 'INVALID_FRAMING':
    case 'BODY_TOO_LARGE':
      return true
    default:
      return (exchange.contentLength ?? 0) > limits.requestBodyBytesMax && !exchange.isBodyRead
  }
}
