import type { StoredEvent } from '../contracts/events.ts'
import type { EndReason, EventHub, SubscribeOptions, Subscription } from '../events/hub.ts'
import { limits } from '../limits.ts'
import type { Metrics } from '../metrics.ts'
import type { Authenticator } from './auth.ts'
import type { ByteStream, Exchange, HeaderList, StreamHandlers } from './exchange.ts'
import type { Reader, Readers } from './readers.ts'
import { Rendering } from './rendering.ts'
import type { Principal, SessionEventStream } from './route.ts'

/** How long a browser waits before it connects again. */
const retryMs = 2_000

export interface EventStreamParts {
  readonly hub: EventHub
  readonly authenticator: Authenticator
  readonly readers: Readers
  readonly metrics: Metrics
}

/**
 * All open SSE replies. Replay and going live are the hub's work, cutting those that stand still is
 * that of `Readers`.
 */
export class EventStreams {
  readonly text = new Rendering((events) => events.map(formatEvent).join(''))
  readonly #open = new Set<EventStream>()
  readonly #timer: NodeJS.Timeout

  constructor(
    readonly parts: EventStreamParts,
    commentIntervalMs: number = limits.eventCommentIntervalMs,
  ) {
    this.#timer = setInterval(() => this.#comment(), commentIntervalMs)
    this.#timer.unref()
  }

  /** Throws Refusal `SATURATED` where the server has as many subscribers as it may. */
  open(
    exchange: Exchange,
    common: HeaderList,
    principal: Principal,
    { session, after }: SessionEventStream,
  ): void {
    const { readers, metrics } = this.parts
    readers.join()
    const stream = new EventStream(this, principal.tenant, session, after)
    const headers: HeaderList = [
      ...common,
      ['Content-Type', 'text/event-stream'],
      ['Cache-Control', 'no-store'],
      // nginx would gather events into its own buffer.
      ['X-Accel-Buffering', 'no'],
    ]
    const bytes = exchange.stream(200, headers, stream)
    if (bytes === null) {
      readers.leave(stream)
      return
    }
    this.#open.add(stream)
    metrics.subscribers.inc({ kind: 'sse' })
    stream.start(bytes, principal.keyId)
  }

  left(stream: EventStream): void {
    this.#open.delete(stream)
    this.parts.readers.leave(stream)
    this.parts.metrics.subscribers.dec({ kind: 'sse' })
  }

  /** Ends every stream; the clients come back when they find a server again. */
  close(): void {
    clearInterval(this.#timer)
    for (const stream of [...this.#open]) stream.onEnd('stopping')
  }

  /** One timer for all: it keeps proxies from taking a quiet stream for a dead one. */
  #comment(): void {
    for (const stream of [...this.#open]) stream.comment()
  }
}

/** One reply: what the socket, the hub and `Readers` know of it is this one object. */
class EventStream implements StreamHandlers, SubscribeOptions, Reader {
  #bytes: ByteStream | null = null
  #subscription: Subscription | null = null
  #unwatch: (() => void) | null = null
  #blocked = false

  constructor(
    private readonly all: EventStreams,
    readonly tenant: number,
    readonly session: number,
    readonly after: number,
  ) {}

  start(bytes: ByteStream, keyId: string): void {
    const { hub, authenticator } = this.all.parts
    this.#bytes = bytes
    this.#unwatch = authenticator.watch(keyId, () => bytes.end(': key revoked\n\n'))
    this.#write(`retry: ${retryMs}\n\n`)
    if (bytes.isOpen) this.#subscription = hub.subscribe(this)
  }

  deliver(events: readonly StoredEvent[]): boolean {
    return this.#write(this.all.text.of(events))
  }

  onEnd(reason: EndReason): void {
    this.#bytes?.end(reason === 'stopping' ? ': server stops\n\n' : '')
  }

  comment(): void {
    if (!this.#blocked) this.#write(': keep-alive\n\n')
  }

  drained(): void {
    this.#blocked = false
    this.all.parts.readers.hold(this, 0)
    this.#subscription?.resume()
  }

  closed(): void {
    this.#unwatch?.()
    this.#subscription?.close()
    this.all.left(this)
  }

  cut(): void {
    this.#bytes?.destroy()
  }

  /** Earlier writes have left, so what the socket holds back is of this one. */
  #write(text: string): boolean {
    if (this.#bytes?.write(text) === true) return true
    this.#blocked = true
    if (this.#bytes?.isOpen === true) {
      this.all.parts.readers.hold(this, Buffer.byteLength(text))
    }
    return false
  }
}

/**
 * The event in the format of text/event-stream; a line break inside it begins a further data line.
 */
export function formatEvent(event: StoredEvent): string {
  const name = event.name.replace(/[\r\n]/g, ' ')
  const data = /[\r\n]/.test(event.data)
    ? event.data.split(/\r\n|\r|\n/).join('\ndata: ')
    : event.data
  return `event: ${name}\nid: event_${event.number}\ndata: ${data}\n\n`
}
