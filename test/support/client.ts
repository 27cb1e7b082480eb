import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { connect } from 'node:net'
import { FormatRegistry, type Static, type TSchema } from '@sinclair/typebox'
import { Value } from '@sinclair/typebox/value'
import { pack } from 'msgpackr'
import { type ErrorCode, errorBodySchema } from '../../src/contracts/errors.ts'
import {
  AtomPage,
  type AtomRow,
  type EndSession,
  RecordPage,
  type RecordRow,
  SessionEnded,
  SessionStarted,
  SessionStatus,
  type StartSession,
  TicketReply,
  UploadReply,
} from '../../src/contracts/http.ts'

FormatRegistry.Set('date-time', (text) => /T.*Z$/.test(text) && !Number.isNaN(Date.parse(text)))

export type Started = Static<typeof SessionStarted>
export type ReadRecord = Static<typeof RecordRow>
export type Query = Readonly<Record<string, string | number>>

export interface RequestOptions {
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: Uint8Array | string | AsyncIterable<Uint8Array>
  /** Sent as JSON, with the content type. */
  readonly json?: unknown
}

/** An answer, read whole. */
export class RawReply {
  constructor(
    readonly status: number,
    readonly headers: Headers,
    readonly bytes: Buffer,
  ) {}

  get text(): string {
    return this.bytes.toString()
  }

  get json(): unknown {
    return JSON.parse(this.text)
  }

  /** The JSON body, checked against the contract's schema. */
  as<T extends TSchema>(schema: T, status = 200): Static<T> {
    assert.equal(this.status, status, this.text)
    return conforming(schema, this.json)
  }

  /** The body of an error, checked against the catalogue. */
  refused(status: number, code: ErrorCode): Record<string, unknown> {
    assert.equal(this.status, status, this.text.slice(0, 500))
    const body = this.json as Record<string, unknown>
    assert.equal(body.code, code, this.text.slice(0, 500))
    return conforming(errorBodySchema(code), body) as Record<string, unknown>
  }
}

/** `value`, if it is as the schema says; else the first thing that is not is told. */
export function conforming<T extends TSchema>(schema: T, value: unknown): Static<T> {
  const wrong = Value.Errors(schema, value).First()
  assert.equal(wrong, undefined, `${wrong?.path} ${wrong?.message} in ${JSON.stringify(value)}`)
  return value as Static<T>
}

export function queryText(query: Query = {}): string {
  const parameters = new URLSearchParams()
  for (const [name, value] of Object.entries(query)) parameters.set(name, `${value}`)
  return parameters.size === 0 ? '' : `?${parameters}`
}

/** The server through one API key. Every typed reply is checked against its schema. */
export class Client {
  constructor(
    readonly url: string,
    readonly key: string | null,
  ) {}

  get headers(): Record<string, string> {
    return this.key === null ? {} : { authorization: `Bearer ${this.key}` }
  }

  /** Any request; `path` may also be a whole URL. */
  async raw(method: string, path: string, options: RequestOptions = {}): Promise<RawReply> {
    const { json } = options
    const init = {
      method,
      headers: {
        ...this.headers,
        ...(json === undefined ? {} : { 'content-type': 'application/json' }),
        ...options.headers,
      },
      body: json === undefined ? options.body : JSON.stringify(json),
      duplex: 'half',
      redirect: 'manual',
    }
    const response = await fetch(new URL(path, this.url), init as RequestInit)
    const bytes = Buffer.from(await response.arrayBuffer())
    return new RawReply(response.status, response.headers, bytes)
  }

  get(path: string, query?: Query, headers?: Readonly<Record<string, string>>): Promise<RawReply> {
    return this.raw('GET', `${path}${queryText(query)}`, headers === undefined ? {} : { headers })
  }

  session(sessionId: string, path: string): string {
    return `/api/streaming/sessions/${sessionId}/${path}`
  }

  async start(body: StartSession): Promise<Started> {
    const reply = await this.raw('POST', '/api/streaming/sessions/start', { json: body })
    return reply.as(SessionStarted)
  }

  /** Uploads as JSON. `status` is the one that must come, 200 unless told. */
  async upload(sessionId: string, body: unknown, status = 200): Promise<UploadReply> {
    const reply = await this.raw('POST', this.session(sessionId, 'upload'), { json: body })
    return uploadReply(reply, status)
  }

  async uploadMsgpack(sessionId: string, body: unknown, status = 200): Promise<UploadReply> {
    return this.uploadBytes(
      sessionId,
      pack(body),
      { 'content-type': 'application/msgpack' },
      status,
    )
  }

  /** Uploads a body as it is; JSON unless the headers say otherwise. */
  async uploadBytes(
    sessionId: string,
    body: NonNullable<RequestOptions['body']>,
    headers: Readonly<Record<string, string>> = {},
    status = 200,
  ): Promise<UploadReply> {
    const reply = await this.raw('POST', this.session(sessionId, 'upload'), {
      body,
      headers: { 'content-type': 'application/json', ...headers },
    })
    return uploadReply(reply, status)
  }

  async status(sessionId: string): Promise<SessionStatus> {
    return (await this.get(this.session(sessionId, 'status'))).as(SessionStatus)
  }

  /** Ends the session and waits for the final answer, which bears the final hash. */
  async end(
    sessionId: string,
    body: EndSession = {},
  ): Promise<SessionEnded & { readonly finalHash: string }> {
    const reply = await this.raw('POST', this.session(sessionId, 'end'), { json: body })
    const { finalHash = '', ...ended } = reply.as(SessionEnded)
    assert.match(finalHash, /^[0-9a-f]{64}$/)
    return { ...ended, finalHash }
  }

  /** All records, page by page to the end. */
  async records(sessionId: string, query: Query = {}): Promise<ReadRecord[]> {
    const records: ReadRecord[] = []
    let cursor: string | null = null
    do {
      const page: Static<typeof RecordPage> = (
        await this.get(this.session(sessionId, 'records'), withCursor(query, cursor))
      ).as(RecordPage)
      records.push(...page.records)
      cursor = page.nextCursor
    } while (cursor !== null)
    return records
  }

  /** All rows of the atom table, page by page to the end. */
  async atoms(sessionId: string, query: Query = {}): Promise<AtomRow[]> {
    const atoms: AtomRow[] = []
    let cursor: string | null = null
    do {
      const page: Static<typeof AtomPage> = (
        await this.get(this.session(sessionId, 'atoms'), withCursor(query, cursor))
      ).as(AtomPage)
      atoms.push(...page.atoms)
      cursor = page.nextCursor
    } while (cursor !== null)
    return atoms
  }

  /** The bytes of an atom, checked against the hash that names them. */
  async atomBytes(hash: string): Promise<Buffer> {
    const reply = await this.get(`/api/atoms/${hash}`)
    assert.equal(reply.status, 200, reply.text.slice(0, 500))
    assert.equal(createHash('sha256').update(reply.bytes).digest('hex'), hash)
    return reply.bytes
  }

  async ticket(resource: string): Promise<string> {
    const reply = await this.raw('POST', '/api/streaming/tickets', { json: { resource } })
    return reply.as(TicketReply).ticket
  }
}

function withCursor(query: Query, cursor: string | null): Query {
  return cursor === null ? query : { ...query, cursor }
}

function uploadReply(reply: RawReply, status: number): UploadReply {
  const counts = reply.as(UploadReply, status)
  const parts = counts.recordsProcessed + counts.recordsQueued + counts.recordsRejected
  assert.equal(counts.recordsReceived, parts, 'the counts of a reply add up')
  return counts
}

/** The hash chain over the atoms by the contract: h = SHA-256(h ‖ digest), from 32 zero bytes. */
export function chainOf(atoms: readonly { readonly hash: string }[]): string {
  let chain: Buffer = Buffer.alloc(32)
  for (const { hash } of atoms) {
    chain = createHash('sha256').update(chain).update(Buffer.from(hash, 'hex')).digest()
  }
  return chain.toString('hex')
}

/** What the server answers to these bytes on a connection of their own, within the timeout. */
export function exchange(
  url: string,
  parts: Iterable<string | Uint8Array>,
  timeoutMs = 5_000,
): Promise<string> {
  const { hostname, port } = new URL(url)
  return new Promise((resolve, reject) => {
    const socket = connect({ host: hostname, port: Number(port) })
    const source = parts[Symbol.iterator]()
    let received = ''
    const finish = (): void => {
      clearTimeout(timer)
      socket.destroy()
      resolve(received)
    }
    const timer = setTimeout(finish, timeoutMs)
    const send = (): void => {
      for (let next = source.next(); !next.done; next = source.next()) {
        if (socket.destroyed || received !== '') return
        if (!socket.write(next.value)) return
      }
    }
    socket.on('connect', send)
    socket.on('drain', send)
    socket.on('data', (chunk) => {
      received += chunk.toString('latin1')
      if (isWhole(received)) finish()
    })
    socket.on('close', finish)
    // A server that has answered and closed may reset what is still being sent.
    socket.on('error', (error) => (received === '' ? reject(error) : finish()))
  })
}

function isWhole(response: string): boolean {
  const headEnd = response.indexOf('\r\n\r\n')
  if (headEnd < 0) return false
  const length = /\r\ncontent-length: *(\d+)/i.exec(response.slice(0, headEnd))?.[1]
  return length !== undefined && response.length >= headEnd + 4 + Number(length)
}
