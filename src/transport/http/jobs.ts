import { Type } from '@sinclair/typebox'
import { Refusal } from '../../contracts/errors.ts'
import { JobCancelled, JobList, JobStatusName, JobStatusReply } from '../../contracts/http.ts'
import { jobCancelled, jobStatus, jobStatusPath } from '../../ingest/job-report.ts'
import { limits } from '../../limits.ts'
import type { JobRow } from '../../store/interfaces.ts'
import { Reply, type RequestContext, route } from '../route.ts'
import { findSession, listCursor, nextCursorOf } from './session-params.ts'

const base = '/api/streaming/jobs'
const JobParams = Type.Object({
  jobId: Type.String({ description: 'the job, as its start named it' }),
})

export const listJobs = route({
  method: 'GET',
  path: base,
  summary: 'List jobs, newest first',
  scope: 'jobs:read',
  query: Type.Object({
    status: Type.Optional(JobStatusName),
    sessionId: Type.Optional(Type.String()),
    limit: Type.Optional(Type.Integer({ minimum: 1, maximum: limits.sessionsPageLimitMax })),
    cursor: Type.Optional(Type.String({ description: 'nextCursor of the page before' })),
  }),
  replies: { 200: JobList },
  errors: ['SESSION_NOT_FOUND'],
  handle: ({ query }, context) => {
    const { tenant, store } = context
    const limit = query.limit ?? limits.sessionsPageLimitDefault
    const session =
      query.sessionId === undefined ? null : findSession(context, tenant, query.sessionId)
    const filter = {
      ...(query.status === undefined ? {} : { status: query.status }),
      ...(session === null ? {} : { session: session.number }),
    }
    const page = store.jobs.list(tenant, filter, limit, listCursor(query.cursor))
    return { jobs: page.rows.map((job) => report(context, job)), nextCursor: nextCursorOf(page) }
  },
})

export const readJobStatus = route({
  method: 'GET',
  path: `${base}/:jobId/status`,
  summary: 'Status, progress and result of a job',
  scope: 'jobs:read',
  params: JobParams,
  query: Type.Object({
    wait: Type.Optional(
      Type.Integer({
        minimum: 1,
        maximum: limits.jobWaitSMax,
        description: 'seconds to hold the reply until the status or the phase changes: an integer',
      }),
    ),
  }),
  replies: { 200: JobStatusReply },
  errors: ['JOB_NOT_FOUND', 'SATURATED'],
  handle: ({ params: { jobId }, query }, context) => {
    const job = context.store.jobs.find(context.tenant, jobId)
    if (job === null) throw new Refusal('JOB_NOT_FOUND', { fields: { jobId } })
    return query.wait === undefined ? report(context, job) : awaitChange(context, job, query.wait)
  },
})

export const cancelJob = route({
  method: 'POST',
  path: `${base}/:jobId/cancel`,
  summary: 'Cancel a job; what it has stored stays',
  scope: 'jobs:write',
  params: JobParams,
  replies: { 200: JobCancelled },
  errors: ['JOB_NOT_FOUND', 'JOB_STATE_CONFLICT', 'STORE_FULL', 'SATURATED'],
  handle: async ({ params }, context) =>
    jobCancelled(await context.jobs.cancel(context.principal, params.jobId)),
})

/** The 202 that names a job. */
export function startedJob(context: RequestContext, job: JobRow): Reply {
  return startedReply(context, job.id, sessionIdOf(context, job))
}

export function startedReply(
  { baseUrl }: RequestContext,
  jobId: string,
  sessionId: string | null,
): Reply {
  const statusUrl = `${baseUrl}${jobStatusPath(jobId)}`
  return new Reply(202, { jobId, sessionId, status: 'queued', statusUrl }, { Location: statusUrl })
}

async function awaitChange(context: RequestContext, job: JobRow, waitS: number) {
  return report(context, await context.jobWatch.wait(job, waitS * 1_000, context.signal))
}

function report(context: RequestContext, job: JobRow): JobStatusReply {
  return jobStatus(job, sessionIdOf(context, job), context.baseUrl, Date.now())
}

function sessionIdOf({ store }: RequestContext, job: JobRow): string | null {
  return job.session === null ? null : (store.sessions.get(job.session)?.id ?? null)
}
