import { formatTimestamp } from '../codecs/telemetry/timestamp.ts'
import type { EncodedPage } from '../contracts/tasks.ts'
import type { JournalEntry, SessionRow, Transaction } from '../store/interfaces.ts'
import type { AdmittedUpload, Batch, BatchEntry } from './batch.ts'
import { advanceJob, createUploadJob } from './jobs.ts'
import { appendSessionEvent } from './session-events.ts'
import { batchName } from './session-report.ts'
import { jobAnswer, storeAnswer, uploadAnswer } from './upload-answer.ts'

/**
 * What the transactions of a batch write: the journal entry of a queued upload, and the atoms, counters
 * and events of a processed batch. Each function runs inside one unit of the store, so all of it is
 * there after a crash or nothing.
 */

/** An item of a media batch. `bytes` is null where the journal has stored the blob already. */
export interface BatchItem {
  readonly hash: Uint8Array
  readonly byteLength: number
  readonly metadata: Readonly<Record<string, unknown>>
  readonly bytes: Uint8Array | null
}

export type BatchContent =
  | { readonly kind: 'block'; readonly page: EncodedPage }
  | { readonly kind: 'items'; readonly items: readonly BatchItem[] }

/**
 * Stores a queued upload and what it is told. `isLate`: it closed its batch, whose work goes on after
 * the reply.
 */
export function storeJournalEntry(
  transaction: Transaction,
  sessionNumber: number,
  batch: Batch,
  entry: BatchEntry,
  { upload, isLate }: { upload: AdmittedUpload; isLate: boolean },
): void {
  const session = transaction.session(sessionNumber)
  const number = session.journalEntries
  session.journalEntries += 1
  session.nextBatch = Math.max(session.nextBatch, batch.number + 1)
  session.recordsQueued += entry.records
  countUpload(transaction, session, batch, upload)
  const job =
    upload.asJob === null
      ? null
      : createUploadJob(transaction, session, entry.records, upload.asJob)
  transaction.putJournal({
    session: sessionNumber,
    number,
    batch: batch.number,
    records: entry.records,
    job: job?.number ?? null,
    content: journalContent(transaction, session, upload),
  })
  entry.journalNumber = number
  entry.job = job?.number ?? null
  entry.answer =
    job === null
      ? uploadAnswer(session, upload, batch.number, transaction.nowMs, isLate ? 'late' : 'queued')
      : jobAnswer(session, job)
  storeAnswer(transaction, session, upload, entry.answer)
}

/** The bytes of frames and buffers become blobs at once, so that they are written once. */
function journalContent(
  transaction: Transaction,
  session: SessionRow,
  upload: AdmittedUpload,
): JournalEntry['content'] {
  const { content } = upload
  if (content.kind === 'page') {
    return { kind: 'page', bytes: content.page.bytes, hash: content.page.hash }
  }
  const items = uploadItems(upload)
  for (const item of items) {
    if (item.bytes !== null) transaction.putBlob(session.tenant, item.hash, item.bytes)
  }
  return {
    kind: 'media',
    items: items.map(({ hash, byteLength, metadata }) => ({ hash, byteLength, metadata })),
  }
}

/** Turns a batch into atoms; the journal entries that it was made of go in the same transaction. */
export function storeProcessedBatch(
  transaction: Transaction,
  sessionNumber: number,
  batch: Batch,
  content: BatchContent,
): void {
  const session = transaction.session(sessionNumber)
  session.nextBatch = Math.max(session.nextBatch, batch.number + 1)
  for (const entry of batch.entries) {
    if (entry.journalNumber !== null) {
      transaction.deleteJournal(sessionNumber, batch.number, entry.journalNumber)
      session.recordsQueued -= entry.records
    } else if (entry.upload !== null) {
      countUpload(transaction, session, batch, entry.upload)
    }
  }
  const digests = storeAtoms(transaction, session, batch, content)
  const retry = transaction.retry(sessionNumber, batch.number)
  if (retry !== null) transaction.deleteRetry(sessionNumber, batch.number)
  advanceUploadJobs(transaction, batch, content.kind, digests)
  if (retry?.redrive) {
    advanceJob(transaction, retry.redrive.job, { records: batch.records, digests })
  }
  const processingTimeMs = Math.max(0, Math.round(transaction.nowMs - batch.processingFromMs))
  session.batchesProcessed += 1
  session.processingTimeMs += processingTimeMs
  session.lastActivityAtMs = transaction.nowMs
  if (retry === null) session.batchesReceived += 1
  // A batch that is redriven after the end of its session: nothing follows a terminal event.
  if (session.endedAtMs === null) {
    const isAnnounced = retry !== null
    appendBatchEvents(transaction, session, batch, { isAnnounced, processingTimeMs })
  }
  for (const entry of batch.entries) {
    const { upload } = entry
    if (upload === null || entry.journalNumber !== null) continue
    const { nowMs } = transaction
    entry.answer = uploadAnswer(session, upload, batch.number, nowMs, 'processed')
    storeAnswer(transaction, session, upload, entry.answer)
  }
}

/** A batch that has failed before was announced with its first failure. */
function appendBatchEvents(
  transaction: Transaction,
  session: SessionRow,
  batch: Batch,
  { isAnnounced, processingTimeMs }: { isAnnounced: boolean; processingTimeMs: number },
): void {
  const batchId = batchName(batch.number)
  if (!isAnnounced) {
    appendSessionEvent(transaction, session, 'batch-received', {
      batchId,
      recordCount: batch.records,
    })
  }
  appendSessionEvent(transaction, session, 'batch-processed', {
    batchId,
    atomsCreated: batch.records,
    processingTimeMs,
  })
}

function advanceUploadJobs(
  transaction: Transaction,
  batch: Batch,
  kind: BatchContent['kind'],
  digests: readonly Uint8Array[],
): void {
  let at = 0
  for (const { job, records } of batch.entries) {
    // A block holds all uploads of its batch; of frames and buffers each upload has its own.
    const own = kind === 'block' ? digests : digests.slice(at, at + records)
    at += records
    if (job !== null) advanceJob(transaction, job, { records, digests: own })
  }
}

/** The items of one media upload, as views into its buffer. */
export function uploadItems(upload: AdmittedUpload): BatchItem[] {
  if (upload.content.kind !== 'media') return []
  const { buffer, items } = upload.content
  return items.map((item) => ({
    hash: item.hash,
    byteLength: item.byteLength,
    metadata: item.metadata,
    bytes: new Uint8Array(buffer, item.byteOffset, item.byteLength),
  }))
}

/** About how many bytes an upload adds to a transaction. */
export function uploadBytes(upload: AdmittedUpload): number {
  const { content, rejected } = upload
  const bytes = content.kind === 'page' ? content.page.bytes.byteLength : content.buffer.byteLength
  return rejected.chunks.reduce((sum, chunk) => sum + chunk.bytes.byteLength, bytes)
}

/** Gives the digests in the order in which they extend the hash chain. */
function storeAtoms(
  transaction: Transaction,
  session: SessionRow,
  batch: Batch,
  content: BatchContent,
): Uint8Array[] {
  const batchId = batchName(batch.number)
  if (content.kind === 'block') {
    const { page } = content
    transaction.putBlob(session.tenant, page.hash, page.bytes)
    transaction.appendAtom(session, {
      kind: 'block',
      hash: page.hash,
      byteLength: page.bytes.byteLength,
      atoms: page.records,
      fromMs: page.fromMs,
      toMs: page.toMs,
      batch: batch.number,
      metadata: {
        batchId,
        recordCount: page.records,
        from: instant(page.fromMs),
        to: instant(page.toMs),
      },
    })
    return [page.hash]
  }
  const kind = session.type === 'video' ? 'frame' : 'buffer'
  for (const item of content.items) {
    if (item.bytes !== null) transaction.putBlob(session.tenant, item.hash, item.bytes)
    const atMs = Date.parse(String(item.metadata.timestamp))
    transaction.appendAtom(session, {
      kind,
      hash: item.hash,
      byteLength: item.byteLength,
      atoms: 1,
      fromMs: atMs,
      toMs: atMs,
      batch: batch.number,
      metadata: { ...item.metadata, batchId },
    })
  }
  return content.items.map((item) => item.hash)
}

/** Counts an upload that is acknowledged by this transaction, and keeps what was refused of it. */
function countUpload(
  transaction: Transaction,
  session: SessionRow,
  batch: Batch,
  upload: AdmittedUpload,
): void {
  session.recordsReceived += upload.received
  session.bytesReceived += upload.wireBytes
  session.lastActivityAtMs = transaction.nowMs
  if (upload.rejected.count === 0) return
  session.recordsRejected += upload.rejected.count
  transaction.appendRejected(session, batch.number, upload.rejected.chunks)
  appendSessionEvent(transaction, session, 'records-rejected', {
    batchId: batchName(batch.number),
    rejectedCount: upload.rejected.count,
  })
}

/** RFC 3339 of milliseconds with a fraction. */
function instant(ms: number): string {
  const whole = Math.floor(ms)
  return formatTimestamp({ ms: whole, us: Math.round((ms - whole) * 1000) })
}
