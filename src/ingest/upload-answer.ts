import type { UploadReply } from '../contracts/http.ts'
import type { IdempotencyRow, JobRow, SessionRow, Transaction } from '../store/interfaces.ts'
import type { AdmittedUpload, UploadAnswer } from './batch.ts'
import { batchName } from './session-report.ts'

/**
 * What an upload is told is put together in the transaction that acknowledges it, so that a stored
 * answer is what the first asker got, to the letter.
 */

/** `late`: its records are journaled while their closed batch is still being worked on. */
export type UploadFate = 'processed' | 'queued' | 'late'

export function uploadAnswer(
  session: SessionRow,
  upload: AdmittedUpload,
  batch: number,
  nowMs: number,
  fate: UploadFate,
): UploadAnswer {
  const { rejected } = upload
  const kept = upload.received - rejected.count
  const reply: UploadReply = {
    sessionId: session.id,
    recordsReceived: upload.received,
    recordsProcessed: fate === 'processed' ? kept : 0,
    recordsQueued: fate === 'processed' ? 0 : kept,
    recordsRejected: rejected.count,
    batchId: batchName(batch),
    processingTimeMs: Math.max(0, nowMs - upload.arrivedAtMs),
    status: session.status,
    ...(rejected.count === 0 ? {} : { invalidRecords: [...rejected.shown] }),
  }
  return { kind: 'reply', status: fate === 'late' ? 202 : 200, reply }
}

export function jobAnswer(session: SessionRow, job: JobRow): UploadAnswer {
  return { kind: 'job', jobId: job.id, sessionId: session.id }
}

export function storeAnswer(
  transaction: Transaction,
  session: SessionRow,
  { idempotency }: Pick<AdmittedUpload, 'idempotency'>,
  answer: UploadAnswer,
): void {
  if (idempotency === null) return
  transaction.putIdempotency({
    session: session.number,
    keyDigest: idempotency.keyDigest,
    fingerprint: idempotency.fingerprint,
    createdAtMs: transaction.nowMs,
    status: answer.kind === 'reply' ? answer.status : 202,
    answer: { ...answer },
  })
}

export function storedAnswer({ answer }: IdempotencyRow): UploadAnswer {
  return answer as unknown as UploadAnswer
}
