import type { StoredEvent } from '../contracts/events.ts'
import type { EndReason, EventHub, SubscribeOptions, Subscription } from '../events/hub.ts'
import type { Authenticator } from './auth.ts'
import type { ByteStream, StreamHandlers } from './exchange.ts'
import type { Reader, Readers } from './readers.ts'
import type { Rendering } from './rendering.ts'
import type { SessionEventStream } from './route.ts'

/** How long a browser waits before it connects again. */
export const retryMs = 2_000

/** What an event stream needs of those who hold all of them. */
export interface EventStreamOwner {
  readonly hub: EventHub
  readonly authenticator: Authenticator
  readonly readers: Readers
  readonly rendering: Rendering<Uint8Array>
  /** Called once for each stream that was opened. */
  left(stream: EventStream): void
}

/** One SSE reply: what the socket, the hub and `Readers` know of it is this one object. */
export abstract class EventStream implements StreamHandlers, SubscribeOptions, Reader {
  abstract readonly session: number | null
  /** Of the gauge that counts subscribers. */
  abstract readonly kind: string
  #bytes: ByteStream | null = null
  #subscription: Subscription | null = null
  #unwatch: (() => void) | null = null
  /** What was written while the socket took no more, and has not left. */
  #heldBytes = 0
  #isBlocked = false

  constructor(
    protected readonly owner: EventStreamOwner,
    readonly tenant: number,
    readonly after: number,
  ) {}

  /** What a client is told before the first event. */
  protected opening(): string {
    return `retry: ${retryMs}\n\n`
  }

  /** The last words to a client whose key was revoked while it was listening. */
  protected abstract revoked(): string
  /** The last words to a client, empty where the last event says it all. */
  protected abstract ended(reason: EndReason): string

  /** Where a client that is cut now has to go on. */
  protected get position(): number {
    return this.#subscription?.position ?? this.after
  }

  /** Its socket holds back what it was sent. */
  protected get isBlocked(): boolean {
    return this.#isBlocked
  }

  start(bytes: ByteStream, keyId: string): void {
    const { hub, authenticator } = this.owner
    this.#bytes = bytes
    this.#unwatch = authenticator.watch(keyId, () => bytes.end(this.revoked()))
    this.write(this.opening())
    if (bytes.isOpen) this.#subscription = hub.subscribe(this)
  }

  deliver(events: readonly StoredEvent[]): boolean {
    return this.write(this.owner.rendering.of(events))
  }

  onEnd(reason: EndReason): void {
    this.#bytes?.end(this.ended(reason))
  }

  comment(): void {
    if (!this.#isBlocked) this.write(': keep-alive\n\n')
  }

  drained(): void {
    this.#isBlocked = false
    this.#heldBytes = 0
    this.owner.readers.hold(this, 0)
    this.resume()
  }

  closed(): void {
    this.#unwatch?.()
    this.#subscription?.close()
    this.owner.left(this)
  }

  cut(): void {
    this.#bytes?.destroy()
  }

  /** Goes on with the events, where the socket takes them. */
  protected resume(): void {
    if (!this.#isBlocked) this.#subscription?.resume()
  }

  protected write(text: string | Uint8Array): boolean {
    if (this.#bytes?.write(text) === true) return true
    this.#isBlocked = true
    if (this.#bytes?.isOpen !== true) return false
    this.#heldBytes += Buffer.byteLength(text)
    this.owner.readers.hold(this, this.#heldBytes)
    return false
  }
}

/** The events of a session, until it ends. */
export class SessionStream extends EventStream {
  readonly kind = 'sse'
  readonly session: number

  constructor(owner: EventStreamOwner, tenant: number, { session, after }: SessionEventStream) {
    super(owner, tenant, after)
    this.session = session
  }

  protected revoked(): string {
    return ': key revoked\n\n'
  }

  protected ended(reason: EndReason): string {
    return reason === 'stopping' ? ': server stops\n\n' : ''
  }
}

export function formatEvents(events: readonly StoredEvent[]): Uint8Array {
  return Buffer.from(events.map(formatEvent).join(''))
}

export function formatEvent({ name, number, data }: StoredEvent): string {
  return formatFields(name, `event_${number}`, data)
}

/**
 * An event in the format of text/event-stream; a line break inside it begins a further data line.
 */
export function formatFields(name: string, id: string, data: string): string {
  const line = name.replace(/[\r\n]/g, ' ')
  const lines = /[\r\n]/.test(data) ? data.split(/\r\n|\r|\n/).join('\ndata: ') : data
  return `event: ${line}\nid: ${id}\ndata: ${lines}\n\n`
}
