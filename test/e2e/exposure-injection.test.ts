import assert from 'node:assert/strict'
import { Agent } from 'node:http'
import { type TestContext, test } from 'node:test'
import { type Client, exchange, type RawReply } from '../support/client.ts'
import { startServer, type TestServer } from '../support/server.ts'
import { eventNumber, openEvents } from '../support/sse.ts'
import { openSocket } from '../support/websocket.ts'
import { ask } from '../torture/exposure-wire.ts'

const time = '2025-01-20T10:30:00.000Z'

/** Line ends and escapes of every kind, and what would follow one that got through. */
const breaks = ['\n', '\r\n', '\r', '\n\n', '\u0085', '\u2028', '\u2029', '\v', '\f', '\0']
const payloads = [
  ...breaks.map(
    (end) => `a${end}data: forged${end}event: forged${end}id: event_999999${end}${end}`,
  ),
  ...breaks.map((end) => `a${end}X-Injected: yes${end}${end}<p>`),
  ...breaks.map((end) => `a"}${end}{"level":"fatal","msg":"forged"}${end}`),
  '\u001b[2J\u001b]0;forged\u0007',
  '\u009b2J',
  '\u202egnissim',
  '\ufeffa',
  '__proto__',
  '</script><script>',
]

/** Names of reply headers that there are. */
const headerNames = new Set([
  'x-request-id',
  'x-content-type-options',
  'content-type',
  'content-length',
  'cache-control',
  'date',
  'uwebsockets',
  'www-authenticate',
  'allow',
  'vary',
  'etag',
  'location',
  'connection',
  'x-next-cursor',
])

async function openServer(t: TestContext): Promise<{ server: TestServer; client: Client }> {
  const server = await startServer(t, { env: { ATOMSTREAM_LOG_LEVEL: 'trace' } })
  return { server, client: server.client }
}

/** Every line that the server has written is one fact of its own. */
function assertCleanLog(server: TestServer): void {
  const text = server.output.items.join('\n')
  for (const line of text.split(/\r\n|[\n\v\f\r\u0085\u2028\u2029]/)) {
    const fact = JSON.parse(line) as Record<string, unknown>
    assert.equal(typeof fact.level, 'string')
    assert.notEqual(fact.msg, 'forged')
    assert.doesNotMatch(line, /\p{Cc}/u)
  }
  assert.equal(server.errors, '')
}

/** A record whose names and values are all of the payload, as far as a name may be. */
function recordOf(payload: string) {
  const values: Record<string, string> = { [`n${payload}`]: payload }
  return { timestamp: time, values }
}

test('names, metadata and values come back as they were and forge no event', async (t) => {
  const { server, client } = await openServer(t)
  for (const payload of payloads) {
    const { sessionId } = await client.start({
      sessionType: 'telemetry',
      batchSize: 1,
      sessionName: payload,
      metadata: { [`m${payload}`]: payload },
      schema: { fields: [{ name: 'number', type: 'float' }] },
    })
    const stream = await openEvents(`${client.url}${client.session(sessionId, 'events')}`, {
      ...client.headers,
      'last-event-id': '',
    })
    const refused = { timestamp: time, values: { number: payload, [`n${payload}`]: payload } }
    await client.upload(sessionId, { records: [recordOf(payload), refused] })
    const status = await client.status(sessionId)
    assert.equal(status.sessionName, payload)
    assert.deepEqual(status.metadata, { [`m${payload}`]: payload })
    const [record] = await client.records(sessionId)
    assert.deepEqual(record?.values, recordOf(payload).values)
    await client.end(sessionId)
    const events = await stream.whole()
    const numbers = events.map(eventNumber)
    assert.ok(numbers.every((number, at) => at === 0 || number > (numbers[at - 1] ?? 0)))
    assert.ok(Math.max(...numbers) < 10_000)
    for (const { name, data } of events) {
      assert.notEqual(name, 'forged')
      assert.equal(data.sessionId, sessionId)
    }
  }
  assertCleanLog(server)
})

test('an event stream holds no line but those of its format', async (t) => {
  const { client } = await openServer(t)
  const { sessionId } = await client.start({ sessionType: 'telemetry', batchSize: 1 })
  for (const payload of payloads) {
    await client.raw('POST', client.session(sessionId, 'upload'), {
      json: {
        records: [recordOf(payload), { timestamp: payload, values: { [payload]: payload } }],
      },
    })
  }
  await client.end(sessionId)
  const { text } = await client.get(client.session(sessionId, 'events'))
  for (const line of text.split(/\r\n|\n|\r/)) {
    assert.match(line, /^(|:.*|retry: \d+|event: [a-z-]+|id: event_\d+|data: \{.*\})$/)
    if (line.startsWith('data: ')) JSON.parse(line.slice(6))
  }
})

test('NDJSON and CSV keep a record in its row', async (t) => {
  const { client } = await openServer(t)
  const { sessionId } = await client.start({ sessionType: 'telemetry', batchSize: 1 })
  await client.upload(sessionId, { records: payloads.map(recordOf) })
  const path = client.session(sessionId, 'records')
  const lines = (await client.get(path, {}, { accept: 'application/x-ndjson' })).text
  const rows = lines.trimEnd().split('\n')
  assert.equal(rows.length, payloads.length)
  for (const [at, row] of rows.entries()) {
    assert.deepEqual(JSON.parse(row).values, recordOf(payloads[at] ?? '').values)
  }
  const csv = (await client.get(path, {}, { accept: 'text/csv' })).text
  // Outside of quotes a line break ends a row (RFC 4180).
  const outside = csv.replace(/"(?:[^"]|"")*"/g, '')
  assert.equal(outside.split('\r\n').length, payloads.length + 2)
  assert.doesNotMatch(outside.replaceAll('\r\n', ''), /[\r\n]/)
})

test('ids, parameters and header values reach no header and no log line', async (t) => {
  const { server, client } = await openServer(t)
  const agent = new Agent({ keepAlive: true })
  t.after(() => agent.destroy())
  const base = '/api/streaming/sessions'
  for (const payload of payloads) {
    const encoded = encodeURIComponent(payload)
    const paths = [
      `${base}/${encoded}/status`,
      `${base}/stream-session-${encoded}/events`,
      `${base}?cursor=${encoded}`,
      `${base}?${encoded}=1`,
      `/api/atoms/${encoded}`,
      `/api/streaming/schemas/${encoded}/${encoded}`,
      `/${encoded}`,
    ]
    const printable = payload.replace(/[^\t -~\u0080-\u00ff]/g, '')
    const headers = {
      ...client.headers,
      'X-Request-Id': printable,
      Accept: printable,
      'Last-Event-ID': printable,
      'User-Agent': printable,
      Origin: printable,
    }
    for (const path of paths) {
      for (const method of ['GET', 'POST', 'OPTIONS']) {
        const answer = await ask(agent, client.url, { method, path, headers })
        for (const [name] of answer.headers) assert.ok(headerNames.has(name), `${name}: ${path}`)
        assert.ok(answer.status < 500, `${method} ${path}: ${answer.status}`)
        if (answer.body !== '') JSON.parse(answer.body)
      }
    }
  }
  assertCleanLog(server)
})

test('control characters in a request head are refused or ignored, and one reply comes', async (t) => {
  const { server, client } = await openServer(t)
  const authorization = `Authorization: Bearer ${client.key}`
  const controls = ['\0', '\r', '\n', '\u0085', '\u001b', '\u007f', '\r\n ', '\r\n\t']
  const heads = controls.flatMap((control) => [
    `GET /health HTTP/1.1\r\nHost: a${control}X-Injected: yes\r\n${authorization}`,
    `GET /api/atoms/a${control}X-Injected: HTTP/1.1\r\nHost: a\r\n${authorization}`,
    `GET /health HTTP/1.1\r\nHost: a\r\nX: a${control}X-Injected: yes\r\n${authorization}`,
    `GET /api/streaming/sessions HTTP/1.1\r\nHost: a\r\n${authorization}${control}X-Injected: y`,
  ])
  const replies = heads.map((head) =>
    exchange(client.url, [Buffer.from(`${head}\r\n\r\n`, 'latin1')], 500),
  )
  for (const text of await Promise.all(replies)) {
    assert.ok(text.split('HTTP/1.1 ').length <= 2, text)
    assert.doesNotMatch(text.split('\r\n\r\n')[0] ?? '', /injected/i)
  }
  assertCleanLog(server)
})

test('a Host header never gets into the URLs of a reply as more than a host', async (t) => {
  const { client } = await openServer(t)
  const agent = new Agent({ keepAlive: true })
  t.after(() => agent.destroy())
  for (const host of ['a"b', 'a/../b', 'a@b', 'a b', 'a\tb', 'é', 'a:99999999', '<x>', '']) {
    const answer = await ask(agent, client.url, {
      method: 'POST',
      path: '/api/streaming/sessions/start',
      headers: { ...client.headers, Host: host },
      body: '{"sessionType":"telemetry"}',
    })
    if (answer.status !== 200) continue
    const { statusUrl } = JSON.parse(answer.body) as { statusUrl: string }
    assert.ok(statusUrl.startsWith(`${client.url}/`), `${host}: ${statusUrl}`)
  }
})

test('ids of messages come back on their own message alone', async (t) => {
  const { server, client } = await openServer(t)
  const { sessionId } = await client.start({ sessionType: 'telemetry' })
  const url = `${client.url.replace('http', 'ws')}${client.session(sessionId, 'ws')}`
  const socket = await openSocket(url, client.headers)
  for (const payload of payloads) {
    const sent = { type: 'telemetry', records: [recordOf(payload)] }
    assert.equal((await socket.upload({ ...sent, id: payload } as { id: string })).type, 'ack')
    const wrong = { ...sent, records: [{ timestamp: payload, values: {} }], id: `${payload}2` }
    assert.equal((await socket.upload(wrong)).type, 'rejected')
    socket.send({ type: payload, id: `${payload}3` })
    assert.equal((await socket.answer(`${payload}3`)).type, 'rejected')
  }
  const answers = socket.messages.items.filter(({ type }) => type === 'ack' || type === 'rejected')
  assert.equal(answers.length, payloads.length * 3)
  await socket.close()
  assertCleanLog(server)
})

test('a schema name holds nothing that could end a line', async (t) => {
  const { client } = await openServer(t)
  const register = (schemaName: string, field: string): Promise<RawReply> =>
    client.raw('POST', '/api/streaming/schemas', {
      json: { schemaName, schemaVersion: '1', fields: [{ name: field, type: 'string' }] },
    })
  for (const [at, payload] of payloads.entries()) {
    ;(await register(payload, 'a')).refused(422, 'INVALID_BODY')
    const kept = await register(`s${at}`, `n${payload}`)
    assert.equal(kept.status, 201)
    assert.deepEqual((await client.get(`/api/streaming/schemas/s${at}/1`)).json, kept.json)
  }
})
