import type { Spool, SpooledFile, SpoolWriter } from '../ingest/spool.ts'
import { limits } from '../limits.ts'
import { type BodyLease, ClientGone } from './body.ts'
import type { Exchange } from './exchange.ts'
import { Pace, type PaceOptions, type Transfer } from './pace.ts'

/**
 * Reads bodies into files, so that of a file as long as it may be only what waits for the disk is in
 * memory. While that is much, the client is not read, and TCP holds it back.
 */
export class FileReader {
  readonly #spool: Spool
  readonly #pace: Pace

  constructor(spool: Spool, options: PaceOptions = {}) {
    this.#spool = spool
    this.#pace = new Pace(options)
  }

  /**
   * Must be called in the turn that brought the exchange. Throws or rejects with Refusal
   * `BODY_TOO_LARGE`, `STORE_FULL` or `SATURATED`, and with ClientGone where the file never completes;
   * then nothing is left of it. Else the file is the caller's to remove.
   */
  read(exchange: Exchange, lease: BodyLease): Promise<SpooledFile> {
    const writer = this.#spool.create(exchange.contentLength)
    const arrival = new Arrival(exchange, lease, writer)
    return new Promise((resolve, reject) => {
      let settled = false
      const settle = (): void => {
        settled = true
        this.#pace.release(arrival)
      }
      const fail = (error: unknown): void => {
        if (settled) return
        settle()
        // Nobody waits for its end but the spool's own close.
        writer.abort().catch(() => {})
        reject(error)
      }
      const finish = (): void => {
        settle()
        writer.finish().then(resolve, reject)
      }
      writer.onDrained = () => arrival.drained()
      writer.onFailed = fail
      this.#pace.watch(arrival)
      if (exchange.framing === 'empty') {
        finish()
        return
      }
      exchange.onClosed(() => fail(new ClientGone()))
      exchange.read((chunk, isLast) => {
        if (settled) return
        try {
          arrival.add(chunk)
          if (isLast) finish()
        } catch (error) {
          fail(error)
        }
      })
    })
  }

  close(): void {
    this.#pace.close()
  }
}

/** One file on its way in. */
class Arrival implements Transfer {
  movedBytes = 0
  readonly #beganMs = performance.now()
  /** Of the lease: what waits for the disk. */
  #waitingBytes = 0
  #pausedMs = 0
  #pausedAtMs: number | null = null

  constructor(
    private readonly exchange: Exchange,
    private readonly lease: BodyLease,
    private readonly writer: SpoolWriter,
  ) {}

  get heldMs(): number {
    const nowMs = performance.now()
    return this.#pausedMs + (this.#pausedAtMs === null ? 0 : nowMs - this.#pausedAtMs)
  }

  /** Throws what the lease and the writer throw. */
  add(chunk: Uint8Array): void {
    this.lease.grow(chunk.byteLength)
    this.#waitingBytes += chunk.byteLength
    this.writer.write(chunk)
    this.movedBytes += chunk.byteLength
    if (this.writer.heldBytes <= limits.spoolWriteBytesMax || this.#pausedAtMs !== null) return
    this.#pausedAtMs = performance.now()
    this.exchange.pause()
  }

  drained(): void {
    const { heldBytes } = this.writer
    this.lease.shrink(this.#waitingBytes - heldBytes)
    this.#waitingBytes = heldBytes
    if (this.#pausedAtMs === null || heldBytes > limits.spoolWriteBytesMax / 2) return
    this.#pausedMs += performance.now() - this.#pausedAtMs
    this.#pausedAtMs = null
    this.exchange.resume()
  }

  keep(): void {
    if (this.#pausedAtMs !== null) this.exchange.pause()
    // A length that is only announced must not keep others out.
    const comingMs = performance.now() - this.#beganMs - this.heldMs - limits.claimGraceMs
    const expectedBytes = (comingMs / 1_000) * limits.claimBytesPerSecondMin
    if (this.movedBytes < expectedBytes) this.writer.unclaim()
  }

  cut(): void {
    this.exchange.destroy()
  }
}
