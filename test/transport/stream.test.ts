import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { connectionEvents, selectableEvents } from '../../src/contracts/events.ts'
import type { Store } from '../../src/store/interfaces.ts'
import { tester } from '../support/actors.ts'
import { conforming } from '../support/client.ts'
import { EventParser, type EventReader, openEvents, type ReceivedEvent } from '../support/sse.ts'
import { eventually, within } from '../support/waiting.ts'
import { addKey, bearer, openDoor, ownKey, rawConnection } from './door.ts'

type Door = Awaited<ReturnType<typeof openDoor>>

/** Events as a change of a memory stores them; those that monitoring adds are told by their name. */
async function append(
  store: Store,
  tenant: number,
  count: number,
  data: object = {},
  name = 'memory.created',
): Promise<number> {
  await store.commit((transaction) => {
    for (let index = 0; index < count; index += 1) {
      transaction.appendEvent(tenant, null, name, { index, ...data })
    }
  })
  return store.events.last(tenant)
}

async function openStream(
  t: TestContext,
  door: Door,
  query = 'events=memory.created',
  options: { key?: string; lastEventId?: string } = {},
): Promise<EventReader> {
  const url = `${door.url}/api/v1/stream?${query}`
  const reader = await openEvents(url, bearer(options.key ?? ownKey), options.lastEventId)
  t.after(() => reader.cut())
  return reader
}

/** What a refusal is, read whole. */
async function ask(door: Door, query = '', headers: Record<string, string> = bearer()) {
  const reply = await fetch(`${door.url}/api/v1/stream${query}`, { headers })
  return { reply, text: await reply.text() }
}

function errorIn(text: string): ReceivedEvent {
  const [event, ...others] = new EventParser().push(text)
  assert.equal(others.length, 0)
  assert.equal(event?.name, 'error')
  conforming(connectionEvents.error, event?.data)
  return event as ReceivedEvent
}

/** All but the heartbeats, of which one opens the stream. */
function told(reader: EventReader): ReceivedEvent[] {
  return reader.events.items.filter(({ name }) => name !== 'heartbeat')
}

function count(reader: EventReader, events: number): Promise<ReceivedEvent> {
  return reader.events.waitFor(() => told(reader).length >= events, `event ${events} of the stream`)
}

const indexes = (reader: EventReader) => told(reader).map(({ data }) => data.index)

test('a stream starts live, asks to be resumed after 2 s, and takes the asked names alone', async (t) => {
  const door = await openDoor(t)
  await append(door.store, 0, 3)
  const connection = await rawConnection(t, door.port)
  connection.socket.write(
    `GET /api/v1/stream?events=memory.created,memory.deleted&events=progress HTTP/1.1\r\n` +
      `Host: a\r\nX-API-Key: ${ownKey}\r\n\r\n`,
  )
  await connection.until('retry: 2000\n\n')
  assert.match(connection.received, /\r\ncontent-type: text\/event-stream\r\n/i)
  await append(door.store, 0, 1, { index: 'updated' }, 'memory.updated')
  await append(door.store, 0, 1, { index: 'deleted' }, 'memory.deleted')
  await append(door.store, 0, 1, { index: 'live' })
  const text = await connection.until('"live"')
  assert.deepEqual(
    [...text.matchAll(/^event: (.*)$/gm)].map(([, name]) => name),
    ['heartbeat', 'memory.deleted', 'memory.created'],
  )
  const head = text.slice(text.indexOf('\r\n\r\n'))
  assert.ok(head.indexOf('retry: 2000') < head.indexOf('event: '))
})

test('without names the seven documented types come, and nothing of sessions', async (t) => {
  const door = await openDoor(t)
  const reader = await openStream(t, door, '')
  const session = await door.sessions.start(tester, { sessionType: 'telemetry' })
  await append(door.store, 0, 1)
  await reader.event('memory.created')
  assert.ok(reader.names.includes('user.activity'))
  assert.ok(!reader.names.includes('session-started'))
  const both = await openStream(t, door, 'events=session-paused,memory.updated')
  await door.sessions.pause(tester, session.id)
  await append(door.store, 0, 1, {}, 'memory.updated')
  await both.event('memory.updated')
  assert.deepEqual(
    told(both).map(({ name }) => name),
    ['session-paused', 'memory.updated'],
  )
})

test('filters bind what is live and what is replayed, on data and on metadata', async (t) => {
  const door = await openDoor(t)
  const data = (user: string, n: number) => ({ metadata: { user }, n, tags: [`tag ${n}`, 'all'] })
  for (const n of [1, 2, 3]) await append(door.store, 0, 1, data(n === 2 ? 'b' : 'a', n))
  const open = (filters: string) =>
    openStream(t, door, `events=memory.created&${filters}`, { lastEventId: 'event_0' })
  const byUser = await open('filters[user]=a')
  const byNumber = await open('filters[n]=2')
  const byBoth = await open(`filters=${encodeURIComponent('{"user":"a","tags":"tag 3"}')}`)
  const byNothing = await open('filters[__proto__]=x&filters[constructor]=y')
  await append(door.store, 0, 1, data('a', 3))
  await append(door.store, 0, 1, data('b', 2))
  await append(door.store, 0, 1, { user: 'a', n: 2, tags: 'tag 3' })
  await count(byBoth, 3)
  await count(byNumber, 3)
  await count(byUser, 4)
  const numbers = (reader: EventReader) => told(reader).map((event) => event.data.n)
  assert.deepEqual(numbers(byUser), [1, 3, 3, 2])
  assert.deepEqual(numbers(byNumber), [2, 2, 2])
  assert.deepEqual(numbers(byBoth), [3, 3, 2])
  assert.deepEqual(told(byNothing), [])
})

test('a stream goes on after an event, a heartbeat or an error, and past the end it is live', async (t) => {
  const door = await openDoor(t, { config: { streamConnectionsMax: 0 } })
  const last = await append(door.store, 0, 5)
  for (const kind of ['event', 'heartbeat', 'error']) {
    const lastEventId = `${kind}_${last - 2}`
    const byHeader = await openStream(t, door, 'events=memory.created', { lastEventId })
    await count(byHeader, 2)
    const byQuery = await openStream(t, door, `events=memory.created&lastEventId=${lastEventId}`)
    await count(byQuery, 2)
    assert.deepEqual(indexes(byHeader), [3, 4])
    assert.deepEqual(told(byHeader), told(byQuery))
  }
  const lastEventId = 'event_999999999'
  const ahead = await openStream(t, door, 'events=memory.created', { lastEventId })
  await append(door.store, 0, 1, { index: 'live' })
  await count(ahead, 1)
  assert.deepEqual(indexes(ahead), ['live'])
})

test('what retention dropped is told as a gap, whatever is asked for', async (t) => {
  const door = await openDoor(t)
  await append(door.store, 0, 5)
  await door.store.commit((transaction) => {
    for (const event of door.store.events.ofTenant(0, 0, 3)) transaction.dropEvent(event)
  })
  const query = 'events=memory.deleted&filters[index]=nothing'
  const reader = await openStream(t, door, query, { lastEventId: 'event_1' })
  const gap = await reader.event('gap')
  assert.equal(gap.id, 'event_3')
  const { timestamp, ...range } = gap.data
  assert.deepEqual(range, { fromEventId: 'event_2', toEventId: 'event_3' })
  assert.ok(Math.abs(Date.parse(`${timestamp}`) - Date.now()) < 60_000)
})

test('a stream opens with a heartbeat, from whose id a client goes on that was cut at once', async (t) => {
  const door = await openDoor(t)
  const last = await append(door.store, 0, 3)
  const reader = await openStream(t, door)
  const { id } = await reader.event('heartbeat')
  assert.equal(id, `heartbeat_${last}`)
  await reader.cut()
  await append(door.store, 0, 1, { index: 'missed' })
  const resumed = await openStream(t, door, 'events=memory.created', { lastEventId: id })
  await count(resumed, 1)
  assert.deepEqual(indexes(resumed), ['missed'])
})

test('a heartbeat bears the number up to which the client has had or passed over everything', async (t) => {
  const door = await openDoor(t, { times: { heartbeatSecondMs: 5, commentIntervalMs: 100 } })
  const reader = await openStream(t, door)
  const other = await openStream(t, door)
  await append(door.store, 0, 1)
  await append(door.store, 0, 4, {}, 'memory.updated')
  const last = door.store.events.last(0)
  const beat = await reader.events.waitFor(
    ({ name, id }) => name === 'heartbeat' && Number(id.split('_')[1]) >= last,
    'a heartbeat past all events',
  )
  conforming(connectionEvents.heartbeat, beat.data)
  assert.match(`${beat.data.connection_id}`, /^conn_[0-9a-f]{16}$/)
  const otherBeat = await other.event('heartbeat')
  assert.notEqual(otherBeat.data.connection_id, beat.data.connection_id)
  await eventually(async () => reader.comments.includes('keep-alive') || undefined, 'a comment')
  await reader.cut()
  await append(door.store, 0, 1, { index: 'next' })
  const resumed = await openStream(t, door, 'events=memory.created', { lastEventId: beat.id })
  await count(resumed, 1)
  assert.equal(told(resumed)[0]?.data.index, 'next')
})

test('what is no stream is refused as JSON, with the reason', async (t) => {
  const door = await openDoor(t)
  const bad: readonly [string, RegExp][] = [
    ['?events=memory.made', /search\.performed.*session-failed/],
    ['?events=gap', /memory\.created/],
    ['?heartbeat=29', /30/],
    ['?heartbeat=3601', /3600/],
    ['?heartbeat=31.5', /heartbeat/],
    ['?lastEventId=7', /event_N, heartbeat_N or error_N/],
    ['?filters=7', /filters/],
    [`?${Array.from({ length: 17 }, (_, n) => `filters[k${n}]=1`).join('&')}`, /filters/],
    ['?other=1', /events, filters/],
  ]
  for (const [query, told] of bad) {
    const { reply, text } = await ask(door, query)
    assert.equal(reply.status, 400, query)
    assert.equal(reply.headers.get('content-type'), 'application/json')
    const body = JSON.parse(text) as { code: string; message: string }
    assert.equal(body.code, 'INVALID_PARAMETER')
    assert.match(body.message, told, query)
  }
  const wrongType = await ask(door, '', { ...bearer(), Accept: 'application/json' })
  assert.equal(wrongType.reply.status, 406)
  const { key } = await addKey(door.store, 0, ['sessions:read', 'memories:read'])
  assert.equal((await ask(door, '', bearer(key))).reply.status, 403)
  const head = await fetch(`${door.url}/api/v1/stream`, { method: 'HEAD', headers: bearer() })
  assert.equal(head.status, 200)
  assert.equal(head.headers.get('content-type'), 'text/event-stream')
  assert.ok(!selectableEvents.includes('gap') && selectableEvents.length === 18)
})

test('a bad key or none is 401 with an error event that keeps the place of the client', async (t) => {
  const door = await openDoor(t)
  const refusals: [Record<string, string>, string, string][] = [
    [{}, '', 'error_0'],
    [bearer('wrong-key-0123456789'), '', 'error_0'],
    [{ ...bearer('wrong-key-0123456789'), 'Last-Event-ID': 'heartbeat_17' }, '', 'error_17'],
    [{}, '?lastEventId=event_8&ticket=forged', 'error_8'],
    [{ 'Last-Event-ID': 'nonsense' }, '', 'error_0'],
  ]
  for (const [headers, query, id] of refusals) {
    const { reply, text } = await ask(door, query, headers)
    assert.equal(reply.status, 401)
    assert.equal(reply.headers.get('content-type'), 'text/event-stream')
    assert.match(reply.headers.get('www-authenticate') ?? '', /^Bearer/)
    const event = errorIn(text)
    assert.equal(event.id, id)
    assert.equal(event.data.code, 'AUTH_ERROR')
    assert.equal(event.data.retry_after, 0)
  }
})

test('a key has its connections, tickets of it too, and a closed one is free at once', async (t) => {
  const door = await openDoor(t, { config: { streamConnectionsMax: 2 } })
  const { key } = await addKey(door.store, 0, ['events:read'])
  const made = await fetch(`${door.url}/api/streaming/tickets`, {
    method: 'POST',
    headers: { ...bearer(key), 'Content-Type': 'application/json' },
    body: JSON.stringify({ resource: '/api/v1/stream' }),
  })
  const { ticket } = (await made.json()) as { ticket: string }
  const first = await openStream(t, door, 'events=memory.created', { key })
  const second = await openEvents(`${door.url}/api/v1/stream?ticket=${ticket}`, {})
  t.after(() => second.cut())
  for (const query of ['', `?ticket=${ticket}`]) {
    const { reply, text } = await ask(door, query, query === '' ? bearer(key) : {})
    assert.equal(reply.status, 429)
    assert.equal(reply.headers.get('retry-after'), '60')
    assert.equal(reply.headers.get('content-type'), 'text/event-stream')
    assert.deepEqual(errorIn(text).data, {
      code: 'RATE_LIMITED',
      message: 'Too many connections',
      retry_after: 60_000,
    })
  }
  await openStream(t, door)
  await first.cut()
  const again = await eventually(async () => {
    const reply = await fetch(`${door.url}/api/v1/stream`, { headers: bearer(key) })
    if (reply.status === 200) return reply
    await reply.text()
    return undefined
  }, 'a place for another connection')
  await again.body?.cancel()
})

test('past the requests of a minute the refusal is an error event with its own wait', async (t) => {
  const door = await openDoor(t, { config: { rateLimit: 1 } })
  await openStream(t, door)
  const { reply, text } = await ask(door)
  assert.equal(reply.status, 429)
  const { code, message, retry_after } = errorIn(text).data
  assert.equal(code, 'RATE_LIMITED')
  assert.notEqual(message, 'Too many connections')
  assert.equal(retry_after, Number(reply.headers.get('retry-after')) * 1_000)
})

test('past its events the client is told of the wait, then gets the rest', async (t) => {
  const windowMs = 1_500
  const times = { rateWindowMs: windowMs, heartbeatSecondMs: 5 }
  const door = await openDoor(t, { config: { streamEventsPerMinute: 10 }, times })
  const reader = await openStream(t, door)
  const before = door.store.events.last(0)
  const startedMs = performance.now()
  await append(door.store, 0, 25)
  const refusal = await reader.event('error')
  assert.match(refusal.id, /^error_\d+$/)
  assert.equal(refusal.data.code, 'RATE_LIMITED')
  const waitMs = Number(refusal.data.retry_after)
  assert.ok(waitMs > 0 && waitMs <= windowMs)
  const created = () => reader.events.items.filter(({ name }) => name === 'memory.created')
  await reader.events.waitFor(() => created().length >= 25, 'all events')
  assert.ok(performance.now() - startedMs >= 2 * windowMs - 50)
  assert.deepEqual(
    created().map(({ data }) => data.index),
    Array.from({ length: 25 }, (_, index) => index),
  )
  const sequence = told(reader)
  assert.deepEqual(
    sequence.flatMap(({ name }, index) => (name === 'error' ? [index] : [])),
    [10, 21],
  )
  // The id of the error is that of the event before it.
  const lastId = sequence[9]?.id.replace('event_', '')
  assert.equal(refusal.id, `error_${lastId}`)
  assert.ok(Number(lastId) > before)
  const resumed = await openStream(t, door, 'events=memory.created', { lastEventId: refusal.id })
  await count(resumed, 1)
  assert.equal(told(resumed)[0]?.data.index, 10)
  const errorPlace = reader.events.items.indexOf(refusal)
  assert.equal(reader.names[errorPlace + 1], 'heartbeat', 'it comes while the client waits')
})

test('a revoked key and a stopping server are the last event of a stream', async (t) => {
  const door = await openDoor(t)
  const { key, row } = await addKey(door.store, 0, ['events:read'])
  const revoked = await openStream(t, door, 'events=memory.created', { key })
  const reader = await openStream(t, door)
  await append(door.store, 0, 1)
  await count(reader, 1)
  await count(revoked, 1)
  await door.store.commit((transaction) =>
    transaction.putApiKey({ ...row, revokedAtMs: Date.now() }),
  )
  await within(revoked.ended, 'the end of the stream', 2_000)
  const last = revoked.events.items.at(-1)
  assert.deepEqual([last?.name, last?.data.code], ['error', 'AUTH_ERROR'])
  await door.transport.close(2_000)
  await within(reader.ended, 'the end of the stream')
  const { name, data, id } = reader.events.items.at(-1) as ReceivedEvent
  assert.equal(name, 'error')
  assert.match(id, /^error_[1-9]/)
  assert.deepEqual([data.code, data.retry_after], ['CONNECTION_ERROR', 2_000])
})

test('nothing of another tenant comes, and every connection is counted once', async (t) => {
  const door = await openDoor(t)
  const { key } = await addKey(door.store, 7, ['events:read'])
  const names = encodeURIComponent([...selectableEvents].join(','))
  const foreign = await openStream(t, door, `events=${names}&lastEventId=event_0`, { key })
  const own = await openStream(t, door)
  await door.sessions.start(tester, { sessionType: 'telemetry' })
  await append(door.store, 0, 3, { secret: 'of tenant 0' })
  await count(own, 3)
  await append(door.store, 7, 1, { mine: true })
  await foreign.event('memory.created')
  assert.ok(!JSON.stringify(foreign.events.items).includes('of tenant 0'))
  assert.ok(foreign.events.items.every(({ data }) => data.sessionId === undefined))
  const gauge = async () =>
    (await door.metrics.subscribers.get()).values.find(({ labels }) => labels.kind === 'stream')
      ?.value
  assert.equal(await gauge(), 2)
  await foreign.cut()
  await own.cut()
  await eventually(async () => ((await gauge()) === 0 ? true : undefined), 'no subscribers')
  assert.equal(door.hub.subscribers, 0)
})

test('a reader that takes its time gets every event that its filter takes once and in order', async (t) => {
  const door = await openDoor(t)
  const connection = await rawConnection(t, door.port)
  connection.socket.write(
    `GET /api/v1/stream?events=memory.created&filters[kind]=kept HTTP/1.1\r\n` +
      `Host: a\r\nX-API-Key: ${ownKey}\r\n\r\n`,
  )
  await connection.until('retry: 2000\n\n')
  connection.socket.pause()
  for (let round = 0; round < 40; round += 1) {
    await append(door.store, 0, 20, { round, kind: 'kept', filler: 'x'.repeat(8_000) })
    await append(door.store, 0, 20, { kind: 'dropped', filler: 'x'.repeat(1_000) })
  }
  connection.socket.resume()
  await append(door.store, 0, 1, { round: 'last', kind: 'kept' })
  await connection.until('"round":"last"')
  const places = [...connection.received.matchAll(/"index":(\d+),"round":(\d+),/g)]
  const ids = [...connection.received.matchAll(/^id: event_(\d+)$/gm)].map(([, id]) => Number(id))
  assert.ok(places.length > 700, 'chunk framing cuts a few in two')
  assert.ok(ids.length > 700)
  for (const [index, id] of ids.entries()) assert.ok(id > (ids[index - 1] ?? 0))
  assert.ok(!connection.received.includes('dropped'))
})
