import { Refusal, retryLater } from '../contracts/errors.ts'
import { limits } from '../limits.ts'
import type { Exchange } from './exchange.ts'

/** The client went away or was cut before its body was complete; there is nobody to answer. */
export class ClientGone extends Error {}

/** The bytes of all bodies that are being read, decoded or waiting. */
export class BodyBudget {
  #usedBytes = 0

  constructor(
    private readonly bytesMax: number = limits.bodiesInFlightBytesMax,
    private readonly onChange: (usedBytes: number) => void = () => {},
  ) {}

  lease(): BodyLease {
    return new BodyLease(this)
  }

  take(bytes: number): boolean {
    if (this.#usedBytes + bytes > this.bytesMax) return false
    this.#set(this.#usedBytes + bytes)
    return true
  }

  release(bytes: number): void {
    this.#set(this.#usedBytes - bytes)
  }

  #set(usedBytes: number): void {
    this.#usedBytes = usedBytes
    this.onChange(usedBytes)
  }
}

/** What one body holds of the budget, until its request is answered. */
export class BodyLease {
  #heldBytes = 0

  constructor(private readonly budget: BodyBudget) {}

  /** Throws Refusal `SATURATED` where the budget has no room. */
  grow(bytes: number): void {
    if (!this.budget.take(bytes)) throw retryLater('SATURATED')
    this.#heldBytes += bytes
  }

  release(): void {
    if (this.#heldBytes > 0) this.budget.release(this.#heldBytes)
    this.#heldBytes = 0
  }
}

export interface Body {
  /** Its own buffer, not shared with anything. */
  readonly buffer: ArrayBuffer
  readonly byteLength: number
}

/** A buffer of its own each time: an empty upload's is transferred to a worker like any other. */
function noBody(): Body {
  return { buffer: new ArrayBuffer(0), byteLength: 0 }
}

/** Reads bodies within a cap, the budget and a deadline. */
export class BodyReader {
  readonly #reading = new Set<{ readonly exchange: Exchange; readonly deadlineMs: number }>()
  readonly #sweeper: NodeJS.Timeout

  constructor(
    private readonly timeoutMs: number = limits.bodyTimeoutMs,
    sweepIntervalMs: number = limits.sweepIntervalMs,
  ) {
    this.#sweeper = setInterval(() => this.#sweep(), sweepIntervalMs)
    this.#sweeper.unref()
  }

  /**
   * Must be called in the turn that brought the exchange. Throws or rejects with Refusal
   * `BODY_TOO_LARGE` or `SATURATED`, and with ClientGone where the body never completes.
   */
  read(exchange: Exchange, bytesMax: number, lease: BodyLease): Promise<Body> {
    if (exchange.framing === 'empty') return Promise.resolve(noBody())
    const target = exchange.contentLength === null ? new Gathered() : new Sized()
    const tooLarge = () => new Refusal('BODY_TOO_LARGE', { fields: { maxBytes: bytesMax } })
    if (exchange.contentLength !== null) {
      if (exchange.contentLength > bytesMax) throw tooLarge()
      target.reserve(exchange.contentLength)
    }
    return new Promise((resolve, reject) => {
      const entry = { exchange, deadlineMs: Date.now() + this.timeoutMs }
      let settled = false
      const settle = (finish: () => void) => {
        settled = true
        this.#reading.delete(entry)
        finish()
      }
      this.#reading.add(entry)
      exchange.onClosed(() => {
        if (!settled) settle(() => reject(new ClientGone()))
      })
      exchange.read((chunk, isLast) => {
        if (settled) return
        try {
          if (target.byteLength + chunk.byteLength > bytesMax) throw tooLarge()
          // Charged as they come: a length that is only claimed must not keep others out.
          lease.grow(chunk.byteLength)
          target.add(chunk)
          if (isLast) settle(() => resolve(target.body()))
        } catch (error) {
          settle(() => reject(error))
        }
      })
    })
  }

  close(): void {
    clearInterval(this.#sweeper)
  }

  /** A body that drips for ever would hold its bytes of the budget for ever. */
  #sweep(): void {
    const nowMs = Date.now()
    for (const { exchange, deadlineMs } of this.#reading) {
      if (deadlineMs < nowMs) exchange.destroy()
    }
  }
}

/** A body of known length is copied once, to its place. */
class Sized {
  byteLength = 0
  #bytes: Uint8Array<ArrayBuffer> = new Uint8Array(0)

  reserve(bytes: number): void {
    this.#bytes = unzeroed(bytes)
  }

  add(chunk: Uint8Array): void {
    this.#bytes.set(chunk, this.byteLength)
    this.byteLength += chunk.byteLength
  }

  body(): Body {
    return { buffer: this.#bytes.buffer, byteLength: this.byteLength }
  }
}

/** A body of unknown length; its buffer doubles, because a list of tiny chunks would outweigh them. */
class Gathered {
  byteLength = 0
  #bytes = unzeroed(4_096)

  reserve(): void {}

  add(chunk: Uint8Array): void {
    const needed = this.byteLength + chunk.byteLength
    if (needed > this.#bytes.byteLength) {
      const grown = unzeroed(Math.max(needed, 2 * this.#bytes.byteLength))
      grown.set(this.#bytes.subarray(0, this.byteLength))
      this.#bytes = grown
    }
    this.#bytes.set(chunk, this.byteLength)
    this.byteLength = needed
  }

  body(): Body {
    const { byteLength } = this
    return { buffer: this.#bytes.buffer.slice(0, byteLength), byteLength }
  }
}

/** Memory of its own; whoever takes it hands on only what has been written. */
function unzeroed(bytes: number): Uint8Array<ArrayBuffer> {
  return Buffer.allocUnsafeSlow(bytes) as Uint8Array<ArrayBuffer>
}

export const uploadTypes: Readonly<Record<string, 'json' | 'msgpack'>> = {
  'application/json': 'json',
  'application/msgpack': 'msgpack',
  'application/x-msgpack': 'msgpack',
  'application/vnd.msgpack': 'msgpack',
}
const shownUploadTypes = ['application/json', 'application/msgpack']

/** Throws Refusal `UNSUPPORTED_MEDIA_TYPE`. */
export function uploadFormat(headers: ReadonlyMap<string, string>): 'json' | 'msgpack' {
  const type = mediaType(headers.get('content-type') ?? '', shownUploadTypes)
  const format = Object.hasOwn(uploadTypes, type) ? uploadTypes[type] : undefined
  if (format === undefined) throw unsupportedType(shownUploadTypes)
  return format
}

/** A JSON body may leave its type out. Throws Refusal `UNSUPPORTED_MEDIA_TYPE`. */
export function requireJson(headers: ReadonlyMap<string, string>): void {
  const header = headers.get('content-type')
  const supported = ['application/json']
  if (header !== undefined && mediaType(header, supported) !== 'application/json') {
    throw unsupportedType(supported)
  }
}

/** Whether the body is gzip. Throws Refusal `UNSUPPORTED_ENCODING`. */
export function isGzip(headers: ReadonlyMap<string, string>): boolean {
  const encoding = (headers.get('content-encoding') ?? 'identity').trim().toLowerCase()
  if (encoding === 'gzip' || encoding === 'x-gzip') return true
  if (encoding === 'identity' || encoding === '') return false
  throw new Refusal('UNSUPPORTED_ENCODING', { fields: { supported: ['gzip', 'identity'] } })
}

function unsupportedType(supported: readonly string[]): Refusal {
  return new Refusal('UNSUPPORTED_MEDIA_TYPE', { fields: { supported } })
}

/** The type without its parameters, of which a charset may only be UTF-8. */
function mediaType(header: string, supported: readonly string[]): string {
  const [type = '', ...parameters] = header.split(';')
  for (const parameter of parameters) {
    const [name = '', value = ''] = parameter.split('=')
    const charset = value
      .trim()
      .replace(/^"(.*)"$/, '$1')
      .toLowerCase()
    if (name.trim().toLowerCase() === 'charset' && charset !== 'utf-8' && charset !== 'utf8') {
      throw unsupportedType(supported)
    }
  }
  return type.trim().toLowerCase()
}
