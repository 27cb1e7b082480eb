import assert from 'node:assert/strict'
import { connect } from 'node:net'
import { test } from 'node:test'
import { loadConfig } from '../../src/config.ts'
import { Health } from '../../src/contracts/http.ts'
import { createLogger } from '../../src/log.ts'
import { startServer as startInProcess } from '../../src/server.ts'
import type { Client } from '../support/client.ts'
import { createKey, runCommand, startServer, temporaryFolder } from '../support/server.ts'
import { openEvents } from '../support/sse.ts'
import { eventually, within } from '../support/waiting.ts'
import { openSocket } from '../support/websocket.ts'

const record = { timestamp: '2025-01-20T10:30:00Z', values: { a: 1 } }
const sessionsPath = '/api/streaming/sessions'

async function refusesWithin(client: Client, path: string, timeoutMs: number): Promise<void> {
  await eventually(
    async () => ((await client.get(path)).status === 401 ? true : undefined),
    'the refusal',
    timeoutMs,
  )
}

test('keys made on the command line work on a running server, within their scopes', async (t) => {
  const server = await startServer(t)
  const reader = await createKey(server.dataDir, { scopes: 'sessions:read' })
  const sender = await createKey(server.dataDir, { scopes: 'sessions:write,ingest' })
  const readOnly = server.clientWith(reader.key)
  const writeOnly = server.clientWith(sender.key)

  const { sessionId } = await writeOnly.start({ sessionType: 'telemetry', batchSize: 1 })
  await writeOnly.upload(sessionId, { records: [record] })
  assert.equal((await readOnly.records(sessionId)).length, 1)

  const start = { json: { sessionType: 'telemetry' } }
  const noStart = await readOnly.raw('POST', `${sessionsPath}/start`, start)
  assert.equal(noStart.refused(403, 'SCOPE_MISSING').requiredScope, 'sessions:write')
  const upload = { json: { records: [record] } }
  const noUpload = await readOnly.raw('POST', readOnly.session(sessionId, 'upload'), upload)
  assert.equal(noUpload.refused(403, 'SCOPE_MISSING').requiredScope, 'ingest')
  const noStatus = await writeOnly.get(writeOnly.session(sessionId, 'status'))
  assert.equal(noStatus.refused(403, 'SCOPE_MISSING').requiredScope, 'sessions:read')

  const byHeader = await server
    .clientWith(null)
    .get(readOnly.session(sessionId, 'status'), {}, { 'x-api-key': reader.key })
  assert.equal(byHeader.status, 200)

  const listed = await runCommand(server.dataDir, ['keys', 'list'])
  assert.equal(listed.code, 0, listed.stderr)
  assert.ok(listed.stdout.includes(reader.id) && listed.stdout.includes(sender.id))
  assert.ok(!listed.stdout.includes(reader.key), 'a key is shown once')
  assert.ok(!server.output.items.join('\n').includes(reader.key), 'no key stands in a log')
})

test('a revoked key stops working within a second, on open streams too', async (t) => {
  const server = await startServer(t)
  const { id, key } = await createKey(server.dataDir)
  const client = server.clientWith(key)
  const session = await client.start({ sessionType: 'telemetry' })
  const stream = await openEvents(session.sseUrl, client.headers)
  await stream.event('session-started')
  const socket = await openSocket(session.websocketUrl, client.headers)
  const ticket = await client.ticket(new URL(session.sseUrl).pathname)
  const byTicket = await openEvents(`${session.sseUrl}?ticket=${ticket}`, {})

  const revoked = await runCommand(server.dataDir, ['keys', 'revoke', id])
  assert.equal(revoked.code, 0, revoked.stderr)
  const withinMs = 1_000
  await Promise.all([
    refusesWithin(client, sessionsPath, withinMs),
    within(stream.ended, 'the end of the event stream', withinMs),
    within(byTicket.ended, 'the end of the stream by ticket', withinMs),
    within(socket.closed, 'the close of the socket', withinMs),
  ])
  const reuse = await server.clientWith(null).get(`${session.sseUrl}?ticket=${ticket}`)
  reuse.refused(401, 'UNAUTHORIZED')
  assert.equal((await server.client.get(client.session(session.sessionId, 'status'))).status, 200)
})

test('a ticket opens the one resource it was given for, for reading', async (t) => {
  const server = await startServer(t)
  const { client } = server
  const nobody = server.clientWith(null)
  const [one, other] = [
    await client.start({ sessionType: 'telemetry' }),
    await client.start({ sessionType: 'telemetry' }),
  ]
  const ticket = await client.ticket(new URL(one.sseUrl).pathname)
  for (let use = 0; use < 2; use += 1) {
    const stream = await openEvents(`${one.sseUrl}?ticket=${ticket}`, {})
    await stream.event('session-started')
    await stream.cut()
  }
  const elsewhere = [other.sseUrl, one.statusUrl, `${server.url}${sessionsPath}`]
  for (const url of elsewhere) {
    ;(await nobody.get(`${url}?ticket=${ticket}`)).refused(401, 'UNAUTHORIZED')
  }
  const upload = await nobody.raw('POST', `${one.uploadUrl}?ticket=${ticket}`, {
    json: { records: [record] },
  })
  upload.refused(401, 'UNAUTHORIZED')
  const changed = `${ticket.slice(0, -2)}${ticket.endsWith('AA') ? 'BB' : 'AA'}`
  ;(await nobody.get(`${one.sseUrl}?ticket=${changed}`)).refused(401, 'UNAUTHORIZED')
  assert.ok(!server.output.items.join('\n').includes(ticket), 'no ticket stands in a log')
})

test('the rate limit tells where a tenant stands and refuses as documented', async (t) => {
  const server = await startServer(t, { env: { ATOMSTREAM_RATE_LIMIT: '5' } })
  const { client } = server
  const other = server.clientWith((await createKey(server.dataDir, { tenant: 1 })).key)
  const remaining: number[] = []
  for (let sent = 0; sent < 5; sent += 1) {
    const { status, headers } = await client.get(sessionsPath)
    assert.equal(status, 200)
    assert.equal(headers.get('x-ratelimit-limit'), '5')
    assert.ok(Number(headers.get('x-ratelimit-reset')) > 0)
    remaining.push(Number(headers.get('x-ratelimit-remaining')))
  }
  assert.deepEqual(remaining, [4, 3, 2, 1, 0])
  const reply = await client.get(sessionsPath)
  const body = reply.refused(429, 'RATE_LIMIT_EXCEEDED')
  const { error, limit, window, retryAfter, message } = body
  assert.deepEqual(
    { error, limit, window, message },
    {
      error: 'Rate limit exceeded',
      limit: 5,
      window: '1 minute',
      message: 'Too many requests to streaming API',
    },
  )
  assert.ok(Number(retryAfter) >= 1 && Number(retryAfter) <= 60)
  assert.equal(reply.headers.get('retry-after'), `${retryAfter}`)
  assert.equal(reply.headers.get('x-ratelimit-remaining'), '0')
  assert.equal((await other.get(sessionsPath)).status, 200, 'another tenant has its own')
  assert.equal((await client.get('/health')).status, 200)
})

test('only origins of the allow-list may use the server from a browser', async (t) => {
  const allowed = 'https://app.example'
  const { client } = await startServer(t, { env: { ATOMSTREAM_CORS_ORIGINS: allowed } })
  const reply = await client.get(sessionsPath, {}, { origin: allowed })
  assert.equal(reply.headers.get('access-control-allow-origin'), allowed)
  assert.match(reply.headers.get('vary') ?? '', /origin/i)
  const foreign = await client.get(sessionsPath, {}, { origin: 'https://elsewhere.example' })
  assert.equal(foreign.headers.get('access-control-allow-origin'), null)

  const preflight = async (origin: string): Promise<Headers> => {
    const headers = { origin, 'access-control-request-method': 'POST' }
    const path = `${sessionsPath}/start`
    const answer = await fetch(new URL(path, client.url), { method: 'OPTIONS', headers })
    assert.equal(answer.status, 204)
    return answer.headers
  }
  const granted = await preflight(allowed)
  assert.equal(granted.get('access-control-allow-origin'), allowed)
  assert.match(granted.get('access-control-allow-methods') ?? '', /POST/)
  assert.match(granted.get('access-control-allow-headers') ?? '', /authorization/i)
  const denied = await preflight('https://elsewhere.example')
  assert.equal(denied.get('access-control-allow-origin'), null)
  assert.equal(denied.get('access-control-allow-methods'), null)
})

test('health, metrics and the description of the API are there for operators', async (t) => {
  const server = await startServer(t)
  const health = await server.clientWith(null).get('/health')
  assert.equal(health.as(Health).status, 'healthy')

  const { sessionId } = await server.client.start({ sessionType: 'telemetry', batchSize: 1 })
  await server.client.upload(sessionId, { records: [record, record] })
  const metrics = await server.client.get('/metrics')
  assert.equal(metrics.status, 200)
  assert.match(metrics.headers.get('content-type') ?? '', /^text\/plain/)
  assert.match(metrics.text, /^# TYPE \w+ (counter|gauge|histogram|summary)$/m)
  assert.match(metrics.text, /^atomstream_\w+\{[^}]*telemetry[^}]*\} 2$/m)

  const description = await server.clientWith(null).get('/openapi.json')
  const { openapi, paths } = description.json as {
    openapi: string
    paths: Record<string, Record<string, { responses: Record<string, unknown> }>>
  }
  assert.match(openapi, /^3\./)
  const upload = paths[`${sessionsPath}/{sessionId}/upload`]?.post
  for (const status of ['200', '401', '413', '422']) assert.ok(upload?.responses[status], status)
  for (const path of ['status', 'end', 'events', 'records', 'atoms', 'rejected']) {
    assert.ok(paths[`${sessionsPath}/{sessionId}/${path}`] !== undefined, path)
  }
})

test('the first start without a key prints one, once', async (t) => {
  const dataDir = await temporaryFolder(t)
  const env = { ATOMSTREAM_API_KEY: null }
  const printedKeys = (lines: readonly string[]): string[] =>
    lines.flatMap((line) => /\b(as_[\w-]{20,})/.exec(line)?.[1] ?? [])
  const first = await startServer(t, { dataDir, env })
  const [key = '', ...more] = printedKeys(first.output.items)
  assert.deepEqual(more, [])
  const client = first.clientWith(key)
  await client.start({ sessionType: 'telemetry' })
  assert.ok(!JSON.stringify(first.log).includes(key), 'the key stands in no log line')
  await first.stop()
  const second = await startServer(t, { dataDir, env })
  assert.deepEqual(printedKeys(second.output.items), [])
  assert.equal((await second.clientWith(key).get(sessionsPath)).status, 200)
})

test('methods and types that an endpoint does not know are told what it does know', async (t) => {
  const server = await startServer(t)
  const { client } = server
  const session = await client.start({ sessionType: 'telemetry' })

  const head = await client.raw('HEAD', session.statusUrl)
  assert.equal(head.status, 200)
  assert.equal(head.bytes.length, 0)
  const options = await client.raw('OPTIONS', session.uploadUrl)
  assert.equal(options.status, 204)
  assert.match(options.headers.get('allow') ?? '', /POST/)

  const wrongMethod = await client.raw('DELETE', session.statusUrl)
  const { allowed } = wrongMethod.refused(405, 'METHOD_NOT_ALLOWED')
  assert.ok((allowed as string[]).includes('GET'))
  assert.match(wrongMethod.headers.get('allow') ?? '', /GET/)
  ;(await client.get(session.uploadUrl)).refused(405, 'METHOD_NOT_ALLOWED')
  ;(await client.get('/api/nothing')).refused(404, 'ROUTE_NOT_FOUND')
  ;(await client.get(`${session.statusUrl}/more`)).refused(404, 'ROUTE_NOT_FOUND')

  const records = client.session(session.sessionId, 'records')
  const wrongType = await client.get(records, {}, { accept: 'image/png' })
  wrongType.refused(406, 'NOT_ACCEPTABLE')
  const events = await client.get(session.sseUrl, {}, { accept: 'application/json' })
  events.refused(406, 'NOT_ACCEPTABLE')
  const requestId = (await client.get(session.statusUrl)).headers.get('x-request-id')
  assert.ok(requestId !== null && requestId.length > 0)
})

test('an empty upload leaves later requests without a body alone', async (t) => {
  const { client } = await startServer(t)
  const session = await client.start({ sessionType: 'telemetry' })
  const path = `${sessionsPath}/${session.sessionId}`
  for (let round = 0; round < 2; round += 1) {
    const empty = await client.raw('POST', `${path}/upload`, {
      headers: { 'content-type': 'application/json' },
    })
    empty.refused(400, 'MALFORMED_JSON')
  }
  assert.equal((await client.raw('POST', `${path}/end`)).status, 200)
})

test('HEAD of an event stream gives its head and leaves the connection usable', async (t) => {
  const server = await startServer(t)
  const session = await server.client.start({ sessionType: 'telemetry' })
  const { host, hostname, port } = new URL(server.url)
  const common = `Host: ${host}\r\nX-API-Key: ${server.key}\r\n`
  const socket = connect({ host: hostname, port: Number(port) })
  t.after(() => socket.destroy())
  let text = ''
  socket.setEncoding('utf8').on('data', (chunk) => {
    text += chunk
  })
  const path = `${sessionsPath}/${session.sessionId}/events`
  socket.write(`HEAD ${path} HTTP/1.1\r\n${common}\r\n`)
  await eventually(async () => text.includes('\r\n\r\n') || undefined, 'the head')
  assert.match(text, /^HTTP\/1\.1 200 OK\r\n[\s\S]*Content-Type: text\/event-stream\r\n/)
  socket.write(`GET /health HTTP/1.1\r\n${common}\r\n`)
  await eventually(async () => text.includes('"healthy"') || undefined, 'the next reply')
  assert.match(text, /\r\n\r\nHTTP\/1\.1 200 OK\r\n/)
  assert(!text.includes('retry:'))
})

test('a start on a port that is taken says so and leaves the data folder free', async (t) => {
  const server = await startServer(t)
  const { port } = new URL(server.url)
  const dataDir = await temporaryFolder(t)
  const config = loadConfig(['--port', port, '--data-dir', dataDir], {})
  const log = createLogger('silent')
  await assert.rejects(startInProcess(config, log), /the port is in use/)
  const free = await startInProcess({ ...config, port: 0 }, log)
  await free.close()
})
