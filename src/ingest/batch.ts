import type { Alarm } from '../clock.ts'
import type { Actor } from '../contracts/actor.ts'
import type { UploadReply } from '../contracts/http.ts'
import type { DecodedContent, RejectedRecords } from '../contracts/tasks.ts'

/** A decoded and valid upload on its way into a batch. */
export interface AdmittedUpload {
  readonly arrivedAtMs: number
  /** One, or as many as came together and became one. */
  readonly uploads: number
  /** Bytes of the body as it came, compressed where it was. */
  readonly wireBytes: number
  /** Records in the upload; `content` holds those that are not in `rejected`. */
  readonly received: number
  readonly rejected: RejectedRecords
  readonly content: DecodedContent
  /** Under which its answer is stored, so that it can be given again. */
  readonly idempotency: IdempotentUpload | null
  /** The client does not wait for the batch: it is given a job. */
  readonly asJob: JobRequest | null
}

export interface IdempotentUpload {
  /** SHA-256 of the client's key, 32 bytes. */
  readonly keyDigest: Uint8Array
  /** What tells this upload from another, 32 bytes. */
  readonly fingerprint: Uint8Array
}

/** Who asks for a job, and how long the steps took that are over when it begins. */
export interface JobRequest {
  readonly actor: Actor
  readonly uploadMs: number
  readonly validationMs: number
}

/** What an acknowledged upload is told; stored as it is under its idempotency key. */
export type UploadAnswer =
  | { readonly kind: 'reply'; readonly status: 200 | 202; readonly reply: UploadReply }
  | { readonly kind: 'job'; readonly jobId: string; readonly sessionId: string }

/** One upload's place in a batch. Until it is journaled or processed its content is only in memory. */
export interface BatchEntry {
  readonly records: number
  /**
   * Bytes and columns of its page; 0 in a closed batch, and for media, whose bytes are blobs, unless
   * processing them takes them back into memory.
   */
  readonly pageBytes: number
  readonly pageColumns: number
  /** Null once the journal has it. */
  upload: AdmittedUpload | null
  /** Number of its journal entry, null while there is none. */
  journalNumber: number | null
  /** Number of the job that waits for it. */
  job: number | null
  /** Resolves once it is on disk or its batch is; rejects where it could not be written. */
  journaling: Promise<void> | null
  /** From when it is asked to be journaled until that is on disk or has failed. */
  isJournaling: boolean
  /** Set by the transaction that acknowledges it. */
  answer: UploadAnswer | null
}

/** How the first attempt to process a batch went; `late` where the one who waits should wait no longer. */
export type AttemptResult = 'processed' | 'failed' | 'late'

/** Whole uploads of a session that become one block, or the atoms of one commit. */
export class Batch {
  readonly entries: BatchEntry[] = []
  records = 0
  pageBytes = 0
  pageColumns = 0
  closed = false
  /** An attempt at it is under way. */
  isAtWork = false
  /** The last upload of it was taken back, so that having none is no damage. */
  isEmptied = false
  /** Failures since it was queued or redriven. */
  failures = 0
  /** Attempts in a row that found no room in the store or the pool. */
  waits = 0
  /** Arrival of the upload that closed it, else the moment it was closed: processing time counts from here. */
  processingFromMs = 0
  /** Its delay while it is open, its next attempt while it waits for one. */
  alarm: Alarm | null = null
  /** Resolves with the result of the first attempt. */
  readonly firstAttempt: Promise<AttemptResult>
  /** Resolves when the batch's records are atoms or a dead letter, or nothing is left of it. */
  readonly settled: Promise<void>
  resolveFirstAttempt!: (result: AttemptResult) => void
  resolveSettled!: () => void
  isSettled = false
  /**
   * Its atoms stand in a transaction that is under way or done. Kept beside `isSettled`, because the
   * next transaction may be put together before the promise of this one has been heard.
   */
  applied = false

  /** `isRecovered`: its uploads come from the journal, so that none may be missing. */
  constructor(
    readonly number: number,
    readonly isRecovered = false,
  ) {
    this.firstAttempt = new Promise((resolve) => {
      this.resolveFirstAttempt = resolve
    })
    this.settled = new Promise((resolve) => {
      this.resolveSettled = resolve
    })
  }

  add(entry: BatchEntry): void {
    this.entries.push(entry)
    this.records += entry.records
    this.pageBytes += entry.pageBytes
    this.pageColumns += entry.pageColumns
  }

  remove(entry: BatchEntry): void {
    const at = this.entries.indexOf(entry)
    if (at === -1) return
    this.entries.splice(at, 1)
    this.records -= entry.records
    this.pageBytes -= entry.pageBytes
    this.pageColumns -= entry.pageColumns
  }

  settle(): void {
    this.isSettled = true
    this.resolveFirstAttempt('processed')
    this.resolveSettled()
  }
}

/** An upload's entry: new, with its content in memory, or from the journal. */
export function newEntry(upload: AdmittedUpload, isStreamed: boolean): BatchEntry {
  const { content } = upload
  const mediaBytes = content.kind === 'media' && isStreamed ? content.buffer.byteLength : 0
  return {
    records: upload.received - upload.rejected.count,
    pageBytes: content.kind === 'page' ? content.page.openBytes : mediaBytes,
    pageColumns: content.kind === 'page' ? content.page.columns : 0,
    upload,
    journalNumber: null,
    job: null,
    journaling: null,
    isJournaling: false,
    answer: null,
  }
}

export function journaledEntry(head: {
  readonly number: number
  readonly records: number
  readonly job: number | null
}): BatchEntry {
  return {
    records: head.records,
    pageBytes: 0,
    pageColumns: 0,
    upload: null,
    journalNumber: head.number,
    job: head.job,
    journaling: null,
    isJournaling: false,
    answer: null,
  }
}
