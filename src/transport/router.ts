import { randomBytes } from 'node:crypto'
import { declaredLength, inflate } from '../codecs/gzip.ts'
import { Refusal, retryLater } from '../contracts/errors.ts'
import { WorkerFailure } from '../contracts/worker-failure.ts'
import { limits } from '../limits.ts'
import { memoryBudgets } from '../memory.ts'
import { type Authenticator, holdsScope, scopeMissing, unauthorized } from './auth.ts'
import { type Body, BodyBudget, type BodyLease, BodyReader, ClientGone } from './body.ts'
import {
  type FileFormat,
  fileFormat,
  isGzip,
  requireJson,
  requireUnencoded,
  uploadFormat,
} from './content-type.ts'
import { Cors } from './cors.ts'
import { errorEventReply } from './error-event.ts'
import type { EventStreams } from './event-streams.ts'
import type { Exchange, UpgradeExchange } from './exchange.ts'
import { FileReader } from './file-body.ts'
import {
  dropMember,
  parseQuery,
  type QueryMembers,
  readJsonBody,
  readParams,
  readQuery,
} from './input.ts'
import { RateLimiter, type RateState, rateHeaders, rateLimitExceeded } from './rate-limit.ts'
import { errorReply, valueReply } from './reply.ts'
import { ReplyLease } from './reply-lease.ts'
import { contextMaker } from './request-context.ts'
import {
  type FileBody,
  type Principal,
  Reply,
  type Route,
  SessionEventStream,
  SessionSocket,
  TenantEventStream,
  type TicketDesk,
  type UploadBody,
} from './route.ts'
import { type CompiledRoute, type PathParams, RouteTable } from './route-table.ts'
import type { Services } from './services.ts'
import { readOnly, Tickets, ticketOf } from './tickets.ts'
import type { SessionSockets } from './ws.ts'

/** Who a public route works for: nobody. */
const nobody: Principal = { keyId: '', tenant: 0, user: '', scopes: new Set() }

export interface RouterParts {
  readonly services: Services
  readonly routes: readonly Route[]
  readonly authenticator: Authenticator
  readonly streams: EventStreams
  readonly sockets: SessionSockets
  readonly budget: BodyBudget
  /** Base of the URLs in replies where neither the configuration nor the request tells. */
  readonly ownUrl: () => string
}

type Input = Readonly<Record<string, unknown>>

/** One request on its way; what is found out about it on the way stands here. */
interface Call {
  readonly exchange: Exchange
  readonly upgrade: UpgradeExchange | null
  readonly requestId: string
  readonly headers: [string, string][]
  readonly startedAtMs: number
  route: Route | null
  /** Null until, and where, no key or ticket has told it. */
  principal: Principal | null
  readonly reply: ReplyLease
}

/**
 * The way of every request: found, authenticated, limited, authorised, validated, handled, in this
 * order. All but the last happen in the turn that brought it, because a body must be asked for in
 * that turn, and nobody unknown gets a body read.
 */
export class Router {
  readonly table: RouteTable
  readonly #services: Services
  readonly #parts: RouterParts
  readonly #tickets: Tickets
  readonly #tenantLimiter: RateLimiter
  /** Requests that no key vouches for, by remote address. */
  readonly #addressLimiter: RateLimiter
  readonly #cors: Cors
  readonly #bodies: BodyReader
  readonly #files: FileReader
  readonly #replies: BodyBudget
  readonly #context: ReturnType<typeof contextMaker>
  readonly #ticketDesk: TicketDesk = {
    issue: (asking, path) => this.issueTicket(asking, path),
  }
  readonly #idPrefix = randomBytes(6).toString('base64url')
  #requests = 0
  #open = 0
  #stopping = false
  #idle: (() => void) | null = null

  constructor(parts: RouterParts) {
    const { config, store } = parts.services
    this.#parts = parts
    this.#services = parts.services
    this.#context = contextMaker(parts.services)
    this.table = new RouteTable(parts.routes)
    this.#tickets = new Tickets(store.secret, parts.authenticator)
    this.#tenantLimiter = new RateLimiter(config.rateLimit)
    this.#addressLimiter = new RateLimiter(config.rateLimit)
    this.#cors = new Cors(config)
    this.#bodies = new BodyReader()
    this.#files = new FileReader(parts.services.spool)
    const { repliesBytesMax } = memoryBudgets(config.memoryMaxMiB)
    this.#replies = new BodyBudget({ bytesMax: repliesBytesMax })
  }

  /** Answers one request, sooner or later; throws nothing. */
  take(exchange: Exchange, upgrade: UpgradeExchange | null): void {
    this.#requests += 1
    const call: Call = {
      exchange,
      upgrade,
      requestId: `${this.#idPrefix}-${this.#requests.toString(36)}`,
      headers: [],
      startedAtMs: performance.now(),
      route: null,
      principal: null,
      reply: new ReplyLease(this.#replies, exchange),
    }
    call.headers.push(['X-Request-Id', call.requestId], ['X-Content-Type-Options', 'nosniff'])
    call.headers.push(...this.#cors.headers(exchange.headers))
    this.#open += 1
    exchange.onClosed(() => this.#closed())
    try {
      this.#dispatch(call)
    } catch (error) {
      this.#fail(call, error)
    }
  }

  /** New requests are refused from now on. Resolves when the open ones are answered. */
  drain(): Promise<void> {
    this.#stopping = true
    if (this.#open === 0) return Promise.resolve()
    return new Promise((resolve) => {
      this.#idle = resolve
    })
  }

  close(): void {
    this.#bodies.close()
    this.#files.close()
  }

  /** Makes a ticket for a path that takes one. Throws Refusal where the key may not read it. */
  issueTicket(principal: Principal, path: string): { ticket: string; expiresAt: string } {
    const match = this.table.match('GET', path)
    if (match.kind !== 'route' || match.compiled.route.ticket !== true) {
      throw new Refusal('INVALID_BODY', {
        message: 'resource: expected a path that takes tickets',
        fields: { field: 'resource', expected: 'a path that takes tickets' },
      })
    }
    const { route } = match.compiled
    const needed = route.scope ?? []
    if (!holdsScope(readOnly(principal.scopes), needed)) throw scopeMissing(needed)
    route.exists?.(match.params, principal.tenant, this.#services)
    return this.#tickets.issue(principal, path)
  }

  #dispatch(call: Call): void {
    const { exchange } = call
    if (this.#stopping) {
      throw retryLater('SHUTTING_DOWN')
    }
    if (exchange.framing === 'conflict') throw new Refusal('INVALID_FRAMING')
    if (exchange.method === 'OPTIONS') {
      this.#answerOptions(call)
      return
    }
    const match = this.table.match(exchange.method, exchange.path)
    const route = match.kind === 'route' ? match.compiled.route : null
    call.route = route
    if (match.kind === 'route' && match.compiled.route.scope === null) {
      this.#serve(call, match.compiled, nobody, match.params, parseQuery(exchange.query))
      return
    }
    const principal = this.#authenticate(call, route)
    if (match.kind === 'none') throw new Refusal('ROUTE_NOT_FOUND')
    if (match.kind === 'method') {
      throw new Refusal('METHOD_NOT_ALLOWED', {
        fields: { allowed: match.allowed },
        headers: { Allow: match.allowed.join(', ') },
      })
    }
    if (principal === null) throw unauthorized()
    const { compiled, params } = match
    const needed = compiled.route.scope ?? []
    if (!holdsScope(principal.scopes, needed)) throw scopeMissing(needed)
    if (compiled.route.ownOrigin === true) this.#cors.requireAllowed(exchange.headers)
    const query = parseQuery(exchange.query)
    if (compiled.route.ticket === true) dropMember(query, 'ticket')
    this.#serve(call, compiled, principal, params, query)
  }

  #answerOptions(call: Call): void {
    const { exchange } = call
    const methods = exchange.path === '*' ? [] : this.table.methods(exchange.path)
    if (methods.length === 0) throw new Refusal('ROUTE_NOT_FOUND')
    const reply = this.#cors.preflight(exchange, methods)
    const own = call.headers.filter(([name]) => name.startsWith('X-'))
    this.#reply(call, { ...reply, headers: [...own, ...reply.headers] })
  }

  /**
   * Who asks, counted against the limit of its tenant; null where nobody is named. Whoever is not known
   * is counted by address, wrong keys too: a client with an old key is slowed, and told so. That keeps
   * nobody from guessing, because a right key is let in whatever its address did before, else one bad
   * client would lock out all behind its proxy. Against guessing stand the 256 bits of a key.
   */
  #authenticate(call: Call, route: Route | null): Principal | null {
    let principal: Principal | null
    try {
      principal = this.#principal(call, route)
    } catch (error) {
      this.#limit(call, this.#addressLimiter.count(call.exchange.remoteAddress))
      throw error
    }
    if (principal === null) {
      this.#limit(call, this.#addressLimiter.count(call.exchange.remoteAddress))
      return null
    }
    call.principal = principal
    this.#limit(call, this.#tenantLimiter.count(String(principal.tenant)))
    return principal
  }

  #principal({ exchange, upgrade }: Call, route: Route | null): Principal | null {
    const byKey = this.#parts.authenticator.authenticate(exchange.headers, upgrade !== null)
    const ticket = route?.ticket === true ? ticketOf(exchange.query) : null
    if (ticket === null) return byKey
    if (byKey !== null) throw unauthorized('Send an API key or a ticket, not both')
    return this.#tickets.redeem(ticket, exchange.path)
  }

  #limit(call: Call, state: RateState | null): void {
    if (state === null) return
    call.headers.push(...rateHeaders(state))
    if (state.exceeded) throw rateLimitExceeded(state)
  }

  #serve(
    call: Call,
    compiled: CompiledRoute,
    principal: Principal,
    params: PathParams,
    members: QueryMembers,
  ): void {
    const { route } = compiled
    const input = {
      params: readParams(params, compiled.checkParams),
      query: readQuery(members, route.query, compiled.checkQuery),
    }
    const lease = this.#parts.budget.lease()
    if (route.body === undefined) {
      this.#run(call, route, principal, { ...input, body: undefined }, null, lease)
      return
    }
    if (route.body === 'upload') {
      const file = route.requireFile === undefined ? null : fileFormat(call.exchange.headers)
      if (file !== null) this.#serveFile(call, route, principal, input, { lease, file })
      else this.#serveUpload(call, route, principal, input, lease)
    } else this.#serveJson(call, compiled, principal, input, lease)
  }

  #serveUpload(
    call: Call,
    route: Route,
    principal: Principal,
    input: Input,
    lease: BodyLease,
  ): void {
    const { headers } = call.exchange
    const format = uploadFormat(headers, route.requireFile !== undefined)
    const gzip = isGzip(headers)
    const bytesMax = this.#services.config.uploadBytesMax
    this.#parts.budget.requireMemory(call.exchange.contentLength ?? 0)
    this.#bodies
      .read(call.exchange, bytesMax, lease)
      .then((body) => {
        if (gzip) lease.grow(this.#inflatedBytes(body))
        const receivingMs = performance.now() - call.startedAtMs
        const upload = { kind: 'bytes', ...body, format, gzip, receivingMs } as const
        this.#run(call, route, principal, { ...input, body: undefined }, upload, lease)
      })
      .catch((error) => this.#fail(call, error, lease))
  }

  /** A media file: nothing of it is read unless it would be taken, and then it goes to disk. */
  #serveFile(
    call: Call,
    route: Route,
    principal: Principal,
    input: Input,
    { lease, file }: { lease: BodyLease; file: FileFormat },
  ): void {
    const { exchange } = call
    const arrivedAtMs = Date.now()
    const { headers } = exchange
    requireUnencoded(headers)
    const { tenant } = principal
    route.requireFile?.(input, { ...this.#services, tenant, headers, file })
    const { contentLength } = exchange
    this.#parts.budget.requireMemory(Math.min(contentLength ?? 0, limits.spoolWriteBytesMax))
    this.#files
      .read(exchange, lease)
      .then((spooled) => {
        const receivingMs = performance.now() - call.startedAtMs
        const upload = { kind: 'file', ...file, spooled, arrivedAtMs, receivingMs } as const
        this.#run(call, route, principal, { ...input, body: undefined }, upload, lease)
      })
      .catch((error) => this.#fail(call, error, lease))
  }

  /**
   * What inflating a gzip body takes. Throws Refusal `BODY_TOO_LARGE` where that is more than memory is
   * for. What declares more than the worker inflates is broken or a bomb, and the worker tells which.
   */
  #inflatedBytes(body: Body): number {
    const { bodyBytesMax } = memoryBudgets(this.#services.config.memoryMaxMiB)
    const declared = declaredLength(new Uint8Array(body.buffer, 0, body.byteLength))
    const isBelievable = declared <= limits.inflatedBodyBytesMax
    if (declared <= bodyBytesMax || !isBelievable) return Math.min(declared, bodyBytesMax)
    throw new Refusal('BODY_TOO_LARGE', {
      message: 'The body inflates to more than this server takes',
      fields: { maxBytes: bodyBytesMax },
    })
  }

  #serveJson(
    call: Call,
    compiled: CompiledRoute,
    principal: Principal,
    input: Input,
    lease: BodyLease,
  ): void {
    const { route, checkBody } = compiled
    const { exchange } = call
    const isOptional = route.bodyOptional === true
    if (!(isOptional && exchange.framing === 'empty')) requireJson(exchange.headers)
    const gzip = isGzip(exchange.headers)
    const bytesMax = limits.requestBodyBytesMax
    const parse = (body: Body): unknown => {
      const raw = Uint8Array.from(new Uint8Array(body.buffer, 0, body.byteLength))
      const bytes = gzip ? inflate(raw, bytesMax) : raw
      return checkBody === null ? undefined : readJsonBody(bytes, checkBody, isOptional)
    }
    this.#bodies
      .read(exchange, bytesMax, lease)
      .then((body) =>
        this.#run(call, route, principal, { ...input, body: parse(body) }, null, lease),
      )
      .catch((error) => this.#fail(call, error, lease))
  }

  /**
   * Handles and answers. The body's share of the budget is held until its handler is done with it.
   */
  #run(
    call: Call,
    route: Route,
    principal: Principal,
    input: Input,
    upload: UploadBody | FileBody | null,
    lease: BodyLease,
  ): void {
    let result: unknown
    try {
      const { exchange, requestId, reply } = call
      const tickets = this.#ticketDesk
      const baseUrl = () => this.#baseUrl(exchange)
      const parts = { exchange, requestId, reply, principal, tickets, baseUrl, upload }
      result = route.handle(input, this.#context(parts))
    } catch (error) {
      this.#fail(call, error, lease)
      return
    }
    if (!(result instanceof Promise)) {
      this.#finish(call, principal, result, lease)
      return
    }
    result.then(
      (value) => this.#finish(call, principal, value, lease),
      (error) => this.#fail(call, error, lease),
    )
  }

  #baseUrl(exchange: Exchange): string {
    const { publicUrl } = this.#services.config
    if (publicUrl !== null) return publicUrl
    const host = exchange.headers.get('host') ?? ''
    const isHost = /^([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(:\d{1,5})?$/.test(host)
    return isHost ? `http://${host}` : this.#parts.ownUrl()
  }

  #finish(call: Call, principal: Principal, result: unknown, lease: BodyLease): void {
    lease.release()
    try {
      if (result instanceof SessionEventStream || result instanceof TenantEventStream) {
        // HEAD asks what GET would answer: the head of a stream, and no stream.
        if (call.exchange.method === 'HEAD') {
          const head = new Reply(200, null, { 'Content-Type': 'text/event-stream' })
          this.#reply(call, valueReply(head, call.headers))
          return
        }
        this.#parts.streams.open(call.exchange, call.headers, principal, result)
        this.#count(call, 200)
      } else if (result instanceof SessionSocket) {
        if (call.upgrade === null) throw upgradeRequired()
        this.#parts.sockets.open(call.upgrade, principal, result)
        this.#count(call, 101)
      } else {
        const reply = valueReply(result, call.headers)
        call.reply.growTo(reply.body?.length ?? 0)
        this.#reply(call, reply)
      }
    } catch (error) {
      this.#fail(call, error)
    }
  }

  #fail(call: Call, error: unknown, lease?: BodyLease): void {
    lease?.release()
    if (error instanceof ClientGone) return
    const { requestId } = call
    let refusal = error
    if (!(refusal instanceof Refusal)) {
      this.#services.log.error({ err: error, requestId, route: call.route?.path }, 'request failed')
      refusal = error instanceof WorkerFailure ? workerFailed() : new Refusal('INTERNAL')
    }
    const reply = errorReply(refusal as Refusal, requestId, call.headers, call.exchange)
    const event = call.route?.refusesByEvent
      ? errorEventReply(refusal as Refusal, reply, call.exchange, this.#lastEvent(call))
      : null
    this.#reply(call, event ?? reply)
  }

  #lastEvent({ principal }: Call): number {
    return principal === null ? 0 : this.#services.store.events.last(principal.tenant)
  }

  #reply(call: Call, reply: Parameters<Exchange['reply']>[0]): void {
    this.#count(call, reply.status)
    call.exchange.reply(reply)
  }

  #count(call: Call, status: number): void {
    const { requests, requestSeconds } = this.#services.metrics
    const route = call.route?.path ?? 'none'
    requests.inc({ method: call.route?.method ?? 'none', route, status })
    const durationMs = performance.now() - call.startedAtMs
    requestSeconds.observe({ route }, durationMs / 1_000)
    if (call.principal === null) return
    const { tenant, user } = call.principal
    this.#services.traffic.answered(tenant, user, status, durationMs)
  }

  #closed(): void {
    this.#open -= 1
    if (this.#open === 0) this.#idle?.()
  }
}

function upgradeRequired(): Refusal {
  return new Refusal('INVALID_PARAMETER', {
    message: 'Upgrade: expected websocket',
    fields: { field: 'Upgrade', expected: 'websocket' },
  })
}

/** A worker failed at reading back: nothing was to be kept. */
function workerFailed(): Refusal {
  return new Refusal('WORKER_FAILED', {
    message: 'The worker that read the records failed',
    fields: { retryAfter: limits.retryAfterS },
  })
}
