import { connect, type Socket } from 'node:net'

/** What a request got: its reply, or how its connection ended before there was one. */
export type Outcome =
  | { readonly kind: 'reply'; readonly status: number; readonly retryAfterS: number | null }
  | { readonly kind: 'cut'; readonly why: string }

export interface PushTarget {
  readonly host: string
  readonly port: number
  readonly key: string
}

/**
 * A client that sends the whole of a large body before it looks for a reply, as most do. Its connection
 * is used again until the server ends it.
 */
export class Pusher {
  #socket: Socket | null = null

  constructor(private readonly target: PushTarget) {}

  async push(path: string, parts: readonly Uint8Array[]): Promise<Outcome> {
    const socket = this.#socket ?? connect(this.target.port, this.target.host)
    this.#socket = null
    const { outcome, isUsable } = await this.#exchange(socket, path, parts)
    if (isUsable) this.#socket = socket
    else socket.destroy()
    return outcome
  }

  close(): void {
    this.#socket?.destroy()
  }

  #exchange(
    socket: Socket,
    path: string,
    parts: readonly Uint8Array[],
  ): Promise<{ outcome: Outcome; isUsable: boolean }> {
    const bytes = parts.reduce((sum, part) => sum + part.byteLength, 0)
    let text = ''
    let isSent = false
    return new Promise((resolve) => {
      const end = (outcome: Outcome, isUsable: boolean): void => {
        socket.removeAllListeners()
        // A connection that is kept may still be cut while nobody uses it.
        socket.on('error', () => {})
        resolve({ outcome, isUsable })
      }
      const look = (): void => {
        const reply = isSent ? wholeReply(text) : null
        if (reply === null) return
        end(reply, !/^connection: close/im.test(text) && !socket.destroyed)
      }
      const cut = (why: string): void => {
        // The reply may have come before the end.
        const reply = wholeReply(text)
        end(reply ?? { kind: 'cut', why: `${why} after ${text.length} bytes` }, false)
      }
      socket.on('data', (chunk) => {
        text += chunk.toString('latin1')
        look()
      })
      socket.on('error', (error) => cut(String(error)))
      socket.on('close', () => cut('closed'))
      socket.write(this.#head(path, bytes))
      for (const part of parts.slice(0, -1)) socket.write(part)
      socket.write(parts.at(-1) ?? '', () => {
        isSent = true
        look()
      })
    })
  }

  #head(path: string, bytes: number): string {
    const { host, key } = this.target
    const lines = [
      `POST ${path} HTTP/1.1`,
      `Host: ${host}`,
      `Authorization: Bearer ${key}`,
      'Content-Type: application/json',
      `Content-Length: ${bytes}`,
    ]
    return `${lines.join('\r\n')}\r\n\r\n`
  }
}

/** The last reply in `text`, null where it is not whole yet. */
function wholeReply(text: string): Extract<Outcome, { kind: 'reply' }> | null {
  const headEnd = text.indexOf('\r\n\r\n')
  if (headEnd < 0) return null
  const head = text.slice(0, headEnd)
  const length = Number(/^content-length: *(\d+)/im.exec(head)?.[1] ?? 0)
  if (text.length < headEnd + 4 + length) return null
  const retryAfter = /^retry-after: *(\d+)/im.exec(head)?.[1]
  return {
    kind: 'reply',
    status: Number(head.slice(9, 12)),
    retryAfterS: retryAfter === undefined ? null : Number(retryAfter),
  }
}
