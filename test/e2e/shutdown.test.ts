import assert from 'node:assert/strict'
import { connect } from 'node:net'
import { test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { freePort } from '../support/free-port.ts'
import { startServer, temporaryFolder } from '../support/server.ts'
import { openEvents } from '../support/sse.ts'
import { within } from '../support/waiting.ts'
import { openSocket } from '../support/websocket.ts'

function records(count: number, first = 0): unknown[] {
  return Array.from({ length: count }, (_, index) => ({
    timestamp: new Date(Date.UTC(2025, 0, 20) + first + index).toISOString(),
    values: { n: first + index },
  }))
}

/** Whether something takes connections there. */
function takesConnections(url: string): Promise<boolean> {
  const { hostname, port } = new URL(url)
  return new Promise((resolve) => {
    const socket = connect({ host: hostname, port: Number(port) })
    socket.once('connect', () => {
      socket.destroy()
      resolve(true)
    })
    socket.once('error', () => resolve(false))
  })
}

test('SIGTERM lets open requests finish, tells subscribers and exits 0', async (t) => {
  const dataDir = await temporaryFolder(t)
  const server = await startServer(t, { dataDir })
  const { client } = server
  const hourMs = 3_600_000
  const session = await client.start({ sessionType: 'telemetry', maxBatchDelayMs: hourMs })
  await client.upload(session.sessionId, { records: records(5) })
  const reader = await openEvents(session.sseUrl, client.headers)
  await reader.event('session-started')
  const socket = await openSocket(session.websocketUrl, client.headers)
  await socket.message('session-started')

  // A body that is on its way when the signal comes: half is sent before, half after it.
  const body = Buffer.from(JSON.stringify({ records: records(5_000, 5) }))
  const half = body.length >> 1
  async function* slowly(): AsyncGenerator<Uint8Array> {
    yield body.subarray(0, half)
    await delay(300)
    yield body.subarray(half)
  }
  const upload = client.uploadBytes(session.sessionId, slowly())
  await delay(150)
  const stopped = server.stop()
  assert.equal((await upload).recordsReceived, 5_000)
  const exit = await stopped
  assert.deepEqual({ code: exit.code, signal: exit.signal }, { code: 0, signal: null })
  assert.ok(exit.afterMs < 10_000, `${exit.afterMs} ms`)
  await within(reader.ended, 'the end of the event stream')
  assert.ok(reader.comments.includes('server stops'), 'the subscriber is told why')
  assert.equal((await within(socket.closed, 'the close of the socket')).code, 1001)
  assert.equal(await takesConnections(server.url), false)

  const again = await startServer(t, { dataDir })
  const ended = await again.client.end(session.sessionId)
  assert.equal(ended.finalStatistics.totalAtomsCreated, 5_005)
  const values = (await again.client.records(session.sessionId)).map(({ values }) => values.n)
  assert.deepEqual(
    values,
    Array.from({ length: 5_005 }, (_, n) => n),
  )
  const path = new URL(session.sseUrl).pathname
  const resumed = await openEvents(`${again.url}${path}`, again.client.headers, reader.ids.at(-1))
  const events = [...reader.events.items, ...(await resumed.whole())]
  assert.equal(new Set(events.map(({ id }) => id)).size, events.length)
  assert.equal(events.at(-1)?.name, 'session-completed')
})

test('an idle server stops at once and leaves its port to the next', async (t) => {
  const dataDir = await temporaryFolder(t)
  const env = { ATOMSTREAM_PORT: `${await freePort()}` }
  const first = await startServer(t, { dataDir, env })
  assert.equal((await first.client.get('/health')).status, 200)
  const exit = await first.stop()
  assert.equal(exit.code, 0)
  assert.ok(exit.afterMs < 5_000, `${exit.afterMs} ms`)
  const second = await startServer(t, { dataDir, env })
  assert.equal(second.url, first.url)
  assert.equal((await second.client.get('/health')).status, 200)
})

test('a folder that one server works on is refused to a second', async (t) => {
  const first = await startServer(t)
  await assert.rejects(startServer(t, { dataDir: first.dataDir }), /the server ended/)
  assert.equal((await first.client.get('/health')).status, 200)
})
