import assert from 'node:assert/strict'
import { once } from 'node:events'
import { type TestContext, test } from 'node:test'
import { type ClientOptions, WebSocket } from 'ws'
import { limits } from '../../src/limits.ts'
import type { SessionRow } from '../../src/store/interfaces.ts'
import { tester } from '../support/actors.ts'
import { testRecords } from '../support/ingest.ts'
import { eventually } from '../support/waiting.ts'
import { TestSocket } from '../support/websocket.ts'
import { addKey, bearer, openDoor, ownKey } from './door.ts'

type Door = Awaited<ReturnType<typeof openDoor>>

const path = (session: SessionRow) => `/api/streaming/sessions/${session.id}/ws`

async function openSocket(
  t: TestContext,
  door: Door,
  session: SessionRow,
  options: ClientOptions & { query?: string; protocols?: string[] } = { headers: bearer() },
) {
  const url = `ws://127.0.0.1:${door.port}${path(session)}${options.query ?? ''}`
  const socket = new WebSocket(url, options.protocols ?? [], options)
  t.after(() => socket.terminate())
  const tested = new TestSocket(socket)
  await once(socket, 'open')
  return tested
}

async function refusedStatus(door: Door, target: string, headers: Record<string, string>) {
  const socket = new WebSocket(`ws://127.0.0.1:${door.port}${target}`, { headers })
  socket.on('error', () => {})
  const [, reply] = await once(socket, 'unexpected-response')
  reply.resume()
  socket.terminate()
  return reply.statusCode as number
}

test('records go in as JSON and msgpack, and acks and events come back', async (t) => {
  const door = await openDoor(t)
  const session = await door.sessions.start(tester, { sessionType: 'telemetry' })
  const socket = await openSocket(t, door, session)
  const first = await socket.upload({ id: 'a', ...telemetry(3) })
  assert.equal(first.type, 'ack')
  assert.equal(first.recordsReceived, 3)
  socket.sendMsgpack({ id: 2, ...telemetry(2) })
  const second = await socket.answer(2)
  assert.equal(second.recordsReceived, 2)
  assert.ok(socket.binaryMessages > 0)
  socket.send({ type: 'ping', id: 'p' })
  await socket.message('pong', 'p')
  socket.send({ type: 'end', id: 'e' })
  const ended = await socket.answer('e')
  assert.equal(ended.status, 'completed')
  assert.deepEqual(await socket.closed, { code: 1000, reason: 'session ended' })
  assert.equal(socket.events[0]?.type, 'session-started')
  assert.equal(socket.events.at(-1)?.type, 'session-completed')
  const third = await openSocket(t, door, session, {
    headers: bearer(),
    query: `?lastEventId=${String(socket.events[0]?.eventId)}`,
  })
  await third.closed
  assert.deepEqual(
    third.events.map((event) => event.eventId),
    socket.events.slice(1).map((event) => event.eventId),
  )
})

test('what is wrong with a message is told with its id, and the connection stays', async (t) => {
  const door = await openDoor(t)
  const session = await door.sessions.start(tester, { sessionType: 'telemetry' })
  const socket = await openSocket(t, door, session)
  socket.send({ type: 'telemetry', id: 1, records: [{ timestamp: 'never', values: {} }] })
  const refused = await socket.answer(1)
  assert.equal(refused.type, 'rejected')
  assert.equal(refused.code, 'INVALID_RECORDS')
  socket.socket.send('{')
  await socket.messages.waitFor((message) => message.code === 'MALFORMED_JSON', 'the refusal')
  socket.send({ type: 'end', id: 2, timeoutMs: -1 })
  assert.equal((await socket.answer(2)).code, 'INVALID_BODY')
  assert.equal((await socket.upload({ id: 3, ...telemetry(1) })).type, 'ack')
})

test('a key may stand in the subprotocol, and a ticket reads but does not write', async (t) => {
  const door = await openDoor(t)
  const session = await door.sessions.start(tester, { sessionType: 'telemetry' })
  const socket = await openSocket(t, door, session, { protocols: ['bearer', ownKey] })
  assert.equal(socket.socket.protocol, 'bearer')
  assert.equal((await socket.upload({ id: 1, ...telemetry(1) })).type, 'ack')
  const made = await fetch(`${door.url}/api/streaming/tickets`, {
    method: 'POST',
    headers: { ...bearer(), 'Content-Type': 'application/json' },
    body: JSON.stringify({ resource: path(session) }),
  })
  const { ticket } = (await made.json()) as { ticket: string }
  const reader = await openSocket(t, door, session, { query: `?ticket=${ticket}` })
  await reader.message('session-started')
  reader.send({ id: 9, ...telemetry(1) })
  const refused = await reader.answer(9)
  assert.equal(refused.code, 'SCOPE_MISSING')
  reader.send({ type: 'end', id: 10 })
  assert.equal((await reader.answer(10)).code, 'SCOPE_MISSING')
  reader.send({ type: 'ping', id: 11 })
  await reader.message('pong', 11)
})

test('a refused upgrade is answered as plain HTTP', async (t) => {
  const door = await openDoor(t)
  const session = await door.sessions.start(tester, { sessionType: 'telemetry' })
  const { key } = await addKey(door.store, 1, ['admin'])
  const jobs = await addKey(door.store, 0, ['jobs:read'])
  assert.equal(await refusedStatus(door, path(session), {}), 401)
  assert.equal(await refusedStatus(door, path(session), bearer(key)), 404)
  assert.equal(await refusedStatus(door, path(session), bearer(jobs.key)), 403)
  assert.equal(await refusedStatus(door, `${path(session)}?lastEventId=1`, bearer()), 400)
  assert.equal(await refusedStatus(door, `${path(session)}?key=${ownKey}`, bearer()), 400)
  const foreign = { ...bearer(), Origin: 'https://evil.example' }
  assert.equal(await refusedStatus(door, path(session), foreign), 403)
  const plain = await fetch(door.url + path(session), { headers: bearer() })
  assert.equal(plain.status, 400)
  const own = { ...bearer(), Origin: door.url }
  await openSocket(t, door, session, { headers: own })
})

test('a revoked key loses its WebSocket, and a stop closes the others with 1001', async (t) => {
  const door = await openDoor(t)
  const session = await door.sessions.start(tester, { sessionType: 'telemetry' })
  const { key, row } = await addKey(door.store, 0, ['events:read'])
  const socket = await openSocket(t, door, session, { headers: bearer(key) })
  const stays = await openSocket(t, door, session)
  await door.store.commit((transaction) =>
    transaction.putApiKey({ ...row, revokedAtMs: Date.now() }),
  )
  assert.equal((await socket.closed).code, 1008)
  await stays.upload({ id: 1, ...telemetry(1) })
  await door.transport.close(2_000)
  assert.equal((await stays.closed).code, 1001)
})

test('answers that nobody reads count, and past the bound of a socket it is cut', async (t) => {
  const door = await openDoor(t)
  const session = await door.sessions.start(tester, { sessionType: 'telemetry' })
  const { key } = await addKey(door.store, 0, ['events:read'])
  const socket = await openSocket(t, door, session, { headers: bearer(key) })
  socket.socket.pause()
  const ping = JSON.stringify({ type: 'ping', id: 'x'.repeat(limits.messageIdCharsMax) })
  let heldBytes = 0
  await eventually(async () => {
    for (let count = 0; count < 2_000; count += 1) socket.socket.send(ping)
    const held = (await door.metrics.heldBytes.get()).values[0]?.value ?? 0
    heldBytes = Math.max(heldBytes, held)
    const { values } = await door.metrics.subscribers.get()
    return values.find(({ labels }) => labels.kind === 'websocket')?.value === 0 || undefined
  }, 'the cut')
  assert.ok(heldBytes > 0)
  // The answer that passes the bound is still taken.
  assert.ok(heldBytes < limits.webSocketBufferBytesMax + 2 * limits.messageIdCharsMax)
  assert.equal((await door.metrics.heldBytes.get()).values[0]?.value, 0)
})

function telemetry(count: number) {
  return { type: 'telemetry', records: testRecords(count) }
}
