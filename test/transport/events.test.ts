import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { EventSource } from 'eventsource'
import type { SessionRow, Store } from '../../src/store/interfaces.ts'
import { formatEvent } from '../../src/transport/sse.ts'
import { tester, testerOf } from '../support/actors.ts'
import { testRecords } from '../support/ingest.ts'
import { Inbox } from '../support/waiting.ts'
import { openSocket } from '../support/websocket.ts'
import { addKey, bearer, openDoor, ownKey, rawConnection } from './door.ts'

type Door = Awaited<ReturnType<typeof openDoor>>

function startTelemetry(door: Door, tenant = 0): Promise<SessionRow> {
  return door.sessions.start(testerOf(tenant), { sessionType: 'telemetry' })
}

function appendEvents(store: Store, session: SessionRow, count: number, bytes: number) {
  return store.commit((transaction) => {
    for (let index = 0; index < count; index++) {
      const filler = 'x'.repeat(bytes)
      transaction.appendEvent(session.tenant, session.number, 'progress', { index, filler })
    }
  })
}

const path = (session: SessionRow) => `/api/streaming/sessions/${session.id}/events`

test('a stream tells the whole log, then what happens, and ends with the session', async (t) => {
  const door = await openDoor(t)
  const session = await startTelemetry(door)
  const reply = await fetch(door.url + path(session), { headers: bearer() })
  assert.equal(reply.status, 200)
  assert.equal(reply.headers.get('content-type'), 'text/event-stream')
  await door.sessions.pause(tester, session.id)
  await door.sessions.resume(tester, session.id)
  await door.sessions.end(tester, session.id, {})
  const text = await reply.text()
  assert.ok(text.startsWith('retry: 2000\n\n'))
  const names = [...text.matchAll(/^event: (.*)$/gm)].map((match) => match[1])
  const expected = ['session-started', 'session-paused', 'session-resumed', 'session-completed']
  assert.deepEqual(names, expected)
  const ids = [...text.matchAll(/^id: event_(\d+)$/gm)].map((match) => Number(match[1]))
  assert.equal(ids.length, 4)
  const data = /^data: (.*)$/m.exec(text)?.[1] ?? ''
  assert.equal((JSON.parse(data) as { sessionId: string }).sessionId, session.id)

  const last = ids.at(-1)
  const again = (id: string) =>
    fetch(door.url + path(session), { headers: { ...bearer(), 'Last-Event-ID': id } })
  assert.equal((await again(`event_${last}`)).status, 204)
  assert.equal((await again('event_999999')).status, 204)
  const rest = await (await again(`event_${ids[1]}`)).text()
  assert.deepEqual(
    [...rest.matchAll(/^event: (.*)$/gm)].map((match) => match[1]),
    expected.slice(2),
  )
})

test('the header wins over the query, and a malformed id is 400', async (t) => {
  const door = await openDoor(t)
  const session = await startTelemetry(door)
  await door.sessions.end(tester, session.id, {})
  const last = door.store.events.last(0)
  const ask = (query: string, header?: string) =>
    fetch(door.url + path(session) + query, {
      headers: { ...bearer(), ...(header === undefined ? {} : { 'Last-Event-ID': header }) },
    })
  assert.equal((await ask(`?lastEventId=event_${last}`)).status, 204)
  assert.equal((await ask(`?lastEventId=event_${last}`, 'event_0')).status, 200)
  assert.equal((await ask('?lastEventId=7')).status, 400)
  assert.equal((await ask('', 'event_x')).status, 400)
})

test('an Accept that excludes event streams is 406', async (t) => {
  const door = await openDoor(t)
  const session = await startTelemetry(door)
  const headers = { ...bearer(), Accept: 'application/json, text/event-stream;q=0' }
  const reply = await fetch(door.url + path(session), { headers })
  assert.equal(reply.status, 406)
  assert.deepEqual(((await reply.json()) as { available: string[] }).available, [
    'text/event-stream',
  ])
})

test('a browser reads a session with a ticket and goes on where it stopped', async (t) => {
  const door = await openDoor(t)
  const session = await startTelemetry(door)
  const made = await fetch(`${door.url}/api/streaming/tickets`, {
    method: 'POST',
    headers: { ...bearer(), 'Content-Type': 'application/json' },
    body: JSON.stringify({ resource: path(session) }),
  })
  assert.equal(made.status, 200)
  const { ticket, expiresAt } = (await made.json()) as { ticket: string; expiresAt: string }
  assert.ok(Date.parse(expiresAt) > Date.now() + 3_000_000)
  const url = `${door.url}${path(session)}?ticket=${ticket}`
  const inbox = new Inbox<string>()
  const source = new EventSource(url)
  t.after(() => source.close())
  source.addEventListener('session-started', (event) => inbox.push(event.lastEventId))
  source.addEventListener('session-paused', (event) => inbox.push(event.lastEventId))
  await inbox.waitFor(() => true, 'the first event')
  await door.sessions.pause(tester, session.id)
  await inbox.waitFor(() => true, 'the second event', { from: 1 })
  assert.equal(new Set(inbox.items).size, 2)
  assert.ok(!door.lines.some((line) => line.includes(ticket)))
})

test('a ticket opens one path, only while its key lives, and cannot be changed', async (t) => {
  const door = await openDoor(t)
  const { key, row } = await addKey(door.store, 3, ['sessions:read', 'events:read'])
  const session = await startTelemetry(door, 3)
  const other = await startTelemetry(door, 3)
  const foreign = await startTelemetry(door, 4)
  const ask = (resource: string) =>
    fetch(`${door.url}/api/streaming/tickets`, {
      method: 'POST',
      headers: { ...bearer(key), 'Content-Type': 'application/json' },
      body: JSON.stringify({ resource }),
    })
  assert.equal((await ask(path(foreign))).status, 404)
  assert.equal((await ask(path(session).replace(/events$/, 'status'))).status, 422)
  const { ticket } = (await (await ask(path(session))).json()) as { ticket: string }
  const status = async (resource: string, text = ticket) => {
    const abort = new AbortController()
    const reply = await fetch(`${door.url}${resource}?ticket=${text}`, { signal: abort.signal })
    abort.abort()
    return reply.status
  }
  assert.equal(await status(path(session)), 200)
  assert.equal(await status(path(session)), 200)
  assert.equal(await status(path(other)), 401)
  assert.equal(await status(path(session).replace(/events$/, 'status')), 401)
  assert.equal(await status(path(session), `x${ticket}`), 401)
  assert.equal(await status(path(session), `${ticket}.x`), 401)
  const open = await fetch(`${door.url}${path(session)}?ticket=${ticket}`)
  await door.store.commit((transaction) =>
    transaction.putApiKey({ ...row, revokedAtMs: Date.now() }),
  )
  assert.match(await open.text(), /: key revoked/)
  assert.equal(await status(path(session)), 401)
})

test('a reader that takes its time gets every event once and in order', async (t) => {
  const door = await openDoor(t)
  const session = await startTelemetry(door)
  await appendEvents(door.store, session, 4_000, 4_000)
  const connection = await rawConnection(t, door.port)
  connection.socket.write(
    `GET ${path(session)} HTTP/1.1\r\nHost: a\r\nX-API-Key: ${ownKey}\r\n\r\n`,
  )
  for (let round = 0; round < 5; round++) {
    connection.socket.pause()
    await delay(100)
    connection.socket.resume()
    await delay(20)
  }
  await door.sessions.end(tester, session.id, {})
  await connection.until('event: session-completed')
  await connection.until('\r\n0\r\n\r\n')
  const indexes = [...connection.received.matchAll(/"index":(\d+),/g)].map((match) =>
    Number(match[1]),
  )
  // A chunk's own framing may cut a number in two; the text between is checked by the ids' order.
  const text = unchunk(connection.received)
  const ids = [...text.matchAll(/^data: .*"index":(\d+)/gm)].map((match) => Number(match[1]))
  assert.deepEqual(
    ids,
    Array.from({ length: 4_000 }, (_, index) => index),
  )
  assert.ok(indexes.length > 3_000)
})

test('streams end with a comment when the server stops', async (t) => {
  const door = await openDoor(t)
  const session = await startTelemetry(door)
  const reply = await fetch(door.url + path(session), { headers: bearer() })
  await door.transport.close(2_000)
  assert.match(await reply.text(), /: server stops\n\n$/)
})

test('what open uploads store while the server stops still reaches its subscribers', async (t) => {
  const door = await openDoor(t)
  const session = await door.sessions.start(tester, { sessionType: 'telemetry', batchSize: 1 })
  const reply = await fetch(door.url + path(session), { headers: bearer() })
  const socket = await openSocket(
    `${door.url.replace('http', 'ws')}${path(session).replace(/events$/, 'ws')}`,
    bearer(),
  )
  await socket.message('session-started')
  const body = JSON.stringify({ records: testRecords(1) })
  const upload = await rawConnection(t, door.port)
  upload.socket.write(
    `POST ${path(session).replace(/events$/, 'upload')} HTTP/1.1\r\nHost: a\r\n` +
      `X-API-Key: ${ownKey}\r\nContent-Type: application/json\r\n` +
      `Content-Length: ${body.length}\r\n\r\n${body.slice(0, 9)}`,
  )
  await delay(50)
  const closed = door.transport.close(5_000)
  await delay(100)
  upload.socket.write(body.slice(9))
  await upload.until('"recordsProcessed":1')
  await closed
  const text = await reply.text()
  assert.match(text, /event: batch-processed\n/)
  assert.match(text, /: server stops\n\n$/)
  assert.equal((await socket.closed).code, 1001)
  assert.ok(socket.events.some(({ type }) => type === 'batch-processed'))
})

test('a stream whose beginning retention has dropped begins with a gap, over WebSocket too', async (t) => {
  const door = await openDoor(t)
  const session = await startTelemetry(door)
  await appendEvents(door.store, session, 3, 10)
  await door.store.commit((transaction) => {
    for (const event of door.store.events.ofTenant(0, 0, 3)) transaction.dropEvent(event)
  })
  const socket = await openSocket(
    `${door.url.replace('http', 'ws')}${path(session).replace(/events$/, 'ws')}?lastEventId=event_2`,
    bearer(),
  )
  const gap = await socket.message('gap')
  assert.equal(gap.eventId, 'event_3')
  assert.equal(gap.fromEventId, 'event_3')
  assert.equal(gap.toEventId, 'event_3')
  await door.sessions.end(tester, session.id, {})
  const text = await (await fetch(door.url + path(session), { headers: bearer() })).text()
  const ids = [...text.matchAll(/^event: (.*)\nid: event_(\d+)$/gm)]
  assert.deepEqual(
    ids.map(([, name, number]) => `${name} ${number}`),
    ['gap 3', 'progress 4', 'progress 5', 'session-completed 6'],
  )
  await socket.closed
  assert.deepEqual(
    socket.events.map(({ eventId }) => eventId),
    ['event_3', 'event_4', 'event_5', 'event_6'],
  )
})

test('line breaks in an event cannot end its lines', () => {
  const event = { tenant: 0, session: 1, number: 5, name: 'a\nb', data: '{"x":\n1}' }
  assert.equal(formatEvent(event), 'event: a b\nid: event_5\ndata: {"x":\ndata: 1}\n\n')
})

/** The payload of a reply in chunked transfer coding. */
function unchunk(reply: string): string {
  let rest = reply.slice(reply.indexOf('\r\n\r\n') + 4)
  const parts: string[] = []
  for (;;) {
    const end = rest.indexOf('\r\n')
    const size = Number.parseInt(rest.slice(0, end), 16)
    if (!(size > 0)) return parts.join('')
    parts.push(rest.slice(end + 2, end + 2 + size))
    rest = rest.slice(end + 4 + size)
  }
}
