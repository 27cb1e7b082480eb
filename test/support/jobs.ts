import assert from 'node:assert/strict'
import { createReadStream } from 'node:fs'
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { JobStarted, JobStatusReply } from '../../src/contracts/http.ts'
import type { Client, Query } from './client.ts'
import { queryText } from './client.ts'
import type { TestServer } from './server.ts'

/** Longer than any test's job takes on a busy machine. */
const jobTimeoutMs = 120_000

/** Uploads a media file whole, and gives the id of its job. */
export async function uploadFile(
  client: Client,
  sessionId: string,
  file: string | Uint8Array,
  contentType: string,
  { query = {}, headers = {} }: { query?: Query; headers?: Record<string, string> } = {},
): Promise<string> {
  const path = `${client.session(sessionId, 'upload')}${queryText(query)}`
  const body = typeof file === 'string' ? await readFile(file) : file
  const reply = await client.raw('POST', path, {
    body,
    headers: { 'content-type': contentType, ...headers },
  })
  const started = reply.as(JobStarted, 202)
  assert.equal(started.sessionId, sessionId)
  return started.jobId
}

/** The same in chunks of unknown number, as a client sends what it does not have whole yet. */
export async function streamFile(
  client: Client,
  sessionId: string,
  file: string,
  contentType: string,
): Promise<string> {
  const reply = await client.raw('POST', client.session(sessionId, 'upload'), {
    body: createReadStream(file, { highWaterMark: 10_007 }),
    headers: { 'content-type': contentType },
  })
  return reply.as(JobStarted, 202).jobId
}

export async function jobStatus(
  client: Client,
  jobId: string,
  query: Query = {},
): Promise<JobStatusReply> {
  return (await client.get(`/api/streaming/jobs/${jobId}/status`, query)).as(JobStatusReply)
}

/** The job's status once it has ended. */
export async function endedJob(client: Client, jobId: string): Promise<JobStatusReply> {
  const deadlineMs = Date.now() + jobTimeoutMs
  while (Date.now() < deadlineMs) {
    const job = await jobStatus(client, jobId, { wait: 5 })
    if (job.status !== 'queued' && job.status !== 'in-progress') return job
  }
  throw new Error(`the job ${jobId} has not ended`)
}

/** The job's status once it has worked off so many items. */
export async function jobAt(client: Client, jobId: string, items: number): Promise<JobStatusReply> {
  const deadlineMs = Date.now() + jobTimeoutMs
  while (Date.now() < deadlineMs) {
    const job = await jobStatus(client, jobId)
    assert.ok(job.status === 'queued' || job.status === 'in-progress', JSON.stringify(job))
    if ((job.progress?.itemsProcessed ?? 0) >= items) return job
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
  throw new Error(`the job ${jobId} has not come to ${items}`)
}

/** Names of the files that stand in the server's spool. */
export function spooledFiles({ dataDir }: TestServer): Promise<string[]> {
  return readdir(join(dataDir, 'spool'))
}

/** Whether a process is at work; one that has ended may wait for its parent to look. */
export async function isRunning(pid: number): Promise<boolean> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '')
  return stat !== '' && !stat.slice(stat.lastIndexOf(')')).startsWith(') Z')
}

/** Processes below the server: decoders, while there are any. */
export async function childrenOf(pid: number): Promise<number[]> {
  const children: number[] = []
  for (const name of await readdir('/proc')) {
    if (!/^\d+$/.test(name)) continue
    const stat = await readFile(`/proc/${name}/stat`, 'utf8').catch(() => '')
    // The second field, a name in parentheses, may hold anything.
    const [state, parent] = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    if (Number(parent) === pid && state !== 'Z') children.push(Number(name))
  }
  return children
}
