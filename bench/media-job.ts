import { createReadStream, statSync } from 'node:fs'
import { request } from 'node:http'
import { json } from 'node:stream/consumers'
import { pipeline } from 'node:stream/promises'
import type { JobStarted, JobStatusReply } from '../src/contracts/http.ts'
import type { Api } from './api.ts'

const waitS = 10
const jobTimeoutMs = 180_000

export interface FinishedJob {
  readonly status: JobStatusReply
  /** From the start of the upload to the reply that told of the end. */
  readonly totalMs: number
}

/** Sends a file as one body, as it comes from the disk; resolves with the id of its job. */
export async function uploadFile(
  api: Api,
  sessionId: string,
  file: { readonly path: string; readonly type: string },
  signal: AbortSignal,
): Promise<string> {
  const outgoing = request(new URL(`/api/streaming/sessions/${sessionId}/upload`, api.baseUrl), {
    method: 'POST',
    headers: {
      authorization: `Bearer ${api.apiKey}`,
      'content-type': file.type,
      'content-length': statSync(file.path).size,
    },
    signal,
  })
  const replied = new Promise<JobStarted>((resolve, reject) => {
    outgoing.once('error', reject)
    outgoing.once('response', (reply) => {
      json(reply).then((body) => {
        if (reply.statusCode === 202) return resolve(body as JobStarted)
        reject(new Error(`upload: ${reply.statusCode} ${JSON.stringify(body).slice(0, 500)}`))
      }, reject)
    })
  })
  // A refusal may come, and the connection end, before the file is sent: then the reply tells why.
  const [started] = await Promise.all([
    replied,
    pipeline(createReadStream(file.path), outgoing).catch(() => undefined),
  ])
  return started.jobId
}

/** Rejects where the job does not complete. */
export async function runJob(
  api: Api,
  sessionId: string,
  file: { readonly path: string; readonly type: string },
  signal: AbortSignal,
): Promise<FinishedJob> {
  const begin = performance.now()
  const jobId = await uploadFile(api, sessionId, file, signal)
  for (;;) {
    const status = await api.job(jobId, waitS)
    const totalMs = performance.now() - begin
    if (status.status === 'completed') return { status, totalMs }
    if (status.status !== 'queued' && status.status !== 'in-progress') {
      const { code, message, details } = status.error ?? {}
      throw new Error(`the job is ${status.status}: ${code}, ${message} (${details})`)
    }
    signal.throwIfAborted()
    if (totalMs > jobTimeoutMs) throw new Error(`no end of the job within ${jobTimeoutMs} ms`)
  }
}

/** What the job took from when its file was there, as the server tells it. */
export function workMs({ startedAt, completedAt, phaseProgress }: JobStatusReply): number {
  const uploadMs = phaseProgress.upload?.durationMs
  if (completedAt === undefined || uploadMs === undefined) throw new Error('not a completed job')
  return Date.parse(completedAt) - Date.parse(startedAt) - uploadMs
}
