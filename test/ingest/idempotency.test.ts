import assert from 'node:assert/strict'
import { mkdtemp } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { pack } from 'msgpackr'
import { Refusal } from '../../src/contracts/errors.ts'
import { limits } from '../../src/limits.ts'
import { tester } from '../support/actors.ts'
import { FakeClock } from '../support/fake-clock.ts'
import { jsonBody, openIngest, testRecords } from '../support/ingest.ts'
import { jpegFrame } from '../support/media.ts'

const conflict = (error: unknown) =>
  error instanceof Refusal && error.code === 'IDEMPOTENCY_CONFLICT'
const plain = { idempotencyKey: 'k', asJob: null }

test('the same key and body gives the first answer again and stores nothing', async (t) => {
  const ingest = await openIngest(t)
  const session = await ingest.sessions.start(tester, { sessionType: 'telemetry', batchSize: 20 })
  const body = { records: testRecords(10) }
  const queued = await ingest.upload(session, body, 'first')
  const filled = await ingest.upload(session, { records: testRecords(10, 10) }, 'second')
  assert.equal(queued.reply.recordsQueued, 10)
  assert.equal(filled.reply.recordsProcessed, 10)
  assert.deepEqual(await ingest.upload(session, body, 'first'), queued)
  assert.deepEqual(await ingest.upload(session, { records: testRecords(10, 10) }, 'second'), filled)
  const row = ingest.row(session)
  assert.equal(row.recordsReceived, 20)
  assert.equal(row.atomsCreated, 20)
  assert.equal(row.batchesReceived, 1)
})

test('the same key with another body is a conflict and stores nothing', async (t) => {
  const ingest = await openIngest(t)
  const session = await ingest.sessions.start(tester, { sessionType: 'telemetry', batchSize: 10 })
  await ingest.upload(session, { records: testRecords(10) }, 'k')
  await assert.rejects(ingest.upload(session, { records: testRecords(10, 1) }, 'k'), conflict)
  assert.equal(ingest.row(session).recordsReceived, 10)
})

test('a key belongs to its session', async (t) => {
  const ingest = await openIngest(t)
  const one = await ingest.sessions.start(tester, { sessionType: 'telemetry', batchSize: 10 })
  const other = await ingest.sessions.start(tester, { sessionType: 'telemetry', batchSize: 10 })
  await ingest.upload(one, { records: testRecords(10) }, 'k')
  await ingest.upload(other, { records: testRecords(10, 5) }, 'k')
  assert.equal(ingest.row(other).atomsCreated, 10)
})

test('while the first is under way the others wait for it and get its answer', async (t) => {
  const ingest = await openIngest(t)
  const session = await ingest.sessions.start(tester, { sessionType: 'telemetry', batchSize: 10 })
  const body = { records: testRecords(10) }
  const answers = await Promise.all(
    Array.from({ length: 12 }, () => ingest.upload(session, body, 'same')),
  )
  for (const answer of answers) assert.deepEqual(answer, answers[0])
  assert.equal(ingest.row(session).atomsCreated, 10)
  assert.equal(ingest.row(session).batchesReceived, 1)
})

test('an answer is given again after a restart, and after the end of the session', async (t) => {
  const path = await mkdtemp(join(tmpdir(), 'atomstream-ingest-'))
  const before = await openIngest(t, { path })
  const session = await before.sessions.start(tester, { sessionType: 'telemetry', batchSize: 10 })
  const body = { records: testRecords(10) }
  const first = await before.upload(session, body, 'k')
  await before.sessions.end(tester, session.id, {})
  await before.close()
  const after = await openIngest(t, { path })
  assert.deepEqual(await after.upload(session, body, 'k'), first)
  await assert.rejects(after.upload(session, { records: testRecords(9) }, 'k'), conflict)
  await assert.rejects(
    after.upload(session, body, 'another'),
    (error) => error instanceof Refusal && error.code === 'SESSION_STATE_CONFLICT',
  )
})

test('the same upload in another encoding has the same fingerprint', async (t) => {
  const ingest = await openIngest(t)
  const session = await ingest.sessions.start(tester, { sessionType: 'telemetry', batchSize: 10 })
  const body = { records: testRecords(10) }
  const first = await ingest.upload(session, body, 'k')
  const packed = new Uint8Array(pack(body))
  const again = await ingest.uploads.upload(
    session,
    { buffer: packed.buffer, byteLength: packed.byteLength, format: 'msgpack', gzip: false },
    plain,
  )
  assert.deepEqual(again, { kind: 'reply', ...first })
})

test('an upload that was refused leaves its key free', async (t) => {
  const ingest = await openIngest(t)
  const session = await ingest.sessions.start(tester, { sessionType: 'telemetry', batchSize: 10 })
  await ingest.sessions.pause(tester, session.id)
  await assert.rejects(ingest.upload(session, { records: testRecords(10) }, 'k'))
  await ingest.sessions.resume(tester, session.id)
  const { reply } = await ingest.upload(session, { records: testRecords(10, 3) }, 'k')
  assert.equal(reply.recordsProcessed, 10)
})

test('a rejected record counts to what tells uploads apart', async (t) => {
  const ingest = await openIngest(t)
  const session = await ingest.sessions.start(tester, { sessionType: 'telemetry', batchSize: 10 })
  const bad = (value: unknown) => ({ timestamp: value, values: {} })
  const body = (value: unknown) => ({ records: [...testRecords(3), bad(value)] })
  await ingest.upload(session, body('no'), 'k')
  await assert.rejects(ingest.upload(session, body('neither'), 'k'), conflict)
})

test('after 24 hours a key is forgotten, and by then its session is over too', async (t) => {
  const clock = new FakeClock()
  const ingest = await openIngest(t, { clock })
  const session = await ingest.sessions.start(tester, { sessionType: 'telemetry', batchSize: 10 })
  const body = { records: testRecords(10) }
  const first = await ingest.upload(session, body, 'k')
  clock.advance(limits.idempotencyTtlMs - 1)
  assert.deepEqual(await ingest.upload(session, body, 'k'), first)
  clock.advance(1)
  await assert.rejects(
    ingest.upload(session, body, 'k'),
    (error) => error instanceof Refusal && error.code === 'SESSION_STATE_CONFLICT',
  )
})

test('a message with a key gets the same ack again, whatever its id', async (t) => {
  const ingest = await openIngest(t)
  const session = await ingest.sessions.start(tester, { sessionType: 'telemetry', batchSize: 10 })
  const message = (id: string) =>
    jsonBody({ type: 'telemetry', id, idempotencyKey: 'k', records: testRecords(10) })
  const first = await ingest.uploads.message(session, message('a'))
  const again = await ingest.uploads.message(session, message('b'))
  assert.ok(first.kind === 'ack' && again.kind === 'ack')
  assert.equal(again.id, 'b')
  assert.deepEqual(again.reply, first.reply)
  assert.equal(ingest.row(session).recordsReceived, 10)
})

test('frames are told apart by their bytes and by their metadata', async (t) => {
  const ingest = await openIngest(t)
  const session = await ingest.sessions.start(tester, { sessionType: 'video', batchSize: 1 })
  const image = await jpegFrame({ width: 64, height: 48 })
  const imageData = Buffer.from(image).toString('base64')
  const frame = { timestamp: 0, imageData, format: 'jpeg', width: 64, height: 48 }
  const body = (frameNumber: number) => ({ frames: [{ ...frame, frameNumber }] })
  const first = await ingest.upload(session, body(1), 'k')
  assert.deepEqual(await ingest.upload(session, body(1), 'k'), first)
  await assert.rejects(ingest.upload(session, body(2), 'k'), conflict)
})
