import { randomBytes } from 'node:crypto'
import { connect, type Socket } from 'node:net'

/** Room before a payload for its frame's head. */
export const frameHeadBytes = 8
/** Shorter and longer payloads have another head. */
const payloadBytesMin = 126
const payloadBytesMax = 65_535
const readBufferBytes = 256 * 1024
const openTimeoutMs = 10_000
const opcodes = { text: 1, close: 8 } as const

/** Takes one text message: `bytes` from `start` to `end` are its own during the call alone. */
type OnText = (bytes: Buffer, start: number, end: number) => void

export interface WebSocketHandlers {
  readonly onText: OnText
  /** After the messages of one read. What either throws fails the connection. */
  readonly onRead: () => void
  readonly onFailure: (reason: Error) => void
}

/**
 * A WebSocket by RFC 6455 that knows as much of it as sending short text messages needs: what the
 * client takes of the processor is taken from the server that is measured, and a library would take
 * more than the server. It trusts the server not to cut a message into frames, and checks that.
 */
export class WebSocketConnection {
  #kept: Buffer = Buffer.alloc(0)
  #isOpen = false

  private constructor(
    private readonly socket: Socket,
    private readonly handlers: WebSocketHandlers,
  ) {}

  static open(url: URL, apiKey: string, handlers: WebSocketHandlers): Promise<WebSocketConnection> {
    return new Promise((resolve, reject) => {
      const readBuffer = Buffer.allocUnsafe(readBufferBytes)
      const onread = {
        buffer: readBuffer,
        callback: (length: number) => {
          connection.#take(readBuffer.subarray(0, length), () => resolve(connection))
          return true
        },
      }
      const address = { host: url.hostname, port: Number(url.port) }
      const socket = connect({ ...address, noDelay: true, onread })
      const connection = new WebSocketConnection(socket, handlers)
      const fail = (error: Error) => {
        reject(error)
        handlers.onFailure(error)
      }
      socket.setTimeout(openTimeoutMs, () => {
        if (!connection.#isOpen) socket.destroy(new Error('the WebSocket does not open'))
      })
      socket.on('error', fail)
      socket.on('close', () => fail(new Error('the server closed the WebSocket')))
      socket.on('connect', () => socket.write(upgrade(url, apiKey)))
    })
  }

  /** `frames` must stay as they are. */
  write(frames: Uint8Array): void {
    this.socket.write(frames)
  }

  close(): void {
    this.socket.removeAllListeners('close')
    this.socket.destroy()
  }

  #take(chunk: Buffer, opened: () => void): void {
    const bytes = this.#kept.length === 0 ? chunk : Buffer.concat([this.#kept, chunk])
    let at = 0
    try {
      if (!this.#isOpen) {
        at = headEnd(bytes)
        if (at > 0) {
          this.#isOpen = true
          opened()
        }
      }
      if (this.#isOpen) at = takeFrames(bytes, at, this.handlers.onText)
      // The chunk is a view of the read buffer, which the next read overwrites.
      this.#kept = Buffer.from(bytes.subarray(at))
      if (this.#isOpen) this.handlers.onRead()
    } catch (error) {
      this.socket.destroy(error as Error)
    }
  }
}

function upgrade(url: URL, apiKey: string): string {
  return [
    `GET ${url.pathname} HTTP/1.1`,
    `host: ${url.host}`,
    `authorization: Bearer ${apiKey}`,
    'connection: Upgrade',
    'upgrade: websocket',
    'sec-websocket-version: 13',
    `sec-websocket-key: ${randomBytes(16).toString('base64')}`,
    '\r\n',
  ].join('\r\n')
}

/** Where the head of the reply ends; 0 where it is not there yet. */
function headEnd(bytes: Buffer): number {
  const end = bytes.indexOf('\r\n\r\n')
  if (end === -1) return 0
  const head = bytes.toString('latin1', 0, end)
  if (!head.startsWith('HTTP/1.1 101 ')) throw new Error(`no WebSocket: ${head.slice(0, 200)}`)
  return end + 4
}

/** Hands on all whole text messages from `from` on; gives where the first that is not begins. */
function takeFrames(bytes: Buffer, from: number, onText: OnText): number {
  let at = from
  while (bytes.length - at >= 2) {
    const first = bytes[at] as number
    const short = bytes[at + 1] as number
    const head = short < 126 ? 2 : short === 126 ? 4 : 10
    if (bytes.length - at < head) break
    const length =
      short < 126
        ? short
        : short === 126
          ? bytes.readUInt16BE(at + 2)
          : Number(bytes.readBigUInt64BE(at + 2))
    if ((first & 0x80) === 0) throw new Error('a message in several frames')
    const end = at + head + length
    if (end > bytes.length) break
    const opcode = first & 0x0f
    if (opcode === opcodes.close) throw new Error('the server closes the WebSocket')
    if (opcode === opcodes.text) onText(bytes, at + head, end)
    at = end
  }
  return at
}

/**
 * Writes the head of a text message's frame right before its payload. The mask is zero: it guards
 * caches on the way against scripts of a page, and the server applies it whatever it is.
 */
export function frameText(target: Buffer, payloadAt: number, payloadBytes: number): void {
  if (payloadBytes < payloadBytesMin || payloadBytes > payloadBytesMax) {
    throw new Error(`a message of ${payloadBytes} bytes has another head`)
  }
  const at = payloadAt - frameHeadBytes
  target[at] = 0x80 | opcodes.text
  target[at + 1] = 0x80 | 126
  target.writeUInt16BE(payloadBytes, at + 2)
  target.writeUInt32BE(0, at + 4)
}
