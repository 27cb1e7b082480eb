import { connect, type Socket } from 'node:net'

/** The longest reply: 10,000 records of the bench as NDJSON are 2 MB. */
const replyBytesMax = 32 * 2 ** 20
const readBufferBytes = 512 * 1024
const replyTimeoutMs = 60_000

export interface Page {
  readonly head: string
  /** Its bytes during the next `get` are those of the next page. */
  readonly body: Buffer
}

/**
 * One keep-alive connection that reads long replies into one buffer: joining a reply of 2 MB from
 * its pieces would take the client longer than the server may take to make it. It trusts the server
 * to frame by Content-Length, and checks that.
 */
export class PageConnection {
  readonly #received = Buffer.allocUnsafe(replyBytesMax)
  #length = 0
  /** Of the reply under way, once its head is there. */
  #bodyStart = 0
  #total = 0
  #waiting: { resolve: (page: Page) => void; reject: (reason: Error) => void } | undefined

  private constructor(
    private readonly socket: Socket,
    private readonly url: URL,
    private readonly apiKey: string,
  ) {}

  static open(url: URL, apiKey: string): Promise<PageConnection> {
    return new Promise((resolve, reject) => {
      const readBuffer = Buffer.allocUnsafe(readBufferBytes)
      const onread = {
        buffer: readBuffer,
        callback: (length: number) => {
          connection.#take(readBuffer.subarray(0, length))
          return true
        },
      }
      const address = { host: url.hostname, port: Number(url.port) }
      const socket = connect({ ...address, noDelay: true, onread })
      const connection = new PageConnection(socket, url, apiKey)
      const fail = (error: Error) => {
        reject(error)
        connection.#settle()?.reject(error)
      }
      socket.once('connect', () => resolve(connection))
      socket.on('error', fail)
      socket.on('close', () => fail(new Error('the server closed the connection')))
      socket.setTimeout(replyTimeoutMs, () => {
        if (connection.#waiting) socket.destroy(new Error(`no reply within ${replyTimeoutMs} ms`))
      })
    })
  }

  /** Rejects where the status is not 200. */
  get(path: string, accept: string): Promise<Page> {
    return new Promise((resolve, reject) => {
      if (this.socket.destroyed) return reject(new Error('the connection is closed'))
      this.#waiting = { resolve, reject }
      this.#length = 0
      this.#total = 0
      const { host } = this.url
      const credentials = `authorization: Bearer ${this.apiKey}\r\naccept: ${accept}`
      this.socket.write(`GET ${path} HTTP/1.1\r\nhost: ${host}\r\n${credentials}\r\n\r\n`)
    })
  }

  close(): void {
    this.socket.destroy()
  }

  #settle() {
    const waiting = this.#waiting
    this.#waiting = undefined
    return waiting
  }

  #take(chunk: Buffer): void {
    if (this.#length + chunk.length > replyBytesMax) {
      this.socket.destroy(new Error(`a reply of more than ${replyBytesMax} bytes`))
      return
    }
    this.#length += chunk.copy(this.#received, this.#length)
    if (this.#total === 0) this.#readHead()
    if (this.#total === 0 || this.#length < this.#total) return
    const head = this.#received.toString('latin1', 0, this.#bodyStart)
    const body = this.#received.subarray(this.#bodyStart, this.#total)
    const waiting = this.#settle()
    if (head.startsWith('HTTP/1.1 200 ')) waiting?.resolve({ head, body })
    else waiting?.reject(new Error(`a page: ${head.slice(9, 12)} ${body.toString().slice(0, 500)}`))
  }

  #readHead(): void {
    const headEnd = this.#received.subarray(0, this.#length).indexOf('\r\n\r\n')
    if (headEnd === -1) return
    const head = this.#received.toString('latin1', 0, headEnd)
    const length = /\r\ncontent-length: *(\d+)/i.exec(head)?.[1]
    if (length === undefined) {
      this.socket.destroy(new Error(`a reply without Content-Length: ${head.slice(0, 200)}`))
      return
    }
    this.#bodyStart = headEnd + 4
    this.#total = this.#bodyStart + Number(length)
  }
}
