import { once } from 'node:events'
import { pack, unpack } from 'msgpackr'
import { WebSocket } from 'ws'
import { Inbox, within } from './waiting.ts'

export interface SocketMessage {
  readonly type: string
  readonly [member: string]: unknown
}

export interface SocketClose {
  readonly code: number
  readonly reason: string
}

/** A WebSocket of a session, with everything it was sent. */
export class TestSocket {
  readonly messages = new Inbox<SocketMessage>()
  /** Whether messages came as msgpack; text is JSON. */
  binaryMessages = 0
  readonly closed: Promise<SocketClose>

  constructor(readonly socket: WebSocket) {
    socket.on('message', (data: Buffer, isBinary) => {
      if (isBinary) this.binaryMessages += 1
      this.messages.push(isBinary ? unpack(data) : JSON.parse(data.toString()))
    })
    socket.on('error', () => {})
    this.closed = new Promise((resolve) => {
      socket.once('close', (code, reason) => {
        this.messages.end(`the socket was closed with ${code}`)
        resolve({ code, reason: reason.toString() })
      })
    })
  }

  /** The session's events among the messages, in order. */
  get events(): SocketMessage[] {
    return this.messages.items.filter((message) => message.eventId !== undefined)
  }

  send(message: unknown): void {
    this.socket.send(JSON.stringify(message))
  }

  sendMsgpack(message: unknown): void {
    this.socket.send(pack(message))
  }

  message(type: string, id?: string | number): Promise<SocketMessage> {
    return this.messages.waitFor(
      (message) => message.type === type && (id === undefined || message.id === id),
      `the message ${type} ${id ?? ''}`,
    )
  }

  /** Sends an upload and waits for its ack. */
  async upload(message: { readonly id: string | number }): Promise<SocketMessage> {
    this.send(message)
    return this.answer(message.id)
  }

  /** The ack or the refusal of the message with this id. */
  answer(id: string | number): Promise<SocketMessage> {
    return this.messages.waitFor(
      (message) => (message.type === 'ack' || message.type === 'rejected') && message.id === id,
      `the answer to message ${id}`,
    )
  }

  async close(): Promise<SocketClose> {
    this.socket.close()
    return within(this.closed, 'the close of the socket')
  }
}

/** Opens a WebSocket and waits until it is open. */
export async function openSocket(
  url: string,
  headers: Readonly<Record<string, string>> = {},
  protocols: string[] = [],
): Promise<TestSocket> {
  const socket = new WebSocket(url, protocols, { headers })
  const opened = new TestSocket(socket)
  await within(once(socket, 'open'), 'the opening of the socket')
  return opened
}

/** The HTTP status with which the server refuses an upgrade. */
export async function refusedUpgrade(
  url: string,
  headers: Readonly<Record<string, string>> = {},
  protocols: string[] = [],
): Promise<number> {
  const socket = new WebSocket(url, protocols, { headers })
  const status = new Promise<number>((resolve, reject) => {
    socket.on('unexpected-response', (request, response) => {
      resolve(response.statusCode ?? 0)
      request.destroy()
    })
    socket.on('open', () => reject(new Error('the upgrade was let through')))
    socket.on('error', reject)
  })
  return within(status, 'the refusal of the upgrade')
}
