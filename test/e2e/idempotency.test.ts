import assert from 'node:assert/strict'
import { test } from 'node:test'
import { JobList, JobStarted, JobStatusReply, UploadReply } from '../../src/contracts/http.ts'
import type { Client, RawReply } from '../support/client.ts'
import { startServer, temporaryFolder } from '../support/server.ts'
import { eventually } from '../support/waiting.ts'
import { openSocket } from '../support/websocket.ts'

function records(count: number, first = 0): { records: unknown[] } {
  return {
    records: Array.from({ length: count }, (_, index) => ({
      timestamp: new Date(Date.UTC(2025, 0, 20) + first + index).toISOString(),
      values: { n: first + index },
    })),
  }
}

function keyed(client: Client, sessionId: string, key: string, json: unknown): Promise<RawReply> {
  const headers = { 'idempotency-key': key }
  return client.raw('POST', client.session(sessionId, 'upload'), { json, headers })
}

function ended(client: Client, path: string): Promise<JobStatusReply> {
  return eventually(async () => {
    const status = (await client.get(path)).as(JobStatusReply)
    return status.status === 'queued' || status.status === 'in-progress' ? undefined : status
  }, 'the end of the job')
}

test('an upload sent again with its key is answered again, over HTTP, WebSocket and a kill -9', async (t) => {
  const dataDir = await temporaryFolder(t)
  const env = { ATOMSTREAM_API_KEY: 'a-key-that-outlives-the-server' }
  const server = await startServer(t, { dataDir, env })
  const session = await server.client.start({ sessionType: 'telemetry', batchSize: 100 })
  const first = await keyed(server.client, session.sessionId, 'upload-1', records(10))
  first.as(UploadReply)
  await server.kill('SIGKILL')

  const { client, url } = await startServer(t, { dataDir, env })
  const again = await keyed(client, session.sessionId, 'upload-1', records(10))
  assert.equal(again.status, first.status)
  assert.deepEqual(again.json, first.json)
  const other = await keyed(client, session.sessionId, 'upload-1', records(11))
  other.refused(409, 'IDEMPOTENCY_CONFLICT')

  const socketUrl = `${url.replace('http', 'ws')}${client.session(session.sessionId, 'ws')}`
  const socket = await openSocket(socketUrl, client.headers)
  const message = { type: 'telemetry', id: 'm', idempotencyKey: 'upload-1', ...records(10) }
  const { type, id, ...ack } = await socket.upload(message)
  assert.deepEqual([type, id], ['ack', 'm'])
  assert.deepEqual(ack, first.json)
  await socket.close()
  const { statistics } = await client.status(session.sessionId)
  assert.equal(statistics.totalRecordsReceived, 10)
})

test('an idempotency key that is none is refused by name', async (t) => {
  const { client } = await startServer(t)
  const { sessionId } = await client.start({ sessionType: 'telemetry' })
  for (const key of ['', 'a b', 'x'.repeat(257), 'é']) {
    const reply = await keyed(client, sessionId, Buffer.from(key).toString('latin1'), records(1))
    const body = reply.refused(400, 'INVALID_PARAMETER')
    assert.equal(body.field, 'Idempotency-Key')
  }
})

test('who prefers not to wait is given a job that ends with the batch', async (t) => {
  const { client } = await startServer(t)
  const { sessionId } = await client.start({ sessionType: 'telemetry', batchSize: 20 })
  const upload = (count: number, first: number, headers: Record<string, string>) =>
    client.raw('POST', client.session(sessionId, 'upload'), {
      json: records(count, first),
      headers,
    })
  const reply = await upload(15, 0, { prefer: 'handling=lenient, respond-async;q=1' })
  const started = reply.as(JobStarted, 202)
  assert.equal(reply.headers.get('preference-applied'), 'respond-async')
  assert.equal(started.sessionId, sessionId)
  assert.match(started.jobId, /^job-[0-9a-f]{32}$/)
  const statusUrl = started.statusUrl ?? ''
  assert.equal(reply.headers.get('location'), statusUrl)

  const waiting = (await client.get(statusUrl)).as(JobStatusReply)
  assert.equal(waiting.status, 'queued')
  assert.equal(waiting.currentPhase, 'atomization')
  assert.equal(waiting.progress?.totalItems, 15)
  assert.equal(waiting.progress?.estimatedTimeRemainingMs, null)

  const closing = await upload(5, 15, { prefer: 'respond-async', 'idempotency-key': 'k' })
  const second = closing.as(JobStarted, 202)
  const done = await ended(client, statusUrl)
  assert.equal(done.status, 'completed')
  assert.equal(done.result?.atomsCreated, 15)
  const other = await ended(client, second.statusUrl ?? '')
  assert.equal(other.result?.atomsCreated, 5)
  assert.equal(other.result?.finalHash, done.result?.finalHash, 'both are of the same block')

  const again = await upload(5, 15, { 'idempotency-key': 'k' })
  assert.deepEqual(again.json, closing.json, 'the first answer again')
  const { jobs } = (await client.get('/api/streaming/jobs', { sessionId })).as(JobList)
  assert.deepEqual(
    jobs.map(({ jobId }) => jobId),
    [second.jobId, started.jobId],
  )
  assert.equal((await client.end(sessionId)).finalHash, done.result?.finalHash)
})

test('an upload that is refused gives no job', async (t) => {
  const { client } = await startServer(t)
  const { sessionId } = await client.start({ sessionType: 'telemetry' })
  const reply = await client.raw('POST', client.session(sessionId, 'upload'), {
    json: { records: [{ timestamp: 'never', values: {} }] },
    headers: { prefer: 'respond-async' },
  })
  reply.refused(422, 'INVALID_RECORDS')
  assert.deepEqual((await client.get('/api/streaming/jobs')).as(JobList).jobs, [])
})

test('a job survives a kill -9 before its batch is processed', async (t) => {
  const dataDir = await temporaryFolder(t)
  const env = { ATOMSTREAM_API_KEY: 'a-key-that-outlives-the-server' }
  const server = await startServer(t, { dataDir, env })
  const { sessionId } = await server.client.start({ sessionType: 'telemetry' })
  const reply = await server.client.raw('POST', server.client.session(sessionId, 'upload'), {
    json: records(3),
    headers: { prefer: 'respond-async' },
  })
  const { jobId } = reply.as(JobStarted, 202)
  await server.kill('SIGKILL')
  const { client } = await startServer(t, { dataDir, env })
  const done = await ended(client, `/api/streaming/jobs/${jobId}/status`)
  assert.equal(done.status, 'completed')
  assert.equal(done.result?.atomsCreated, 3)
  const unknown = await client.get('/api/streaming/jobs/job-0/status')
  unknown.refused(404, 'JOB_NOT_FOUND')
})
