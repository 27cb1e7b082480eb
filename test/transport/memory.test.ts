import assert from 'node:assert/strict'
import { once } from 'node:events'
import { type TestContext, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { WebSocket } from 'ws'
import { limits } from '../../src/limits.ts'
import { MemoryGauge, memoryBudgets } from '../../src/memory.ts'
import { BodyBudget } from '../../src/transport/body.ts'
import { RateLimiter } from '../../src/transport/rate-limit.ts'
import { tester } from '../support/actors.ts'
import { TestSocket } from '../support/websocket.ts'
import { bearer, echoRoutes, openDoor, ownKey, rawConnection } from './door.ts'

const MiB = 1024 * 1024
const json = { 'Content-Type': 'application/json' }

/** A door whose process seems to use as much memory as the test says. */
async function openMeasured(t: TestContext, routes = true) {
  const used = { bytes: 0 }
  const measure = () => used.bytes
  const door = await openDoor(t, {
    ...(routes ? { routes: echoRoutes } : {}),
    memory: { bytesMax: 1_000, intervalMs: 5, measure },
  })
  return { ...door, used }
}

const uploadHead = (bytes: number, more = ''): string =>
  `POST /upload HTTP/1.1\r\nHost: a\r\nX-API-Key: ${ownKey}\r\n${more}` +
  `Content-Type: application/json\r\nContent-Length: ${bytes}\r\n\r\n`

test('memory is short above the high watermark until it is below the low one', (t) => {
  let used = 0
  const gauge = new MemoryGauge({ bytesMax: 1_000, measure: () => used })
  t.after(() => gauge.close())
  const seen = [700, 751, 700, 651, 649, 700, 750, 751].map((bytes) => {
    used = bytes
    gauge.sample()
    return gauge.isShort
  })
  assert.deepEqual(seen, [false, true, true, true, false, false, false, true])
})

test('what the gauge measures grows with what the process takes', (t) => {
  const samples: number[] = []
  const gauge = new MemoryGauge({ bytesMax: MiB, onSample: (bytes) => samples.push(bytes) })
  t.after(() => gauge.close())
  gauge.sample()
  const filler = Buffer.alloc(64 * MiB, 1)
  gauge.sample()
  const [before = 0, after = 0] = samples
  assert.ok(after - before > filler.length / 2, `${before} to ${after}`)
  assert.equal(gauge.isShort, true)
})

test('every budget is a share of the memory, at most what it ever was', () => {
  const large = memoryBudgets(1_000_000)
  assert.equal(large.bodiesBytesMax, limits.bodiesInFlightBytesMax)
  assert.equal(large.repliesBytesMax, limits.repliesInFlightBytesMax)
  assert.equal(large.commitQueueBytesMax, limits.commitQueueBytesMax)
  assert.equal(large.bodyBytesMax, limits.inflatedBodyBytesMax)
  const small = memoryBudgets(384)
  assert.deepEqual(small, {
    bodyBytesMax: 24 * MiB,
    bodiesBytesMax: 60 * MiB,
    repliesBytesMax: 48 * MiB,
    commitQueueBytesMax: 48 * MiB,
  })
})

test('while memory is short uploads are refused by their heads, all but a lone one', async (t) => {
  const { port, url, used } = await openMeasured(t)
  const first = await rawConnection(t, port)
  first.socket.write(uploadHead(10))
  used.bytes = 800
  await delay(50)
  const second = await rawConnection(t, port)
  second.socket.write(uploadHead(1_000))
  assert.match(await second.until('SATURATED'), /^HTTP\/1\.1 503 [\s\S]*Retry-After: 1\r\n/)
  // What is no upload goes on.
  const other = await fetch(`${url}/things/1`, { headers: bearer() })
  assert.equal(other.status, 200)
  first.socket.write('0123456789')
  assert.match(await first.until('"bytes":10'), /^HTTP\/1\.1 200 /)
  const alone = await fetch(`${url}/upload`, {
    method: 'POST',
    headers: { ...bearer(), ...json },
    body: 'x',
  })
  assert.equal(alone.status, 200)
  used.bytes = 0
  await delay(50)
  const third = await rawConnection(t, port)
  third.socket.write(uploadHead(10))
  const fourth = await rawConnection(t, port)
  fourth.socket.write(`${uploadHead(3)}abc`)
  assert.match(await fourth.until('"bytes":3'), /^HTTP\/1\.1 200 /)
})

test('while memory is short WebSocket messages are rejected, and flow is told', async (t) => {
  const { port, used, sessions } = await openMeasured(t, false)
  const session = await sessions.start(tester, { sessionType: 'telemetry' })
  const path = `/api/streaming/sessions/${session.id}`
  const upload = await rawConnection(t, port)
  upload.socket.write(uploadHead(10).replace('/upload', `${path}/upload`))
  const socket = new WebSocket(`ws://127.0.0.1:${port}${path}/ws`, { headers: bearer() })
  t.after(() => socket.terminate())
  const tested = new TestSocket(socket)
  await once(socket, 'open')
  used.bytes = 800
  await delay(50)
  const records = [{ timestamp: Date.UTC(2025, 0, 20), values: { a: 1 } }]
  tested.send({ type: 'telemetry', id: 'a', records })
  const answer = await tested.answer('a')
  assert.equal(answer.type, 'rejected')
  assert.equal(answer.code, 'SATURATED')
  assert.equal((await tested.message('flow')).state, 'slow')
  used.bytes = 0
  await delay(50)
  const accepted = await tested.upload({ type: 'telemetry', id: 'b', records } as { id: string })
  assert.equal(accepted.type, 'ack')
  assert.equal((await tested.messages.waitFor(({ state }) => state === 'go', 'go')).type, 'flow')
})

test('bodies that would not fit beside those that come are refused by their heads', async (t) => {
  const { port } = await openDoor(t, {
    routes: echoRoutes,
    config: { memoryMaxMiB: 384, uploadBytesMax: 24 * MiB },
  })
  const bytes = 24 * MiB
  const coming = await Promise.all([1, 2].map(() => rawConnection(t, port)))
  for (const { socket } of coming) socket.write(uploadHead(bytes))
  await delay(20)
  const third = await rawConnection(t, port)
  third.socket.write(uploadHead(bytes))
  assert.match(await third.until('SATURATED'), /^HTTP\/1\.1 503 /)
  // A length that nothing follows gives its room back.
  const deadlineMs = performance.now() + 10_000
  for (;;) {
    const again = await rawConnection(t, port)
    again.socket.write(uploadHead(bytes))
    again.socket.write(Buffer.alloc(bytes, ' '))
    if (/^HTTP\/1\.1 200 /.test(await again.until('\r\n\r\n'))) break
    assert.ok(performance.now() < deadlineMs, 'the claims end')
    await delay(100)
  }
})

test('the more is refused, the longer its senders shall stay away', () => {
  const budget = new BodyBudget({ bytesMax: 10 * MiB })
  budget.lease().claim(8 * MiB)
  const waits = Array.from({ length: 100 }, () => {
    try {
      budget.lease().claim(8 * MiB)
    } catch (error) {
      return (error as { detail: { fields: { retryAfter: number } } }).detail.fields.retryAfter
    }
    return 0
  })
  assert.equal(waits[0], 1)
  assert.equal(waits.at(-1), limits.retryAfterSMax)
  assert.ok(waits.every((wait, index) => index === 0 || wait >= (waits[index - 1] ?? 0)))
})

test('a lease uses its claim first and gives back what it has not used', () => {
  const budget = new BodyBudget({ bytesMax: 100 })
  const first = budget.lease()
  first.claim(80)
  first.grow(50)
  const second = budget.lease()
  assert.throws(() => second.grow(30), { code: 'SATURATED' })
  first.unclaim()
  second.grow(50)
  assert.throws(() => first.grow(1), { code: 'SATURATED' })
  first.release()
  first.release()
  second.release()
  budget.lease().claim(100)
})

test('an address costs the limiter the same when it is full as when it is empty', () => {
  const limiter = new RateLimiter(1_000, 1_000, 50_000)
  const count = (first: number, nowMs: number): void => {
    for (let index = 0; index < 50_000; index++) limiter.count(`${first + index}`, nowMs)
  }
  count(0, 0)
  // A sweep for each of these would take minutes.
  count(50_000, 500)
  count(100_000, 2_000)
  assert.equal(limiter.count('100000', 2_000)?.remaining, 998)
})
