import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'
import type { Scope } from './server.ts'

/** Hands bytes on to a port of this machine, until the test cuts what goes through it. */
export class TcpProxy {
  /** How many connections have come in all. */
  connections = 0
  readonly #server: Server
  readonly #sockets = new Set<Socket>()
  #isDown = false

  private constructor(private readonly targetPort: number) {
    this.#server = createServer((socket) => this.#take(socket))
  }

  static async start(t: Scope, targetPort: number): Promise<TcpProxy> {
    const proxy = new TcpProxy(targetPort)
    proxy.#server.listen(0, '127.0.0.1')
    await once(proxy.#server, 'listening')
    t.after(() => proxy.#close())
    return proxy
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`
  }

  /** Ends every connection in the middle of whatever it carries, and each new one at once. */
  goDown(): void {
    this.#isDown = true
    for (const socket of this.#sockets) socket.destroy()
  }

  comeBack(): void {
    this.#isDown = false
  }

  #take(client: Socket): void {
    if (this.#isDown) {
      client.destroy()
      return
    }
    this.connections += 1
    const target = connect({ host: '127.0.0.1', port: this.targetPort })
    for (const [one, other] of [
      [client, target],
      [target, client],
    ] as const) {
      this.#sockets.add(one)
      one.pipe(other)
      one.on('error', () => other.destroy())
      one.on('close', () => {
        this.#sockets.delete(one)
        other.destroy()
      })
    }
  }

  async #close(): Promise<void> {
    this.goDown()
    this.#server.close()
    await once(this.#server, 'close')
  }
}
