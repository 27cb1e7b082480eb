import type { EventHub } from '../events/hub.ts'
import { limits } from '../limits.ts'
import type { Metrics } from '../metrics.ts'
import type { Monitor } from '../monitor/interfaces.ts'
import type { Authenticator } from './auth.ts'
import { ConnectionSlots } from './connection-slots.ts'
import type { Exchange, HeaderList } from './exchange.ts'
import type { Readers } from './readers.ts'
import { Rendering } from './rendering.ts'
import { type Principal, SessionEventStream, type TenantEventStream } from './route.ts'
import { type EventStream, type EventStreamOwner, formatEvents, SessionStream } from './sse.ts'
import { TenantStream } from './tenant-stream.ts'

export interface EventStreamParts {
  readonly hub: EventHub
  readonly authenticator: Authenticator
  readonly readers: Readers
  readonly metrics: Metrics
  readonly monitor: Monitor
  /** Tenant streams of one key at a time, 0 for any number. */
  readonly connectionsMax: number
  /** Events of one tenant stream in `StreamTimes.rateWindowMs`, 0 for any number. */
  readonly eventsPerWindow: number
}

/** What tests have shorter. */
export interface StreamTimes {
  readonly commentIntervalMs: number
  /** What a second of `heartbeat` lasts. */
  readonly heartbeatSecondMs: number
  readonly rateWindowMs: number
}

/**
 * All open SSE replies. Replay and going live are the hub's work, cutting those that stand still is
 * that of `Readers`.
 */
export class EventStreams implements EventStreamOwner {
  readonly rendering = new Rendering(formatEvents)
  readonly times: StreamTimes
  readonly #open = new Set<EventStream>()
  readonly #slots: ConnectionSlots
  readonly #timer: NodeJS.Timeout

  constructor(
    readonly parts: EventStreamParts,
    times: Partial<StreamTimes> = {},
  ) {
    this.times = {
      commentIntervalMs: limits.eventCommentIntervalMs,
      heartbeatSecondMs: 1_000,
      rateWindowMs: limits.streamRateWindowMs,
      ...times,
    }
    this.#slots = new ConnectionSlots(parts.connectionsMax)
    this.#timer = setInterval(() => this.#comment(), this.times.commentIntervalMs)
    this.#timer.unref()
  }

  get hub(): EventHub {
    return this.parts.hub
  }

  get authenticator(): Authenticator {
    return this.parts.authenticator
  }

  get readers(): Readers {
    return this.parts.readers
  }

  /**
   * Throws Refusal `SATURATED` where the server has as many subscribers as it may, and
   * `RATE_LIMIT_EXCEEDED` where the key has as many streams of its tenant.
   */
  open(
    exchange: Exchange,
    common: HeaderList,
    principal: Principal,
    asked: SessionEventStream | TenantEventStream,
  ): void {
    const stream = this.#stream(principal, asked)
    const headers: HeaderList = [
      ...common,
      ['Content-Type', 'text/event-stream'],
      ['Cache-Control', 'no-store'],
      // nginx would gather events into its own buffer.
      ['X-Accel-Buffering', 'no'],
    ]
    const bytes = exchange.stream(200, headers, stream)
    if (bytes === null) {
      this.#release(stream)
      return
    }
    this.#open.add(stream)
    this.parts.metrics.subscribers.inc({ kind: stream.kind })
    stream.start(bytes, principal.keyId)
  }

  left(stream: EventStream): void {
    this.#open.delete(stream)
    this.parts.metrics.subscribers.dec({ kind: stream.kind })
    this.#release(stream)
  }

  /** Ends every stream; the clients come back when they find a server again. */
  close(): void {
    clearInterval(this.#timer)
    for (const stream of [...this.#open]) stream.onEnd('stopping')
  }

  #stream(principal: Principal, asked: SessionEventStream | TenantEventStream): EventStream {
    const { readers } = this.parts
    if (asked instanceof SessionEventStream) {
      readers.join()
      return new SessionStream(this, principal.tenant, asked)
    }
    this.#slots.take(principal.keyId)
    try {
      readers.join()
    } catch (error) {
      this.#slots.release(principal.keyId)
      throw error
    }
    return new TenantStream(this, principal, asked)
  }

  #release(stream: EventStream): void {
    this.parts.readers.leave(stream)
    if (stream instanceof TenantStream) this.#slots.release(stream.keyId)
  }

  /** One timer for all: it keeps proxies from taking a quiet stream for a dead one. */
  #comment(): void {
    for (const stream of [...this.#open]) stream.comment()
  }
}
