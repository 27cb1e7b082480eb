import { type ErrorCode, Refusal } from '../contracts/errors.ts'
import type { UploadReply } from '../contracts/http.ts'
import type { BodyFormat, DecodeVerdict, MessageId, RejectedRecord } from '../contracts/tasks.ts'
import { limits } from '../limits.ts'
import type { Logger } from '../log.ts'
import type { Metrics } from '../metrics.ts'
import type { Decoder } from '../pool/decoder.ts'
import type { SessionRow, Store } from '../store/interfaces.ts'
import type { Admission } from './batcher.ts'
import { batchName } from './session-report.ts'
import type { SessionService } from './sessions.ts'

/** A body as the front door hands it over: its own buffer, which is transferred to a worker. */
export interface UploadInput {
  readonly buffer: ArrayBuffer
  readonly byteLength: number
  readonly format: BodyFormat
  readonly gzip: boolean
}

export type MessageOutcome =
  | { readonly kind: 'ack'; readonly id: MessageId; readonly reply: UploadReply }
  | { readonly kind: 'rejected'; readonly id: MessageId; readonly refusal: Refusal }
  | {
      readonly kind: 'control'
      readonly id: MessageId
      readonly type: 'ping' | 'end'
      readonly options: Readonly<Record<string, unknown>>
    }

type Accepted = Extract<DecodeVerdict, { kind: 'accepted' }>

/**
 * The way of an upload: a worker decodes and validates it, then it enters its session's open batch.
 * Uploads of a session enter in the order in which their bodies came, however long each decode takes.
 */
export class UploadService {
  readonly #sessions: SessionService
  readonly #decoder: Decoder
  readonly #store: Store
  readonly #metrics: Metrics
  readonly #log: Logger
  /** The last upload of each session that has not entered its batch yet. */
  readonly #tails = new Map<number, Promise<void>>()

  constructor(services: {
    sessions: SessionService
    decoder: Decoder
    store: Store
    metrics: Metrics
    log: Logger
  }) {
    this.#sessions = services.sessions
    this.#decoder = services.decoder
    this.#store = services.store
    this.#metrics = services.metrics
    this.#log = services.log
  }

  /** Uploads that wait for a worker. */
  get waiting(): number {
    return this.#decoder.waitingUploads
  }

  /** Resolves once the upload is on disk: 200, or 202 where the batch it closed is still under way. */
  async upload(
    session: SessionRow,
    input: UploadInput,
  ): Promise<{ status: 200 | 202; reply: UploadReply }> {
    this.#sessions.batcherForUpload(session)
    const arrivedAtMs = Date.now()
    const outcome = await this.#inOrder(session, input, 'upload', arrivedAtMs)
    const { verdict } = outcome
    if (verdict.kind === 'refused') throw this.#refusal(session, verdict)
    if (verdict.kind === 'control') throw new Error('an upload body is never a control message')
    return this.#answer(session, verdict, await outcome.admitted, arrivedAtMs)
  }

  /** The same for a WebSocket message, which may also be a `ping` or `end`. */
  async message(session: SessionRow, input: UploadInput): Promise<MessageOutcome> {
    const arrivedAtMs = Date.now()
    const outcome = await this.#inOrder(session, input, 'message', arrivedAtMs)
    const { verdict } = outcome
    if (verdict.kind === 'control') return verdict
    const { id } = verdict
    try {
      if (verdict.kind === 'refused') throw this.#refusal(session, verdict)
      const { reply } = this.#answer(session, verdict, await outcome.admitted, arrivedAtMs)
      return { kind: 'ack', id, reply }
    } catch (error) {
      if (error instanceof Refusal) return { kind: 'rejected', id, refusal: error }
      this.#log.error({ err: error, sessionId: session.id }, 'a message failed')
      return { kind: 'rejected', id, refusal: new Refusal('INTERNAL') }
    }
  }

  async #inOrder(
    session: SessionRow,
    input: UploadInput,
    envelope: 'upload' | 'message',
    arrivedAtMs: number,
  ): Promise<{ verdict: DecodeVerdict; admitted: Promise<Admission> }> {
    const before = this.#tails.get(session.number)
    let entered!: () => void
    const tail = new Promise<void>((resolve) => {
      entered = resolve
    })
    this.#tails.set(session.number, tail)
    try {
      const verdict = await this.#decoder.decode({
        body: input.buffer,
        byteLength: input.byteLength,
        format: input.format,
        gzip: input.gzip,
        envelope,
        settings: session.decode,
      })
      await before
      const admitted =
        verdict.kind === 'accepted'
          ? this.#admit(session, verdict, input.byteLength, arrivedAtMs)
          : Promise.resolve({ batch: 0, processed: false, late: false })
      // The caller awaits it after the next upload has been let in: a rejection must not go unheard.
      admitted.catch(() => undefined)
      return { verdict, admitted }
    } finally {
      await before
      entered()
      if (this.#tails.get(session.number) === tail) this.#tails.delete(session.number)
    }
  }

  async #admit(
    session: SessionRow,
    verdict: Accepted,
    wireBytes: number,
    arrivedAtMs: number,
  ): Promise<Admission> {
    const batcher = this.#sessions.batcherForUpload(session)
    const admission = await batcher.admit({
      arrivedAtMs,
      wireBytes,
      received: verdict.received,
      rejected: verdict.rejected,
      content: verdict.content,
    })
    const type = session.type
    this.#metrics.uploads.inc({ type })
    this.#metrics.records.inc({ type }, verdict.received - verdict.rejected.length)
    this.#metrics.rejected.inc({ type }, verdict.rejected.length)
    this.#metrics.bytes.inc({ type }, wireBytes)
    return admission
  }

  #answer(
    session: SessionRow,
    verdict: Accepted,
    admission: Admission,
    arrivedAtMs: number,
  ): { status: 200 | 202; reply: UploadReply } {
    const kept = verdict.received - verdict.rejected.length
    const row = this.#store.sessions.get(session.number)
    const reply: UploadReply = {
      sessionId: session.id,
      recordsReceived: verdict.received,
      recordsProcessed: admission.processed ? kept : 0,
      recordsQueued: admission.processed ? 0 : kept,
      recordsRejected: verdict.rejected.length,
      batchId: batchName(admission.batch),
      processingTimeMs: Date.now() - arrivedAtMs,
      status: row?.status ?? session.status,
      ...(verdict.rejected.length === 0 ? {} : { invalidRecords: shown(verdict.rejected) }),
    }
    return { status: admission.late ? 202 : 200, reply }
  }

  #refusal(session: SessionRow, verdict: Extract<DecodeVerdict, { kind: 'refused' }>): Refusal {
    const code: ErrorCode = verdict.code
    if (code !== 'INVALID_RECORDS') {
      return new Refusal(code, { message: verdict.message, fields: verdict.fields })
    }
    const batch = this.#sessions.currentBatch(session)
    return new Refusal(code, {
      message: verdict.message,
      fields: { batchId: batchName(batch), ...verdict.fields },
    })
  }
}

/** The documented members of the first refused records; what they were is kept for `rejected`. */
function shown(rejected: readonly RejectedRecord[]): UploadReply['invalidRecords'] {
  return rejected
    .slice(0, limits.invalidRecordsShownMax)
    .map(({ recordIndex, field, value, expectedType, message }) => ({
      recordIndex,
      field,
      value,
      expectedType,
      message,
    }))
}
