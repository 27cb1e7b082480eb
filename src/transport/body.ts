import assert from 'node:assert/strict'
import {
  borrowBuffer,
  copyBytes,
  dropIdleLarge,
  largeBuffer,
  returnBuffer,
} from '../contracts/body-buffers.ts'
import { giveBack, ownBuffer } from '../contracts/buffers.ts'
import { Refusal, retryLater } from '../contracts/errors.ts'
import { limits } from '../limits.ts'
import type { Exchange } from './exchange.ts'
import { Pace, type PaceOptions, type Transfer } from './pace.ts'

/** The client went away or was cut before its body was complete; there is nobody to answer. */
export class ClientGone extends Error {}

export interface BodyBudgetOptions {
  readonly bytesMax?: number
  readonly onChange?: (usedBytes: number) => void
  /** Whether the process is short of memory, for reasons that a budget does not see. */
  readonly isShort?: () => boolean
}

/**
 * The bytes of all bodies that are being read, decoded or waiting. A body whose length is known claims
 * it with its head: if many began that cannot all be kept, each would be refused half read.
 */
export class BodyBudget {
  readonly bytesMax: number
  readonly #onChange: (usedBytes: number) => void
  readonly #isShort: () => boolean
  readonly #backOff = new BackOff()
  #usedBytes = 0
  #claimedBytes = 0

  constructor(options: BodyBudgetOptions = {}) {
    this.bytesMax = options.bytesMax ?? limits.bodiesInFlightBytesMax
    this.#onChange = options.onChange ?? (() => {})
    this.#isShort = options.isShort ?? (() => false)
  }

  lease(): BodyLease {
    return new BodyLease(this)
  }

  /**
   * Throws Refusal `SATURATED` while memory is short. One body is let in all the same where there is no
   * other: what is in use then is nobody's body and may stay for long.
   */
  requireMemory(bytes: number): void {
    const isEmpty = this.#usedBytes + this.#claimedBytes === 0
    if (this.#isShort() && !isEmpty) throw this.#backOff.refusal(bytes)
  }

  /** Throws Refusal `SATURATED` where there is no room. */
  take(bytes: number): void {
    this.#requireRoom(bytes)
    this.#usedBytes += bytes
    this.#onChange(this.#usedBytes)
  }

  release(bytes: number): void {
    this.#usedBytes -= bytes
    this.#onChange(this.#usedBytes)
  }

  /** Throws Refusal `SATURATED` where there is no room. */
  claim(bytes: number): void {
    this.#requireRoom(bytes)
    this.#claimedBytes += bytes
  }

  unclaim(bytes: number): void {
    this.#claimedBytes -= bytes
  }

  #requireRoom(bytes: number): void {
    const takenBytes = this.#usedBytes + this.#claimedBytes
    if (takenBytes + bytes > this.bytesMax) throw this.#backOff.refusal(bytes)
  }
}

/** How long those who are refused shall stay away, so that dropping their bodies leaves time for others. */
class BackOff {
  #sinceMs = 0
  #refusedBytes = 0

  refusal(bytes: number): Refusal {
    const nowMs = performance.now()
    if (nowMs - this.#sinceMs > 1_000) {
      this.#sinceMs = nowMs
      this.#refusedBytes = 0
    }
    this.#refusedBytes += bytes
    const waitS = Math.ceil(this.#refusedBytes / limits.refusedBytesPerSecond)
    return retryLater(
      'SATURATED',
      Math.min(Math.max(waitS, limits.retryAfterS), limits.retryAfterSMax),
    )
  }
}

/** What one body holds of the budget, until its request is answered. */
export class BodyLease {
  #heldBytes = 0
  #claimedBytes = 0
  #borrowed: SharedArrayBuffer | null = null

  constructor(private readonly budget: BodyBudget) {}

  /** Once a lease: a buffer that goes back with it, null where a body is too large for that. */
  borrow(bytes: number): SharedArrayBuffer | null {
    assert(this.#borrowed === null, 'a lease is for one body')
    this.#borrowed = borrowBuffer(bytes)
    return this.#borrowed
  }

  /** Keeps room for bytes to come. Throws Refusal `SATURATED` where there is none. */
  claim(bytes: number): void {
    this.budget.claim(bytes)
    this.#claimedBytes += bytes
  }

  /** The room that is not used yet goes to whoever comes first. */
  unclaim(): void {
    this.budget.unclaim(this.#claimedBytes)
    this.#claimedBytes = 0
  }

  /** Throws Refusal `SATURATED` where the budget has no room. */
  grow(bytes: number): void {
    const ownBytes = Math.min(bytes, this.#claimedBytes)
    this.budget.unclaim(ownBytes)
    this.#claimedBytes -= ownBytes
    this.budget.take(bytes)
    this.#heldBytes += bytes
  }

  /** So many of the bytes are not kept any more. */
  shrink(bytes: number): void {
    this.budget.release(bytes)
    this.#heldBytes -= bytes
  }

  release(): void {
    this.unclaim()
    if (this.#heldBytes > 0) this.budget.release(this.#heldBytes)
    this.#heldBytes = 0
    if (this.#borrowed !== null) returnBuffer(this.#borrowed)
    this.#borrowed = null
  }
}

export interface Body {
  /** Shared where it is borrowed: then it goes back with the lease. */
  readonly buffer: ArrayBuffer | SharedArrayBuffer
  readonly byteLength: number
}

/** A buffer of its own each time: an empty upload's is transferred to a worker like any other. */
function noBody(): Body {
  return { buffer: new ArrayBuffer(0), byteLength: 0 }
}

/** One body on its way in. */
interface Arrival extends Transfer {
  movedBytes: number
  readonly beganMs: number
  readonly lease: BodyLease
}

/** Reads bodies within a cap, the budget and a pace. */
export class BodyReader {
  readonly #pace: Pace
  readonly #claiming = new Set<Arrival>()
  readonly #sweeper: NodeJS.Timeout

  constructor(options: PaceOptions = {}) {
    this.#pace = new Pace(options)
    const intervalMs = options.sweepIntervalMs ?? limits.sweepIntervalMs
    this.#sweeper = setInterval(() => {
      this.#endClaims()
      dropIdleLarge()
    }, intervalMs)
    this.#sweeper.unref()
  }

  /**
   * Must be called in the turn that brought the exchange. Throws or rejects with Refusal
   * `BODY_TOO_LARGE` or `SATURATED`, and with ClientGone where the body never completes.
   */
  read(exchange: Exchange, bytesMax: number, lease: BodyLease): Promise<Body> {
    if (exchange.framing === 'empty') return Promise.resolve(noBody())
    const { contentLength } = exchange
    const tooLarge = () => new Refusal('BODY_TOO_LARGE', { fields: { maxBytes: bytesMax } })
    if (contentLength !== null && contentLength > bytesMax) throw tooLarge()
    const arrival: Arrival = {
      movedBytes: 0,
      beganMs: performance.now(),
      lease,
      cut: () => exchange.destroy(),
    }
    const target = this.#targetOf(contentLength, lease)
    if (contentLength !== null) this.#claiming.add(arrival)
    return new Promise((resolve, reject) => {
      let settled = false
      const settle = (finish: () => void) => {
        settled = true
        this.#pace.release(arrival)
        this.#claiming.delete(arrival)
        finish()
      }
      this.#pace.watch(arrival)
      exchange.onClosed(() => {
        if (!settled) settle(() => reject(new ClientGone()))
      })
      exchange.read((chunk, isLast) => {
        if (settled) return
        try {
          if (target.byteLength + chunk.byteLength > bytesMax) throw tooLarge()
          lease.grow(chunk.byteLength)
          target.add(chunk)
          arrival.movedBytes = target.byteLength
          if (isLast) settle(() => resolve(target.body()))
        } catch (error) {
          settle(() => reject(error))
        }
      })
    })
  }

  #targetOf(contentLength: number | null, lease: BodyLease): Sized | Gathered {
    if (contentLength === null) return new Gathered()
    try {
      lease.claim(contentLength)
      return new Sized(contentLength, lease)
    } catch (error) {
      lease.release()
      throw error
    }
  }

  close(): void {
    clearInterval(this.#sweeper)
    this.#pace.close()
  }

  /** A length that is only announced must not keep others out. */
  #endClaims(): void {
    const nowMs = performance.now()
    for (const arrival of this.#claiming) {
      const comingMs = nowMs - arrival.beganMs - limits.claimGraceMs
      if (arrival.movedBytes >= (comingMs / 1_000) * limits.claimBytesPerSecondMin) continue
      arrival.lease.unclaim()
      this.#claiming.delete(arrival)
    }
  }
}

/** A body of known length is copied once, to its place. */
class Sized {
  byteLength = 0
  readonly #buffer: ArrayBuffer | SharedArrayBuffer
  readonly #bytes: Buffer

  constructor(bytes: number, lease: BodyLease) {
    this.#buffer = lease.borrow(bytes) ?? largeBuffer(bytes)
    this.#bytes = Buffer.from(this.#buffer)
  }

  add(chunk: Uint8Array): void {
    copyBytes(chunk, this.#bytes, this.byteLength)
    this.byteLength += chunk.byteLength
  }

  body(): Body {
    return { buffer: this.#buffer, byteLength: this.byteLength }
  }
}

/** A body of unknown length; its buffer doubles, because a list of tiny chunks would outweigh them. */
class Gathered {
  byteLength = 0
  #bytes = unzeroed(4_096)

  add(chunk: Uint8Array): void {
    const needed = this.byteLength + chunk.byteLength
    if (needed > this.#bytes.byteLength) {
      const grown = new Uint8Array(ownBuffer(Math.max(needed, 2 * this.#bytes.byteLength)))
      grown.set(this.#bytes.subarray(0, this.byteLength))
      giveBack(this.#bytes.buffer)
      this.#bytes = grown
    }
    this.#bytes.set(chunk, this.byteLength)
    this.byteLength = needed
  }

  body(): Body {
    const { byteLength } = this
    const { buffer } = this.#bytes
    if (!buffer.resizable) return { buffer: buffer.slice(0, byteLength), byteLength }
    // Gives the rest of its pages back.
    buffer.resize(byteLength)
    return { buffer, byteLength }
  }
}

/** Memory of its own; whoever takes it hands on only what has been written. */
function unzeroed(bytes: number): Uint8Array<ArrayBuffer> {
  return Buffer.allocUnsafeSlow(bytes) as Uint8Array<ArrayBuffer>
}
