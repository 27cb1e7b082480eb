import assert from 'node:assert/strict'
import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'
import { type TestContext, test } from 'node:test'
import { WebSocketServer } from 'ws'
import { frameHeadBytes, frameText, WebSocketConnection } from '../../bench/web-socket-client.ts'

const timeoutMs = 5_000

async function startServer(t: TestContext): Promise<{ server: WebSocketServer; url: URL }> {
  const server = new WebSocketServer({ host: '127.0.0.1', port: 0 })
  t.after(() => {
    for (const client of server.clients) client.terminate()
    server.close()
  })
  await once(server, 'listening')
  return { server, url: new URL(`ws://127.0.0.1:${(server.address() as AddressInfo).port}/a`) }
}

/** Opens a connection that keeps its texts; `until` resolves once so many are there. */
async function openClient(t: TestContext, url: URL) {
  const texts: string[] = []
  const waiting: { count: number; resolve: () => void }[] = []
  const failures: Error[] = []
  const connection = await WebSocketConnection.open(url, 'key', {
    onText: (bytes, start, end) => {
      texts.push(bytes.toString('utf8', start, end))
    },
    onRead: () => {
      for (const { count, resolve } of waiting) if (texts.length >= count) resolve()
    },
    onFailure: (reason) => {
      failures.push(reason)
    },
  })
  t.after(() => connection.close())
  const until = (count: number) =>
    texts.length >= count
      ? Promise.resolve()
      : new Promise<void>((resolve) => waiting.push({ count, resolve }))
  return { connection, texts, failures, until }
}

/** The frames of texts, one after another. */
function framed(texts: readonly string[]): Buffer {
  return Buffer.concat(
    texts.map((text) => {
      const bytes = Buffer.byteLength(text)
      const target = Buffer.alloc(frameHeadBytes + bytes)
      target.write(text, frameHeadBytes)
      frameText(target, frameHeadBytes, bytes)
      return target
    }),
  )
}

test('many messages of one write arrive one by one, as they were', {
  timeout: timeoutMs,
}, async (t) => {
  const { server, url } = await startServer(t)
  const received: string[] = []
  const all = new Promise<void>((resolve) => {
    server.on('connection', (socket, request) => {
      assert.equal(request.headers.authorization, 'Bearer key')
      socket.on('message', (data) => {
        received.push(String(data))
        if (received.length === sent.length) resolve()
      })
    })
  })
  const sent = Array.from({ length: 500 }, (_, index) => `${index} ${'é'.repeat(70 + index)}`)
  const { connection } = await openClient(t, url)
  connection.write(framed(sent))
  await all
  assert.deepEqual(received, sent)
})

test('texts of every length are read, however they are cut', { timeout: timeoutMs }, async (t) => {
  const { server, url } = await startServer(t)
  const sent = [0, 5, 125, 126, 300, 65_535, 65_536, 400_000].map((length) => 'x'.repeat(length))
  server.on('connection', (socket) => {
    for (const text of sent) socket.send(text)
    socket.ping()
    socket.send('last')
  })
  const { texts, until } = await openClient(t, url)
  await until(sent.length + 1)
  assert.deepEqual(texts, [...sent, 'last'])
})

test('a server that closes is told of', { timeout: timeoutMs }, async (t) => {
  const { server, url } = await startServer(t)
  const opened = once(server, 'connection')
  const { failures } = await openClient(t, url)
  const [socket] = await opened
  socket.close()
  while (failures.length === 0) await new Promise((resolve) => setImmediate(resolve))
  assert.match(failures[0]?.message ?? '', /closes the WebSocket/)
})

test('a reply that opens no WebSocket is refused with what it says', async (t) => {
  const server = createServer((socket) => {
    socket.end('HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n')
  }).listen(0, '127.0.0.1')
  t.after(() => server.close())
  await once(server, 'listening')
  const url = new URL(`ws://127.0.0.1:${(server.address() as AddressInfo).port}/a`)
  await assert.rejects(openClient(t, url), /401 Unauthorized/)
})

test('a message with another head is refused rather than sent wrong', () => {
  assert.throws(() => frameText(Buffer.alloc(200), frameHeadBytes, 125), /125 bytes/)
  assert.throws(() => frameText(Buffer.alloc(70_000), frameHeadBytes, 65_536), /65536 bytes/)
})
