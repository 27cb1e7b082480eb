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

  constructor(origins: readonly string[]) {
    this.#origins = new Set(origins)
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
    const host = request.get('host')
    if (host !== undefined && (origin === `http://${host}` || origin === `https://${host}`)) return
    throw new Refusal('ORIGIN_FORBIDDEN')
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
