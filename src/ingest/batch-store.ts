import type { Actor } from '../contracts/actor.ts'
import type { JournalEntry, SessionRow, Transaction } from '../store/interfaces.ts'
import { tellJob } from './activity.ts'
import type { AdmittedUpload, Batch, BatchEntry } from './batch.ts'
import { type BatchAtoms, type BatchContent, type BatchItem, storeContent } from './batch-atoms.ts'
import type { Diagnosis } from './batch-failure.ts'
import { advanceJob, createUploadJob, endJob } from './jobs.ts'
import { appendSessionEvent } from './session-events.ts'
import { batchName } from './session-report.ts'
import { jobAnswer, storeAnswer, uploadAnswer } from './upload-answer.ts'

/**
 * What the transactions of a batch write: the journal entry of a queued upload, and the atoms, counters
 * and events of a processed batch. Each function runs inside one unit of the store, so all of it is
 * there after a crash or nothing.
 */

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

/**
 * Turns a batch into atoms; the journal entries that it was made of go in the same transaction. Gives
 * what was made.
 */
export function storeProcessedBatch(
  transaction: Transaction,
  sessionNumber: number,
  batch: Batch,
  content: BatchContent,
): BatchAtoms {
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
  const made = storeContent(transaction, session, batch.number, content)
  const retry = transaction.retry(sessionNumber, batch.number)
  if (retry !== null) transaction.deleteRetry(sessionNumber, batch.number)
  advanceUploadJobs(transaction, batch, made)
  if (retry?.redrive) {
    const digests = made.digests.map(({ digest }) => digest)
    advanceJob(transaction, retry.redrive.job, {
      records: batch.records,
      atoms: made.atoms,
      digests,
    })
  }
  const processingTimeMs = Math.max(0, Math.round(transaction.nowMs - batch.processingFromMs))
  session.recordsProcessed += batch.records
  session.batchesProcessed += 1
  session.processingTimeMs += processingTimeMs
  session.lastActivityAtMs = transaction.nowMs
  if (retry === null) session.batchesReceived += 1
  // A batch that is redriven after the end of its session: nothing follows a terminal event.
  if (session.endedAtMs === null) {
    const isAnnounced = retry !== null
    const { atoms } = made
    appendBatchEvents(transaction, session, batch, { isAnnounced, atoms, processingTimeMs })
  }
  for (const entry of batch.entries) {
    const { upload } = entry
    if (upload === null || entry.journalNumber !== null) continue
    const { nowMs } = transaction
    entry.answer = uploadAnswer(session, upload, batch.number, nowMs, 'processed')
    storeAnswer(transaction, session, upload, entry.answer)
  }
  return made
}

/** What the end of a session makes of what its batches have left: atoms of a batch of their own. */
export function storeLastAtoms(
  transaction: Transaction,
  sessionNumber: number,
  batch: number,
  { content, sinceMs }: { content: BatchContent; sinceMs: number },
): BatchAtoms {
  const session = transaction.session(sessionNumber)
  const made = storeContent(transaction, session, batch, content)
  const { atoms } = made
  if (atoms > 0) storeExtraBatch(transaction, session, batch, { records: 0, atoms, sinceMs })
  return made
}

/** Gives up buffers that cannot be cut any more; the session ends as failed and says so. */
export function storeLostTail(
  transaction: Transaction,
  sessionNumber: number,
  { code, message }: Diagnosis,
): void {
  const session = transaction.session(sessionNumber)
  transaction.dropPending(session, Number.MAX_SAFE_INTEGER)
  transaction.putStreamState(session, null)
  session.ending = 'failed'
  appendSessionEvent(transaction, session, 'error', {
    errorCode: code,
    message: `The last of its audio could not be cut: ${message}`,
    batchId: null,
    attempt: session.retry.maxRetries + 1,
    deadLetterId: null,
  })
}

interface ExtraBatch {
  readonly records: number
  readonly atoms: number
  /** When its atoms came, milliseconds since the epoch. */
  readonly sinceMs: number
  readonly jobId?: string
}

/** Counts and announces a batch that came another way than by uploads; its atoms are stored. */
export function storeExtraBatch(
  transaction: Transaction,
  session: SessionRow,
  batch: number,
  { records, atoms, sinceMs, jobId }: ExtraBatch,
): void {
  session.nextBatch = Math.max(session.nextBatch, batch + 1)
  session.batchesReceived += 1
  session.batchesProcessed += 1
  session.lastActivityAtMs = transaction.nowMs
  const batchId = batchName(batch)
  const job = jobId === undefined ? {} : { jobId }
  const processingTimeMs = Math.max(0, Math.round(transaction.nowMs - sinceMs))
  session.processingTimeMs += processingTimeMs
  appendSessionEvent(transaction, session, 'batch-received', {
    batchId,
    recordCount: records,
    ...job,
  })
  appendSessionEvent(transaction, session, 'batch-processed', {
    batchId,
    atomsCreated: atoms,
    processingTimeMs,
    ...job,
  })
}

/** Takes back a queued upload whose job is cancelled by somebody. */
export function dropUpload(
  transaction: Transaction,
  actor: Actor,
  { session: number, batch, number: entry, job: jobNumber, content }: JournalEntry,
  records: number,
): void {
  const session = transaction.session(number)
  transaction.deleteJournal(number, batch, entry)
  const items = content.kind === 'media' ? content.items : []
  for (const { hash } of items) transaction.releaseBlob(session.tenant, hash)
  session.recordsQueued -= records
  session.recordsCancelled += records
  if (jobNumber === null) return
  const job = transaction.job(jobNumber)
  endJob(transaction, job, 'cancelled')
  tellJob(transaction, actor, 'cancel', job, session.id)
}

/** A batch that has failed before was announced with its first failure. */
function appendBatchEvents(
  transaction: Transaction,
  session: SessionRow,
  batch: Batch,
  {
    isAnnounced,
    atoms,
    processingTimeMs,
  }: { isAnnounced: boolean; atoms: number; processingTimeMs: number },
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
    atomsCreated: atoms,
    processingTimeMs,
  })
}

function advanceUploadJobs(
  transaction: Transaction,
  batch: Batch,
  { isBlock, digests }: BatchAtoms,
): void {
  let at = 0
  for (const { job, records } of batch.entries) {
    const from = at
    at += records
    if (job === null) continue
    // A block or segment holds audio or records of all uploads of its batch; a frame or buffer of one.
    const own = digests.filter(({ item }) => item === null || (item >= from && item < at))
    const atoms = isBlock ? records : own.length
    advanceJob(transaction, job, { records, atoms, digests: own.map(({ digest }) => digest) })
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
  const bytes =
    content.kind === 'page'
      ? content.page.bytes.byteLength
      : content.items.reduce((sum, { byteLength }) => sum + byteLength, 0)
  return rejected.chunks.reduce((sum, chunk) => sum + chunk.bytes.byteLength, bytes)
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
