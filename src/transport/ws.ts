import { TypeCompiler } from '@sinclair/typebox/compiler'
import { Packr } from 'msgpackr'
import { parseJson } from '../codecs/json.ts'
import { Refusal, retryLater } from '../contracts/errors.ts'
import type { StoredEvent } from '../contracts/events.ts'
import { type EndSession as EndOptions, EndSession } from '../contracts/http.ts'
import type { MessageId } from '../contracts/tasks.ts'
import type { EndReason, SubscribeOptions, Subscription } from '../events/hub.ts'
import { sessionEnded } from '../ingest/session-report.ts'
import { type RunAnswer, shareOfReply } from '../ingest/uploads.ts'
import { limits } from '../limits.ts'
import type { SessionRow } from '../store/interfaces.ts'
import { type Authenticator, holdsScope, scopeMissing, subprotocolKey } from './auth.ts'
import type { BodyBudget, BodyLease } from './body.ts'
import type { Socket, SocketHandlers, UpgradeExchange } from './exchange.ts'
import { requireValid } from './input.ts'
import type { Reader, Readers } from './readers.ts'
import { Rendering } from './rendering.ts'
import type { Principal, SessionSocket } from './route.ts'
import type { Services } from './services.ts'

/** RFC 6455, 7.4.1. */
const closeCodes = { normal: 1_000, goingAway: 1_001, policy: 1_008 } as const
const readingScopes = ['events:read', 'sessions:read'] as const

const packr = new Packr({ useRecords: false })
const endOptions = TypeCompiler.Compile(EndSession)

export interface SessionSocketParts {
  readonly services: Services
  readonly authenticator: Authenticator
  readonly budget: BodyBudget
  readonly readers: Readers
}

/** All open WebSockets of sessions. */
export class SessionSockets {
  readonly texts = new Rendering((events) => events.map(formatMessage))
  readonly packed = new Rendering((events) => events.map(packMessage))
  readonly #open = new Set<Connection>()
  #nextRejection = 0
  /** Messages of all connections that are not answered yet. */
  #pending = 0
  #stopping = false
  #answered: (() => void) | null = null
  #closed: (() => void) | null = null

  constructor(readonly parts: SessionSocketParts) {}

  /** Takes no more messages: the server stops. */
  get isStopping(): boolean {
    return this.#stopping
  }

  /** Throws Refusal `SATURATED` where the server has as many subscribers as it may. */
  open(upgrade: UpgradeExchange, principal: Principal, { session, after }: SessionSocket): void {
    if (!upgrade.isOpen) return
    const { readers, services } = this.parts
    readers.join()
    const connection = new Connection(this, principal, session, after)
    this.#open.add(connection)
    services.metrics.subscribers.inc({ kind: 'websocket' })
    upgrade.accept(subprotocolKey(upgrade.headers) === null ? null : 'bearer', connection)
  }

  left(connection: Connection): void {
    this.#open.delete(connection)
    this.parts.readers.leave(connection)
    this.parts.services.metrics.subscribers.dec({ kind: 'websocket' })
    if (this.#open.size === 0) this.#closed?.()
  }

  requestId(): string {
    this.#nextRejection += 1
    return `ws-${this.#nextRejection.toString(36)}`
  }

  began(): void {
    this.#pending += 1
  }

  ended(messages: number): void {
    this.#pending -= messages
    if (this.#pending === 0) this.#answered?.()
  }

  /** Refuses messages from now on. Resolves when the open ones are answered. */
  drain(): Promise<void> {
    this.#stopping = true
    if (this.#pending === 0) return Promise.resolve()
    return new Promise((resolve) => {
      this.#answered = resolve
    })
  }

  /**
   * Closes every connection, one with open messages once they are answered; resolves after the
   * last.
   */
  close(): Promise<void> {
    for (const connection of [...this.#open]) connection.stop()
    if (this.#open.size === 0) return Promise.resolve()
    return new Promise((resolve) => {
      this.#closed = resolve
    })
  }
}

/** One WebSocket: uploads in, outcomes and the session's events out. */
class Connection implements SocketHandlers, SubscribeOptions, Reader {
  #socket: Socket | null = null
  #subscription: Subscription | null = null
  #unwatch: (() => void) | null = null
  #pending = 0
  #slow = false
  /** Set once the connection is to be closed as soon as its open messages are answered. */
  #closing: { readonly code: number; readonly reason: string } | null = null
  /** Messages of this turn of the event loop that may become one upload. */
  #run: {
    readonly messages: Uint8Array<ArrayBuffer>[]
    readonly lease: BodyLease
    bytes: number
  } | null = null
  /** Events go out in the encoding of what the client sent last. */
  #isBinary = false

  constructor(
    private readonly all: SessionSockets,
    private readonly principal: Principal,
    private readonly row: SessionRow,
    readonly after: number,
  ) {}

  get tenant(): number {
    return this.row.tenant
  }

  get session(): number {
    return this.row.number
  }

  open(socket: Socket): void {
    const { authenticator, services } = this.all.parts
    this.#socket = socket
    this.#unwatch = authenticator.watch(this.principal.keyId, () =>
      socket.end(closeCodes.policy, 'key revoked'),
    )
    if (!holdsScope(this.principal.scopes, readingScopes)) return
    if (services.hub.isPastEnd(this.row, this.after)) {
      socket.end(closeCodes.normal, 'session ended')
      return
    }
    this.#subscription = services.hub.subscribe(this)
  }

  deliver(events: readonly StoredEvent[]): boolean {
    const { texts, packed } = this.all
    return this.#write(this.#isBinary ? packed.of(events) : texts.of(events))
  }

  onEnd(reason: EndReason): void {
    if (reason === 'stopping') this.stop()
    else if (reason === 'terminal') this.#whenAnswered(closeCodes.normal, 'session ended')
    else this.#whenAnswered(closeCodes.normal, 'session removed')
  }

  message(bytes: ArrayBuffer, isBinary: boolean): void {
    this.#isBinary = isBinary
    const refusal = this.#refusalNow(bytes.byteLength)
    if (refusal !== null) {
      this.#reject(peekId(bytes, isBinary), refusal, isBinary)
      return
    }
    const joinsRun = this.#joinsRun(bytes.byteLength, isBinary)
    if (!joinsRun) this.#endRun()
    const { budget } = this.all.parts
    const lease = this.#run?.lease ?? budget.lease()
    try {
      budget.requireMemory(bytes.byteLength)
      lease.grow(bytes.byteLength + limits.webSocketMessageOverheadBytes)
    } catch (error) {
      this.#tellSlow(isBinary)
      this.#reject(peekId(bytes, isBinary), error, isBinary)
      return
    }
    this.#pending += 1
    this.all.began()
    if (this.#pending >= limits.webSocketPendingMessagesMax / 2) this.#tellSlow(isBinary)
    // The library's buffer ends with this call.
    if (joinsRun) this.#extendRun(bytes.slice(0), lease)
    else void this.#handle(bytes.slice(0), isBinary).finally(() => lease.release())
  }

  /** What decides that a message is no upload, or one for a worker, needs no look at its bytes. */
  #joinsRun(byteLength: number, isBinary: boolean): boolean {
    const isShort = byteLength <= limits.inPlaceBodyBytesMax
    return (
      isShort && !isBinary && this.row.type === 'telemetry' && this.principal.scopes.has('ingest')
    )
  }

  #extendRun(buffer: ArrayBuffer, lease: BodyLease): void {
    if (this.#run === null) {
      this.#run = { messages: [], lease, bytes: 0 }
      // All that the sockets have brought in this turn has come by then.
      setImmediate(() => this.#endRun())
    }
    const run = this.#run
    run.messages.push(new Uint8Array(buffer))
    run.bytes += buffer.byteLength
    const { runUploadsMax, runBytesMax } = limits
    const isFull = run.messages.length === runUploadsMax
    if (isFull || run.bytes >= runBytesMax) this.#endRun()
  }

  /** Hands on what has gathered, before anything that came after it. */
  #endRun(): void {
    const run = this.#run
    this.#run = null
    if (run !== null) void this.#handleRun(run.messages).finally(() => run.lease.release())
  }

  drained(): void {
    const heldBytes = this.#socket?.bufferedBytes ?? 0
    this.all.parts.readers.hold(this, heldBytes)
    if (heldBytes === 0) this.#subscription?.resume()
  }

  closed(): void {
    this.#socket = null
    this.#unwatch?.()
    this.#subscription?.close()
    this.all.left(this)
  }

  cut(): void {
    this.#socket?.destroy()
  }

  stop(): void {
    this.#whenAnswered(closeCodes.goingAway, 'server stops')
  }

  #whenAnswered(code: number, reason: string): void {
    this.#closing ??= { code, reason }
    if (this.#pending === 0) this.#socket?.end(this.#closing.code, this.#closing.reason)
  }

  /** Why a message is not even looked at. */
  #refusalNow(byteLength: number): Refusal | null {
    if (this.all.isStopping) return retryLater('SHUTTING_DOWN')
    if (this.#pending >= limits.webSocketPendingMessagesMax) return retryLater('SATURATED')
    const { uploadBytesMax } = this.all.parts.services.config
    if (byteLength > uploadBytesMax) {
      return new Refusal('BODY_TOO_LARGE', { fields: { maxBytes: uploadBytesMax } })
    }
    return null
  }

  async #handleRun(messages: readonly Uint8Array<ArrayBuffer>[]): Promise<void> {
    const { uploads } = this.all.parts.services
    const answered: Promise<void>[] = []
    let at = 0
    try {
      while (at < messages.length) {
        const run = uploads.messages(this.row, messages.slice(at))
        const part = messages.slice(at, at + run.length)
        at += run.length
        if (run.answer !== null) answered.push(this.#acknowledge(run.ids, run.answer))
        else for (const { buffer } of part) answered.push(this.#handle(buffer, false))
      }
    } catch (error) {
      for (const { buffer } of messages.slice(at)) this.#reject(peekId(buffer, false), error, false)
      this.#answered(messages.length - at, false)
    }
    await Promise.all(answered)
  }

  /** Each of the messages that became one upload, whose ids these are. */
  async #acknowledge(ids: readonly MessageId[], answer: Promise<RunAnswer>): Promise<void> {
    try {
      this.#write(acks(ids, await answer))
    } catch (error) {
      for (const id of ids) this.#reject(id, error, false)
    } finally {
      this.#answered(ids.length, false)
    }
  }

  async #handle(buffer: ArrayBuffer, isBinary: boolean): Promise<void> {
    try {
      await this.#outcome(buffer, isBinary)
    } catch (error) {
      this.#reject(null, error, isBinary)
    } finally {
      this.#answered(1, isBinary)
    }
  }

  #answered(messages: number, isBinary: boolean): void {
    this.#pending -= messages
    this.all.ended(messages)
    this.#tellGo(isBinary)
    if (this.#closing !== null) this.#whenAnswered(this.#closing.code, this.#closing.reason)
  }

  async #outcome(buffer: ArrayBuffer, isBinary: boolean): Promise<void> {
    const { uploads } = this.all.parts.services
    if (!this.principal.scopes.has('ingest')) {
      await this.#withoutIngest(buffer, isBinary)
      return
    }
    const outcome = await uploads.message(this.row, {
      buffer,
      byteLength: buffer.byteLength,
      format: isBinary ? 'msgpack' : 'json',
      gzip: false,
    })
    switch (outcome.kind) {
      case 'ack':
        this.#send({ type: 'ack', id: outcome.id, ...outcome.reply }, isBinary)
        break
      case 'rejected':
        this.#reject(outcome.id, outcome.refusal, isBinary)
        break
      case 'control':
        if (outcome.type === 'ping') this.#send({ type: 'pong', id: outcome.id }, isBinary)
        else await this.#end(outcome.id, outcome.options, isBinary)
        break
    }
  }

  /**
   * A connection that may not upload can still ping and, with the scope for it, end the session.
   */
  async #withoutIngest(buffer: ArrayBuffer, isBinary: boolean): Promise<void> {
    const missing = scopeMissing('ingest')
    if (isBinary || buffer.byteLength > limits.requestBodyBytesMax) throw missing
    const message = parseJson(new Uint8Array(buffer))
    if (typeof message !== 'object' || message === null) throw missing
    const { type, id: givenId, ...options } = message as Record<string, unknown>
    const id = typeof givenId === 'string' || typeof givenId === 'number' ? givenId : null
    if (type === 'ping') this.#send({ type: 'pong', id }, isBinary)
    else if (type === 'end') await this.#end(id, options, isBinary)
    else this.#reject(id, missing, isBinary)
  }

  async #end(
    id: MessageId,
    options: Readonly<Record<string, unknown>>,
    isBinary: boolean,
  ): Promise<void> {
    try {
      if (!this.principal.scopes.has('sessions:write')) throw scopeMissing('sessions:write')
      const request = requireValid(options, endOptions) as EndOptions
      const { sessions } = this.all.parts.services
      const row = await sessions.end(this.principal, this.row.id, request)
      this.#send({ type: 'ack', id, ...sessionEnded(row) }, isBinary)
    } catch (error) {
      this.#reject(id, error, isBinary)
    }
  }

  #reject(id: MessageId, error: unknown, isBinary: boolean): void {
    const requestId = this.all.requestId()
    let refusal = error
    if (!(refusal instanceof Refusal)) {
      this.all.parts.services.log.error({ err: error, requestId }, 'message failed')
      refusal = new Refusal('INTERNAL')
    }
    const body = (refusal as Refusal).body(requestId)
    this.#send({ type: 'rejected', id, ...body }, isBinary)
  }

  /**
   * The library cannot stop reading a WebSocket, so a client that is too fast is told, then
   * refused.
   */
  #tellSlow(isBinary: boolean): void {
    if (this.#slow) return
    this.#slow = true
    this.#send({ type: 'flow', state: 'slow' }, isBinary)
  }

  #tellGo(isBinary: boolean): void {
    if (!this.#slow || this.#pending > limits.webSocketPendingMessagesMax / 4) return
    this.#slow = false
    this.#send({ type: 'flow', state: 'go' }, isBinary)
  }

  #send(message: Readonly<Record<string, unknown>>, isBinary: boolean): void {
    this.#write([isBinary ? packr.pack(message) : JSON.stringify(message)])
  }

  /** False where bytes are held back; whatever the client does not read counts, answers too. */
  #write(messages: readonly (string | Uint8Array)[]): boolean {
    const taken = this.#socket?.send(messages) ?? false
    if (!taken) this.all.parts.readers.hold(this, this.#socket?.bufferedBytes ?? 0)
    return taken
  }
}

/** The acknowledgement of each message of a run. */
function acks(ids: readonly MessageId[], { records, reply }: RunAnswer): string[] {
  const end = (count: number): string => JSON.stringify(shareOfReply(reply, count)).slice(1)
  // All but the id is mostly the same.
  let endRecords = 1
  let endText = end(1)
  return ids.map((id, index) => {
    const count = records[index] as number
    if (count !== endRecords) {
      endRecords = count
      endText = end(count)
    }
    return `{"type":"ack","id":${typeof id === 'number' ? id : JSON.stringify(id)},${endText}`
  })
}

/**
 * The id of a message that is refused unread, so that its sender knows which one: of short JSON
 * alone, because this is the main thread and it is busy.
 */
function peekId(bytes: ArrayBuffer, isBinary: boolean): MessageId {
  if (isBinary || bytes.byteLength > limits.peekedMessageBytesMax) return null
  try {
    const message: unknown = parseJson(new Uint8Array(bytes))
    if (typeof message !== 'object' || message === null || !('id' in message)) return null
    return typeof message.id === 'string' || typeof message.id === 'number' ? message.id : null
  } catch {
    return null
  }
}

/** The stored text of an event with its `type` and `eventId` put in front. */
function formatMessage(event: StoredEvent): string {
  const head = `{"type":${JSON.stringify(event.name)},"eventId":"event_${event.number}"`
  return event.data === '{}' ? `${head}}` : `${head},${event.data.slice(1)}`
}

function packMessage(event: StoredEvent): Uint8Array {
  const data = JSON.parse(event.data) as Record<string, unknown>
  return packr.pack({ type: event.name, eventId: `event_${event.number}`, ...data })
}
