import { connect, type Socket } from 'node:net'

export interface WireReply {
  readonly status: number
  /** Status line and headers. */
  readonly head: string
  readonly body: string
  /** No further request goes over this connection. */
  readonly isLast: boolean
}

const replyTimeoutMs = 60_000
/** A request that the server may take for the beginning of a longer one is given up after this time. */
const impatienceMs = 200
const emptyBuffer = Buffer.alloc(0)

interface Waiting {
  readonly resolve: (reply: WireReply | null) => void
  readonly reject: (error: Error) => void
  readonly isPartial: boolean
}

/**
 * One connection that sends whatever bytes it is given and reads one reply after each. It opens again by
 * itself where the server has closed.
 */
export class Wire {
  readonly #host: string
  readonly #port: number
  #socket: Socket | null = null
  #received: Buffer = emptyBuffer
  #waiting: Waiting | null = null

  constructor(url: string) {
    const { hostname, port } = new URL(url)
    this.#host = hostname
    this.#port = Number(port)
  }

  /**
   * The reply to the request; null where the server closes without one, or where `isPartial` and it
   * waits for more. Rejects where nothing comes.
   */
  send(request: Buffer, isPartial = false): Promise<WireReply | null> {
    return new Promise((resolve, reject) => {
      this.#waiting = { resolve, reject, isPartial }
      this.#socket ??= this.#open()
      this.#socket.setTimeout(isPartial ? impatienceMs : replyTimeoutMs)
      this.#socket.write(request)
    })
  }

  close(): void {
    this.#socket?.destroy()
    this.#socket = null
  }

  #open(): Socket {
    const socket = connect({ host: this.#host, port: this.#port, noDelay: true })
    this.#received = emptyBuffer
    socket.on('timeout', () => {
      if (this.#waiting?.isPartial === false) {
        this.#waiting.reject(new Error(`no reply within ${replyTimeoutMs} ms`))
        this.#waiting = null
      }
      socket.destroy()
    })
    socket.on('data', (chunk: Buffer) => {
      if (this.#socket === socket) this.#take(chunk, false)
    })
    socket.on('error', () => {})
    socket.on('close', () => {
      if (this.#socket !== socket) return
      this.#socket = null
      this.#take(emptyBuffer, true)
    })
    return socket
  }

  #take(chunk: Buffer, isClosed: boolean): void {
    const bytes = this.#received.length === 0 ? chunk : Buffer.concat([this.#received, chunk])
    this.#received = bytes
    const reply = parseReply(bytes, isClosed)
    if (reply === null && !isClosed) return
    // What is left of a partial one would stand before the next.
    if (reply?.isLast || this.#waiting?.isPartial) this.close()
    this.#received = emptyBuffer
    const waiting = this.#waiting
    this.#waiting = null
    waiting?.resolve(reply)
  }
}

/**
 * The reply that `bytes` are; null where it is not complete. One without a length goes on until the
 * server closes; of a stream without end the head is enough.
 */
export function parseReply(bytes: Buffer, isClosed: boolean): WireReply | null {
  const headEnd = bytes.indexOf('\r\n\r\n')
  if (headEnd === -1) return null
  const head = bytes.toString('latin1', 0, headEnd)
  const status = Number(/^HTTP\/1\.1 (\d{3})/.exec(head)?.[1] ?? Number.NaN)
  const length = /\r\ncontent-length: *(\d+)/i.exec(head)?.[1]
  const isStream = /\r\ncontent-type: *text\/event-stream/i.test(head)
  const isBodiless = status === 204 || status === 304 || status === 101
  const closes = /\r\nconnection: *close/i.test(head)
  const start = headEnd + 4
  if (isBodiless || isStream) return { status, head, body: '', isLast: isStream || closes }
  if (length === undefined) {
    if (!isClosed) return null
    return { status, head, body: bytes.toString('utf8', start), isLast: true }
  }
  const end = start + Number(length)
  if (bytes.length < end) return null
  return { status, head, body: bytes.toString('utf8', start, end), isLast: closes }
}
