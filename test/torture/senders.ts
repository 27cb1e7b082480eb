import { once } from 'node:events'
import { gzipSync } from 'node:zlib'
import { pack, unpack } from 'msgpackr'
import { WebSocket } from 'ws'
import type { Cargo, Encoding } from './cargo.ts'
import type { Door } from './door.ts'
import type { Ledger, Upload } from './ledger.ts'
import type { Random } from './random.ts'

/** What a client hears of an upload; null where it hears nothing and has to ask again. */
export interface Answer {
  /** Of HTTP; null over a WebSocket. */
  readonly status: number | null
  readonly body: Readonly<Record<string, unknown>>
}

export interface Sender {
  send(upload: Upload): Promise<Answer | null>
  close(): void
}

interface SenderParts {
  readonly door: Door
  readonly cargo: Cargo
  readonly ledger: Ledger
  readonly random: Random
}

/** Uploads over HTTP: JSON or msgpack, plain or as gzip, now and then as a job. */
export class HttpSender implements Sender {
  readonly #parts: SenderParts

  constructor(parts: SenderParts) {
    this.#parts = parts
  }

  async send({ key, first, count }: Upload): Promise<Answer | null> {
    const { door, cargo, ledger, random } = this.#parts
    const encoding: Encoding = random.chance(0.5) ? 'json' : 'msgpack'
    const gzip = random.chance(0.1)
    const document = cargo.body(ledger.kind, encoding, first, count)
    const plain = encoding === 'json' ? Buffer.from(JSON.stringify(document)) : pack(document)
    const headers = {
      'content-type': `application/${encoding}`,
      'idempotency-key': key,
      ...(gzip ? { 'content-encoding': 'gzip' } : {}),
      ...(random.chance(0.05) ? { prefer: 'respond-async' } : {}),
    }
    const body = gzip ? gzipSync(plain) : plain
    const reply = await door.attempt(ledger.tenant.key, 'POST', `${ledger.path}/upload`, {
      headers,
      body,
    })
    if (reply === null) return null
    return { status: reply.status, body: reply.json as Answer['body'] }
  }

  close(): void {}
}

/** How a WebSocket ended: the server's code, or 1006 where it was cut. */
export type SocketEnd = (code: number) => void

/** Uploads over one WebSocket, several under way at a time; opened again whenever it was closed. */
export class SocketSender implements Sender {
  readonly #parts: SenderParts
  readonly #ended: SocketEnd
  readonly #pending = new Map<string, (answer: Answer | null) => void>()
  #socket: WebSocket | null = null
  #opening: Promise<WebSocket | null> | null = null
  #isBinary = false

  constructor(parts: SenderParts, ended: SocketEnd) {
    this.#parts = parts
    this.#ended = ended
  }

  async send({ key, first, count }: Upload): Promise<Answer | null> {
    const { cargo, ledger } = this.#parts
    this.#opening ??= this.#open().finally(() => {
      this.#opening = null
    })
    const socket = this.#socket ?? (await this.#opening)
    if (socket === null || socket.readyState !== WebSocket.OPEN) return null
    const encoding: Encoding = this.#isBinary ? 'msgpack' : 'json'
    const document = cargo.body(ledger.kind, encoding, first, count)
    const message = { type: ledger.kind, id: key, idempotencyKey: key, ...document }
    return new Promise((resolve) => {
      this.#pending.set(key, resolve)
      socket.send(encoding === 'json' ? JSON.stringify(message) : pack(message))
    })
  }

  close(): void {
    const socket = this.#socket
    // Before the close is heard: what the client itself cuts is not counted.
    this.#socket = null
    socket?.terminate()
  }

  async #open(): Promise<WebSocket | null> {
    if (this.#socket !== null) return this.#socket
    const { door, ledger, random } = this.#parts
    const url = new URL(`${ledger.path}/ws`, await door.url())
    url.protocol = 'ws:'
    const socket = new WebSocket(url, { headers: { authorization: `Bearer ${ledger.tenant.key}` } })
    this.#isBinary = random.chance(0.5)
    socket.on('message', (data: Buffer, isBinary) => {
      this.#take(isBinary ? unpack(data) : JSON.parse(data.toString()))
    })
    socket.on('close', (code) => {
      if (this.#socket === socket) this.#ended(code)
      this.#socket = null
      for (const resolve of this.#pending.values()) resolve(null)
      this.#pending.clear()
    })
    socket.on('error', () => {})
    await Promise.race([once(socket, 'open'), once(socket, 'close')]).catch(() => {})
    if (socket.readyState !== WebSocket.OPEN) return null
    this.#socket = socket
    return socket
  }

  #take(message: Readonly<Record<string, unknown>>): void {
    if (message.type !== 'ack' && message.type !== 'rejected') return
    const { type: _type, id, ...body } = message
    const resolve = this.#pending.get(String(id))
    this.#pending.delete(String(id))
    resolve?.({ status: null, body })
  }
}
