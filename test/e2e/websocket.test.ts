import assert from 'node:assert/strict'
import { test } from 'node:test'
import { UploadReply } from '../../src/contracts/http.ts'
import { conforming } from '../support/client.ts'
import { clipFrames } from '../support/data.ts'
import { startServer } from '../support/server.ts'
import { eventNumber, openEvents } from '../support/sse.ts'
import { eventually, within } from '../support/waiting.ts'
import { openSocket, refusedUpgrade, type SocketMessage } from '../support/websocket.ts'

function records(count: number, first = 0): unknown[] {
  return Array.from({ length: count }, (_, index) => ({
    timestamp: new Date(Date.UTC(2025, 0, 20) + first + index).toISOString(),
    values: { n: first + index },
  }))
}

test('a sender over a WebSocket gets acks, events and an end', async (t) => {
  const { client } = await startServer(t)
  const session = await client.start({ sessionType: 'telemetry', batchSize: 10 })
  const socket = await openSocket(session.websocketUrl, client.headers)

  await t.test('each message gets the upload reply as its ack', async () => {
    const first = await socket.upload({
      type: 'telemetry',
      id: 'one',
      records: records(4),
    } as Named)
    const second = await socket.upload({
      type: 'telemetry',
      id: 2,
      records: records(6, 4),
    } as Named)
    assert.equal(first.type, 'ack')
    conforming(UploadReply, first)
    assert.equal(first.recordsQueued, 4)
    assert.equal(second.recordsProcessed, 6)
    assert.equal(second.batchId, first.batchId)
  })

  await t.test('a message without an id is acknowledged too', async () => {
    const seen = socket.messages.items.length
    socket.send({ type: 'telemetry', records: records(1, 10) })
    const ack = await socket.messages.waitFor(({ type }) => type === 'ack', 'the ack', {
      from: seen,
    })
    assert.equal(ack.recordsReceived, 1)
  })

  await t.test('what is wrong is rejected with the body of the error', async () => {
    const wrong = { type: 'telemetry', id: 'bad', records: [{ timestamp: 'now', values: {} }] }
    const rejected = await socket.upload(wrong as Named)
    assert.equal(rejected.type, 'rejected')
    assert.equal(rejected.code, 'INVALID_RECORDS')
    assert.equal(rejected.error, 'Invalid data format')
    assert.ok(Array.isArray(rejected.invalidRecords))
    const unknown = await socket.upload({ type: 'tele', id: 'unknown' } as Named)
    assert.equal(unknown.type, 'rejected')
    const foreign = await socket.upload({ type: 'video', id: 'kind', frames: [] } as Named)
    assert.equal(foreign.type, 'rejected')
    const many = { type: 'telemetry', id: 'many', records: records(10_001) }
    const tooMany = await socket.upload(many as Named)
    assert.equal(tooMany.code, 'BATCH_SIZE_EXCEEDED')
    assert.equal(tooMany.receivedBatchSize, 10_001)
    const seen = socket.messages.items.length
    socket.socket.send('{"type":')
    const malformed = await socket.messages.waitFor(
      ({ type }) => type === 'rejected',
      'the refusal',
      { from: seen },
    )
    assert.equal(malformed.code, 'MALFORMED_JSON')
    const again = await socket.upload({
      type: 'telemetry',
      id: 'good',
      records: records(1, 11),
    } as Named)
    assert.equal(again.type, 'ack', 'the next good message works')
  })

  await t.test('ping gets pong', async () => {
    socket.send({ type: 'ping', id: 'p' })
    await socket.message('pong')
  })

  await t.test('end ends the session and closes the socket in order', async () => {
    socket.send({ type: 'end', id: 'end' })
    const completed = await socket.message('session-completed')
    assert.equal(completed.totalAtoms, 12)
    const { code } = await within(socket.closed, 'the close of the socket')
    assert.equal(code, 1000)
    const values = (await client.records(session.sessionId)).map((record) => record.values.n)
    assert.deepEqual(values, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11])
  })

  await t.test('its events are those of the SSE stream, named by eventId', async () => {
    const events = await (await openEvents(session.sseUrl, client.headers)).whole()
    assert.deepEqual(
      socket.events.map(({ type, eventId, ...data }) => ({ name: type, id: eventId, data })),
      events.map(({ name, id, data }) => ({ name, id, data })),
    )
  })
})

type Named = SocketMessage & { readonly id: string | number }

test('uploads that are not waited for are each acknowledged once and kept in order', async (t) => {
  const { client } = await startServer(t)
  // Batches that are processed side by side may be committed in another order.
  const session = await client.start({
    sessionType: 'telemetry',
    batchSize: 50,
    maxConcurrentBatches: 1,
  })
  const socket = await openSocket(session.websocketUrl, client.headers)
  for (let id = 0; id < 200; id += 1) {
    socket.send({ type: 'telemetry', id, records: records(5, id * 5) })
  }
  await Promise.all(Array.from({ length: 200 }, (_, id) => socket.answer(id)))
  const acks = socket.messages.items.filter(({ type }) => type === 'ack')
  assert.equal(new Set(acks.map(({ id }) => id)).size, 200)
  assert.equal(acks.length, 200)
  await client.end(session.sessionId)
  const values = (await client.records(session.sessionId)).map((record) => record.values.n)
  assert.deepEqual(
    values,
    Array.from({ length: 1_000 }, (_, n) => n),
  )
})

test('messages that come together share batches, and each is told of its own', async (t) => {
  const { client } = await startServer(t)
  const settings = { sessionType: 'telemetry', batchSize: 100, maxConcurrentBatches: 1 } as const
  const session = await client.start(settings)
  const socket = await openSocket(session.websocketUrl, client.headers)
  const wrong = 150
  const idOf = (n: number) => (n % 3 === 0 ? `m${n}` : n)
  const sent = Array.from({ length: 420 }, (_, n) => records(1 + (n % 2), 2 * n))
  for (const [n, good] of sent.entries()) {
    const bad = [{ timestamp: 'now', values: {} }]
    socket.send({ type: 'telemetry', id: idOf(n), records: n === wrong ? bad : good })
    if (n === 200) socket.send({ type: 'ping', id: 'ping' })
  }
  await socket.message('pong', 'ping')
  for (const [n, { length }] of sent.entries()) {
    const reply = await socket.answer(idOf(n))
    assert.equal(reply.type, n === wrong ? 'rejected' : 'ack', `message ${n}`)
    if (n === wrong) continue
    conforming(UploadReply, reply)
    assert.equal(reply.recordsReceived, length)
    assert.equal(Number(reply.recordsProcessed) + Number(reply.recordsQueued), length)
  }
  const answers = socket.messages.items.filter(({ type }) => type === 'ack' || type === 'rejected')
  assert.equal(answers.length, 420, 'one answer each')
  await client.end(session.sessionId)
  const stored = (await client.records(session.sessionId)).map(({ values }) => values.n)
  const expected = sent.flatMap((good, n) => (n === wrong ? [] : good))
  assert.deepEqual(
    stored,
    expected.map((record) => (record as { values: { n: number } }).values.n),
  )
  const { atoms } = (await client.get(client.session(session.sessionId, 'atoms'))).json as {
    atoms: { metadata: { recordCount: number } }[]
  }
  // Two records may fill a batch past its hundred, and those behind the wrong one, which a worker looks at,
  // cannot know how full it will be.
  for (const { metadata } of atoms) assert(metadata.recordCount <= 201, 'batches are no larger')
  assert(atoms.length >= 4)
})

test('messages that a session refuses are each told by their ids, however long', async (t) => {
  const { client } = await startServer(t)
  const session = await client.start({ sessionType: 'telemetry' })
  const socket = await openSocket(session.websocketUrl, client.headers)
  const paused = await client.raw('POST', client.session(session.sessionId, 'pause'), {})
  assert.equal(paused.status, 200)
  for (const [id, count] of [1, 100, 1_000].entries()) {
    socket.send({ type: 'telemetry', id, records: records(count) })
  }
  for (const id of [0, 1, 2]) {
    const answer = await socket.answer(id)
    assert.equal(answer.type, 'rejected')
    assert.equal(answer.code, 'SESSION_STATE_CONFLICT')
  }
})

test('frames go through a WebSocket as msgpack, byte for byte', async (t) => {
  const frames = await clipFrames(t, 3)
  const { client } = await startServer(t)
  const session = await client.start({ sessionType: 'video', batchSize: 3 })
  const socket = await openSocket(session.websocketUrl, client.headers)
  const messages = frames.map(({ bytes, width, height }, index) => ({
    frameNumber: index + 1,
    timestamp: new Date(Date.UTC(2025, 0, 20) + index * 33).toISOString(),
    imageData: bytes,
    format: 'jpeg',
    width,
    height,
  }))
  socket.sendMsgpack({ type: 'video', id: 'clip', frames: messages })
  const ack = await socket.answer('clip')
  assert.equal(ack.type, 'ack', JSON.stringify(ack))
  assert.equal(ack.recordsProcessed, 3)
  const atoms = await client.atoms(session.sessionId)
  for (const [index, { hash }] of atoms.entries()) {
    assert.deepEqual(new Uint8Array(await client.atomBytes(hash)), frames[index]?.bytes)
  }
  await socket.close()
})

test('a socket resumes after the event it names', async (t) => {
  const { client } = await startServer(t)
  const session = await client.start({ sessionType: 'telemetry', batchSize: 1 })
  const first = await openSocket(session.websocketUrl, client.headers)
  for (let n = 0; n < 4; n += 1) {
    await client.upload(session.sessionId, { records: records(1, n) })
  }
  await first.messages.waitFor(() => first.events.length >= 4, 'four events')
  await first.close()
  const seen = first.events.slice(0, 4)
  const after = `${session.websocketUrl}?lastEventId=${seen.at(-1)?.eventId}`
  const second = await openSocket(after, client.headers)
  await client.end(session.sessionId)
  await second.message('session-completed')
  const all = await (await openEvents(session.sseUrl, client.headers)).whole()
  assert.deepEqual(
    [...seen, ...second.events].map(({ eventId }) => eventId),
    all.map(({ id }) => id),
  )
  assert.ok(all.every((event) => eventNumber(event) > 0))
})

test('browsers come in by subprotocol or ticket, strangers do not', async (t) => {
  const server = await startServer(t)
  const { client } = server
  const session = await client.start({ sessionType: 'telemetry', batchSize: 1 })

  const byProtocol = await openSocket(session.websocketUrl, {}, ['bearer', server.key])
  assert.equal(byProtocol.socket.protocol, 'bearer')
  const ack = await byProtocol.upload({ type: 'telemetry', id: 1, records: records(1) } as Named)
  assert.equal(ack.type, 'ack')
  await byProtocol.close()

  const ticket = await client.ticket(new URL(session.websocketUrl).pathname)
  const byTicket = await openSocket(`${session.websocketUrl}?ticket=${ticket}`)
  await byTicket.message('session-started')
  const refused = await byTicket.upload({ type: 'telemetry', id: 2, records: records(1) } as Named)
  assert.equal(refused.type, 'rejected', 'a ticket is for reading')
  assert.equal(refused.code, 'SCOPE_MISSING')
  await byTicket.close()
  assert.equal((await client.status(session.sessionId)).statistics.totalRecordsReceived, 1)

  const url = session.websocketUrl
  const unknown = url.replace(session.sessionId, 'stream-session-unknown')
  assert.equal(await refusedUpgrade(url), 401)
  assert.equal(await refusedUpgrade(url, { authorization: 'Bearer wrong-key-wrong-key' }), 401)
  assert.equal(await refusedUpgrade(url, {}, ['bearer', 'wrong-key-wrong-key']), 401)
  assert.equal(await refusedUpgrade(`${url}?ticket=wrong`), 401)
  assert.equal(await refusedUpgrade(unknown, client.headers), 404)
  const origin = 'https://elsewhere.example'
  assert.equal(await refusedUpgrade(url, { ...client.headers, origin }), 403)
})

test('a sender that never waits gets an ack for every message, in few seconds', async (t) => {
  const { client } = await startServer(t)
  const session = await client.start({ sessionType: 'telemetry', batchSize: 1_000 })
  const socket = await openSocket(session.websocketUrl, client.headers)
  const count = 10_000
  for (let id = 0; id < count; id += 1) {
    socket.send({ type: 'telemetry', id, records: records(1, id) })
  }
  // The message that closes a batch is answered with it, which may be after the last one of all.
  const answers = await eventually(async () => {
    const answered = socket.messages.items.filter(({ id }) => id !== undefined)
    return answered.length === count ? answered : undefined
  }, 'an answer to every message')
  assert.deepEqual(
    answers.filter(({ type }) => type !== 'ack'),
    [],
  )
  assert.equal(new Set(answers.map(({ id }) => id)).size, count)
  const ended = await client.end(session.sessionId)
  assert.equal(ended.finalStatistics.totalAtomsCreated, count)
})
