import { retryLater } from '../contracts/errors.ts'
import type { StoredEvent } from '../contracts/events.ts'
import type { EventHub, Subscription } from '../events/hub.ts'
import { limits } from '../limits.ts'
import type { Metrics } from '../metrics.ts'
import type { Authenticator } from './auth.ts'
import type { ByteStream, Exchange, HeaderList } from './exchange.ts'
import type { Principal, SessionEventStream } from './route.ts'

/** How long a browser waits before it connects again. */
const retryMs = 2_000

interface OpenStream {
  readonly bytes: ByteStream
  subscription: Subscription | null
  blocked: boolean
}

/**
 * All open SSE replies. Replay, going live and cutting readers that stand still are the hub's
 * work.
 */
export class EventStreams {
  readonly #open = new Set<OpenStream>()
  readonly #timer: NodeJS.Timeout

  constructor(
    private readonly hub: EventHub,
    private readonly authenticator: Authenticator,
    private readonly metrics: Metrics,
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
    if (this.hub.subscribers >= limits.subscribersMax) throw retryLater('SATURATED')
    const bytes = exchange.stream(200, [
      ...common,
      ['Content-Type', 'text/event-stream'],
      ['Cache-Control', 'no-store'],
      // nginx would gather events into its own buffer.
      ['X-Accel-Buffering', 'no'],
    ])
    if (bytes === null) return
    const stream: OpenStream = { bytes, subscription: null, blocked: false }
    this.#open.add(stream)
    this.metrics.subscribers.inc({ kind: 'sse' })
    const unwatch = this.authenticator.watch(principal.keyId, () => bytes.end(': key revoked\n\n'))
    bytes.onDrained(() => {
      stream.blocked = false
      stream.subscription?.resume()
    })
    exchange.onClosed(() => {
      unwatch()
      stream.subscription?.close()
      this.#open.delete(stream)
      this.metrics.subscribers.dec({ kind: 'sse' })
    })
    stream.blocked = !bytes.write(`retry: ${retryMs}\n\n`)
    if (!bytes.isOpen) return
    stream.subscription = this.hub.subscribe({
      tenant: principal.tenant,
      session,
      after,
      deliver: (events) => {
        stream.blocked = !bytes.write(events.map(formatEvent).join(''))
        return !stream.blocked
      },
      onEnd: (reason) => {
        if (reason === 'stalled') bytes.destroy()
        else bytes.end(reason === 'stopping' ? ': server stops\n\n' : '')
      },
    })
  }

  /** Ends every stream; the clients come back when they find a server again. */
  close(): void {
    clearInterval(this.#timer)
    for (const { bytes } of [...this.#open]) bytes.end(': server stops\n\n')
  }

  /** One timer for all: it keeps proxies from taking a quiet stream for a dead one. */
  #comment(): void {
    for (const stream of [...this.#open]) {
      if (!stream.blocked) stream.blocked = !stream.bytes.write(': keep-alive\n\n')
    }
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
