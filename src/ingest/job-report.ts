import type { JobStarted, JobStatusReply } from '../contracts/http.ts'
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

/** The three documented status bodies. `sessionId` is null where the job works on several. */
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
  const { endedAtMs, atomsCreated, itemsProcessed } = job
  if (endedAtMs === null) return { ...head, progress: progress(job, nowMs) }
  if (job.error !== null) {
    const failedAt = isoTime(endedAtMs)
    return {
      ...head,
      error: { ...job.error, failedAt },
      partialResult: { atomsCreated, itemsProcessed },
      failedAt,
    }
  }
  const totalDurationMs = Math.max(0, endedAtMs - job.startedAtMs)
  return {
    ...head,
    result: { atomsCreated, totalDurationMs, finalHash: hex(job.chain) },
    completedAt: isoTime(endedAtMs),
  }
}

function progress(job: JobRow, nowMs: number): NonNullable<JobStatusReply['progress']> {
  return {
    currentStep: job.step,
    totalSteps: jobSteps.length,
    percentComplete: percent(job),
    itemsProcessed: job.itemsProcessed,
    totalItems: job.itemsTotal,
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
    if (job.status === 'failed') return [step, { status: 'failed', ...duration }]
    const estimatedRemainingMs = remainingMs(job, nowMs)
    const estimate = estimatedRemainingMs === null ? {} : { estimatedRemainingMs }
    return [step, { status: 'in-progress', percentComplete: percent(job), ...estimate }]
  })
  return Object.fromEntries(phases) as Record<JobStep, JobStatusReply['phaseProgress'][JobStep]>
}

function percent({ itemsProcessed, itemsTotal }: JobRow): number {
  return itemsTotal === 0 ? 100 : Math.floor((itemsProcessed * 100) / itemsTotal)
}

/** At the speed so far; null where nothing is done yet, because then nobody knows. */
function remainingMs({ itemsProcessed, itemsTotal, startedAtMs }: JobRow, nowMs: number) {
  if (itemsProcessed === 0) return null
  const elapsedMs = Math.max(0, nowMs - startedAtMs)
  return Math.round((elapsedMs * (itemsTotal - itemsProcessed)) / itemsProcessed)
}
