import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { Agent } from 'node:http'
import { connect } from 'node:net'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { createKey, runCommand, startServer, type TestServer } from '../support/server.ts'
import { openEvents } from '../support/sse.ts'
import { openSocket } from '../support/websocket.ts'
import { type Answer, type Asked, ask, upgradeHeaders } from '../torture/exposure-wire.ts'

const sessionsPath = '/api/streaming/sessions'

/** A server at its most talkative, with a secret of every kind. */
async function openServer(t: TestContext, env: Record<string, string> = {}) {
  const server = await startServer(t, { env: { ATOMSTREAM_LOG_LEVEL: 'trace', ...env } })
  const { client } = server
  const stored = await createKey(server.dataDir, { tenant: 11, scopes: 'all' })
  const revoked = await createKey(server.dataDir, { tenant: 11, scopes: 'all' })
  await runCommand(server.dataDir, ['keys', 'revoke', revoked.id])
  const other = await createKey(server.dataDir, { tenant: 22, scopes: 'all' })
  const owner = server.clientWith(stored.key)
  const { sessionId } = await owner.start({ sessionType: 'telemetry' })
  const path = owner.session(sessionId, 'events')
  const ticket = await owner.ticket(path)
  const secrets = {
    own: server.key,
    stored: stored.key,
    revoked: revoked.key,
    wrong: `as_${randomBytes(32).toString('base64url')}`,
    ticket,
    signature: ticket.split('.')[1] ?? '',
  }
  return { server, client, owner, other: server.clientWith(other.key), sessionId, path, secrets }
}

/** A secret everywhere that a careless client might put it. */
function misplaced(secret: string, sessionId: string): Asked[] {
  const status = `${sessionsPath}/${sessionId}/status`
  const json = { 'Content-Type': 'application/json' }
  const bearer = { Authorization: `Bearer ${secret}` }
  const get = (path: string, headers: Asked['headers'] = {}) => ({ method: 'GET', path, headers })
  const post = (body: string, path = `${sessionsPath}/start`) => ({
    method: 'POST',
    path,
    headers: { ...json, ...bearer },
    body,
  })
  return [
    ...[
      secret,
      `Basic ${secret}`,
      `Basic ${Buffer.from(`user:${secret}`).toString('base64')}`,
      `Bearer:${secret}`,
      `Bearer ${secret} x`,
      `Bearer "${secret}"`,
      `Bearer ${secret}, Bearer ${secret}x`,
      `Digest username="${secret}"`,
      `Token ${secret}`,
    ].map((authorization) => get(status, { Authorization: authorization })),
    get(status, { ...bearer, 'X-API-Key': `${secret}x` }),
    get(status, { 'X-API-Key': [secret, `${secret}x`] }),
    get(status, {
      Cookie: `key=${secret}`,
      Referer: `http://a/?k=${secret}`,
      'User-Agent': secret,
    }),
    get(status, { 'Sec-WebSocket-Protocol': `bearer, ${secret}` }),
    get(status, { ...bearer, 'Last-Event-ID': secret, Accept: secret, Prefer: secret }),
    ...['api_key=', 'key=', 'ticket=', 'access_token=', 'limit=', '', 'a%zz=', '%zz', 'a=1&a='].map(
      (query) => get(`${status}?${query}${secret}`, bearer),
    ),
    ...['limit=', 'cursor=', 'type=', 'ticket=a&ticket='].map((query) =>
      get(`${sessionsPath}?${query}${secret}`, bearer),
    ),
    get(`${sessionsPath}/${sessionId}/events?lastEventId=${secret}`, bearer),
    get(`${sessionsPath}/${sessionId}/events?ticket=${secret}`),
    get(`${sessionsPath}/${sessionId}/events?ticket=${secret}`, bearer),
    get(`${sessionsPath}/${sessionId}/events?ticket=${secret}x`),
    get(`/nowhere?${secret}`, bearer),
    ...['a', `bearer, ${secret}, a`, secret, `a, ${secret}`].map((protocol) =>
      get(`${sessionsPath}/${sessionId}/ws?${secret}`, {
        ...upgradeHeaders,
        'Sec-WebSocket-Protocol': protocol,
      }),
    ),
    post(`{"apiKey":"${secret}"}`),
    post(`{"sessionType":"${secret}"}`),
    post(`{"sessionType":"telemetry","tenantId":"${secret}"}`),
    post(`{"sessionType":"telemetry","retry":"${secret}"}`),
    post(`{"sessionType":"telemetry","batchSize":"${secret}"}`),
    post(JSON.stringify({ resource: `/${secret}` }), '/api/streaming/tickets'),
    post(JSON.stringify({ resource: `${status}?ticket=${secret}` }), '/api/streaming/tickets'),
    { ...post('x'), headers: { ...json, ...bearer, 'Content-Type': secret } },
    { ...post('x'), headers: { ...json, ...bearer, 'Content-Encoding': secret } },
  ]
}

/** Where the contract wants the id that was asked for to be repeated. */
function inPaths(secret: string): Asked[] {
  const headers = { Authorization: `Bearer ${secret}` }
  return [`/${secret}`, `${sessionsPath}/${secret}/status`, `/api/atoms/${secret}`].map((path) => ({
    method: 'GET',
    path,
    headers,
  }))
}

function outputOf(server: TestServer): string {
  return `${server.output.items.join('\n')}\n${server.errors}`
}

function assertNone(text: string, secrets: Readonly<Record<string, string>>, where: string): void {
  for (const [name, secret] of Object.entries(secrets)) {
    assert.ok(!text.includes(secret), `the ${name} secret stands in ${where}`)
  }
}

/** The bytes of every file under a folder, as latin1. */
function filesOf(folder: string): { path: string; text: string }[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .map((path) => ({ path, text: readFileSync(path, 'latin1') }))
}

test('no key and no ticket is logged, stored or told, wherever a client puts it', async (t) => {
  const { server, client, owner, other, sessionId, path, secrets } = await openServer(t)
  const agent = new Agent({ keepAlive: true })
  t.after(() => agent.destroy())
  const textOf = ({ headers, body }: Answer) => JSON.stringify(headers) + body
  for (const [name, secret] of Object.entries(secrets)) {
    for (const asked of misplaced(secret, sessionId)) {
      const answer = await ask(agent, client.url, asked)
      assert.ok(answer.status < 500, `${asked.path}: ${answer.body}`)
      assertNone(textOf(answer), { [name]: secret }, `the reply to ${JSON.stringify(asked)}`)
    }
    for (const asked of inPaths(secret)) {
      const answer = await ask(agent, client.url, asked)
      assertNone(JSON.stringify(answer.headers), { [name]: secret }, 'a header of a reply')
    }
  }
  const stream = await openEvents(`${client.url}${path}?ticket=${secrets.ticket}`, {})
  const url = `${client.url.replace('http', 'ws')}${owner.session(sessionId, 'ws')}`
  const socket = await openSocket(url, {}, ['bearer', secrets.stored])
  assert.equal(socket.socket.protocol, 'bearer')
  socket.send({ type: 'telemetry', id: 1, apiKey: secrets.stored, ticket: secrets.ticket })
  assertNone(JSON.stringify(await socket.answer(1)), secrets, 'the refusal of a message')
  await socket.close()
  await owner.end(sessionId)
  assertNone(JSON.stringify(await stream.whole()), secrets, 'an event')
  for (const seen of [
    '/metrics',
    '/health',
    '/openapi.json',
    sessionsPath,
    '/api/streaming/schemas',
  ]) {
    assertNone((await other.get(seen)).text, secrets, `another tenant's ${seen}`)
  }
  const listed = await runCommand(server.dataDir, ['keys', 'list', '--json'])
  assertNone(listed.stdout + listed.stderr, secrets, 'the list of keys')
  assert.equal((await server.stop()).code, 0)
  assertNone(outputOf(server), secrets, 'the output of the server')
  const files = filesOf(server.dataDir)
  for (const { path: file, text } of files) assertNone(text, secrets, file)
  // What is looked for would be found: the digest of the stored key is there.
  const digest = createHash('sha256').update(secrets.stored).digest().toString('latin1')
  assert.ok(files.some(({ text }) => text.includes(digest)))
})

/** Loaded into the server: an uncaught error whose message tells a key and a ticket. */
const crashOnSignal = `
  import { isMainThread } from 'node:worker_threads'
  const key = 'as_' + 'k'.repeat(43)
  const ticket = 'WyJrZXlf' + 't'.repeat(20) + '.' + 's'.repeat(43)
  const crash = () => {
    throw new Error('crash in upload of Bearer ' + key + ' at /events?ticket=' + ticket)
  }
  if (isMainThread) process.on('SIGUSR2', crash)
`

test('a crash logs what went wrong and no key that is in flight', async (t) => {
  const { server, owner, sessionId, secrets } = await openServer(t, {
    NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(crashOnSignal)}`,
  })
  const { hostname, port } = new URL(owner.url)
  const open = connect({ host: hostname, port: Number(port) })
  t.after(() => open.destroy())
  open.on('error', () => {})
  const head = [
    `POST ${owner.session(sessionId, 'upload')} HTTP/1.1`,
    'Host: a',
    `Authorization: Bearer ${secrets.stored}`,
    'Content-Type: application/json',
    'Content-Length: 1000',
  ]
  open.write(`${head.join('\r\n')}\r\n\r\n{"records":[`)
  await openEvents(`${owner.url}${owner.session(sessionId, 'events')}?ticket=${secrets.ticket}`, {})
  server.child.kill('SIGUSR2')
  await server.exited
  const fatal = server.log.find(({ level }) => level === 'fatal')
  const error = fatal?.err as { message: string; stack: string } | undefined
  assert.match(error?.message ?? '', /^crash in upload of Bearer \[redacted\] at \/events/)
  const output = outputOf(server)
  assertNone(output, secrets, 'the output of the server')
  assert.doesNotMatch(output, /kkkk|tttt|ssss/)
  for (const { path, text } of filesOf(server.dataDir)) assertNone(text, secrets, path)
})

test('wrong configuration is told without the key', async (t) => {
  const { dataDir } = await startServer(t)
  const secret = `${'k'.repeat(40)} with a space`
  const result = await runCommand(dataDir, ['--api-key', secret])
  assert.notEqual(result.code, 0)
  assertNone(result.stdout + result.stderr, { secret }, 'the message')
  const revoked = await runCommand(dataDir, ['keys', 'revoke', `as_${'k'.repeat(43)}`])
  assert.doesNotMatch(revoked.stdout + revoked.stderr, /kkkk/)
})
