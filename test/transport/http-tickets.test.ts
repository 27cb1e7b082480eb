import assert from 'node:assert/strict'
import { test } from 'node:test'
import { limits } from '../../src/limits.ts'
import { Authenticator } from '../../src/transport/auth.ts'
import { Tickets } from '../../src/transport/tickets.ts'
import { Client } from '../support/client.ts'
import { openEvents } from '../support/sse.ts'
import { openSocket, refusedUpgrade } from '../support/websocket.ts'
import { addKey, openDoor, ownKey } from './door.ts'

type Door = Awaited<ReturnType<typeof openDoor>>

const record = { timestamp: '2025-01-20T10:30:00Z', values: { a: 1 } }
const message = { id: 1, type: 'telemetry', records: [record] }

/** The front door with a session of tenant 0 and a ticket for its events. */
async function openWithTicket(t: Parameters<typeof openDoor>[0], config = {}) {
  const door = await openDoor(t, { config })
  const client = new Client(door.url, ownKey)
  const { sessionId } = await client.start({ sessionType: 'telemetry' })
  const path = client.session(sessionId, 'events')
  return { door, client, sessionId, path, ticket: await client.ticket(path) }
}

/** Status of a GET by whoever has no key. */
async function open(door: Door, path: string, ticket: string): Promise<number> {
  const aborter = new AbortController()
  const url = `${door.url}${path}?ticket=${encodeURIComponent(ticket)}`
  const { status } = await fetch(url, { signal: aborter.signal })
  aborter.abort()
  return status
}

test('a ticket that is expired, forged or for another path opens nothing', async (t) => {
  const { door, client, sessionId, path, ticket } = await openWithTicket(t)
  const other = await client.start({ sessionType: 'telemetry' })
  assert.equal(await open(door, path, ticket), 200)
  const authenticator = new Authenticator(door.store.apiKeys, ownKey, () => assert.fail())
  const headers = new Map([['authorization', `Bearer ${ownKey}`]])
  const principal = authenticator.authenticate(headers, false)
  assert.ok(principal !== null)
  const ticketOf = (secret: Uint8Array, ttlMs: number) =>
    new Tickets(secret, authenticator, ttlMs).issue(principal, path).ticket
  const [payload = '', signature = ''] = ticket.split('.')
  const fields = JSON.parse(Buffer.from(payload, 'base64url').toString()) as unknown[]
  const forged = (index: number, value: unknown) =>
    `${Buffer.from(JSON.stringify(fields.with(index, value))).toString('base64url')}.${signature}`
  assert.equal(await open(door, path, ticketOf(door.store.secret, 60_000)), 200)
  const refused = [
    ticketOf(door.store.secret, -1),
    ticketOf(new Uint8Array(32), 60_000),
    forged(1, 9),
    forged(2, 'somebody'),
    forged(3, client.session(other.sessionId, 'events')),
    forged(4, Date.now() + 10 * limits.ticketTtlMs),
    payload,
    `${payload}.`,
    `.${signature}`,
    `${ticket}.${signature}`,
    `${ticket}=`,
    `${ticket} `,
    `${payload}.${signature.slice(0, -1)}`,
    `${payload}.${signature.toLowerCase()}`,
    'null',
    '',
    ownKey,
  ]
  // Before the store is: it looks for keys now and then.
  authenticator.close()
  for (const wrong of refused) assert.equal(await open(door, path, wrong), 401, wrong)
  const elsewhere = [
    client.session(sessionId, 'ws'),
    client.session(sessionId, 'status'),
    client.session(other.sessionId, 'events'),
    path.replace('stream-session', '%73tream-session'),
    '/api/streaming/sessions',
  ]
  for (const wrong of elsewhere) assert.equal(await open(door, wrong, ticket), 401, wrong)
})

test('a ticket reads and nothing else, and stands in for no key', async (t) => {
  const { door, client, sessionId, path, ticket } = await openWithTicket(t)
  const anonymous = new Client(door.url, null)
  const upload = client.session(sessionId, 'upload')
  const written = await anonymous.raw('POST', `${upload}?ticket=${ticket}`, {
    json: { records: [record] },
  })
  written.refused(401, 'UNAUTHORIZED')
  ;(await client.get(path, { ticket })).refused(401, 'UNAUTHORIZED')
  ;(await new Client(door.url, ticket).get(path)).refused(401, 'UNAUTHORIZED')
  const reader = await client.ticket(client.session(sessionId, 'ws'))
  const url = `${door.url}${client.session(sessionId, 'ws')}?ticket=${reader}`
  const socket = await openSocket(url.replace('http', 'ws'))
  const refusal = await socket.upload(message)
  assert.equal(refusal.code, 'SCOPE_MISSING')
  socket.send({ type: 'end', id: 2 })
  assert.equal((await socket.answer(2)).code, 'SCOPE_MISSING')
  await socket.close()
})

test('tickets are made for what their key may read, and foreign paths are unknown', async (t) => {
  const { door, client, sessionId, path } = await openWithTicket(t)
  const made = async (scopes: Parameters<typeof addKey>[2], tenant: number, resource: string) => {
    const { key } = await addKey(door.store, tenant, scopes)
    const asking = new Client(door.url, key)
    return asking.raw('POST', '/api/streaming/tickets', { json: { resource } })
  }
  assert.equal((await made(['events:read'], 0, path)).status, 200)
  ;(await made(['ingest'], 0, path)).refused(403, 'SCOPE_MISSING')
  const foreign = (await made(['admin'], 9, path)).refused(404, 'SESSION_NOT_FOUND')
  assert.equal(foreign.sessionId, sessionId)
  for (const resource of [client.session(sessionId, 'status'), '/nowhere', '/openapi.json', '//']) {
    ;(await made(['admin'], 0, resource)).refused(422, 'INVALID_BODY')
  }
})

test('a ticket ends with its key, and so does the stream that it opened', async (t) => {
  const { door, client, path } = await openWithTicket(t)
  const { key, row } = await addKey(door.store, 0, ['admin'])
  const ticket = await new Client(door.url, key).ticket(path)
  const stream = await openEvents(`${door.url}${path}?ticket=${ticket}`, {})
  await door.store.commit((tx) => tx.putApiKey({ ...row, revokedAtMs: Date.now() }))
  await stream.ended
  assert.equal(await open(door, path, ticket), 401)
  assert.equal((await client.get('/api/streaming/sessions')).status, 200)
})

test('wrong tickets count against their address as wrong keys do', async (t) => {
  const { door, client, path } = await openWithTicket(t, { rateLimit: 6 })
  const statuses: number[] = []
  for (let count = 0; count < 4; count += 1) statuses.push(await open(door, path, `x.${count}`))
  const wrongKey = async () =>
    (await new Client(door.url, `wrong-${'x'.repeat(30)}`).get('/')).status
  for (let count = 0; count < 3; count += 1) statuses.push(await wrongKey())
  assert.deepEqual(statuses, [401, 401, 401, 401, 401, 401, 429])
  assert.equal(await open(door, path, 'x.y'), 429)
  const ws = `${door.url.replace('http', 'ws')}${path.replace('events', 'ws')}?ticket=x.y`
  assert.equal(await refusedUpgrade(ws), 429)
  // Who has a key is not kept out by whoever guesses from the same address.
  assert.equal((await client.get('/api/streaming/sessions')).status, 200)
})

test('inside a WebSocket each message needs its scope', async (t) => {
  const { door, client, sessionId } = await openWithTicket(t)
  const url = `${door.url.replace('http', 'ws')}${client.session(sessionId, 'ws')}`
  const outcomes = async (scopes: Parameters<typeof addKey>[2]) => {
    const { key } = await addKey(door.store, 0, scopes)
    const socket = await openSocket(url, { authorization: `Bearer ${key}` })
    const uploaded = await socket.upload(message)
    socket.send({ type: 'end', id: 2, timeoutMs: -1 })
    const ended = await socket.answer(2)
    const events = socket.events.length > 0
    await socket.close()
    return [uploaded.code ?? uploaded.type, ended.code ?? ended.type, events]
  }
  // The bad option shows that `end` was let through to its validation, and the session goes on.
  const missing = 'SCOPE_MISSING'
  assert.deepEqual(await outcomes(['events:read']), [missing, missing, true])
  assert.deepEqual(await outcomes(['sessions:read']), [missing, missing, true])
  assert.deepEqual(await outcomes(['ingest']), ['ack', missing, false])
  assert.deepEqual(await outcomes(['ingest', 'sessions:write']), ['ack', 'INVALID_BODY', false])
  assert.deepEqual(await outcomes(['admin']), ['ack', 'INVALID_BODY', true])
  const { key } = await addKey(door.store, 0, ['sessions:write', 'jobs:read', 'dlq'])
  assert.equal(await refusedUpgrade(url, { authorization: `Bearer ${key}` }), 403)
  const foreign = await addKey(door.store, 9, ['admin'])
  assert.equal(await refusedUpgrade(url, { authorization: `Bearer ${foreign.key}` }), 404)
})

test("another tenant's event id replays nothing and tells nothing", async (t) => {
  const { door, client, path, sessionId } = await openWithTicket(t)
  const { key } = await addKey(door.store, 9, ['admin'])
  const other = new Client(door.url, key)
  for (let count = 0; count < 20; count += 1) await other.start({ sessionType: 'telemetry' })
  const stream = await openEvents(`${door.url}${path}`, client.headers, 'event_18')
  await client.upload(sessionId, { records: [record] })
  await client.end(sessionId)
  const events = await stream.whole()
  for (const { data } of events) assert.equal(data.sessionId, sessionId)
  assert.ok(stream.names.includes('session-completed'))
  assert.ok(!stream.names.includes('session-started'))
})
