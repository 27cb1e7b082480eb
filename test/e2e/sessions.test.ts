import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Static } from '@sinclair/typebox'
import { SessionEnded, SessionList, SessionStatus } from '../../src/contracts/http.ts'
import { type Client, chainOf, conforming, type RawReply } from '../support/client.ts'
import type { TelemetryRecord } from '../support/data.ts'
import { createKey, startServer, temporaryFolder } from '../support/server.ts'
import { openEvents } from '../support/sse.ts'
import { eventually } from '../support/waiting.ts'
import { openSocket } from '../support/websocket.ts'

const hourMs = 3_600_000

/** Records that differ from one another, numbered from `first` on. */
function records(count: number, first = 0): TelemetryRecord[] {
  return Array.from({ length: count }, (_, index) => ({
    timestamp: new Date(Date.UTC(2025, 0, 20) + (first + index) * 10).toISOString(),
    values: { n: first + index },
  }))
}

async function numbers(client: Client, sessionId: string): Promise<unknown[]> {
  return (await client.records(sessionId)).map(({ values }) => values.n)
}

function assertAddsUp({ statistics }: SessionStatus): void {
  assert.equal(
    statistics.totalRecordsReceived,
    statistics.totalAtomsCreated + statistics.totalRecordsQueued + statistics.totalRecordsRejected,
  )
}

test('a session starts with the documented fields, and every URL of the reply works', async (t) => {
  const { client, url } = await startServer(t)
  const beforeMs = Date.now()
  const session = await client.start({ sessionType: 'telemetry' })
  assert.match(session.sessionId, /^stream-session-[A-Za-z0-9_-]{16,}$/)
  assert.equal(session.status, 'active')
  assert.ok(session.sessionName.length > 0, 'a name is made up where none is given')
  assert.ok(Math.abs(Date.parse(session.createdAt) - beforeMs) < hourMs)
  const base = `${url}/api/streaming/sessions/${session.sessionId}`
  assert.equal(session.uploadUrl, `${base}/upload`)
  assert.equal(session.statusUrl, `${base}/status`)
  assert.equal(session.sseUrl, `${base}/events`)
  assert.equal(session.websocketUrl, `${base.replace('http', 'ws')}/ws`)

  const uploaded = await client.raw('POST', session.uploadUrl, { json: { records: records(1) } })
  assert.equal(uploaded.status, 200)
  assert.equal((await client.get(session.statusUrl)).status, 200)
  const reader = await openEvents(session.sseUrl, client.headers)
  await reader.event('session-started')
  await reader.cut()
  const socket = await openSocket(session.websocketUrl, client.headers)
  await socket.message('session-started')
  await socket.close()
})

test('the URLs of a reply stand on the public URL where one is set', async (t) => {
  const env = { ATOMSTREAM_PUBLIC_URL: 'https://ingest.example/base/' }
  const { client } = await startServer(t, { env })
  const session = await client.start({ sessionType: 'audio', sessionName: 'mic', tenantId: 0 })
  const base = `ingest.example/base/api/streaming/sessions/${session.sessionId}`
  assert.equal(session.uploadUrl, `https://${base}/upload`)
  assert.equal(session.websocketUrl, `wss://${base}/ws`)
})

test('what start was told stands in the status', async (t) => {
  const { client } = await startServer(t)
  const metadata = { deviceId: 'sensor-12345', nested: { floor: [1, 2, null] }, ключ: 'värde' }
  const { sessionId } = await client.start({
    sessionType: 'telemetry',
    sessionName: 'IoT Sensor Stream 2025-01-20',
    metadata,
    batchSize: 10,
    maxBatchDelayMs: 60_000,
    maxConcurrentBatches: 2,
    retry: { maxRetries: 1, retryDelayMs: 10, retryBackoffMultiplier: 1.5 },
    onInvalid: 'reject-batch',
  })
  const status = await client.status(sessionId)
  assert.equal(status.sessionName, 'IoT Sensor Stream 2025-01-20')
  assert.equal(status.sessionType, 'telemetry')
  assert.deepEqual(status.metadata, metadata)
  assert.equal(status.finalHash, undefined)
  assert.equal(status.completedAt, undefined)
})

test('the statistics add up at every step of a session', async (t) => {
  const { client } = await startServer(t)
  const { sessionId } = await client.start({
    sessionType: 'telemetry',
    batchSize: 100,
    maxBatchDelayMs: hourMs,
    schema: { fields: [{ name: 'n', type: 'integer', required: true }] },
  })
  const bad = { timestamp: '2025-01-20T00:00:00Z', values: { n: 'invalid' } }
  const steps = [
    { upload: records(60), atoms: 0, queued: 60, rejected: 0, batches: 0 },
    { upload: [...records(39, 60), bad], atoms: 0, queued: 99, rejected: 1, batches: 0 },
    { upload: records(1, 99), atoms: 100, queued: 0, rejected: 1, batches: 1 },
    { upload: records(250, 100), atoms: 350, queued: 0, rejected: 1, batches: 2 },
    { upload: records(5, 350), atoms: 350, queued: 5, rejected: 1, batches: 2 },
  ]
  let bytes = 0
  for (const step of steps) {
    await client.upload(sessionId, { records: step.upload })
    bytes += Buffer.byteLength(JSON.stringify({ records: step.upload }))
    const status = await client.status(sessionId)
    assertAddsUp(status)
    assert.equal(status.statistics.totalAtomsCreated, step.atoms)
    assert.equal(status.statistics.totalRecordsQueued, step.queued)
    assert.equal(status.statistics.totalRecordsRejected, step.rejected)
    assert.equal(status.statistics.totalBatchesReceived, step.batches)
    assert.equal(status.statistics.dataReceivedBytes, bytes)
  }
  const ended = await client.end(sessionId)
  assert.equal(ended.finalStatistics.totalRecordsReceived, 356)
  assert.equal(ended.finalStatistics.totalAtomsCreated, 355)
  assert.equal(ended.finalStatistics.totalBatchesReceived, 3)
  assert.deepEqual(
    await numbers(client, sessionId),
    Array.from({ length: 355 }, (_, n) => n),
  )
})

test('an upload that would take a batch past 10,000 records opens the next', async (t) => {
  const { client } = await startServer(t)
  const { sessionId } = await client.start({
    sessionType: 'telemetry',
    batchSize: 10_000,
    maxBatchDelayMs: hourMs,
  })
  const first = await client.upload(sessionId, { records: records(6_000) })
  const second = await client.upload(sessionId, { records: records(6_000, 6_000) })
  assert.notEqual(first.batchId, second.batchId)
  await client.end(sessionId)
  const atoms = await client.atoms(sessionId)
  assert.equal(atoms.length, 2)
  assert.deepEqual(
    await numbers(client, sessionId),
    Array.from({ length: 12_000 }, (_, n) => n),
  )
})

test('ends at once and again get the same final answer, then nothing is taken', async (t) => {
  const { client } = await startServer(t)
  const { sessionId } = await client.start({ sessionType: 'telemetry', maxBatchDelayMs: hourMs })
  await client.upload(sessionId, { records: records(500) })
  const answers = await Promise.all([1, 2, 3].map(() => client.end(sessionId)))
  answers.push(await client.end(sessionId, { waitForCompletion: false }))
  for (const answer of answers) assert.deepEqual(answer, answers[0])
  assert.equal(answers[0]?.status, 'completed')
  const status = await client.status(sessionId)
  assert.equal(status.status, 'completed')
  assert.equal(status.completedAt, answers[0]?.completedAt)

  const upload = { json: { records: records(1) } }
  const refused = await client.raw('POST', client.session(sessionId, 'upload'), upload)
  const body = refused.refused(409, 'SESSION_STATE_CONFLICT')
  assert.equal(body.status, 'completed')
  assert.equal(body.sessionId, sessionId)
  assert.equal((await client.status(sessionId)).statistics.totalRecordsReceived, 500)
})

test('an end that does not wait is answered 202 or final, and completes by itself', async (t) => {
  const { client } = await startServer(t)
  const bodies = [{ waitForCompletion: false }, { timeoutMs: 0 }]
  for (const json of bodies) {
    const { sessionId } = await client.start({ sessionType: 'telemetry', maxBatchDelayMs: hourMs })
    await client.upload(sessionId, { records: records(5_000) })
    const reply = await client.raw('POST', client.session(sessionId, 'end'), { json })
    const answer = conforming(SessionEnded, reply.json)
    assert.equal(answer.status, reply.status === 202 ? 'completing' : 'completed')
    const done = await eventually(async () => {
      const status = await client.status(sessionId)
      return status.status === 'completed' ? status : undefined
    }, 'the end of the session')
    assert.equal(done.statistics.totalAtomsCreated, 5_000)
    assert.equal(done.finalHash, chainOf(await client.atoms(sessionId)))
  }
})

test('an end without a body, or an empty session, is an end too', async (t) => {
  const { client } = await startServer(t)
  const { sessionId } = await client.start({ sessionType: 'video' })
  const reply = await client.raw('POST', client.session(sessionId, 'end'))
  const ended = reply.as(SessionEnded)
  assert.equal(ended.status, 'completed')
  assert.equal(ended.finalHash, '0'.repeat(64))
  assert.deepEqual(await client.atoms(sessionId), [])
})

test('sessions are listed newest first, by page, status and type', async (t) => {
  const { client } = await startServer(t)
  const ids: string[] = []
  for (const sessionType of ['telemetry', 'video', 'audio', 'telemetry', 'telemetry'] as const) {
    ids.unshift((await client.start({ sessionType })).sessionId)
  }
  await client.end(ids[0] ?? '')
  const list = async (query: Record<string, string | number>): Promise<string[]> => {
    const found: string[] = []
    let cursor: string | null = null
    do {
      const page: Static<typeof SessionList> = (
        await client.get('/api/streaming/sessions', cursor === null ? query : { ...query, cursor })
      ).as(SessionList)
      assert.ok(page.sessions.length <= Number(query.limit ?? 100))
      for (const session of page.sessions) assertAddsUp(session)
      found.push(...page.sessions.map(({ sessionId }) => sessionId))
      cursor = page.nextCursor
    } while (cursor !== null)
    return found
  }
  assert.deepEqual(await list({}), ids)
  assert.deepEqual(await list({ limit: 2 }), ids)
  assert.deepEqual(await list({ status: 'completed' }), [ids[0]])
  assert.deepEqual(await list({ status: 'active', limit: 1 }), ids.slice(1))
  assert.deepEqual(await list({ type: 'video' }), [ids[3]])
  assert.deepEqual(await list({ type: 'telemetry', status: 'active' }), [ids[1], ids[4]])
})

test('a tenant sees its own sessions and may name no other tenant', async (t) => {
  const server = await startServer(t)
  const { key } = await createKey(server.dataDir, { tenant: 7 })
  const foreign = server.clientWith(key)
  const own = await server.client.start({ sessionType: 'telemetry', batchSize: 1 })
  await server.client.upload(own.sessionId, { records: records(1) })
  const hash = (await server.client.atoms(own.sessionId))[0]?.hash
  const seventh = await foreign.start({ sessionType: 'telemetry', tenantId: 7 })
  const listed = (await foreign.get('/api/streaming/sessions')).as(SessionList)
  assert.deepEqual(
    listed.sessions.map(({ sessionId }) => sessionId),
    [seventh.sessionId],
  )
  const start = { json: { sessionType: 'telemetry', tenantId: 0 } }
  const refused = await foreign.raw('POST', '/api/streaming/sessions/start', start)
  refused.refused(403, 'TENANT_MISMATCH')
  const hidden = await foreign.get(foreign.session(own.sessionId, 'status'))
  hidden.refused(404, 'SESSION_NOT_FOUND')
  for (const path of [`/api/atoms/${hash}`, `/api/atoms/${hash}/0`]) {
    assert.equal((await server.client.get(path)).status, 200)
    ;(await foreign.get(path)).refused(404, 'ATOM_NOT_FOUND')
  }
})

test('uploads of many connections at once are all kept, each once', async (t) => {
  const { client } = await startServer(t)
  const { sessionId } = await client.start({ sessionType: 'telemetry', batchSize: 100 })
  const replies = await Promise.all(
    Array.from({ length: 60 }, (_, index) =>
      client.upload(sessionId, { records: records(25, index * 25) }),
    ),
  )
  assert.equal(replies.length, 60)
  const ended = await client.end(sessionId)
  assert.equal(ended.finalStatistics.totalAtomsCreated, 1_500)
  const kept = (await numbers(client, sessionId)).map(Number).sort((a, b) => a - b)
  assert.deepEqual(
    kept,
    Array.from({ length: 1_500 }, (_, n) => n),
  )
})

test('an upload that meets the end is kept as a whole and told so, or refused', async (t) => {
  const { client } = await startServer(t)
  const { sessionId } = await client.start({ sessionType: 'telemetry', batchSize: 40 })
  const path = client.session(sessionId, 'upload')
  const uploads = Array.from({ length: 40 }, (_, index) =>
    client.raw('POST', path, { json: { records: records(10, index * 10) } }),
  )
  await Promise.race(uploads)
  const ended = await client.end(sessionId)
  const statuses = (await Promise.all(uploads)).map(({ status }) => status)
  const expected = statuses.flatMap((status, index) =>
    status === 409 ? [] : records(10, index * 10).map(({ values }) => Number(values.n)),
  )
  assert.ok(statuses.every((status) => status === 200 || status === 409))
  const kept = (await numbers(client, sessionId)).map(Number).sort((a, b) => a - b)
  assert.deepEqual(kept, expected)
  assert.equal(ended.finalStatistics.totalAtomsCreated, expected.length)
})

test('a session moves only as its lifecycle allows, else 409 names its state', async (t) => {
  const { client } = await startServer(t)
  const { sessionId, sseUrl } = await client.start({ sessionType: 'telemetry' })
  const move = (name: string): Promise<RawReply> =>
    client.raw('POST', client.session(sessionId, name), name === 'end' ? { json: {} } : {})
  const upload = (): Promise<RawReply> =>
    client.raw('POST', client.session(sessionId, 'upload'), { json: { records: records(1) } })
  const assertConflict = (reply: RawReply, status: string): void => {
    assert.equal(reply.refused(409, 'SESSION_STATE_CONFLICT').status, status)
  }
  assertConflict(await move('resume'), 'active')
  assert.equal((await move('pause')).as(SessionStatus).status, 'paused')
  assertConflict(await upload(), 'paused')
  assertConflict(await move('pause'), 'paused')
  assert.equal((await move('resume')).as(SessionStatus).status, 'active')
  assert.equal((await upload()).status, 200)
  assert.equal((await move('cancel')).as(SessionStatus).status, 'cancelled')
  assertConflict(await upload(), 'cancelled')
  assertConflict(await move('pause'), 'cancelled')
  assertConflict(await move('resume'), 'cancelled')
  const events = await (await openEvents(sseUrl, client.headers)).whole()
  const moves = events.map(({ name }) => name).filter((name) => name.startsWith('session-'))
  assert.deepEqual(moves, [
    'session-started',
    'session-paused',
    'session-resumed',
    'session-cancelled',
  ])
})

test('time closes a batch that is not full', async (t) => {
  const { client } = await startServer(t)
  const { sessionId } = await client.start({ sessionType: 'telemetry', maxBatchDelayMs: 200 })
  const reply = await client.upload(sessionId, { records: records(10) })
  assert.equal(reply.recordsQueued, 10)
  await eventually(async () => {
    const { statistics } = await client.status(sessionId)
    return statistics.totalAtomsCreated === 10 ? true : undefined
  }, 'the batch')
  assert.deepEqual(await numbers(client, sessionId), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
})

for (const signal of ['SIGKILL', 'SIGTERM'] as const) {
  test(`what is queued when ${signal} comes is neither lost nor doubled`, async (t) => {
    const dataDir = await temporaryFolder(t)
    const first = await startServer(t, { dataDir })
    const settings = { batchSize: 100, maxBatchDelayMs: hourMs } as const
    const open = await first.client.start({ sessionType: 'telemetry', ...settings })
    const second = await first.client.start({ sessionType: 'telemetry', ...settings })
    for (let sent = 0; sent < 250; sent += 25) {
      await first.client.upload(open.sessionId, { records: records(25, sent) })
    }
    await first.client.upload(second.sessionId, { records: records(10) })
    assert.equal((await first.client.status(open.sessionId)).statistics.totalRecordsQueued, 50)
    await first.kill(signal)

    const { client } = await startServer(t, { dataDir })
    await eventually(async () => {
      const { statistics } = await client.status(open.sessionId)
      return statistics.totalRecordsQueued === 0 ? true : undefined
    }, 'the work on the journal')
    await client.upload(open.sessionId, { records: records(25, 250) })
    const ended = await client.end(open.sessionId)
    assert.equal(ended.finalStatistics.totalRecordsReceived, 275)
    assert.equal(ended.finalStatistics.totalAtomsCreated, 275)
    assert.equal(ended.finalHash, chainOf(await client.atoms(open.sessionId)))
    assert.deepEqual(
      await numbers(client, open.sessionId),
      Array.from({ length: 275 }, (_, n) => n),
    )
    await client.end(second.sessionId)
    assert.deepEqual(
      await numbers(client, second.sessionId),
      Array.from({ length: 10 }, (_, n) => n),
    )
  })
}
