/**
 * What the front door needs of a socket library. transport/uws.ts is the one implementation; no
 * type of that library leaves it.
 */

/**
 * How the body of a request is delimited. `conflict` is framing that two readers could take
 * differently.
 */
export type Framing = 'empty' | 'length' | 'chunked' | 'conflict'

export type HeaderList = readonly (readonly [name: string, value: string])[]

export interface WireReply {
  readonly status: number
  readonly headers: HeaderList
  /** null is no body at all, as 204 and 304 have it. */
  readonly body: Uint8Array | string | null
  /** Tells the client that this connection ends here. */
  readonly close: boolean
}

/**
 * One request and the way to answer it. Nothing in it throws, and nothing happens after it is
 * closed.
 */
export interface Exchange {
  /** Upper case. */
  readonly method: string
  /** As it came, percent-encoded. */
  readonly path: string
  /** As it came, without the question mark. */
  readonly query: string
  /** Names in lower case; a repeated header's values are joined by ', '. */
  readonly headers: ReadonlyMap<string, string>
  /** Empty once it is closed. */
  readonly remoteAddress: string
  readonly framing: Framing
  /** Null where the framing is not `length`. */
  readonly contentLength: number | null
  /** The whole body has arrived, or there is none. */
  readonly isBodyRead: boolean
  /** False once the reply is out or the client has gone. */
  readonly isOpen: boolean
  /** Fires when the client goes away before the whole reply is out. */
  readonly signal: AbortSignal
  /** Called once: when the reply is out, its body is left to a stream, or the client has gone. */
  onClosed(listener: () => void): void
  /**
   * Must be called in the turn that brought the exchange. `chunk` is only valid during the call.
   */
  read(onChunk: (chunk: Uint8Array, isLast: boolean) => void): void
  /**
   * Reads no more of the body until `resume`; what the socket has handed over still comes. Whoever holds
   * a client back for long calls it again every few seconds, or the library takes the client for idle.
   * Meanwhile nobody hears that the client has gone.
   */
  pause(): void
  /** Goes on reading. A reply does so too, because the rest of the body stands before the next request. */
  resume(): void
  reply(reply: WireReply): void
  /**
   * Sends the head and leaves the body open; null where the client has gone. The stream may live for
   * days, so it holds nothing of the exchange, which is over with this.
   */
  stream(status: number, headers: HeaderList, handlers: StreamHandlers): ByteStream | null
  /** Cuts the connection without a reply. */
  destroy(): void
}

/** The open body of a reply. */
export interface ByteStream {
  readonly isOpen: boolean
  /** False where the socket holds these or earlier bytes back: wait for onDrained. */
  write(text: string | Uint8Array): boolean
  end(lastText: string): void
  destroy(): void
}

export interface StreamHandlers {
  /** Everything that was written has left. */
  drained(): void
  /** Called once, when the stream has ended or the client has gone. */
  closed(): void
}

/** A request to become a WebSocket. Answer it with `reply` or, in the same turn, with `accept`. */
export interface UpgradeExchange extends Exchange {
  accept(protocol: string | null, handlers: SocketHandlers): void
}

export interface SocketHandlers {
  open(socket: Socket): void
  /** `bytes` is the socket library's: only valid during the call. */
  message(bytes: ArrayBuffer, isBinary: boolean): void
  /** Something of what the socket held back has left. */
  drained(): void
  closed(): void
}

export interface Socket {
  readonly isOpen: boolean
  /** What was sent and is held back, 0 once it is closed. */
  readonly bufferedBytes: number
  /** Sends in one write; false where bytes are held back. */
  send(messages: readonly (string | Uint8Array)[]): boolean
  end(code: number, reason: string): void
  destroy(): void
}

export interface SocketServer {
  /** Resolves with the port that was bound. */
  listen(host: string, port: number): Promise<{ port: number }>
  /** Takes no new connections; those that are open stay. Idempotent. */
  stopListening(): void
  /** Cuts whatever is still open. Idempotent. */
  close(): void
}

export interface SocketServerHandlers {
  request(exchange: Exchange): void
  upgrade(exchange: UpgradeExchange): void
  /** Something threw where nothing may; the process goes on. */
  fault(error: unknown): void
}
