import type { JobCancelled, JobStarted, JobStatusReply } from '../contracts/http.ts'
import { type JobRow, type JobStep, jobSteps } from '../store/interfaces.ts'
import type { UploadAnswer } from './batch.ts'
import { hex, isoTime } from './session-report.ts'

/** Where a job is polled, without the base of the URL. */
export function jobStatusPath(jobId: string): string {
  return `/api/streaming/jobs/${jobId}/status`
}

/** What an upload that asked for a job is told. */
export function jobStarted({
  jobId,
  sessionId,
}: Extract<UploadAnswer, { kind: 'job' }>): JobStarted {
  return { jobId, sessionId, status: 'queued' }
}

/**
 * The documented status bodies: of a job that has not ended, of one that is completed, and of one that
 * failed; a cancelled one has what a failed one has but the error. `sessionId` is null where the job
 * works on several.
 */
export function jobStatus(
  job: JobRow,
  sessionId: string | null,
  baseUrl: string,
  nowMs: number,
): JobStatusReply {
  const head = {
    jobId: job.id,
    kind: job.kind,
    sessionId,
    status: job.status,
    currentPhase: job.step,
    phaseProgress: phaseProgress(job, nowMs),
    startedAt: isoTime(job.startedAtMs),
    lastUpdatedAt: isoTime(job.updatedAtMs),
    statusUrl: `${baseUrl}${jobStatusPath(job.id)}`,
  }
  const { endedAtMs, atomsCreated } = job
  if (endedAtMs === null) return { ...head, progress: progress(job, nowMs) }
  const endedAt = isoTime(endedAtMs)
  if (job.status === 'cancelled') {
    return { ...head, partialResult: partialResult(job), cancelledAt: endedAt }
  }
  if (job.error !== null) {
    const error = { ...job.error, failedAt: endedAt }
    return { ...head, error, partialResult: partialResult(job), failedAt: endedAt }
  }
  const totalDurationMs = Math.max(0, endedAtMs - job.startedAtMs)
  return {
    ...head,
    result: { atomsCreated, totalDurationMs, finalHash: hex(job.chain) },
    completedAt: endedAt,
  }
}

/** What who cancels a job is told, of a row that has ended so. */
export function jobCancelled(job: JobRow): JobCancelled {
  return {
    jobId: job.id,
    status: job.status,
    cancelledAt: isoTime(job.endedAtMs ?? job.updatedAtMs),
    partialResult: partialResult(job),
  }
}

/**
 * What was kept. Frames and samples count from 1, so the last good one is as many as were good: 0 is
 * none.
 */
function partialResult(job: JobRow): JobCancelled['partialResult'] {
  const { itemUnit, atomsCreated, itemsProcessed } = job
  return {
    atomsCreated,
    itemsProcessed,
    ...(itemUnit === 'frames' ? { lastSuccessfulFrame: itemsProcessed } : {}),
    ...(itemUnit === 'samples' ? { lastSuccessfulSample: itemsProcessed } : {}),
  }
}

function progress(job: JobRow, nowMs: number): NonNullable<JobStatusReply['progress']> {
  return {
    currentStep: job.step,
    totalSteps: jobSteps.length,
    // The document has a number here in every case; `totalItems` tells that nobody knows.
    percentComplete: percent(job) ?? 0,
    itemsProcessed: job.itemsProcessed,
    totalItems: job.itemsTotal,
    itemUnit: job.itemUnit,
    estimatedTimeRemainingMs: remainingMs(job, nowMs),
  }
}

function phaseProgress(job: JobRow, nowMs: number): JobStatusReply['phaseProgress'] {
  const current = jobSteps.indexOf(job.step)
  const phases = jobSteps.map((step, index) => {
    const durationMs = job.stepDurationsMs[step]
    const duration = durationMs === undefined ? {} : { durationMs }
    const isOver = index < current || job.status === 'completed'
    if (isOver) return [step, { status: 'completed', ...duration }]
    if (index > current) return [step, { status: 'pending' }]
    const { status } = job
    if (status === 'failed' || status === 'cancelled') return [step, { status, ...duration }]
    return [step, { status: 'in-progress', ...currentProgress(job, nowMs) }]
  })
  return Object.fromEntries(phases) as Record<JobStep, JobStatusReply['phaseProgress'][JobStep]>
}

/** Items are worked off in one step alone; of the others nothing is measured but how long they took. */
function currentProgress(job: JobRow, nowMs: number) {
  if (job.step !== 'atomization') return {}
  const percentComplete = percent(job)
  const estimatedRemainingMs = remainingMs(job, nowMs)
  return {
    ...(percentComplete === null ? {} : { percentComplete }),
    ...(estimatedRemainingMs === null ? {} : { estimatedRemainingMs }),
  }
}

/** Of the items; 100 only once the step that works them off is over. Null where nobody knows the total. */
function percent({ step, itemsProcessed, itemsTotal }: JobRow): number | null {
  if (jobSteps.indexOf(step) > jobSteps.indexOf('atomization')) return 100
  if (itemsTotal === null) return null
  // A file may hold more than its head has told.
  return itemsTotal === 0 ? 0 : Math.min(99, Math.floor((itemsProcessed * 100) / itemsTotal))
}

/**
 * What is left at the speed of the step so far, which after a restart counts from there. Null where
 * nothing is done in it yet or the total is not known, because then nobody knows.
 */
function remainingMs(job: JobRow, nowMs: number): number | null {
  const doneInStep = job.itemsProcessed - job.stepItemsBefore
  if (job.itemsTotal === null || doneInStep <= 0) return null
  const elapsedMs = Math.max(0, nowMs - job.stepStartedAtMs)
  const left = Math.max(0, job.itemsTotal - job.itemsProcessed)
  return Math.round((elapsedMs * left) / doneInStep)
}
