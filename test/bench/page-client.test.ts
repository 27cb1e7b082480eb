import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { type TestContext, test } from 'node:test'
import { PageConnection } from '../../bench/page-client.ts'

/** Answers `/N` with N bytes, `/none` with 404 and `/unframed` without a length. */
async function openConnection(t: TestContext): Promise<PageConnection> {
  const server = createServer((request, response) => {
    const path = (request.url ?? '').slice(1)
    if (path === 'none') {
      response.writeHead(404, { 'content-length': 4 }).end('none')
    } else if (path === 'unframed') {
      response.write('a')
      response.end('b')
    } else {
      const body = Buffer.alloc(Number(path), request.headers.accept)
      response.writeHead(200, { 'content-length': body.length, 'x-next-cursor': path }).end(body)
    }
  }).listen(0, '127.0.0.1')
  t.after(() => {
    server.closeAllConnections()
    server.close()
  })
  await once(server, 'listening')
  const url = new URL(`http://127.0.0.1:${(server.address() as AddressInfo).port}`)
  const connection = await PageConnection.open(url, 'key')
  t.after(() => connection.close())
  return connection
}

test('pages of any length come whole, one after another', async (t) => {
  const connection = await openConnection(t)
  for (const length of [0, 1, 5_000_000, 17, 600_000]) {
    const { head, body } = await connection.get(`/${length}`, 'b')
    assert.match(head, new RegExp(`\\r\\nx-next-cursor: ${length}\\r\\n`, 'i'))
    assert(body.equals(Buffer.alloc(length, 'b')), `${length} bytes`)
  }
})

test('a page that is refused is told with what the server says, and the next comes', async (t) => {
  const connection = await openConnection(t)
  await assert.rejects(connection.get('/none', 'b'), /404 none/)
  assert.equal((await connection.get('/3', 'c')).body.toString(), 'ccc')
})

test('a reply without a length is refused', async (t) => {
  const connection = await openConnection(t)
  await assert.rejects(connection.get('/unframed', 'b'), /without Content-Length/)
})
