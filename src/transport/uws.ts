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
  SocketHandlers,
  SocketServer,
  SocketServerHandlers,
  StreamHandlers,
  UpgradeExchange,
  WireReply,
} from './exchange.ts'
import { framing } from './framing.ts'
import { Guard } from './guard.ts'
import { Pace, type PaceOptions } from './pace.ts'
import { Pulse, type PulseOptions } from './pulse.ts'
import { UwsSocket } from './uws-socket.ts'
import { UwsStream } from './uws-stream.ts'

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

/** Deadlines, of which tests have shorter ones. */
export interface UwsOptions {
  readonly replies?: PaceOptions
  readonly sockets?: PulseOptions
  readonly lingerMs?: number
}

/** What all exchanges of a server share. */
interface Shared {
  readonly guard: Guard
  readonly replies: Pace
  readonly lingerMs: number
}

export type { HttpResponse, WebSocket }

export class UwsServer implements SocketServer {
  readonly #app: TemplatedApp
  readonly #guard: Guard
  readonly #shared: Shared
  readonly #pulse: Pulse
  #listening: us_listen_socket | null = null
  #closed = false

  constructor(handlers: SocketServerHandlers, options: UwsOptions = {}) {
    this.#guard = new Guard(handlers.fault)
    const { lingerMs = limits.lingerMs } = options
    this.#shared = { guard: this.#guard, replies: new Pace(options.replies), lingerMs }
    this.#pulse = new Pulse(options.sockets)
    this.#app = App()
    this.#app.ws<SocketData>('/*', {
      maxPayloadLength: limits.webSocketMessageBytesMax,
      maxBackpressure: limits.webSocketBufferBytesMax,
      closeOnBackpressureLimit: true,
      // Its timeout begins anew with every byte, so that a drip would never end.
      idleTimeout: 0,
      sendPingsAutomatically: false,
      ...this.#sockets(handlers),
    })
    this.#app.any('/*', (res, req) => {
      const exchange = new UwsExchange(res, req, this.#shared)
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
    this.#shared.replies.close()
    this.#pulse.close()
  }

  #sockets(handlers: SocketServerHandlers) {
    const guard = this.#guard
    const pulse = this.#pulse
    const heard = (ws: WebSocket<SocketData>): void => {
      const { socket } = ws.getUserData()
      if (socket !== null) pulse.heard(socket)
    }
    return {
      upgrade: (res: HttpResponse, req: HttpRequest, context: us_socket_context_t): void => {
        const exchange = new UwsUpgradeExchange(res, req, context, this.#shared)
        guard.run(() => handlers.upgrade(exchange))
      },
      open: (ws: WebSocket<SocketData>): void => {
        const data = ws.getUserData()
        data.socket = new UwsSocket(ws)
        const { handlers, socket } = data
        pulse.join(socket)
        guard.run(() => handlers.open(socket))
      },
      ping: heard,
      pong: heard,
      message: (ws: WebSocket<SocketData>, bytes: ArrayBuffer, isBinary: boolean): void => {
        heard(ws)
        guard.run(() => ws.getUserData().handlers.message(bytes, isBinary))
      },
      drain: (ws: WebSocket<SocketData>): void => {
        guard.run(() => ws.getUserData().handlers.drained())
      },
      close: (ws: WebSocket<SocketData>): void => {
        const data = ws.getUserData()
        if (data.socket !== null) pulse.leave(data.socket)
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
  readonly framing: Framing
  readonly contentLength: number | null
  readonly #listeners: (() => void)[] = []
  #controller: AbortController | null = null
  #aborted = false
  #replied = false
  #bodyTaken: boolean
  #reads = false
  #paused = false
  #done = false
  /** Set while the reply waits for the end of the body. */
  #lingering: { readonly send: () => void; readonly timer: NodeJS.Timeout } | null = null

  constructor(
    protected readonly res: HttpResponse,
    req: HttpRequest,
    protected readonly shared: Shared,
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
    res.onAborted(() => this.#abort())
  }

  get remoteAddress(): string {
    if (this.#done) return ''
    return Buffer.from(this.res.getRemoteAddressAsText()).toString('latin1')
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
    this.#reads = true
    this.res.onData((chunk, isLast) => {
      this.#bodyTaken ||= isLast
      if (this.isOpen) this.shared.guard.run(() => onChunk(new Uint8Array(chunk), isLast))
      else if (isLast) this.#endLingering()
    })
  }

  /**
   * The library then waits to be told that it may write, which comes at once and starts its timeout of
   * ten seconds, though nothing is read in which a body could come. Pausing anew begins them anew.
   */
  pause(): void {
    if (!this.isOpen || this.#bodyTaken) return
    this.#paused = true
    this.res.pause()
  }

  resume(): void {
    if (!this.#paused) return
    this.#paused = false
    if (!this.#done) this.res.resume()
  }

  /**
   * While the client still sends, closing would reset the connection, and the reset can overtake the
   * reply; so it is told to close, and what it sends meanwhile is dropped unread. Where the connection
   * has to end with the reply, the reply waits for the end of the body.
   */
  reply(reply: WireReply): void {
    if (!this.isOpen) return
    this.resume()
    this.#replied = true
    const mustEnd = this.#isDoubtful || this.#asksToClose
    if (this.#bodyTaken || this.framing === 'conflict') {
      // The library cuts a connection whose next request comes before the reply to the last, so
      // after doubtful framing the reply waits a turn.
      if (this.#isDoubtful) this.#later(() => this.#send(reply, true))
      else this.#send(reply, reply.close)
    } else if (mustEnd) this.#linger(() => this.#send(reply, true))
    else this.#send(reply, false)
  }

  /**
   * After framing that others may read differently nothing may be served as a further request. That
   * is so of every chunked body: the library takes any two bytes for the line break behind a chunk.
   */
  get #isDoubtful(): boolean {
    return this.framing === 'conflict' || this.framing === 'chunked'
  }

  /** The library ends such a connection with the reply, asked or not. */
  get #asksToClose(): boolean {
    return /\bclose\b/i.test(this.headers.get('connection') ?? '')
  }

  #later(send: () => void): void {
    setImmediate(() => this.shared.guard.run(send))
  }

  #linger(send: () => void): void {
    if (!this.#reads) this.read(() => {})
    const timer = setTimeout(() => this.#endLingering(), this.shared.lingerMs)
    this.#lingering = { send, timer }
  }

  #endLingering(): void {
    if (this.#lingering === null) return
    const { send, timer } = this.#lingering
    this.#lingering = null
    clearTimeout(timer)
    this.shared.guard.run(send)
  }

  stream(status: number, headers: HeaderList, handlers: StreamHandlers): ByteStream | null {
    if (!this.isOpen) return null
    this.#replied = true
    this.res.cork(() => this.#head(status, headers))
    const stream = new UwsStream(this.res, this.shared.guard, handlers)
    this.#finish()
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
    const hasBody = bytes !== null && !isHead
    const endConnection = mayEnd && (hasBody || this.#isDoubtful)
    this.res.cork(() => {
      // Where the library ends the connection it says so itself.
      const tellsClose = close && !endConnection
      this.#head(status, tellsClose ? [...headers, ['Connection', 'close']] : headers)
      if (endConnection) {
        this.res.end(hasBody ? bytes : '', true)
      } else if (!hasBody) {
        // Given the length, the library would take this reply for one whose body is still to come.
        if (bytes !== null) this.res.writeHeader('Content-Length', String(bytes.byteLength))
        this.res.endWithoutBody()
      } else if (bytes.byteLength <= limits.replyWriteBytesMax) {
        this.res.end(bytes)
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
    const { replies } = this.shared
    const departure = {
      movedBytes: 0,
      cut: () => this.destroy(),
      // The library's timeout counts from one gap in the socket's buffer to the next: at 4 MB of
      // buffer it cut who read 100 KB/s, and never who read nothing. So it is begun anew, in vain.
      keep: () => {
        this.res.pause()
        this.res.resume()
      },
    }
    const send = (offset: number): boolean => {
      if (this.#done) return true
      departure.movedBytes = offset - firstOffset
      const rest = bytes.subarray(departure.movedBytes)
      const [taken, ended] = this.res.tryEnd(rest, bytes.byteLength)
      if (ended) this.#finish()
      return taken
    }
    this.res.onWritable(send)
    replies.watch(departure)
    this.onClosed(() => replies.release(departure))
    send(firstOffset)
  }

  #abort(): void {
    this.#aborted = true
    if (this.#lingering !== null) clearTimeout(this.#lingering.timer)
    this.shared.guard.run(() => this.#controller?.abort())
    this.#finish()
  }

  #finish(): void {
    if (this.#done) return
    this.#done = true
    for (const listener of this.#listeners) this.shared.guard.run(listener)
  }
}

class UwsUpgradeExchange extends UwsExchange implements UpgradeExchange {
  constructor(
    res: HttpResponse,
    req: HttpRequest,
    private readonly context: us_socket_context_t,
    shared: Shared,
  ) {
    super(res, req, shared)
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
