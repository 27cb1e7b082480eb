import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer as createHttpServer, type IncomingMessage } from 'node:http'
import { type AddressInfo, createServer, type Server } from 'node:net'
import { type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import {
  frameRequest,
  HttpConnection,
  headBytesMax,
  parseReply,
  uploadHead,
} from '../../bench/http-client.ts'

async function listen(t: TestContext, server: Server): Promise<URL> {
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => server.close())
  return new URL(`http://127.0.0.1:${(server.address() as AddressInfo).port}/upload`)
}

async function open(t: TestContext, url: URL): Promise<HttpConnection> {
  const connection = await HttpConnection.open(url)
  t.after(() => connection.close())
  return connection
}

test('requests go over one kept connection and arrive whole, large ones too', async (t) => {
  const sockets = new Set<unknown>()
  const server = createHttpServer(async (request: IncomingMessage, response) => {
    sockets.add(request.socket)
    const chunks: Buffer[] = []
    for await (const chunk of request) chunks.push(chunk as Buffer)
    const { authorization } = request.headers
    response.end(JSON.stringify({ authorization, body: Buffer.concat(chunks).toString() }))
  })
  const url = await listen(t, server)
  const connection = await open(t, url)
  const head = uploadHead(url, 'secret', 'application/json')
  for (const length of [1, 100, 300_000, 2]) {
    const buffer = Buffer.alloc(headBytesMax + length, 'x')
    const reply = await connection.send(frameRequest(buffer, head, length))
    assert.equal(reply.status, 200)
    assert.deepEqual(JSON.parse(reply.body), {
      authorization: 'Bearer secret',
      body: 'x'.repeat(length),
    })
  }
  assert.equal(sockets.size, 1)
})

test('a reply that comes byte by byte is put together', async (t) => {
  const text = 'HTTP/1.1 422 Unprocessable\r\nContent-Length: 5\r\n\r\nhello'
  const server = createServer(async (socket) => {
    await once(socket, 'data')
    for (const byte of text) {
      socket.write(byte)
      await sleep(1)
    }
  })
  const connection = await open(t, await listen(t, server))
  assert.deepEqual(await connection.send(Buffer.from('x')), { status: 422, body: 'hello' })
})

test('a closed connection, a reply too many and a reply without a length are errors', async (t) => {
  const answers = [
    '',
    'HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n',
    'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n',
    'nonsense\r\n\r\n',
  ]
  for (const answer of answers) {
    const server = createServer(async (socket) => {
      await once(socket, 'data')
      socket.end(answer)
    })
    const connection = await open(t, await listen(t, server))
    await assert.rejects(connection.send(Buffer.from('x')), answer)
    await assert.rejects(connection.send(Buffer.from('x')), 'a closed connection stays closed')
  }
})

test('an incomplete reply parses to nothing', () => {
  const whole = 'HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}'
  for (let length = 0; length < whole.length; length++) {
    assert.equal(parseReply(Buffer.from(whole.slice(0, length))), null)
  }
  assert.deepEqual(parseReply(Buffer.from(whole)), {
    reply: { status: 200, body: '{}' },
    length: whole.length,
  })
})

test('a reply of status 204 has no body and needs no length', () => {
  const head = 'HTTP/1.1 204 No Content\r\nx: 1\r\n\r\n'
  assert.deepEqual(parseReply(Buffer.from(head)), {
    reply: { status: 204, body: '' },
    length: head.length,
  })
})
