import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { RateLimiter } from '../../src/transport/rate-limit.ts'
import { route } from '../../src/transport/route.ts'
import { addKey, bearer, echoRoutes, openDoor, ownKey, rawConnection } from './door.ts'

async function body(reply: Response): Promise<Record<string, unknown>> {
  return (await reply.json()) as Record<string, unknown>
}

test('a request is answered with its parameters and the common headers', async (t) => {
  const { url } = await openDoor(t, { routes: echoRoutes })
  const reply = await fetch(`${url}/things/a%20b?limit=3&name=c%2Bd+e`, { headers: bearer() })
  const expected = { id: 'a b', limit: 3, name: 'c+d e', baseUrl: url }
  assert.deepEqual(await reply.json(), expected)
  assert.ok(reply.headers.get('x-request-id'))
  assert.equal(reply.headers.get('x-content-type-options'), 'nosniff')
  assert.equal(reply.headers.get('cache-control'), 'no-store')
  assert.equal(reply.headers.get('content-type'), 'application/json')
})

test('wrong, repeated and unknown parameters are named', async (t) => {
  const { url } = await openDoor(t, { routes: echoRoutes })
  const cases = [
    ['limit=0', 'limit'],
    ['limit=1.5', 'limit'],
    ['limit=11', 'limit'],
    ['other=1', 'other'],
    ['name=a&name=b', 'name'],
    ['name=%zz', 'name'],
    ['key=secret', 'key'],
    ['__proto__=1', '__proto__'],
  ]
  for (const [query, field] of cases) {
    const reply = await fetch(`${url}/things/1?${query}`, { headers: bearer() })
    assert.equal(reply.status, 400, query)
    const refusal = await body(reply)
    assert.equal(refusal.code, 'INVALID_PARAMETER')
    assert.equal(refusal.field, field)
  }
})

test('a path with malformed percent-encoding is an unknown id', async (t) => {
  const { url } = await openDoor(t)
  const ids = ['%zz', '%ff', 'stream-session-1', 'x'.repeat(3_000)]
  for (const id of ids) {
    const reply = await fetch(`${url}/api/streaming/sessions/${id}/status`, { headers: bearer() })
    assert.equal(reply.status, 404, id.slice(0, 20))
    assert.equal((await body(reply)).code, 'SESSION_NOT_FOUND')
  }
})

test('unknown paths are 404 and wrong methods are 405 with Allow', async (t) => {
  const { url } = await openDoor(t, { routes: echoRoutes })
  const unknown = await fetch(`${url}/nothing`, { headers: bearer() })
  assert.equal(unknown.status, 404)
  assert.equal((await body(unknown)).code, 'ROUTE_NOT_FOUND')
  const wrong = await fetch(`${url}/things/1`, { method: 'DELETE', headers: bearer() })
  assert.equal(wrong.status, 405)
  assert.equal(wrong.headers.get('allow'), 'GET, HEAD, OPTIONS')
  assert.deepEqual((await body(wrong)).allowed, ['GET', 'HEAD', 'OPTIONS'])
})

test('HEAD gives the headers of GET and no body', async (t) => {
  const { url, port } = await openDoor(t, { routes: echoRoutes })
  const get = await fetch(`${url}/things/1`, { headers: bearer() })
  const head = await fetch(`${url}/things/1`, { method: 'HEAD', headers: bearer() })
  assert.equal(head.status, 200)
  assert.equal(head.headers.get('content-length'), String((await get.text()).length))
  const connection = await rawConnection(t, port)
  const request = (method: string) =>
    `${method} /things/1 HTTP/1.1\r\nHost: a\r\nX-API-Key: ${ownKey}\r\n\r\n`
  connection.socket.write(request('HEAD') + request('GET'))
  const text = await connection.until('"id":"1"')
  assert.equal(text.split('"id":"1"').length, 2)
})

test('what throws inside is a 500 that tells nothing but its requestId', async (t) => {
  const { url, lines } = await openDoor(t, { routes: echoRoutes })
  const reply = await fetch(`${url}/broken`, { headers: bearer() })
  const refusal = await body(reply)
  assert.equal(reply.status, 500)
  assert.equal(refusal.code, 'INTERNAL')
  assert.ok(!JSON.stringify(refusal).includes('secret'))
  assert.equal(refusal.requestId, reply.headers.get('x-request-id'))
  assert.ok(lines.some((line) => line.includes(String(refusal.requestId))))
  assert.ok(!lines.some((line) => line.includes(ownKey)))
})

test('a large reply arrives whole at a reader that takes its time', async (t) => {
  const { port } = await openDoor(t, { routes: echoRoutes })
  const connection = await rawConnection(t, port)
  connection.socket.pause()
  connection.socket.write(`GET /large HTTP/1.1\r\nHost: a\r\nX-API-Key: ${ownKey}\r\n\r\n`)
  await delay(300)
  connection.socket.resume()
  while (connection.received.length < 20_000_000) await delay(10)
  const body = connection.received.slice(connection.received.indexOf('\r\n\r\n') + 4)
  assert.equal(body, 'abcdefghij'.repeat(2_000_000))
})

test('keys are taken as Bearer and X-API-Key, and nothing else opens', async (t) => {
  const { url } = await openDoor(t, { routes: echoRoutes })
  const status = async (headers: Record<string, string>) => {
    const reply = await fetch(`${url}/things/1`, { headers })
    await reply.arrayBuffer()
    if (reply.status === 401) assert.match(reply.headers.get('www-authenticate') ?? '', /^Bearer/)
    return reply.status
  }
  assert.equal(await status(bearer()), 200)
  assert.equal(await status({ Authorization: `bearer ${ownKey}` }), 200)
  assert.equal(await status({ 'X-API-Key': ownKey }), 200)
  assert.equal(await status({ ...bearer(), 'X-API-Key': ownKey }), 200)
  assert.equal(await status({}), 401)
  assert.equal(await status(bearer(`${ownKey}x`)), 401)
  assert.equal(await status({ ...bearer(), 'X-API-Key': 'another-key-0123456789' }), 401)
  assert.equal(await status({ Authorization: 'Basic YTpi' }), 401)
  assert.equal(await status({ 'X-API-Key': '' }), 401)
})

test('a key opens what its scopes name, and nothing once it is revoked', async (t) => {
  const { url, store } = await openDoor(t, { routes: echoRoutes })
  const { key, row } = await addKey(store, 7, ['sessions:read'])
  const ask = (path: string, method = 'GET') => fetch(url + path, { method, headers: bearer(key) })
  assert.equal((await ask('/things/1')).status, 200)
  const missing = await ask('/json', 'POST')
  assert.equal(missing.status, 403)
  assert.equal((await body(missing)).requiredScope, 'sessions:write')
  const admin = await addKey(store, 7, ['admin'])
  const all = await fetch(`${url}/json`, { method: 'POST', headers: bearer(admin.key) })
  assert.equal(all.status, 200)
  await store.commit((transaction) => transaction.putApiKey({ ...row, revokedAtMs: Date.now() }))
  const deadline = Date.now() + 1_000
  while ((await ask('/things/1')).status !== 401) {
    assert.ok(Date.now() < deadline, 'a revocation is honoured within a second')
    await delay(20)
  }
})

test('past the limit a tenant gets the documented 429 and others do not', async (t) => {
  const { url, store } = await openDoor(t, { routes: echoRoutes, config: { rateLimit: 3 } })
  const other = await addKey(store, 1, ['admin'])
  for (const remaining of ['2', '1', '0']) {
    const reply = await fetch(`${url}/things/1`, { headers: bearer() })
    assert.equal(reply.status, 200)
    assert.equal(reply.headers.get('x-ratelimit-limit'), '3')
    assert.equal(reply.headers.get('x-ratelimit-remaining'), remaining)
    const reset = Number(reply.headers.get('x-ratelimit-reset'))
    assert.ok(reset >= 1 && reset <= 60)
  }
  const refused = await fetch(`${url}/things/1`, { headers: bearer() })
  assert.equal(refused.status, 429)
  const refusal = await body(refused)
  assert.equal(refusal.error, 'Rate limit exceeded')
  assert.equal(refusal.limit, 3)
  assert.equal(refusal.window, '1 minute')
  assert.equal(String(refusal.retryAfter), refused.headers.get('retry-after'))
  assert.equal((await fetch(`${url}/things/1`, { headers: bearer(other.key) })).status, 200)
  const statuses: number[] = []
  for (let round = 0; round < 4; round++) {
    statuses.push(
      (await fetch(`${url}/things/1`, { headers: bearer('a-wrong-key-12345678') })).status,
    )
  }
  assert.deepEqual(statuses, [401, 401, 401, 429])
})

test('health and metrics need no key and are not counted', async (t) => {
  const { url } = await openDoor(t, { config: { rateLimit: 1 } })
  for (let round = 0; round < 3; round++) {
    const health = await fetch(`${url}/health`)
    assert.equal(health.status, 200)
    assert.equal((await body(health)).status, 'healthy')
    const metrics = await fetch(`${url}/metrics`)
    assert.match(await metrics.text(), /atomstream_http_requests_total\{.*route="\/health"/)
  }
})

test('the limiter begins a new window and holds no more counters than its bound', () => {
  const limiter = new RateLimiter(1, 1_000, 2)
  assert.equal(limiter.count('a', 0)?.exceeded, false)
  assert.equal(limiter.count('a', 999)?.exceeded, true)
  assert.equal(limiter.count('a', 1_000)?.exceeded, false)
  assert.equal(limiter.count('b', 1_000)?.exceeded, false)
  assert.equal(limiter.count('c', 1_500)?.exceeded, false)
  assert.equal(limiter.count('d', 1_500)?.exceeded, true)
  assert.equal(limiter.count('e', 5_000)?.exceeded, false)
  assert.equal(new RateLimiter(0).count('a'), null)
})

test('pages of listed origins may ask, pages of others are kept out', async (t) => {
  const origin = 'https://app.example'
  const { url } = await openDoor(t, { config: { corsOrigins: [origin] } })
  const preflight = await fetch(`${url}/api/streaming/sessions/start`, {
    method: 'OPTIONS',
    headers: { Origin: origin, 'Access-Control-Request-Method': 'POST' },
  })
  assert.equal(preflight.status, 204)
  assert.equal(preflight.headers.get('access-control-allow-origin'), origin)
  assert.match(preflight.headers.get('access-control-allow-methods') ?? '', /POST/)
  assert.match(preflight.headers.get('access-control-allow-headers') ?? '', /Authorization/)
  const list = (headers: Record<string, string>) =>
    fetch(`${url}/api/streaming/sessions`, { headers: { ...bearer(), ...headers } })
  const allowed = await list({ Origin: origin })
  assert.equal(allowed.headers.get('access-control-allow-origin'), origin)
  assert.match(allowed.headers.get('access-control-expose-headers') ?? '', /X-RateLimit-Limit/)
  const foreign = await list({ Origin: 'https://evil.example' })
  assert.equal(foreign.headers.get('access-control-allow-origin'), null)
  const ticket = await fetch(`${url}/api/streaming/tickets`, {
    method: 'POST',
    headers: { ...bearer(), Origin: 'https://evil.example', 'Content-Type': 'application/json' },
    body: '{"resource":"/x"}',
  })
  assert.equal(ticket.status, 403)
  assert.equal((await body(ticket)).code, 'ORIGIN_FORBIDDEN')
})

test('a stop lets open requests finish, refuses new ones and then closes everything', async (t) => {
  let release = (): void => {}
  const slow = route({
    method: 'GET',
    path: '/slow',
    summary: 'Waits',
    scope: 'sessions:read',
    replies: {},
    errors: [],
    handle: () => new Promise((resolve) => (release = () => resolve({ done: true }))),
  })
  const { port, transport } = await openDoor(t, { routes: [...echoRoutes, slow] })
  const head = (path: string) => `GET ${path} HTTP/1.1\r\nHost: a\r\nX-API-Key: ${ownKey}\r\n\r\n`
  const open = await rawConnection(t, port)
  const idle = await rawConnection(t, port)
  idle.socket.write(head('/things/1'))
  await idle.until('"id":"1"')
  open.socket.write(head('/slow'))
  await delay(50)
  const closed = transport.close(5_000)
  assert.equal(transport.close(5_000), closed)
  idle.socket.write(head('/things/2'))
  const text = await idle.until('SHUTTING_DOWN')
  assert.match(text, /HTTP\/1\.1 503 [\s\S]*Retry-After: 1/)
  assert.equal(text.toLowerCase().split('connection: close').length, 2)
  release()
  assert.match(await open.until('"done":true'), /^HTTP\/1\.1 200 /)
  await closed
  await assert.rejects(fetch(`http://127.0.0.1:${port}/things/1`))
})
