import { randomBytes } from 'node:crypto'
import type { ConnectionEventData, StoredEvent } from '../contracts/events.ts'
import type { EndReason } from '../events/hub.ts'
import type { Selection } from '../events/selection.ts'
import { formatErrorEvent } from './error-event.ts'
import { EventAllowance } from './event-allowance.ts'
import type { EventStreams } from './event-streams.ts'
import type { ByteStream } from './exchange.ts'
import type { Principal, TenantEventStream } from './route.ts'
import { EventStream, formatFields, retryMs } from './sse.ts'

const idPrefix = randomBytes(4).toString('hex')
let connections = 0

/** What happens to a tenant, for as long as the client stays, with a heartbeat. */
export class TenantStream extends EventStream {
  readonly kind = 'stream'
  readonly session = null
  readonly selection: Selection
  readonly keyId: string
  readonly #heartbeatMs: number
  readonly #allowance: EventAllowance
  readonly #connectionId: string
  #heart: NodeJS.Timeout | null = null
  /** Runs while the client has had as many events as it may. */
  #pause: NodeJS.Timeout | null = null
  #hasJoined = false

  constructor(
    private readonly all: EventStreams,
    principal: Principal,
    { selection, after, heartbeatS }: TenantEventStream,
  ) {
    super(all, principal.tenant, after)
    this.selection = selection
    this.keyId = principal.keyId
    this.#heartbeatMs = heartbeatS * all.times.heartbeatSecondMs
    this.#allowance = new EventAllowance(all.parts.eventsPerWindow, all.times.rateWindowMs)
    connections += 1
    this.#connectionId = `conn_${idPrefix}${connections.toString(16).padStart(8, '0')}`
  }

  override start(bytes: ByteStream, keyId: string): void {
    super.start(bytes, keyId)
    if (!bytes.isOpen) return
    this.#hasJoined = true
    this.all.parts.monitor.joined(this.tenant)
    this.#heart = setInterval(() => this.#beat(), this.#heartbeatMs)
    this.#heart.unref()
  }

  room(): number {
    return this.#allowance.room(performance.now())
  }

  override deliver(events: readonly StoredEvent[]): boolean {
    this.#allowance.take(events.length, performance.now())
    return super.deliver(events)
  }

  /** Told once: until the window ends nothing is sent, and then all that came meanwhile. */
  onFull(): void {
    const waitMs = this.#allowance.waitMs(performance.now())
    const message = 'Too many events: the rest follows after the wait'
    this.write(this.#error('RATE_LIMITED', message, waitMs))
    this.#waitForRoom(waitMs)
  }

  /** A timer may come a moment early: the client has been told already and is told nothing more. */
  #waitForRoom(waitMs: number): void {
    this.#pause = setTimeout(() => {
      const leftMs = this.#allowance.waitMs(performance.now())
      if (leftMs > 0) {
        this.#waitForRoom(leftMs)
        return
      }
      this.#pause = null
      this.resume()
    }, waitMs)
    this.#pause.unref()
  }

  protected override resume(): void {
    if (this.#pause === null) super.resume()
  }

  override closed(): void {
    if (this.#heart !== null) clearInterval(this.#heart)
    if (this.#pause !== null) clearTimeout(this.#pause)
    super.closed()
    if (this.#hasJoined) this.all.parts.monitor.left(this.tenant)
  }

  /** With an id from the first moment on a client that is cut before any event can resume too. */
  protected override opening(): string {
    return super.opening() + this.#heartbeat()
  }

  protected revoked(): string {
    return this.#error('AUTH_ERROR', 'The API key was revoked', 0)
  }

  protected ended(reason: EndReason): string {
    return reason === 'stopping' ? this.#error('CONNECTION_ERROR', 'The server stops', retryMs) : ''
  }

  /** A client whose socket is full hears from us anyway, once it reads. */
  #beat(): void {
    if (!this.isBlocked) this.write(this.#heartbeat())
  }

  #heartbeat(): string {
    const data: ConnectionEventData<'heartbeat'> = {
      timestamp: new Date().toISOString(),
      status: this.all.parts.monitor.status,
      connection_id: this.#connectionId,
    }
    return formatFields('heartbeat', `heartbeat_${this.position}`, JSON.stringify(data))
  }

  #error(
    code: ConnectionEventData<'error'>['code'],
    message: string,
    retryAfterMs: number,
  ): string {
    return formatErrorEvent(this.position, { code, message, retry_after: retryAfterMs })
  }
}
