import { isIP } from 'node:net'
import type { Config } from '../config.ts'
import { Refusal } from '../contracts/errors.ts'
import type { Exchange, WireReply } from './exchange.ts'

const exposed = [
  'X-Request-Id',
  'X-RateLimit-Limit',
  'X-RateLimit-Remaining',
  'X-RateLimit-Reset',
  'Retry-After',
  'X-Next-Cursor',
  'ETag',
].join(', ')
const allowedHeaders = [
  'Authorization',
  'X-API-Key',
  'Content-Type',
  'Content-Encoding',
  'Idempotency-Key',
  'Prefer',
  'Last-Event-ID',
].join(', ')
const preflightMaxAgeS = 600

/** Which pages may use the server from a browser: an allow-list of exact origins. */
export class Cors {
  readonly #origins: ReadonlySet<string>
  readonly #publicOrigin: string | null
  readonly #hostName: string

  constructor({
    corsOrigins,
    publicUrl,
    host,
  }: Pick<Config, 'corsOrigins' | 'publicUrl' | 'host'>) {
    this.#origins = new Set(corsOrigins)
    this.#publicOrigin = publicUrl === null ? null : new URL(publicUrl).origin
    this.#hostName = host.toLowerCase()
  }

  /** Headers for the reply to a request; none lets the browser keep the reply from the page. */
  headers(request: ReadonlyMap<string, string>): [string, string][] {
    if (this.#origins.size === 0) return []
    const origin = request.get('origin')
    if (origin === undefined || !this.#origins.has(origin)) return [['Vary', 'Origin']]
    return [
      ['Access-Control-Allow-Origin', origin],
      ['Access-Control-Expose-Headers', exposed],
      ['Vary', 'Origin'],
    ]
  }

  /**
   * For what a browser sends without asking first: WebSocket upgrades, and tickets. Pages of this
   * server itself may. Throws Refusal `ORIGIN_FORBIDDEN`.
   */
  requireAllowed(request: ReadonlyMap<string, string>): void {
    const origin = request.get('origin')
    if (origin === undefined || this.#origins.has(origin)) return
    if (origin === this.#ownOrigin(request.get('host') ?? '')) return
    throw new Refusal('ORIGIN_FORBIDDEN')
  }

  /**
   * The origin of pages that this server's address serves, null where nothing vouches for it. The
   * public URL tells, and then alone. Without one it is what Host says, by plain HTTP, which is all
   * the server speaks, and only where nobody else can own the name: whoever owns another name may
   * point it at this machine once his page is loaded (DNS rebinding).
   */
  #ownOrigin(host: string): string | null {
    if (this.#publicOrigin !== null) return this.#publicOrigin
    const name = host.replace(/:\d{1,5}$/, '')
    const isAddress = isIP(name.replace(/^\[(.+)\]$/, '$1')) !== 0
    const isOurs = isAddress || name === 'localhost' || name === this.#hostName
    return isOurs ? `http://${host}` : null
  }

  /** The answer to an OPTIONS request. */
  preflight(exchange: Exchange, methods: readonly string[]): WireReply {
    const headers = this.headers(exchange.headers)
    const allowed = methods.join(', ')
    if (exchange.headers.has('access-control-request-method')) {
      const granted = headers.some(([name]) => name === 'Access-Control-Allow-Origin')
      if (granted) {
        headers.push(
          ['Access-Control-Allow-Methods', allowed],
          ['Access-Control-Allow-Headers', allowedHeaders],
          ['Access-Control-Max-Age', String(preflightMaxAgeS)],
        )
      }
    }
    return { status: 204, headers: [...headers, ['Allow', allowed]], body: null, close: false }
  }
}
