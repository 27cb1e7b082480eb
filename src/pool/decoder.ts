import { setTimeout as delay } from 'node:timers/promises'
import { parsedLength } from '../codecs/gzip.ts'
import {
  type AcceptedUpload,
  type ScannedUploads,
  scanUpload,
  scanUploads,
} from '../codecs/telemetry/scan-upload.ts'
import { retryLater } from '../contracts/errors.ts'
import type { DecodeSettings, DecodeUpload, DecodeVerdict } from '../contracts/tasks.ts'
import { isKept } from '../contracts/transfer.ts'
import { WorkerFailure } from '../contracts/worker-failure.ts'
import { limits } from '../limits.ts'
import type { WorkerPool } from './pool.ts'

export type { ScannedUploads }

interface Waiting {
  readonly upload: DecodeUpload
  readonly resolve: (verdict: DecodeVerdict) => void
  readonly reject: (error: unknown) => void
  /** It shares no task: its body is gone with a worker that fails, or it may be why one did. */
  readonly isAlone: boolean
}

const rememberedShare = 7 / 8

/** An upload that waits for its turn on the main thread. */
interface InLine {
  readonly upload: DecodeUpload
  readonly resolve: (verdict: DecodeVerdict | Promise<DecodeVerdict>) => void
  readonly reject: (error: unknown) => void
}

/**
 * Decodes small uploads in place, the others by workers.
 *
 * A small body is scanned here, which takes less time than the message that would bring it to a thread, but
 * in each turn of the event loop only for a while: 30 bodies of 100 KB that come at once held up the answer
 * of the disk, on which the next commit waits, for 3 ms, and a fifth of what was ingested. Where more
 * waits than is soon done the workers get it.
 *
 * For those it gathers uploads into tasks in front of the pool. While a worker is free an upload goes at once;
 * once all are busy what comes waits in order, and each task that returns takes a share of it
 * along. So many small uploads cost few messages, and a lone one no delay.
 *
 * Where a worker fails on a task of several uploads, each of them is decoded again alone, so that
 * only the one that is to blame is refused. One heavy body is decoded at a time, because each can
 * fill a worker's heap; the light ones have the other tasks to themselves.
 */
export class Decoder {
  readonly #pool: WorkerPool
  readonly #workers: number
  /** One task more than there are workers, so that the next lies ready when one is done. */
  readonly #tasksMax: number
  readonly #light: Waiting[] = []
  readonly #heavy: Waiting[] = []
  readonly #running = new Set<Promise<void>>()
  readonly #line: InLine[] = []
  #lineBytes = 0
  /** What was scanned lately, each less by an eighth with each body. */
  #scannedBytes = 0
  #scannedMs = 0
  /** Spent on decoding in place in this turn of the event loop. */
  #turnMs = 0
  #isHeavyRunning = false
  #closing: Promise<void> | null = null

  constructor(pool: WorkerPool, workers: number) {
    this.#pool = pool
    this.#workers = workers
    this.#tasksMax = workers + 1
  }

  /** Uploads that wait for a task, or for their turn on the main thread. */
  get waitingUploads(): number {
    return this.#light.length + this.#heavy.length + this.#line.length
  }

  /** Tasks that the pool has, at work or about to be. */
  get tasksInFlight(): number {
    return this.#running.size
  }

  /**
   * Decodes one upload: at once, which gives its verdict, in place in a later turn, or by a worker, whose
   * errors the promise rejects with.
   */
  decode(upload: DecodeUpload): AcceptedUpload | Promise<DecodeVerdict> {
    const waitMs = (this.#lineBytes * this.#scannedMs) / Math.max(1, this.#scannedBytes)
    if (!this.#fitsInPlace(upload) || waitMs > limits.inPlaceWaitMsMax) {
      return this.#decodeByWorker(upload)
    }
    if (this.#line.length === 0 && this.#turnMs < limits.inPlaceTurnMs) {
      return this.#scan(upload) ?? this.#decodeByWorker(upload)
    }
    return new Promise((resolve, reject) => {
      if (this.#line.length === 0) setImmediate(() => this.#workOff())
      this.#line.push({ upload, resolve, reject })
      this.#lineBytes += upload.byteLength
    })
  }

  /**
   * Decodes one upload on a worker; a body above `limits.copiedBodyBytesMax` is transferred. Rejects
   * with Refusal `SATURATED` where `limits.decodeQueueUploadsMax` wait, `SHUTTING_DOWN` after close,
   * and `WORKER_FAILED` where a worker failed on this upload while it was alone in its task.
   */
  #decodeByWorker(upload: DecodeUpload): Promise<DecodeVerdict> {
    if (this.#closing !== null) return Promise.reject(retryLater('SHUTTING_DOWN'))
    if (this.#light.length + this.#heavy.length >= limits.decodeQueueUploadsMax) {
      return Promise.reject(retryLater('SATURATED'))
    }
    return new Promise((resolve, reject) => {
      const queue = parsedLength(upload) > limits.lightBodyBytesMax ? this.#heavy : this.#light
      queue.push({ upload, resolve, reject, isAlone: !isKept(upload) })
      this.#dispatch()
    })
  }

  /**
   * Short JSON uploads or messages with telemetry, decoded in place as one; null where one of them is
   * anything else or has something out of the ordinary.
   */
  scanUploads(
    bodies: readonly Uint8Array[],
    envelope: DecodeUpload['envelope'],
    settings: DecodeSettings,
  ): ScannedUploads | null {
    if (this.#closing !== null || this.#turnMs >= limits.runsTurnMs) return null
    return this.#timed(() => scanUploads(bodies, envelope, settings))
  }

  /**
   * Refuses new uploads and lets those it has finish for `limits.poolCloseTimeoutMs`; those that
   * still wait then are refused. Idempotent. The pool stays open.
   */
  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close(): Promise<void> {
    while (this.#line.length > 0) this.#takeFirst()
    const deadline = new AbortController()
    const { signal } = deadline
    const timeout = delay(limits.poolCloseTimeoutMs, undefined, { signal }).catch(() => undefined)
    // A task that ends takes what waits along before it leaves the set, so an empty set is the
    // end.
    while (this.#running.size > 0) {
      const late = await Promise.race([Promise.race(this.#running), timeout.then(() => true)])
      if (late === true) break
    }
    deadline.abort()
    const waiting = [...this.#heavy.splice(0), ...this.#light.splice(0)]
    for (const { reject } of waiting) reject(retryLater('SHUTTING_DOWN'))
  }

  #fitsInPlace({ byteLength, gzip, fingerprint }: DecodeUpload): boolean {
    const isSmall = byteLength <= limits.inPlaceBodyBytesMax
    return isSmall && !gzip && !fingerprint && this.#closing === null
  }

  /** Goes on where the turn before ended. */
  #workOff(): void {
    while (this.#line.length > 0 && this.#turnMs < limits.inPlaceTurnMs) this.#takeFirst()
    if (this.#line.length > 0) setImmediate(() => this.#workOff())
  }

  #takeFirst(): void {
    const { upload, resolve, reject } = this.#line.shift() as InLine
    this.#lineBytes -= upload.byteLength
    try {
      resolve(this.#scan(upload) ?? this.#decodeByWorker(upload))
    } catch (error) {
      reject(error)
    }
  }

  /** Null where it is to be decoded by a worker after all. */
  #scan(upload: DecodeUpload): AcceptedUpload | null {
    const { body, byteLength } = upload
    const beforeMs = this.#turnMs
    const verdict = this.#timed(() => scanUpload(upload, new Uint8Array(body, 0, byteLength)))
    // Not by bytes alone: a body may bear thousands of fields.
    this.#scannedMs = this.#scannedMs * rememberedShare + this.#turnMs - beforeMs
    this.#scannedBytes = this.#scannedBytes * rememberedShare + byteLength
    return verdict
  }

  #timed<T>(decode: () => T): T {
    if (this.#turnMs === 0) {
      setImmediate(() => {
        this.#turnMs = 0
      })
    }
    const beginMs = performance.now()
    try {
      return decode()
    } finally {
      this.#turnMs += performance.now() - beginMs
    }
  }

  #dispatch(): void {
    while (this.#running.size < this.#tasksMax) {
      // A heavy upload takes the first place there is, but no second one: neither kind starves.
      const [heavy] = this.#isHeavyRunning ? [] : this.#heavy.splice(0, 1)
      const batch = heavy === undefined ? this.#takeLight() : [heavy]
      if (batch.length === 0) return
      if (heavy !== undefined) this.#isHeavyRunning = true
      const task = this.#run(batch).finally(() => {
        if (heavy !== undefined) this.#isHeavyRunning = false
        this.#running.delete(task)
        this.#dispatch()
      })
      this.#running.add(task)
    }
  }

  /** A worker's even share of what waits, within the bounds of a task. */
  #takeLight(): Waiting[] {
    const share = Math.ceil(this.#light.length / this.#workers)
    const uploadsMax = Math.min(share, limits.taskUploadsMax)
    let count = 0
    let bytes = 0
    for (const { upload, isAlone } of this.#light) {
      if (count === uploadsMax) break
      bytes += upload.byteLength
      if (count > 0 && (isAlone || bytes > limits.taskBytesMax)) break
      count += 1
      if (isAlone) break
    }
    return this.#light.splice(0, count)
  }

  async #run(batch: readonly Waiting[]): Promise<void> {
    try {
      const uploads = batch.map(({ upload }) => upload)
      const { verdicts } = await this.#pool.run({ kind: 'decode', uploads })
      for (const [index, { resolve, reject }] of batch.entries()) {
        const verdict = verdicts[index]
        if (verdict !== undefined) resolve(verdict)
        else reject(new Error('the worker gave no verdict for an upload'))
      }
    } catch (error) {
      this.#failed(batch, error)
    }
  }

  #failed(batch: readonly Waiting[], error: unknown): void {
    if (error instanceof WorkerFailure && batch.length > 1) {
      this.#light.unshift(...batch.map((waiting) => ({ ...waiting, isAlone: true })))
      return
    }
    const reason = error instanceof WorkerFailure ? retryLater('WORKER_FAILED') : error
    for (const { reject } of batch) reject(reason)
  }
}
