import {
  App,
  type HttpRequest,
  type HttpResponse,
  type TemplatedApp,
  type us_listen_socket,
  us_listen_socket_close,
  type us_socket_context_t,
  us_socket_local_port,
  type WebSocket,
} from 'uWebSockets.js'
import assert from 'node:assert/strict'
import { STATUS_CODES } from 'node:http'
import { limits } from '../limits.ts'
import type {
  ByteStream,
  Exchange,
  Framing,
  HeaderList,
  Socket,
  SocketHandlers,
  SocketServer,
  SocketServerHandlers,
  UpgradeExchange,
  WireReply,
} from './exchange.ts'
import { framing } from './framing.ts'
import { Guard } from './guard.ts'

/**
 * The adapter to uWebSockets.js and its only importer. Three rules of that library shape it: a
 * response may not be touched after it ended or was aborted, a callback may not throw, and
 * whatever is written together must be one write in one cork.
 */

/**
 * Refuses a port that another process holds; without it both would get a share of the connections.
 */
const exclusivePort = 1

type ListenWithOptions = (
  host: string,
  port: number,
  options: number,
  callback: (token: us_listen_socket | false) => void,
) => void

interface SocketData {
  handlers: SocketHandlers
  socket: UwsSocket | null
}

export class UwsServer implements SocketServer {
  readonly #app: TemplatedApp
  readonly #guard: Guard
  #listening: us_listen_socket | null = null
  #closed = false

  constructor(handlers: SocketServerHandlers) {
    this.#guard = new Guard(handlers.fault)
    this.#app = App()
    this.#app.ws<SocketData>('/*', {
      maxPayloadLength: limits.webSocketMessageBytesMax,
      maxBackpressure: limits.webSocketBufferBytesMax,
      closeOnBackpressureLimit: true,
      idleTimeout: limits.webSocketIdleTimeoutS,
      sendPingsAutomatically: true,
      ...this.#sockets(handlers),
    })
    this.#app.any('/*', (res, req) => {
      const exchange = new UwsExchange(res, req, this.#guard)
      this.#guard.run(() => handlers.request(exchange))
    })
  }

  listen(host: string, port: number): Promise<{ port: number }> {
    return new Promise((resolve, reject) => {
      const listen = this.#app.listen.bind(this.#app) as unknown as ListenWithOptions
      listen(host, port, exclusivePort, (token) => {
        if (token === false) {
          reject(
            new Error(
              `cannot listen on ${host}:${port}: the port is in use or not permitted, or the address is not of this machine`,
            ),
          )
          return
        }
        this.#listening = token
        resolve({ port: us_socket_local_port(token) })
      })
    })
  }

  stopListening(): void {
    if (this.#listening === null) return
    us_listen_socket_close(this.#listening)
    this.#listening = null
  }

  close(): void {
    if (this.#closed) return
    this.#closed = true
    this.stopListening()
    this.#app.close()
  }

  #sockets(handlers: SocketServerHandlers) {
    const guard = this.#guard
    return {
      upgrade: (res: HttpResponse, req: HttpRequest, context: us_socket_context_t): void => {
        const exchange = new UwsUpgradeExchange(res, req, context, guard)
        guard.run(() => handlers.upgrade(exchange))
      },
      open: (ws: WebSocket<SocketData>): void => {
        const data = ws.getUserData()
        data.socket = new UwsSocket(ws)
        const { handlers, socket } = data
        guard.run(() => handlers.open(socket))
      },
      message: (ws: WebSocket<SocketData>, bytes: ArrayBuffer, isBinary: boolean): void => {
        guard.run(() => ws.getUserData().handlers.message(bytes, isBinary))
      },
      drain: (ws: WebSocket<SocketData>): void => {
        if (ws.getBufferedAmount() > 0) return
        guard.run(() => ws.getUserData().handlers.drained())
      },
      close: (ws: WebSocket<SocketData>): void => {
        const data = ws.getUserData()
        data.socket?.markClosed()
        guard.run(() => data.handlers.closed())
      },
    }
  }
}

class UwsExchange implements Exchange {
  readonly method: string
  readonly path: string
  readonly query: string
  readonly headers: ReadonlyMap<string, string>
  readonly remoteAddress: string
  readonly framing: Framing
  readonly contentLength: number | null
  readonly #listeners: (() => void)[] = []
  #controller: AbortController | null = null
  #aborted = false
  #replied = false
  #bodyTaken: boolean
  #done = false

  constructor(
    protected readonly res: HttpResponse,
    req: HttpRequest,
    protected readonly guard: Guard,
  ) {
    this.method = req.getCaseSensitiveMethod().toUpperCase()
    this.path = req.getUrl()
    this.query = req.getQuery() ?? ''
    const headers = new Map<string, string>()
    let lengths = 0
    req.forEach((name, value) => {
      if (name === 'content-length') lengths += 1
      const earlier = headers.get(name)
      headers.set(name, earlier === undefined ? value : `${earlier}, ${value}`)
    })
    this.headers = headers
    this.framing = framing(headers, lengths)
    this.#bodyTaken = this.framing === 'empty'
    this.contentLength = this.framing === 'length' ? Number(headers.get('content-length')) : null
    this.remoteAddress = Buffer.from(res.getRemoteAddressAsText()).toString('latin1')
    res.onAborted(() => this.#abort())
  }

  get isOpen(): boolean {
    return !this.#done && !this.#replied
  }

  get isBodyRead(): boolean {
    return this.#bodyTaken
  }

  get signal(): AbortSignal {
    this.#controller ??= new AbortController()
    if (this.#aborted) this.#controller.abort()
    return this.#controller.signal
  }

  onClosed(listener: () => void): void {
    this.#listeners.push(listener)
  }

  read(onChunk: (chunk: Uint8Array, isLast: boolean) => void): void {
    this.res.onData((chunk, isLast) => {
      this.#bodyTaken ||= isLast
      if (this.isOpen) this.guard.run(() => onChunk(new Uint8Array(chunk), isLast))
    })
  }

  reply(reply: WireReply): void {
    if (!this.isOpen) return
    this.#replied = true
    // While the client still sends, closing would reset the connection, and the reset can overtake
    // the reply; so it is told to close, and what it sends meanwhile is dropped unread.
    if (this.framing !== 'conflict') this.#send(reply, reply.close && this.#bodyTaken)
    // After framing that can be read in two ways nothing may be served as a further request. The
    // library cuts a connection whose next request comes before the reply to the last, so the
    // reply waits a turn.
    else setImmediate(() => this.guard.run(() => this.#send(reply, true)))
  }

  stream(status: number, headers: HeaderList): ByteStream | null {
    if (!this.isOpen) return null
    this.#replied = true
    this.res.cork(() => this.#head(status, headers))
    const stream = new UwsStream(this.res, this.guard, () => this.#finish())
    this.#listeners.push(() => stream.markClosed())
    return stream
  }

  destroy(): void {
    if (!this.#done) this.res.close()
  }

  /** For the upgrade, after which the response belongs to the WebSocket. */
  protected release(): void {
    this.#replied = true
    this.#finish()
  }

  #send({ status, headers, body, close }: WireReply, mayEnd: boolean): void {
    if (this.#done) return
    const bytes = typeof body === 'string' ? Buffer.from(body) : body
    const isHead = this.method === 'HEAD'
    const endConnection = mayEnd && bytes !== null && !isHead
    this.res.cork(() => {
      // Where the library ends the connection it says so itself.
      const tellsClose = close && !endConnection
      this.#head(status, tellsClose ? [...headers, ['Connection', 'close']] : headers)
      if (bytes === null || isHead) {
        // Given the length, the library would take this reply for one whose body is still to come.
        if (bytes !== null) this.res.writeHeader('Content-Length', String(bytes.byteLength))
        this.res.endWithoutBody()
      } else if (bytes.byteLength <= limits.replyWriteBytesMax) {
        this.res.end(bytes, endConnection)
      } else {
        this.#endInParts(bytes)
        return
      }
      this.#finish()
    })
  }

  #head(status: number, headers: HeaderList): void {
    this.res.writeStatus(`${status} ${STATUS_CODES[status] ?? 'Unknown'}`)
    for (const [name, value] of headers) this.res.writeHeader(name, value)
  }

  /**
   * A large body leaves as fast as the client takes it instead of being copied into a buffer
   * whole.
   */
  #endInParts(bytes: Uint8Array): void {
    const firstOffset = this.res.getWriteOffset()
    this.res.onWritable((offset) => {
      if (this.#done) return true
      const [taken, ended] = this.res.tryEnd(bytes.subarray(offset - firstOffset), bytes.byteLength)
      if (ended) this.#finish()
      return taken
    })
    const [, ended] = this.res.tryEnd(bytes, bytes.byteLength)
    if (ended) this.#finish()
  }

  #abort(): void {
    this.#aborted = true
    this.guard.run(() => this.#controller?.abort())
    this.#finish()
  }

  #finish(): void {
    if (this.#done) return
    this.#done = true
    for (const listener of this.#listeners) this.guard.run(listener)
  }
}

class UwsUpgradeExchange extends UwsExchange implements UpgradeExchange {
  constructor(
    res: HttpResponse,
    req: HttpRequest,
    private readonly context: us_socket_context_t,
    guard: Guard,
  ) {
    super(res, req, guard)
  }

  accept(protocol: string | null, handlers: SocketHandlers): void {
    assert(this.isOpen, 'an upgrade is answered once')
    const data: SocketData = { handlers, socket: null }
    this.release()
    this.res.cork(() => {
      this.res.upgrade(
        data,
        this.headers.get('sec-websocket-key') ?? '',
        protocol ?? '',
        this.headers.get('sec-websocket-extensions') ?? '',
        this.context,
      )
    })
  }
}

class UwsStream implements ByteStream {
  #open = true
  #drained: (() => void) | null = null

  constructor(
    private readonly res: HttpResponse,
    guard: Guard,
    private readonly ended: () => void,
  ) {
    res.onWritable(() => {
      guard.run(() => this.#writable())
      return true
    })
  }

  get isOpen(): boolean {
    return this.#open
  }

  markClosed(): void {
    this.#open = false
  }

  write(text: string): boolean {
    if (!this.#open) return false
    let taken = false
    this.res.cork(() => {
      taken = this.res.write(text)
    })
    return taken
  }

  onDrained(listener: () => void): void {
    this.#drained = listener
  }

  end(lastText: string): void {
    if (!this.#open) return
    this.#open = false
    this.res.cork(() => this.res.end(lastText))
    this.ended()
  }

  destroy(): void {
    if (this.#open) this.res.close()
  }

  /** Without a write in here the library takes the stream for stuck and cuts it after 12 s. */
  #writable(): void {
    if (this.write(':\n\n')) this.#drained?.()
  }
}

class UwsSocket implements Socket {
  #ws: WebSocket<SocketData> | null

  constructor(ws: WebSocket<SocketData>) {
    this.#ws = ws
  }

  get isOpen(): boolean {
    return this.#ws !== null
  }

  markClosed(): void {
    this.#ws = null
  }

  send(messages: readonly (string | Uint8Array)[]): boolean {
    this.#ws?.cork(() => {
      // A send may close the socket: past the buffer's bound it is cut.
      for (const message of messages) this.#ws?.send(message, typeof message !== 'string')
    })
    return this.#ws !== null && this.#ws.getBufferedAmount() === 0
  }

  end(code: number, reason: string): void {
    this.#ws?.end(code, reason)
  }

  destroy(): void {
    this.#ws?.close()
  }
}
