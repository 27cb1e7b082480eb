import { once } from 'node:events'
import { unpack } from 'msgpackr'
import { WebSocket } from 'ws'
import { within } from '../support/waiting.ts'
import { type Counts, countAck, judgeError } from './fuzz-judge.ts'

/** Messages on their way at a time. */
const windowMessages = 32
const answerTimeoutMs = 60_000

/** One WebSocket of a session: each message must get one answer, unless the socket is closed. */
export class FuzzSocket {
  readonly #socket: WebSocket
  readonly #counts: Counts
  readonly #complaints: string[] = []
  #unanswered = 0
  #answered: (() => void) | null = null
  isClosed = false

  private constructor(socket: WebSocket, counts: Counts) {
    this.#socket = socket
    this.#counts = counts
    socket.on('message', (data: Buffer, isBinary) => {
      this.#take(isBinary ? unpack(data) : JSON.parse(data.toString()))
    })
    socket.on('close', () => {
      this.isClosed = true
      this.#answered?.()
    })
    socket.on('error', () => {})
  }

  static async open(url: string, key: string, counts: Counts): Promise<FuzzSocket> {
    const socket = new WebSocket(url, { headers: { authorization: `Bearer ${key}` } })
    const opened = new FuzzSocket(socket, counts)
    await within(once(socket, 'open'), 'the opening of a WebSocket')
    return opened
  }

  /** Waits for its turn, not for the answer. */
  async send(message: Buffer, isBinary: boolean): Promise<void> {
    await this.#below(windowMessages)
    if (this.isClosed) return
    this.#unanswered += 1
    this.#socket.send(message, { binary: isBinary })
  }

  /** Resolves when every message is answered, or the socket closed. */
  settled(): Promise<void> {
    return this.#below(1)
  }

  /** What was wrong with answers that have come since it was asked last. */
  takeComplaints(): string[] {
    return this.#complaints.splice(0)
  }

  close(): void {
    this.#socket.terminate()
  }

  async #below(bound: number): Promise<void> {
    const below = async () => {
      while (this.#unanswered >= bound && !this.isClosed) {
        await new Promise<void>((resolve) => {
          this.#answered = resolve
        })
      }
    }
    await within(below(), 'an answer to a message', answerTimeoutMs)
  }

  #take(message: Readonly<Record<string, unknown>>): void {
    const { type, id: _id, ...body } = message
    if (type === 'ack' || type === 'rejected' || type === 'pong') {
      this.#unanswered -= 1
      this.#answered?.()
    }
    // An `end` is acknowledged with the session's end, not with counts.
    const isUpload = type === 'ack' && 'recordsReceived' in body
    const wrong = isUpload ? countAck(body, this.#counts) : null
    const refused = type === 'rejected' ? judgeError(body, null) : null
    const complaint = wrong ?? refused
    if (complaint !== null) this.#complaints.push(complaint)
  }
}
