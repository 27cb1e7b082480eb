import { randomBytes } from 'node:crypto'
import { Refusal } from '../contracts/errors.ts'
import { WorkerFailure } from '../contracts/worker-failure.ts'
import { limits } from '../limits.ts'
import type {
  BatchRetry,
  FailedAttempt,
  RetryPolicy,
  SessionRow,
  Transaction,
} from '../store/interfaces.ts'
import type { Batch } from './batch.ts'
import { failJob } from './jobs.ts'
import { appendSessionEvent } from './session-events.ts'
import { batchName } from './session-report.ts'

/** What is journaled cannot be read as it was written: no further attempt will mend it. */
export class JournalDamage extends Error {}

/**
 * What a failed attempt means. `waiting`: the store or the pool has no room, which says nothing about
 * the batch, so it costs no attempt. `permanent`: trying again cannot help.
 */
export interface Diagnosis {
  readonly kind: 'waiting' | 'retryable' | 'permanent'
  readonly code: string
  readonly message: string
}

export function diagnose(error: unknown): Diagnosis {
  const message = shortened(error instanceof Error ? error.message : String(error))
  if (error instanceof Refusal) {
    const kind = error.status >= 500 ? 'waiting' : 'permanent'
    return { kind, code: error.code, message }
  }
  if (error instanceof JournalDamage) return { kind: 'permanent', code: 'JOURNAL_DAMAGED', message }
  const code = error instanceof WorkerFailure ? 'WORKER_FAILED' : 'BATCH_PROCESSING_FAILED'
  return { kind: 'retryable', code, message }
}

/**
 * Delay before the attempt that follows failure number `failures`, from that failure. Bounded, because
 * a tenfold of a tenfold is years soon, and the end of the session waits for it.
 */
export function retryDelayMs(policy: RetryPolicy, failures: number): number {
  const delayMs = policy.retryDelayMs * policy.retryBackoffMultiplier ** (failures - 1)
  return Math.min(delayMs, limits.retryWaitMsMax)
}

/**
 * Stores a failure: when the batch is tried again, or that it is a dead letter now. Gives the time of
 * the next attempt, null where there is none. The whole batch stands in the journal by now.
 */
export function storeFailure(
  transaction: Transaction,
  sessionNumber: number,
  batch: Batch,
  diagnosis: Diagnosis,
): number | null {
  const session = transaction.session(sessionNumber)
  const before = transaction.retry(sessionNumber, batch.number)
  const failures = batch.failures + 1
  const history = extended(before, transaction.nowMs, diagnosis)
  if (before === null) {
    session.batchesReceived += 1
    if (session.endedAtMs === null) {
      appendSessionEvent(transaction, session, 'batch-received', {
        batchId: batchName(batch.number),
        recordCount: batch.records,
      })
    }
  }
  const isDead = diagnosis.kind === 'permanent' || failures > session.retry.maxRetries
  if (isDead) {
    storeDeadLetter(transaction, session, batch, { diagnosis, history, before })
    return null
  }
  const nextAttemptAtMs = transaction.nowMs + retryDelayMs(session.retry, failures)
  transaction.putRetry({
    session: sessionNumber,
    batch: batch.number,
    failures,
    nextAttemptAtMs,
    history,
    redrive: before?.redrive ?? null,
  })
  appendError(transaction, session, batch, diagnosis, { deadLetterId: null, history })
  return nextAttemptAtMs
}

function storeDeadLetter(
  transaction: Transaction,
  session: SessionRow,
  batch: Batch,
  failure: { diagnosis: Diagnosis; history: FailedAttempt[]; before: BatchRetry | null },
): void {
  const { diagnosis, history, before } = failure
  const { code, message } = diagnosis
  const id = before?.redrive?.deadLetterId ?? `dlq-${randomBytes(16).toString('hex')}`
  transaction.putDeadLetter({
    id,
    tenant: session.tenant,
    session: session.number,
    batch: batch.number,
    records: batch.records,
    code,
    message,
    history,
    firstFailedAtMs: history[0]?.atMs ?? transaction.nowMs,
    deadAtMs: transaction.nowMs,
  })
  if (before !== null) transaction.deleteRetry(session.number, batch.number)
  session.recordsQueued -= batch.records
  session.recordsDead += batch.records
  session.deadLetters += 1
  appendError(transaction, session, batch, diagnosis, { deadLetterId: id, history })
  const details = `${batchName(batch.number)} is dead letter ${id}`
  for (const { job } of batch.entries) {
    if (job !== null) failJob(transaction, job, { code, message, details })
  }
  if (before?.redrive) failJob(transaction, before.redrive.job, { code, message, details })
}

function appendError(
  transaction: Transaction,
  session: SessionRow,
  batch: Batch,
  { code, message }: Diagnosis,
  more: { deadLetterId: string | null; history: readonly FailedAttempt[] },
): void {
  // After the terminal event of a session nothing may follow in its log.
  if (session.endedAtMs !== null) return
  appendSessionEvent(transaction, session, 'error', {
    errorCode: code,
    message,
    batchId: batchName(batch.number),
    attempt: more.history.at(-1)?.attempt ?? 1,
    deadLetterId: more.deadLetterId,
  })
}

function extended(
  before: BatchRetry | null,
  atMs: number,
  { code, message }: Diagnosis,
): FailedAttempt[] {
  const history = before?.history ?? []
  const attempt = (history.at(-1)?.attempt ?? 0) + 1
  return [...history, { attempt, atMs, code, message }].slice(-limits.attemptHistoryMax)
}

function shortened(message: string): string {
  const { failureMessageCharsMax: charsMax } = limits
  return message.length > charsMax ? `${message.slice(0, charsMax)}…` : message
}
