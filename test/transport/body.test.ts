import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { gzipSync } from 'node:zlib'
import { limits } from '../../src/limits.ts'
import { BodyBudget, BodyReader } from '../../src/transport/body.ts'
import { UwsServer } from '../../src/transport/uws.ts'
import { bearer, echoRoutes, openDoor, ownKey, rawConnection } from './door.ts'

const uploadBytesMax = 100_000
const json = { 'Content-Type': 'application/json' }

async function openEcho(t: Parameters<typeof openDoor>[0]) {
  const door = await openDoor(t, { routes: echoRoutes, config: { uploadBytesMax } })
  const post = (path: string, init: RequestInit & { duplex?: 'half' }) =>
    fetch(door.url + path, {
      method: 'POST',
      ...init,
      headers: { ...bearer(), ...(init.headers as Record<string, string>) },
    })
  return { ...door, post }
}

async function* chunks(count: number, bytes: number) {
  for (let index = 0; index < count; index++) yield Buffer.alloc(bytes, index)
}

test('a body of known length reaches its handler whole', async (t) => {
  const { post } = await openEcho(t)
  const body = Buffer.alloc(90_000, 7)
  const reply = await post('/upload', { body, headers: json })
  const expected = { bytes: 90_000, format: 'json', gzip: false, last: 7 }
  assert.deepEqual(await reply.json(), expected)
})

test('a chunked body reaches its handler whole', async (t) => {
  const { post } = await openEcho(t)
  const body = chunks(9, 10_000)
  const reply = await post('/upload', { body: body as never, duplex: 'half', headers: json })
  const got = (await reply.json()) as Record<string, unknown>
  assert.equal(got.bytes, 90_000)
  assert.equal(got.last, 8)
})

test('an upload past the cap is refused, with a length and without one', async (t) => {
  const { post, metrics } = await openEcho(t)
  for (let round = 0; round < 3; round++) {
    const known = await post('/upload', { body: Buffer.alloc(5_000_000), headers: json })
    assert.equal(known.status, 413)
    const body = (await known.json()) as Record<string, unknown>
    assert.equal(body.code, 'BODY_TOO_LARGE')
    assert.equal(body.maxBytes, uploadBytesMax)
    const unknown = await post('/upload', {
      body: chunks(50, 100_000) as never,
      duplex: 'half',
      headers: json,
    })
    assert.equal(unknown.status, 413)
    assert.equal(unknown.headers.get('connection'), 'close')
  }
  const held = await metrics.bodiesInFlightBytes.get()
  assert.equal(held.values[0]?.value, 0)
})

test('a length past the cap is refused before any of the body has come', async (t) => {
  const { port } = await openEcho(t)
  const connection = await rawConnection(t, port)
  connection.socket.write(
    `POST /upload HTTP/1.1\r\nHost: a\r\nX-API-Key: ${ownKey}\r\n` +
      'Content-Type: application/json\r\nContent-Length: 99999999\r\n\r\n',
  )
  assert.match(await connection.until('BODY_TOO_LARGE'), /^HTTP\/1\.1 413 /)
})

test('uploads are taken as JSON and msgpack and gzip is left to the worker', async (t) => {
  const { post } = await openEcho(t)
  for (const type of ['application/msgpack', 'application/x-msgpack', 'application/vnd.msgpack']) {
    const reply = await post('/upload', { body: 'x', headers: { 'Content-Type': type } })
    assert.equal(((await reply.json()) as { format: string }).format, 'msgpack')
  }
  const type = 'Application/JSON; charset="UTF-8"'
  const headers = { 'Content-Type': type, 'Content-Encoding': 'gzip' }
  const reply = await post('/upload', { body: gzipSync('{}'), headers })
  assert.equal(((await reply.json()) as { gzip: boolean }).gzip, true)
})

test('other types, charsets and encodings are 415 and name what is supported', async (t) => {
  const { post } = await openEcho(t)
  const bad = [
    {},
    { 'Content-Type': 'text/plain' },
    { 'Content-Type': 'application/json; charset=latin1' },
  ]
  for (const headers of bad) {
    const reply = await post('/upload', { body: Buffer.from('x'), headers: headers as never })
    assert.equal(reply.status, 415)
    const body = (await reply.json()) as Record<string, unknown>
    assert.equal(body.code, 'UNSUPPORTED_MEDIA_TYPE')
    assert.deepEqual(body.supported, ['application/json', 'application/msgpack'])
  }
  const encoded = await post('/upload', {
    body: 'x',
    headers: { ...json, 'Content-Encoding': 'br' },
  })
  assert.equal(encoded.status, 415)
  assert.equal(((await encoded.json()) as { code: string }).code, 'UNSUPPORTED_ENCODING')
})

test('a small gzip body is inflated within the cap', async (t) => {
  const { post } = await openEcho(t)
  const headers = { ...json, 'Content-Encoding': 'gzip' }
  const good = await post('/json', { body: gzipSync('{"name":"abc"}'), headers })
  assert.deepEqual(await good.json(), { name: 'abc' })
  const bomb = await post('/json', { body: gzipSync(Buffer.alloc(20_000_000)), headers })
  assert.equal(bomb.status, 413)
  const broken = await post('/json', { body: 'not gzip', headers })
  assert.equal(broken.status, 400)
  assert.equal(((await broken.json()) as { code: string }).code, 'MALFORMED_ENCODING')
})

test('a wrong JSON body is refused with the place of what is wrong', async (t) => {
  const { post } = await openEcho(t)
  const cases: [string, number, string, string?][] = [
    ['{', 400, 'MALFORMED_JSON'],
    ['{"name":"abcdefgh"}', 422, 'INVALID_BODY', 'name'],
    ['{"nested":{"count":-1}}', 422, 'INVALID_BODY', 'nested.count'],
    ['{"other":1}', 422, 'INVALID_BODY', 'other'],
    ['{"__proto__":{"x":1}}', 422, 'INVALID_BODY', '__proto__'],
    ['[]', 422, 'INVALID_BODY', 'body'],
    ['['.repeat(10_000), 400, 'NESTING_TOO_DEEP'],
  ]
  for (const [body, status, code, field] of cases) {
    const reply = await post('/json', { body, headers: json })
    const refusal = (await reply.json()) as Record<string, unknown>
    assert.equal(reply.status, status, body.slice(0, 40))
    assert.equal(refusal.code, code)
    if (field !== undefined) assert.equal(refusal.field, field)
  }
  const empty = await post('/json', {})
  assert.deepEqual(await empty.json(), {})
})

test('a client that leaves in the middle of its body gives its share of the budget back', async (t) => {
  const { port, metrics } = await openEcho(t)
  const connection = await rawConnection(t, port)
  connection.socket.write(
    `POST /upload HTTP/1.1\r\nHost: a\r\nX-API-Key: ${ownKey}\r\n` +
      'Content-Type: application/json\r\nContent-Length: 50000\r\n\r\nabc',
  )
  const held = async () => (await metrics.bodiesInFlightBytes.get()).values[0]?.value
  // What is only claimed keeps nobody out.
  while ((await held()) !== 3) await delay(5)
  connection.socket.destroy()
  while ((await held()) !== 0) await delay(5)
})

test('the budget is refused past its bound and complete again after the releases', () => {
  const budget = new BodyBudget({ bytesMax: 100 })
  const first = budget.lease()
  const second = budget.lease()
  first.grow(60)
  assert.throws(() => second.grow(50), { code: 'SATURATED' })
  second.grow(40)
  first.release()
  first.release()
  second.grow(60)
  assert.throws(() => first.grow(1), { code: 'SATURATED' })
})

test('a body that drips past its deadline loses its connection', async (t) => {
  const reader = new BodyReader({ graceMs: 100, sweepIntervalMs: 20 })
  t.after(() => reader.close())
  const budget = new BodyBudget()
  const server = new UwsServer({
    request: (exchange) => {
      const lease = budget.lease()
      reader.read(exchange, 1_000, lease).catch(() => lease.release())
    },
    upgrade: () => {},
    fault: assert.ifError,
  })
  t.after(() => server.close())
  const { port } = await server.listen('127.0.0.1', 0)
  const connection = await rawConnection(t, port)
  connection.socket.write('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 900\r\n\r\n')
  const drip = setInterval(() => connection.socket.write('a'), 10)
  t.after(() => clearInterval(drip))
  await connection.closed
  assert.equal(connection.received, '')
})

test('framing that can be read in two ways is refused and the connection closed', async (t) => {
  const { port } = await openEcho(t)
  const head = `POST /upload HTTP/1.1\r\nHost: a\r\nX-API-Key: ${ownKey}\r\n`
  const framings = [
    'Content-Length: 3\r\nContent-Length: 4\r\n',
    'Content-Length: 3\r\nContent-Length: 3\r\n',
    'Content-Length: 3\r\nTransfer-Encoding: chunked\r\n',
    'Transfer-Encoding: gzip, chunked\r\n',
  ]
  for (const framing of framings) {
    const connection = await rawConnection(t, port)
    const smuggled = `GET /things/x HTTP/1.1\r\nHost: a\r\nX-API-Key: ${ownKey}\r\n\r\n`
    connection.socket.write(`${head}${framing}\r\nabc`)
    await connection.closed
    assert.match(connection.received, /^HTTP\/1\.1 400 /, framing)
    const attack = await rawConnection(t, port)
    attack.socket.write(`${head}${framing}\r\nabc${smuggled}`)
    await attack.closed
    assert.ok(!attack.received.includes(' 200 '), framing)
  }
})

test('the next request on a connection is served after a refused one', async (t) => {
  const { port } = await openEcho(t)
  const connection = await rawConnection(t, port)
  const small = 'x'.repeat(20_000)
  connection.socket.write(
    `POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: ${small.length}\r\n\r\n${small}` +
      `GET /things/1 HTTP/1.1\r\nHost: a\r\nX-API-Key: ${ownKey}\r\n\r\n`,
  )
  const text = await connection.until('"id":"1"')
  assert.match(text, /^HTTP\/1\.1 401 /)
  assert.equal(text.split('HTTP/1.1 200 OK').length, 2)
  assert.ok(!/connection: close/i.test(text))
  assert.ok(small.length < limits.requestBodyBytesMax)
})
