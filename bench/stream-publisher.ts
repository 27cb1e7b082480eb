import { frameRequest, HttpConnection, headBytesMax } from './http-client.ts'
import { mark, monotonicMs, numberDigits } from './stream-messages.ts'

export interface PublishTarget {
  readonly url: URL
  /** Beside the host and the length. */
  readonly headers: Readonly<Record<string, string>>
  /** The body of a message whose text is `content`. */
  body(content: string): string
  isTaken(status: number): boolean
}

/** When a message was sent and when it was answered, by its number. */
export interface Published {
  readonly sentAtMs: Float64Array
  readonly repliedAtMs: Float64Array
}

/** Characters of a message's text: a few sentences. */
const contentChars = 200
const filler = 'What is said here is as long as a note that somebody takes. '

function contentOf(number: number): string {
  const named = `${mark}${String(number).padStart(numberDigits, '0')} `
  return named + filler.repeat(contentChars).slice(0, contentChars - named.length)
}

/** One publisher with several keep-alive connections, so with as many messages under way. */
export class Publisher {
  private constructor(
    private readonly target: PublishTarget,
    private readonly connections: readonly HttpConnection[],
    private readonly head: string,
    private readonly signal: AbortSignal,
  ) {}

  static async open(
    target: PublishTarget,
    connections: number,
    signal: AbortSignal,
  ): Promise<Publisher> {
    const { url, headers } = target
    const lines = Object.entries({ host: url.host, ...headers }).map(
      ([name, value]) => `${name}: ${value}\r\n`,
    )
    const head = `POST ${url.pathname}${url.search} HTTP/1.1\r\n${lines.join('')}`
    const opened = Array.from({ length: connections }, () => HttpConnection.open(url))
    return new Publisher(target, await Promise.all(opened), head, signal)
  }

  close(): void {
    for (const connection of this.connections) connection.close()
  }

  /**
   * Sends the messages with numbers from `first` on. Those of `dueMs` apart are sent when they are
   * due, else each as soon as a connection is free.
   */
  async publish(first: number, messages: number, dueMs = 0): Promise<Published> {
    const sentAtMs = new Float64Array(messages)
    const repliedAtMs = new Float64Array(messages)
    const beginMs = monotonicMs()
    let next = 0
    const sendAll = async (connection: HttpConnection): Promise<void> => {
      while (next < messages) {
        this.signal.throwIfAborted()
        const index = next
        next += 1
        await until(beginMs + index * dueMs)
        const request = this.#request(first + index)
        sentAtMs[index] = monotonicMs()
        const { status, body } = await connection.send(request)
        repliedAtMs[index] = monotonicMs()
        if (!this.target.isTaken(status)) {
          throw new Error(`a message got ${status} ${body.slice(0, 500)}`)
        }
      }
    }
    await Promise.all(this.connections.map(sendAll))
    return { sentAtMs, repliedAtMs }
  }

  #request(number: number): Buffer {
    const body = this.target.body(contentOf(number))
    const bodyBytes = Buffer.byteLength(body)
    const buffer = Buffer.allocUnsafe(headBytesMax + bodyBytes)
    buffer.write(body, headBytesMax)
    return frameRequest(buffer, this.head, bodyBytes)
  }
}

async function until(dueAtMs: number): Promise<void> {
  const waitMs = dueAtMs - monotonicMs()
  if (waitMs > 0) await new Promise((resolve) => setTimeout(resolve, waitMs))
}
