import type { Clock } from '../clock.ts'
import type { Actor } from '../contracts/actor.ts'
import { type ErrorCode, Refusal } from '../contracts/errors.ts'
import type { JobStarted, UploadReply } from '../contracts/http.ts'
import type { BodyFormat, DecodeUpload, DecodeVerdict, MessageId } from '../contracts/tasks.ts'
import { limits } from '../limits.ts'
import type { Logger } from '../log.ts'
import type { Metrics } from '../metrics.ts'
import type { Decoder, ScannedUploads } from '../pool/decoder.ts'
import type { SessionRow } from '../store/interfaces.ts'
import type { UploadAnswer } from './batch.ts'
import type { Batcher } from './batcher.ts'
import { type IdempotentUploads, keyDigest } from './idempotency.ts'
import { jobStarted } from './job-report.ts'
import { keepContent, withOwnContent } from './own-content.ts'
import { batchName } from './session-report.ts'
import type { SessionService } from './sessions.ts'
import { type GatheredUpload, UploadGathering, type WriteTimes } from './upload-gathering.ts'

/** A body as the front door hands it over: a buffer that is not shared is transferred to a worker. */
export interface UploadInput {
  readonly buffer: ArrayBuffer | SharedArrayBuffer
  readonly byteLength: number
  readonly format: BodyFormat
  readonly gzip: boolean
}

/** How an HTTP upload wants to be taken. */
export interface UploadOptions {
  readonly idempotencyKey: string | null
  /** Be given a job instead of waiting for the batch: who asks, how long the body took to arrive. */
  readonly asJob: { readonly actor: Actor; readonly uploadMs: number } | null
}

export type MessageOutcome =
  | { readonly kind: 'ack'; readonly id: MessageId; readonly reply: UploadReply | JobStarted }
  | { readonly kind: 'rejected'; readonly id: MessageId; readonly refusal: Refusal }
  | {
      readonly kind: 'control'
      readonly id: MessageId
      readonly type: 'ping' | 'end'
      readonly options: Readonly<Record<string, unknown>>
    }

/** What uploads or messages that became one are told: each is acknowledged with its own records. */
export interface RunAnswer {
  /** Records of each. */
  readonly records: readonly number[]
  readonly status: 200 | 202
  /** Of all of them together. */
  readonly reply: UploadReply
}

type Accepted = Extract<DecodeVerdict, { kind: 'accepted' }>

/** The first so many of several became one; their answer, or null where each is to go by itself. */
export interface Run {
  readonly length: number
  /** Of messages that became one. */
  readonly ids: readonly MessageId[]
  readonly answer: Promise<RunAnswer> | null
}

/** One upload, or several as one, on the way through their session. */
interface Passage {
  readonly session: SessionRow
  readonly wireBytes: number
  /** As many as clients count: those that became one are several. */
  readonly uploads: number
  readonly arrivedAtMs: number
  readonly options: UploadOptions
}

const plain: UploadOptions = { idempotencyKey: null, asJob: null }

/**
 * The way of an upload: it is decoded and validated, then it enters its session's open batch.
 * Uploads of a session enter in the order in which their bodies came, however long each decode takes.
 */
export class UploadService {
  readonly #sessions: SessionService
  readonly #decoder: Decoder
  readonly #idempotency: IdempotentUploads
  readonly #clock: Clock
  readonly #metrics: Metrics
  readonly #log: Logger
  /** The last upload of each session that has not entered its batch yet. */
  readonly #tails = new Map<number, Promise<void>>()
  readonly #gathering: UploadGathering

  constructor(services: {
    store: WriteTimes
    sessions: SessionService
    decoder: Decoder
    idempotency: IdempotentUploads
    clock: Clock
    metrics: Metrics
    log: Logger
  }) {
    this.#gathering = new UploadGathering(services.store, (session, uploads, arrivedAtMs) =>
      this.#endRun(session, uploads, arrivedAtMs),
    )
    // What has come before is taken yet.
    services.sessions.onRefusing((session) => this.#gathering.end(session))
    this.#sessions = services.sessions
    this.#decoder = services.decoder
    this.#idempotency = services.idempotency
    this.#clock = services.clock
    this.#metrics = services.metrics
    this.#log = services.log
  }

  /** Uploads that wait for a worker. */
  get waiting(): number {
    return this.#decoder.waitingUploads
  }

  /** Resolves once the upload is on disk: 200, or 202 where the work goes on after the reply. */
  async upload(
    session: SessionRow,
    input: UploadInput,
    options: UploadOptions,
  ): Promise<UploadAnswer> {
    const key = options.idempotencyKey
    // An answer is given again whatever has become of the session since.
    if (key === null || !this.#idempotency.knows(session, key)) {
      const batcher = this.#sessions.batcherForUpload(session)
      if (batcher.gathers && this.#mayGather(session, input, options)) {
        const bytes = new Uint8Array(input.buffer, 0, input.byteLength)
        const uploadsMax = batcher.room.uploads
        return this.#gathering.join(session, bytes, { nowMs: this.#clock.now(), uploadsMax })
      }
    }
    this.#gathering.end(session.number)
    return this.#uploadAlone(session, input, options)
  }

  /** What has to be told from others, or may go to a worker, goes by itself. */
  #mayGather(session: SessionRow, input: UploadInput, options: UploadOptions): boolean {
    const isPlain = options.idempotencyKey === null && options.asJob === null
    const isScanned = session.type === 'telemetry' && input.format === 'json' && !input.gzip
    const isSmall = input.byteLength <= limits.inPlaceBodyBytesMax
    return isPlain && isScanned && isSmall && !this.#tails.has(session.number)
  }

  async #uploadAlone(
    session: SessionRow,
    input: UploadInput,
    options: UploadOptions,
  ): Promise<UploadAnswer> {
    const key = options.idempotencyKey
    const arrivedAtMs = this.#clock.now()
    const wireBytes = input.byteLength
    const passage = { session, wireBytes, uploads: 1, arrivedAtMs, options }
    const upload = decodeUpload(session, input, 'upload', key !== null)
    const decoded = this.#decoder.decode(upload)
    if (!(decoded instanceof Promise) && !this.#tails.has(session.number)) {
      return this.#admit(passage, decoded, null, this.#clock.now() - arrivedAtMs)
    }
    const { verdict, admitted } = await this.#inOrder(passage, ownVerdict(session, upload, decoded))
    if (verdict.kind === 'refused') throw this.#refusal(session, verdict)
    if (admitted === null) throw new Error('an upload body is never a control message')
    return admitted
  }

  /** The same for a WebSocket message, which may also be a `ping` or `end`. */
  async message(session: SessionRow, input: UploadInput): Promise<MessageOutcome> {
    this.#gathering.end(session.number)
    const arrivedAtMs = this.#clock.now()
    const wireBytes = input.byteLength
    const upload = decodeUpload(session, input, 'message', false)
    const { verdict, admitted } = await this.#inOrder(
      { session, wireBytes, uploads: 1, arrivedAtMs, options: plain },
      ownVerdict(session, upload, this.#decoder.decode(upload)),
    )
    if (verdict.kind === 'control') return verdict
    const { id } = verdict
    try {
      if (verdict.kind === 'refused') throw this.#refusal(session, verdict)
      const answer = await admitted
      if (answer === null) throw new Error('a message is data where it is not control')
      // Its key may have been used first by an upload that was given a job.
      return { kind: 'ack', id, reply: answer.kind === 'reply' ? answer.reply : jobStarted(answer) }
    } catch (error) {
      if (error instanceof Refusal) return { kind: 'rejected', id, refusal: error }
      this.#log.error({ err: error, sessionId: session.id }, 'a message failed')
      return { kind: 'rejected', id, refusal: new Refusal('INTERNAL') }
    }
  }

  /** The same for messages of one connection that came together; see `#run`. */
  messages(session: SessionRow, messages: readonly Uint8Array[]): Run {
    this.#gathering.end(session.number)
    return this.#run(session, messages, 'message', this.#clock.now())
  }

  /** Small uploads of a session that have gathered. */
  #endRun(session: SessionRow, uploads: readonly GatheredUpload[], arrivedAtMs: number): void {
    let at = 0
    try {
      while (at < uploads.length) {
        const bodies = uploads.slice(at).map(({ bytes }) => bytes)
        const { length, answer } = this.#run(session, bodies, 'upload', arrivedAtMs)
        this.#answerRun(session, uploads.slice(at, at + length), answer)
        at += length
      }
    } catch (error) {
      for (const { reject } of uploads.slice(at)) reject(error)
    }
  }

  #answerRun(
    session: SessionRow,
    part: readonly GatheredUpload[],
    answer: Promise<RunAnswer> | null,
  ): void {
    if (answer === null) {
      for (const upload of part) {
        this.#uploadAlone(session, inputOf(upload), plain).then(upload.resolve, upload.reject)
      }
      return
    }
    answer.then(
      ({ status, reply, records }) => {
        for (const [index, upload] of part.entries()) {
          const own = shareOfReply(reply, records[index] as number)
          upload.resolve({ kind: 'reply', status, reply: own })
        }
      },
      (error) => {
        for (const upload of part) upload.reject(error)
      },
    )
  }

  /**
   * Several uploads or messages as one: a page, a place in a batch and a journal entry for each of them would
   * cost ten times what their records do. Takes as many of the first as fill the open batch. Where one of
   * those is anything but plain records, `answer` is null and each is to go by itself.
   */
  #run(
    session: SessionRow,
    bodies: readonly Uint8Array[],
    envelope: DecodeUpload['envelope'],
    arrivedAtMs: number,
  ): Run {
    const { records: room, uploads } = this.#roomOf(session)
    const first = bodies.slice(0, uploads)
    const scanned = this.#decoder.scanUploads(first, envelope, session.decode)
    if (scanned === null) return { length: first.length, ids: [], answer: null }
    const length = uploadsFilling(room, scanned.records)
    const part = first.slice(0, length)
    const fitting =
      length === first.length ? scanned : this.#decoder.scanUploads(part, envelope, session.decode)
    if (fitting === null) return { length, ids: [], answer: null }
    return { length, ids: fitting.ids, answer: this.#admitRun(session, part, fitting, arrivedAtMs) }
  }

  #roomOf(session: SessionRow): Batcher['room'] {
    try {
      return this.#sessions.batcherForUpload(session).room
    } catch {
      // Each of them will be told why.
      return { records: Number.POSITIVE_INFINITY, uploads: Number.POSITIVE_INFINITY }
    }
  }

  async #admitRun(
    session: SessionRow,
    bodies: readonly Uint8Array[],
    { records, verdict }: ScannedUploads,
    arrivedAtMs: number,
  ): Promise<RunAnswer> {
    const passage: Passage = {
      session,
      wireBytes: bodies.reduce((sum, { byteLength }) => sum + byteLength, 0),
      uploads: bodies.length,
      arrivedAtMs,
      options: plain,
    }
    const answer = this.#tails.has(session.number)
      ? await (await this.#inOrder(passage, Promise.resolve(verdict))).admitted
      : await this.#admit(passage, verdict, null, 0)
    if (answer?.kind !== 'reply') throw new Error('uploads that are scanned get a reply')
    const { status, reply } = answer
    return { records, status, reply }
  }

  /** `admitted` is null where there is nothing to admit. */
  async #inOrder(
    passage: Passage,
    decoded: Promise<DecodeVerdict>,
  ): Promise<{ verdict: DecodeVerdict; admitted: Promise<UploadAnswer> | null }> {
    const { session } = passage
    const before = this.#tails.get(session.number)
    let entered!: () => void
    const tail = new Promise<void>((resolve) => {
      entered = resolve
    })
    this.#tails.set(session.number, tail)
    try {
      const verdict = await decoded
      const validationMs = this.#clock.now() - passage.arrivedAtMs
      await before
      const admitted =
        verdict.kind === 'accepted' ? this.#admitOnce(passage, verdict, validationMs) : null
      // The caller awaits it after the next upload has been let in: a rejection must not go unheard.
      admitted?.catch(() => undefined)
      return { verdict, admitted }
    } finally {
      await before
      entered()
      if (this.#tails.get(session.number) === tail) this.#tails.delete(session.number)
    }
  }

  #admitOnce(passage: Passage, verdict: Accepted, validationMs: number): Promise<UploadAnswer> {
    const key = passage.options.idempotencyKey ?? verdict.idempotencyKey
    if (key === null || verdict.fingerprint === null) {
      return this.#admit(passage, verdict, null, validationMs)
    }
    const upload = { keyDigest: keyDigest(key), fingerprint: verdict.fingerprint }
    const admit = () => this.#admit(passage, verdict, upload, validationMs)
    return this.#idempotency.once(passage.session, upload, admit)
  }

  async #admit(
    { session, wireBytes, uploads, arrivedAtMs, options }: Passage,
    verdict: Accepted,
    idempotency: { keyDigest: Uint8Array; fingerprint: Uint8Array } | null,
    validationMs: number,
  ): Promise<UploadAnswer> {
    const batcher = this.#sessions.batcherForUpload(session)
    const { asJob } = options
    const answer = await batcher.admit({
      arrivedAtMs,
      uploads,
      wireBytes,
      received: verdict.received,
      rejected: verdict.rejected,
      content: verdict.content,
      idempotency,
      asJob: asJob === null ? null : { ...asJob, validationMs },
    })
    keepContent(verdict.content, session)
    const type = session.type
    this.#metrics.uploads.inc({ type }, uploads)
    this.#metrics.records.inc({ type }, verdict.received - verdict.rejected.count)
    this.#metrics.rejected.inc({ type }, verdict.rejected.count)
    this.#metrics.bytes.inc({ type }, wireBytes)
    return answer
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

/** What one of several that became one is told. */
export function shareOfReply(reply: UploadReply, records: number): UploadReply {
  const isQueued = reply.recordsQueued > 0
  return {
    ...reply,
    recordsReceived: records,
    recordsProcessed: isQueued ? 0 : records,
    recordsQueued: isQueued ? records : 0,
  }
}

function inputOf({ bytes }: GatheredUpload): UploadInput {
  const { buffer, byteLength } = bytes
  return { buffer, byteLength, format: 'json', gzip: false }
}

function ownVerdict(
  session: SessionRow,
  upload: DecodeUpload,
  decoded: DecodeVerdict | Promise<DecodeVerdict>,
): Promise<DecodeVerdict> {
  const verdict = Promise.resolve(decoded)
  if (session.type === 'telemetry') return verdict
  return verdict.then((own) => withOwnContent(own, session, upload))
}

/** How many of the first bring so many records or more, or all of them. */
function uploadsFilling(room: number, records: readonly number[]): number {
  let sum = 0
  for (const [index, count] of records.entries()) {
    sum += count
    if (sum >= room) return index + 1
  }
  return records.length
}

function decodeUpload(
  { decode }: SessionRow,
  { buffer, byteLength, format, gzip }: UploadInput,
  envelope: DecodeUpload['envelope'],
  fingerprint: boolean,
): DecodeUpload {
  return { body: buffer, byteLength, format, gzip, envelope, fingerprint, settings: decode }
}
