import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { test } from 'node:test'
import { negotiate } from '../../src/transport/http/accept.ts'
import { tester, testerOf } from '../support/actors.ts'
import { addKey, bearer, openDoor, ownKey } from './door.ts'

type Door = Awaited<ReturnType<typeof openDoor>>
type Json = Record<string, unknown>

/** One exchange of JSON: status, body and headers. */
async function ask(door: Door, target: string, init: { key?: string; json?: unknown } = {}) {
  const isPost = 'json' in init
  const reply = await fetch(target.startsWith('http') ? target : door.url + target, {
    method: isPost ? 'POST' : 'GET',
    headers: {
      ...bearer(init.key ?? ownKey),
      ...(isPost ? { 'Content-Type': 'application/json' } : {}),
    },
    body: isPost && init.json !== null ? JSON.stringify(init.json) : null,
  })
  const text = await reply.text()
  return { status: reply.status, headers: reply.headers, body: JSON.parse(text || 'null') as Json }
}

const base = '/api/streaming/sessions'

test('a session is started, found by each of its URLs, moved and ended', async (t) => {
  const door = await openDoor(t)
  const started = await ask(door, `${base}/start`, { json: { sessionType: 'video' } })
  assert.equal(started.status, 200)
  const { sessionId, uploadUrl, statusUrl, sseUrl, websocketUrl } = started.body
  assert.equal(uploadUrl, `${door.url}${base}/${sessionId}/upload`)
  assert.equal(websocketUrl, `ws://127.0.0.1:${door.port}${base}/${sessionId}/ws`)
  const status = await ask(door, String(statusUrl))
  assert.equal(status.status, 200)
  assert.equal(status.body.status, 'active')
  const stream = await fetch(String(sseUrl), { headers: bearer() })
  assert.equal(stream.status, 200)
  const move = (name: string, json: unknown = null) =>
    ask(door, `${base}/${sessionId}/${name}`, { json })
  assert.equal((await move('pause')).body.status, 'paused')
  const again = await move('pause')
  assert.equal(again.status, 409)
  assert.equal(again.body.code, 'SESSION_STATE_CONFLICT')
  assert.equal((await move('resume')).body.status, 'active')
  const ended = await move('end')
  assert.equal(ended.body.status, 'completed')
  assert.deepEqual((await move('end', { waitForCompletion: true })).body, ended.body)
  assert.equal((await move('cancel')).status, 409)
  await stream.text()
})

test('sessions are listed newest first, by page, status and type', async (t) => {
  const door = await openDoor(t)
  const ids: string[] = []
  for (const sessionType of ['telemetry', 'audio', 'telemetry'] as const) {
    ids.push((await door.sessions.start(tester, { sessionType })).id)
  }
  await door.sessions.start(testerOf(1), { sessionType: 'telemetry' })
  await door.sessions.pause(tester, ids[0] ?? '')
  const list = async (query: string) => {
    const { body } = await ask(door, base + query)
    const sessions = (body.sessions as { sessionId: string }[]).map((row) => row.sessionId)
    return { sessions, next: body.nextCursor as string | null }
  }
  const first = await list('?limit=2')
  assert.deepEqual(first.sessions, [ids[2], ids[1]])
  const second = await list(`?limit=2&cursor=${first.next}`)
  assert.deepEqual(second, { sessions: [ids[0]], next: null })
  assert.deepEqual((await list('?status=paused')).sessions, [ids[0]])
  assert.deepEqual((await list('?type=audio')).sessions, [ids[1]])
  assert.equal((await ask(door, `${base}?status=sleeping`)).status, 400)
  assert.equal((await ask(door, `${base}?cursor=x`)).status, 400)
})

test("another tenant's session answers exactly as an unknown one", async (t) => {
  const door = await openDoor(t)
  const { key } = await addKey(door.store, 9, ['admin'])
  const session = await door.sessions.start(tester, { sessionType: 'telemetry' })
  const unknown = `stream-session-${'0'.repeat(32)}`
  const paths = ['status', 'events', 'records', 'atoms', 'rejected']
  for (const path of paths) {
    const masked = async (id: string) => {
      const { status, body } = await ask(door, `${base}/${id}/${path}`, { key })
      return { status, body: JSON.stringify({ ...body, requestId: '' }).replaceAll(id, 'ID') }
    }
    const foreign = await masked(session.id)
    assert.equal(foreign.status, 404)
    assert.deepEqual(foreign, await masked(unknown))
    assert.deepEqual(foreign, await masked('nonsense'))
  }
})

test("a body's tenantId must be the key's", async (t) => {
  const door = await openDoor(t)
  const { key } = await addKey(door.store, 9, ['admin'])
  const start = (tenantId: number) =>
    ask(door, `${base}/start`, { key, json: { sessionType: 'telemetry', tenantId } })
  assert.equal((await start(9)).status, 200)
  const refused = await start(0)
  assert.equal(refused.status, 403)
  assert.equal(refused.body.code, 'TENANT_MISMATCH')
})

test('a schema is registered once and never changes', async (t) => {
  const door = await openDoor(t)
  const path = '/api/streaming/schemas'
  const schema = {
    schemaName: 'iot',
    schemaVersion: '1.0.0',
    fields: [{ name: 'temperature', type: 'float', required: true, validation: { min: -50 } }],
  }
  assert.equal((await ask(door, path, { json: schema })).status, 201)
  assert.equal((await ask(door, path, { json: schema })).status, 200)
  const other = await ask(door, path, { json: { ...schema, fields: [] } })
  assert.equal(other.status, 409)
  assert.equal(other.body.code, 'SCHEMA_EXISTS')
  assert.deepEqual((await ask(door, `${path}/iot/1.0.0`)).body, schema)
  assert.deepEqual((await ask(door, path)).body, { schemas: [schema], nextCursor: null })
  for (const missing of ['iot/2', 'x%2Fy/1', `${'n'.repeat(3_000)}/1`]) {
    const reply = await ask(door, `${path}/${missing}`)
    assert.equal(reply.body.code, 'SCHEMA_NOT_FOUND')
  }
})

test("an atom's bytes come under their hash, named by what they are, to their tenant", async (t) => {
  const door = await openDoor(t)
  const bytes = Buffer.from('ffd8ffe000104a46494600', 'hex')
  const hash = createHash('sha256').update(bytes).digest()
  await door.store.commit((transaction) => transaction.putBlob(0, hash, bytes))
  const url = `${door.url}/api/atoms/${hash.toString('hex')}`
  const reply = await fetch(url, { headers: bearer() })
  assert.deepEqual(Buffer.from(await reply.arrayBuffer()), bytes)
  assert.equal(reply.headers.get('content-type'), 'image/jpeg')
  assert.match(reply.headers.get('cache-control') ?? '', /immutable/)
  const etag = reply.headers.get('etag') ?? ''
  const cached = await fetch(url, { headers: { ...bearer(), 'If-None-Match': etag } })
  assert.equal(cached.status, 304)
  const { key } = await addKey(door.store, 9, ['admin'])
  assert.equal((await ask(door, url, { key })).body.code, 'ATOM_NOT_FOUND')
  for (const path of ['xyz', '0'.repeat(64), `${hash.toString('hex')}/x`]) {
    assert.equal((await ask(door, `/api/atoms/${path}`)).status, 404)
  }
})

test('a refusal repeats no parameter that may be a key, and no long name', async (t) => {
  const door = await openDoor(t)
  const key = `as_${'k'.repeat(43)}`
  for (const query of [key, `${key}=1`, `a%zz=${key}`, `a&a=${key}`, `limit=${key}`, `x=${key}`]) {
    const reply = await ask(door, `${base}?${query}`)
    assert.equal(reply.body.code, 'INVALID_PARAMETER', query)
    assert.doesNotMatch(JSON.stringify(reply.body), /kkk/)
  }
  const member = { sessionType: 'video', ['n'.repeat(100_000)]: 1 }
  const reply = await ask(door, `${base}/start`, { json: member })
  assert.equal(reply.body.code, 'INVALID_BODY')
  assert.ok(JSON.stringify(reply.body).length < 2_000)
})

test('the best type that Accept names is chosen', () => {
  const available = ['application/json', 'text/csv'] as const
  assert.equal(negotiate(undefined, available), 'application/json')
  assert.equal(negotiate('*/*', available), 'application/json')
  assert.equal(negotiate('text/*', available), 'text/csv')
  assert.equal(negotiate('application/json;q=0.5, text/csv', available), 'text/csv')
  assert.equal(negotiate('*/*, application/json;q=0', available), 'text/csv')
  assert.throws(() => negotiate('image/png', available), { code: 'NOT_ACCEPTABLE' })
  assert.throws(() => negotiate('text/csv;q=0', available), { code: 'NOT_ACCEPTABLE' })
})
