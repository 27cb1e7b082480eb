import { type Agent, request } from 'node:http'
import { within } from '../support/waiting.ts'

export interface Asked {
  readonly method: string
  /** Sent exactly as it stands: no dot segment is taken out, nothing is encoded. */
  readonly path: string
  /** An array stands for a header that is repeated. */
  readonly headers?: Readonly<Record<string, string | string[]>>
  readonly body?: string | null
}

/** An answer with every header as it came. */
export interface Answer {
  readonly status: number
  readonly headers: readonly (readonly [name: string, value: string])[]
  readonly body: string
}

/** A stream of events is read until nothing has come for this long. */
const quietMs = 200
/** Of a request to become a WebSocket. */
export const upgradeHeaders = {
  Connection: 'Upgrade',
  Upgrade: 'websocket',
  'Sec-WebSocket-Version': '13',
  'Sec-WebSocket-Key': 'dGhlIHNhbXBsZSBub25jZQ==',
}

/** One exchange; a stream of events is cut, a WebSocket that is opened is closed. */
export function ask(agent: Agent, url: string, asked: Asked): Promise<Answer> {
  const { hostname, port } = new URL(url)
  const { method, path, headers = {}, body = null } = asked
  const answered = new Promise<Answer>((resolve, reject) => {
    const length = body === null ? {} : { 'Content-Length': String(Buffer.byteLength(body)) }
    const sent = request({
      agent: headers.Upgrade === undefined ? agent : false,
      hostname,
      port,
      method,
      path,
      headers: { ...length, ...headers },
    })
    sent.on('error', reject)
    sent.on('upgrade', (response, socket) => {
      socket.destroy()
      resolve({ status: 101, headers: pairs(response.rawHeaders), body: '' })
    })
    sent.on('response', (response) => {
      const chunks: Buffer[] = []
      const finish = () => {
        clearTimeout(timer)
        resolve({
          status: response.statusCode ?? 0,
          headers: pairs(response.rawHeaders),
          body: Buffer.concat(chunks).toString(),
        })
      }
      const isStream = response.headers['content-type'] === 'text/event-stream'
      const cut = () => {
        finish()
        sent.destroy()
      }
      let timer = isStream ? setTimeout(cut, quietMs) : undefined
      response.on('data', (chunk: Buffer) => {
        chunks.push(chunk)
        if (timer === undefined) return
        clearTimeout(timer)
        timer = setTimeout(cut, quietMs)
      })
      response.on('end', finish)
      response.on('error', () => finish())
    })
    sent.end(body ?? undefined)
  })
  return within(answered, `the answer to ${method} ${path}`)
}

function pairs(raw: readonly string[]): [string, string][] {
  return raw.flatMap((name, index): [string, string][] =>
    index % 2 === 0 ? [[name.toLowerCase(), raw[index + 1] ?? '']] : [],
  )
}

/** A path segment as the server reads it. */
export function decoded(segment: string): string {
  try {
    return decodeURIComponent(segment)
  } catch {
    return segment
  }
}

/**
 * An answer as text, without what the contract lets differ: the request's id, the ids that were
 * asked for, the date and what is left of the rate limit.
 */
export function masked(answer: Answer, askedIds: readonly string[]): string {
  const length = answer.headers.find(([name]) => name === 'content-length')?.[1]
  const isWhole =
    length === undefined || answer.body === '' || Number(length) === Buffer.byteLength(answer.body)
  const headers = answer.headers
    .filter(([name]) => name !== 'date' && !name.startsWith('x-ratelimit-'))
    .map(([name, value]) => {
      const varies = name === 'x-request-id' || name === 'content-length'
      return `${name}: ${varies ? '…' : value}`
    })
  let body = answer.body.replace(/"requestId":"[^"]*"/, '"requestId":"…"')
  for (const id of askedIds) body = body.replaceAll(JSON.stringify(id), '"ID"')
  return [`${answer.status}${isWhole ? '' : ' wrong length'}`, ...headers, '', body].join('\n')
}
