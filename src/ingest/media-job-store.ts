import type { Actor } from '../contracts/actor.ts'
import { extendChain } from '../contracts/hash-chain.ts'
import type { MediaCheckpoint } from '../contracts/media.ts'
import type { MediaMessage } from '../contracts/tasks.ts'
import { limits } from '../limits.ts'
import type { JobRow, MediaFile, SessionRow, Transaction } from '../store/interfaces.ts'
import { tellJob } from './activity.ts'
import { appendItem } from './batch-atoms.ts'
import { storeExtraBatch } from './batch-store.ts'
import { endJob, endStep, type JobError } from './jobs.ts'
import { appendSessionEvent } from './session-events.ts'

/**
 * What the transactions of a job on a file write. Each function does nothing where the job has ended by
 * then: a cancel may have been quicker.
 */

type Chunk = Extract<MediaMessage, { kind: 'chunk' }>
type Validated = Extract<MediaMessage, { kind: 'validated' }>

/** A thread takes the job. False where it must not: it has ended. */
export function storeMediaStart(transaction: Transaction, number: number): boolean {
  const job = transaction.job(number)
  if (job.endedAtMs !== null) return false
  const media = mediaOf(job)
  job.status = 'in-progress'
  // What was done of the step in an earlier process counts neither for its time nor for its speed.
  job.step = 'validation'
  job.stepStartedAtMs = transaction.nowMs
  job.media = { ...media, runs: media.runs + 1 }
  job.updatedAtMs = transaction.nowMs
  return true
}

export function storeMediaValidated(
  transaction: Transaction,
  number: number,
  { itemsTotal, description }: Validated,
): void {
  const job = transaction.job(number)
  if (job.endedAtMs !== null) return
  endStep(job, transaction.nowMs, 'atomization')
  job.itemsTotal = itemsTotal
  job.media = { ...mediaOf(job), description }
  job.updatedAtMs = transaction.nowMs
}

export function storeMediaProgress(
  transaction: Transaction,
  number: number,
  position: number,
): void {
  const job = transaction.job(number)
  if (job.endedAtMs !== null || position <= job.itemsProcessed) return
  job.itemsProcessed = position
  job.updatedAtMs = transaction.nowMs
}

/**
 * The atoms of a chunk, as a batch of their own. False, and nothing is stored, where the job has ended or
 * the chunk is not the next one.
 */
export function storeMediaChunk(
  transaction: Transaction,
  number: number,
  batch: number,
  { buffer, items, checkpoint }: Chunk,
  arrivedAtMs: number,
): boolean {
  const job = transaction.job(number)
  if (job.endedAtMs !== null) return false
  const media = mediaOf(job)
  // Of a thread that has died a chunk may have come after its successor began.
  if (checkpoint.emitted - items.length !== media.checkpoint.emitted) return false
  const session = sessionOf(transaction, job)
  const kind = media.type.kind === 'video' ? 'frame' : 'segment'
  for (const { byteOffset, byteLength, hash, metadata } of items) {
    const bytes = new Uint8Array(buffer, byteOffset, byteLength)
    const named = { ...metadata, jobId: job.id }
    appendItem(transaction, session, batch, kind, { hash, byteLength, metadata: named, bytes })
    job.chain = extendChain(job.chain, hash)
  }
  session.recordsReceived += items.length
  session.recordsProcessed += items.length
  job.atomsCreated += items.length
  advance(transaction, job, media, checkpoint)
  const counts = { records: items.length, atoms: items.length }
  storeExtraBatch(transaction, session, batch, { ...counts, sinceMs: arrivedAtMs, jobId: job.id })
  return true
}

function advance(
  transaction: Transaction,
  job: JobRow,
  media: MediaFile,
  checkpoint: MediaCheckpoint,
): void {
  job.itemsProcessed = Math.max(job.itemsProcessed, checkpoint.position)
  job.media = { ...media, checkpoint, runs: 1 }
  job.updatedAtMs = transaction.nowMs
}

/** The decoder is done; what it gave is being written with its times. */
export function storeMediaIndexing(
  transaction: Transaction,
  number: number,
  position: number,
): void {
  const job = transaction.job(number)
  if (job.endedAtMs !== null) return
  job.itemsProcessed = Math.max(job.itemsProcessed, position)
  endStep(job, transaction.nowMs, 'indexing')
  job.updatedAtMs = transaction.nowMs
}

/** All that the decoder gave is stored. `indexedAtMs`: since when. */
export function storeMediaDone(
  transaction: Transaction,
  number: number,
  indexedAtMs: number,
): void {
  const job = transaction.job(number)
  if (job.endedAtMs !== null) return
  endStep(job, indexedAtMs, 'completion')
  // An estimate of the file's own length may have been off.
  job.itemsTotal = job.itemsProcessed
  endStep(job, transaction.nowMs)
  endJob(transaction, job, 'completed')
}

export function storeMediaFailed(
  transaction: Transaction,
  number: number,
  error: JobError,
  position: number | null,
): void {
  const job = transaction.job(number)
  if (job.endedAtMs !== null) return
  if (position !== null) job.itemsProcessed = Math.max(job.itemsProcessed, position)
  job.error = shortened(error)
  endStep(job, transaction.nowMs)
  endJob(transaction, job, 'failed')
  const session = sessionOf(transaction, job)
  appendSessionEvent(transaction, session, 'error', {
    errorCode: error.code,
    message: job.error.message,
    batchId: null,
    attempt: Math.max(1, mediaOf(job).runs),
    deadLetterId: null,
    jobId: job.id,
  })
}

/** False where it has ended by then. `actor` is null where nobody asked for it by itself. */
export function storeMediaCancelled(
  transaction: Transaction,
  actor: Actor | null,
  number: number,
): boolean {
  const job = transaction.job(number)
  if (job.endedAtMs !== null) return false
  // What was gone over beyond the last atom is not kept.
  job.itemsProcessed = mediaOf(job).checkpoint.position
  endStep(job, transaction.nowMs)
  endJob(transaction, job, 'cancelled')
  tellJob(transaction, actor, 'cancel', job, sessionOf(transaction, job).id)
  return true
}

/** The server stops: that it had to begin again will be nobody's fault. */
export function storeMediaSetAside(transaction: Transaction, number: number): void {
  const job = transaction.job(number)
  if (job.endedAtMs !== null) return
  const media = mediaOf(job)
  job.media = { ...media, runs: media.runs - 1 }
}

export function mediaOf({ media }: JobRow): MediaFile {
  if (media === null) throw new Error('the job works on no file')
  return media
}

function sessionOf(transaction: Transaction, { session }: JobRow): SessionRow {
  if (session === null) throw new Error('a job on a file belongs to a session')
  return transaction.session(session)
}

/** What a decoder prints of a hostile file is as long as that wants it. */
function shortened({ code, message, details }: JobError): JobError {
  const { failureMessageCharsMax: charsMax } = limits
  return { code, message: message.slice(0, charsMax), details: details.slice(0, charsMax) }
}
