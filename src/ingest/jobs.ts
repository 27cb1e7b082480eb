import { randomBytes } from 'node:crypto'
import type { Actor } from '../contracts/actor.ts'
import { extendChain } from '../contracts/hash-chain.ts'
import type { JobRow, JobStep, MediaFile, SessionRow, Transaction } from '../store/interfaces.ts'
import { tellJob } from './activity.ts'
import type { JobRequest } from './batch.ts'

/**
 * What the transactions of batches write about the jobs that wait for them. A job is stored with what it
 * tells of, so after a crash it says neither more nor less than what is there.
 */

export interface JobError {
  readonly code: string
  readonly message: string
  readonly details: string
}

/** A job that is done when one journaled upload has become atoms. */
export function createUploadJob(
  transaction: Transaction,
  session: SessionRow,
  records: number,
  { actor, uploadMs, validationMs }: JobRequest,
): JobRow {
  const job = transaction.createJob({
    ...newJob(transaction.nowMs),
    tenant: session.tenant,
    session: session.number,
    kind: 'upload',
    step: 'atomization',
    startedAtMs: transaction.nowMs - Math.round(uploadMs + validationMs),
    stepDurationsMs: { upload: Math.round(uploadMs), validation: Math.round(validationMs) },
    itemUnit: 'records',
    itemsTotal: records,
    batchesLeft: 1,
    media: null,
  })
  tellJob(transaction, actor, 'create', job, session.id)
  return job
}

/** A job that takes a spooled file apart. */
export function createMediaJob(
  transaction: Transaction,
  session: SessionRow,
  media: MediaFile,
  { actor, uploadMs }: { readonly actor: Actor; readonly uploadMs: number },
): JobRow {
  session.openJobs += 1
  const job = transaction.createJob({
    ...newJob(transaction.nowMs),
    tenant: session.tenant,
    session: session.number,
    kind: 'media',
    step: 'validation',
    startedAtMs: transaction.nowMs - Math.round(uploadMs),
    stepDurationsMs: { upload: Math.round(uploadMs) },
    itemUnit: media.type.kind === 'video' ? 'frames' : 'samples',
    itemsTotal: null,
    batchesLeft: 0,
    media,
  })
  tellJob(transaction, actor, 'create', job, session.id)
  return job
}

/** A job that is done when each of these dead letters is atoms or a dead letter again. */
export function createRedriveJob(
  transaction: Transaction,
  actor: Actor,
  deadLetters: { session: SessionRow | null; batches: number; records: number },
): JobRow {
  const { session } = deadLetters
  const job = transaction.createJob({
    ...newJob(transaction.nowMs),
    tenant: actor.tenant,
    session: session?.number ?? null,
    kind: 'redrive',
    step: 'atomization',
    stepDurationsMs: {},
    itemUnit: 'records',
    itemsTotal: deadLetters.records,
    batchesLeft: deadLetters.batches,
    media: null,
  })
  tellJob(transaction, actor, 'create', job, session?.id ?? null)
  return job
}

/** What of a batch has become atoms for a job. `digests` are 32 bytes each, in commit order. */
export interface JobProgress {
  readonly records: number
  readonly atoms: number
  readonly digests: readonly Uint8Array[]
}

export function advanceJob(transaction: Transaction, number: number, progress: JobProgress): void {
  const job = transaction.job(number)
  // The job of an upload has failed with its dead letter: redriving that is another job. And a batch that
  // was at work when its redrive was cancelled is still finished.
  if (job.endedAtMs !== null) return
  job.itemsProcessed += progress.records
  job.atomsCreated += progress.atoms
  job.chain = progress.digests.reduce(extendChain, job.chain)
  job.status = 'in-progress'
  finishBatch(transaction, job)
}

/**
 * A batch that a job waits for is a dead letter. The job of an upload fails with it, one that redrives
 * goes on with its other batches and fails in the end.
 */
export function failJob(transaction: Transaction, number: number, error: JobError): void {
  const job = transaction.job(number)
  if (job.endedAtMs !== null) return
  job.error = error
  finishBatch(transaction, job)
}

function finishBatch(transaction: Transaction, job: JobRow): void {
  job.updatedAtMs = transaction.nowMs
  job.batchesLeft -= 1
  if (job.batchesLeft > 0) return
  endStep(job, transaction.nowMs)
  if (job.error === null) job.step = 'completion'
  endJob(transaction, job, job.error === null ? 'completed' : 'failed')
}

/** The step it is at is over; its duration is what it took. */
export function endStep(job: JobRow, nowMs: number, next: JobStep = job.step): void {
  const durationMs = Math.max(0, Math.round(nowMs - job.stepStartedAtMs))
  job.stepDurationsMs = { ...job.stepDurationsMs, [job.step]: durationMs }
  job.step = next
  job.stepStartedAtMs = nowMs
  job.stepItemsBefore = job.itemsProcessed
}

/** The job is over; its row says the rest. */
export function endJob(
  transaction: Transaction,
  job: JobRow,
  status: 'completed' | 'failed' | 'cancelled',
): void {
  job.status = status
  job.updatedAtMs = transaction.nowMs
  job.endedAtMs = transaction.nowMs
  if (job.media !== null && job.session !== null) transaction.session(job.session).openJobs -= 1
}

function newJob(nowMs: number) {
  return {
    id: `job-${randomBytes(16).toString('hex')}`,
    status: 'queued',
    stepStartedAtMs: nowMs,
    stepItemsBefore: 0,
    itemsProcessed: 0,
    atomsCreated: 0,
    chain: new Uint8Array(32),
    createdAtMs: nowMs,
    startedAtMs: nowMs,
    updatedAtMs: nowMs,
    endedAtMs: null,
    error: null,
  } as const
}
