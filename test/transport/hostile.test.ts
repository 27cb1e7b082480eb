import assert from 'node:assert/strict'
import { once } from 'node:events'
import { type TestContext, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { WebSocket } from 'ws'
import type { Exchange, Socket } from '../../src/transport/exchange.ts'
import { type UwsOptions, UwsServer } from '../../src/transport/uws.ts'
import { within } from '../support/waiting.ts'
import { rawConnection } from './door.ts'

/** What uWebSockets.js takes at most to cut who sends no head, and what each test gives it. */
const headDeadlineMs = 16_000
const largeBytes = 30_000_000

interface Listening {
  readonly port: number
  /** Paths that reached the handler. */
  readonly paths: string[]
  readonly sockets: Socket[]
}

async function listen(t: TestContext, options: UwsOptions = {}): Promise<Listening> {
  const paths: string[] = []
  const sockets: Socket[] = []
  const reply = (exchange: Exchange, status: number, body: string | Uint8Array): void =>
    exchange.reply({ status, headers: [], body, close: false })
  const server = new UwsServer(
    {
      request: (exchange) => {
        paths.push(exchange.path)
        if (exchange.framing === 'conflict') reply(exchange, 400, 'conflict')
        else if (exchange.path === '/large') reply(exchange, 200, Buffer.alloc(largeBytes))
        else if (exchange.path === '/refused') reply(exchange, 503, 'refused')
        else if (exchange.framing === 'empty') reply(exchange, 200, 'empty')
        else {
          let bytes = 0
          exchange.read((chunk, isLast) => {
            bytes += chunk.byteLength
            if (isLast) reply(exchange, 200, `got ${bytes}`)
          })
        }
      },
      upgrade: (exchange) =>
        exchange.accept(null, {
          open: (socket) => sockets.push(socket),
          message: () => {},
          drained: () => {},
          closed: () => {},
        }),
      fault: assert.ifError,
    },
    options,
  )
  t.after(() => server.close())
  const { port } = await server.listen('127.0.0.1', 0)
  return { port, paths, sockets }
}

const head = 'GET / HTTP/1.1\r\nHost: a\r\n\r\n'
const post = 'POST / HTTP/1.1\r\nHost: a\r\n'
const upgrade =
  'GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n' +
  'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n'

test('who sends no whole head, or no body, is cut in time', { timeout: 60_000 }, async (t) => {
  const { port, paths } = await listen(t)
  const drips: readonly [name: string, first: string, drip: string][] = [
    ['silence', '', ''],
    ['a head that drips', 'GET /', 'a'],
    ['silence after a reply', head, ''],
    ['a head that drips after a reply', head, 'G'],
    ['a body that does not come', `${post}Content-Length: 10000000\r\n\r\n`, ''],
    ['a body that drips', `${post}Content-Length: 10000000\r\n\r\n`, 'a'],
    ['chunks that drip', `${post}Transfer-Encoding: chunked\r\n\r\n`, '1\r\na\r\n'],
    ['a chunk size that drips', `${post}Transfer-Encoding: chunked\r\n\r\n1;`, 'a'],
  ]
  const cuts = drips.map(async ([name, first, drip]) => {
    const { socket, closed } = await rawConnection(t, port)
    if (first !== '') socket.write(first)
    const timer = setInterval(() => drip !== '' && socket.write(drip), 1_000)
    t.after(() => clearInterval(timer))
    await within(closed, `the cut of ${name}`, headDeadlineMs)
  })
  await Promise.all(cuts)
  assert.equal(paths.length, 6)
})

test('a reply that nobody reads is cut, and one that is read slowly arrives', async (t) => {
  const replies = { graceMs: 1_500, bytesPerSecond: 8_000_000, sweepIntervalMs: 50 }
  const { port } = await listen(t, { replies })
  const unread = await rawConnection(t, port)
  unread.socket.pause()
  unread.socket.write('GET /large HTTP/1.1\r\nHost: a\r\n\r\n')
  const slow = await rawConnection(t, port)
  slow.socket.write('GET /large HTTP/1.1\r\nHost: a\r\n\r\n')
  slow.socket.on('data', () => {
    slow.socket.pause()
    setTimeout(() => slow.socket.resume(), 2)
  })
  while (slow.received.length < largeBytes && !slow.socket.closed) await delay(20)
  assert.match(slow.received, /^HTTP\/1\.1 200 /)
  assert.ok(slow.received.length > largeBytes)
  // Its end is seen only by a write: what is unread stands before it.
  const cut = (async () => {
    while (!unread.socket.closed) {
      unread.socket.write('G')
      await delay(50)
    }
  })()
  await within(cut, 'the cut of the reader')
})

test('a WebSocket that gives no sign of life is cut, within a frame too', async (t) => {
  const pulse = { pingMs: 200, silenceMs: 1_000, sweepIntervalMs: 50 }
  const { port, sockets } = await listen(t, { sockets: pulse })
  const living = new WebSocket(`ws://127.0.0.1:${port}/`)
  t.after(() => living.terminate())
  let pings = 0
  living.on('ping', () => {
    pings += 1
  })
  await once(living, 'open')
  const silent = await rawConnection(t, port)
  silent.socket.write(upgrade)
  const dripping = await rawConnection(t, port)
  dripping.socket.write(upgrade)
  await dripping.until('101')
  dripping.socket.write(Buffer.from([0x82, 0xfe, 0x10, 0x00, 1, 2, 3, 4]))
  const drip = setInterval(() => dripping.socket.write('a'), 50)
  t.after(() => clearInterval(drip))
  await within(Promise.all([silent.closed, dripping.closed]), 'the cuts')
  while (pings < 8) await once(living, 'ping')
  assert.equal(living.readyState, WebSocket.OPEN)
  assert.equal(sockets.filter((socket) => socket.isOpen).length, 1)
})

test('who asks to close gets the reply once its body is read, not a reset', async (t) => {
  const { port } = await listen(t, { lingerMs: 10_000 })
  const body = Buffer.alloc(8_000_000)
  const close = 'Connection: close\r\n'
  const headOf = (path: string, more: string): string =>
    `POST ${path} HTTP/1.1\r\nHost: a\r\n${more}Content-Length: ${body.length}\r\n\r\n`
  for (let round = 0; round < 5; round++) {
    const connection = await rawConnection(t, port)
    connection.socket.write(headOf('/refused', close))
    await delay(20)
    connection.socket.write(body)
    await within(connection.closed, 'the end of the connection')
    assert.match(connection.received, /^HTTP\/1\.1 503 /)
    assert.equal(connection.socket.bytesWritten, headOf('/refused', close).length + body.length)
  }
})

test('who asks to close and never sends its body gets the reply all the same', async (t) => {
  const { port } = await listen(t, { lingerMs: 1_000 })
  const connection = await rawConnection(t, port)
  connection.socket.write(
    'POST /refused HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 9\r\n\r\nabc',
  )
  await within(connection.closed, 'the end of the connection', 5_000)
  assert.match(connection.received, /^HTTP\/1\.1 503 /)
})

test('no request is served behind framing that others may read differently', async (t) => {
  const { port, paths } = await listen(t)
  const smuggled = 'GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n'
  const heads = [
    ...['+5', '0x5', '-5', '5,5', '5, 5', '', 'five', '99999999999999999999', '5.0', '5e0'].map(
      (length) => `Content-Length: ${length}`,
    ),
    'Content-Length: 5\r\nContent-Length: 5',
    'Content-Length: 0\r\ncontent-length: 5',
    'Content-Length : 5',
    ' Content-Length: 5',
    'X: y\r\n Content-Length: 5',
    'Content-Length: 5\nX: y',
    'Content-Length: \x0b5',
    'Content-Length: 5\r\nTransfer-Encoding: chunked',
    'Transfer-Encoding: chunked\r\nContent-Length: 5',
    ...['chunked, chunked', 'gzip, chunked', 'identity', 'xchunked', '"chunked"', ''].map(
      (coding) => `Transfer-Encoding: ${coding}`,
    ),
    'Transfer-Encoding: chunked\r\nTransfer-Encoding: identity',
    'Transfer-Encoding : chunked',
    'Transfer-Encoding: \x0bchunked',
    `${Array.from({ length: 200 }, (_, index) => `X${index}: y`).join('\r\n')}\r\nContent-Length: 5`,
    `X: ${'y'.repeat(8_000)}\r\nContent-Length: 5`,
  ]
  const chunkings = [
    ...['5\r\nabcde\r\n0\r\n\r\n', '5\nabcde\n0\n\n', '5\r\nabcdeXX0\r\n\r\n', ' 5\r\n', '\r\n'],
    ...['0x5\r\nabcde\r\n0\r\n\r\n', '-5\r\nabcde\r\n0\r\n\r\n', '5;\nabcde\r\n0\r\n\r\n'],
    ...['FFFFFFFFFFFFFFFFF\r\nabcde\r\n0\r\n\r\n', '5\r\nabcde\r\n0\r\nX: y\r\n\r\n'],
  ]
  const attacks = [
    ...heads.map((lines) => `${post}${lines}\r\n\r\nabcde${smuggled}`),
    ...chunkings.map((body) => `${post}Transfer-Encoding: chunked\r\n\r\n${body}${smuggled}`),
    ...chunkings.map(
      (body) => `POST /refused HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n${body}${smuggled}`,
    ),
  ]
  await Promise.all(
    attacks.map(async (attack) => {
      const connection = await rawConnection(t, port)
      connection.socket.write(Buffer.from(attack, 'latin1'))
      await Promise.race([connection.closed, delay(500)])
      // It may come later, too.
      connection.socket.write(smuggled)
      await Promise.race([connection.closed, delay(200)])
      assert.ok(!connection.received.includes(' 200 OK\r\n\r\nempty'), attack)
    }),
  )
  assert.deepEqual(
    paths.filter((path) => path === '/smuggled'),
    [],
  )
})

test('a connection is used again after a body of known length', async (t) => {
  const { port, paths } = await listen(t)
  const connection = await rawConnection(t, port)
  connection.socket.write(`${post}Content-Length: 5\r\n\r\nabcde${head}`)
  const text = await connection.until('HTTP/1.1 200 OK', 2)
  assert.match(text, /got 5[\s\S]*empty/)
  assert.equal(paths.length, 2)
})
