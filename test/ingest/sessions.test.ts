import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Refusal } from '../../src/contracts/errors.ts'
import { limits } from '../../src/limits.ts'
import { tester, testerOf } from '../support/actors.ts'
import { openIngest, testRecords } from '../support/ingest.ts'

function conflict(status: string) {
  return (error: unknown) =>
    error instanceof Refusal &&
    error.code === 'SESSION_STATE_CONFLICT' &&
    error.detail.fields?.status === status
}

test('a paused session refuses uploads with its state and takes them again once resumed', async (t) => {
  const ingest = await openIngest(t)
  const session = await ingest.sessions.start(tester, { sessionType: 'telemetry' })
  await ingest.upload(session, { records: testRecords(5) })
  assert.equal((await ingest.sessions.pause(tester, session.id)).status, 'paused')
  await assert.rejects(ingest.upload(session, { records: testRecords(5) }), conflict('paused'))
  await assert.rejects(ingest.sessions.pause(tester, session.id), conflict('paused'))
  assert.equal((await ingest.sessions.resume(tester, session.id)).status, 'active')
  await ingest.upload(session, { records: testRecords(5) })
  const ended = await ingest.sessions.end(tester, session.id, {})
  assert.equal(ended.atomsCreated, 10)
  await assert.rejects(ingest.sessions.resume(tester, session.id), conflict('completed'))
})

test('ends at once, and again, give the same final row', async (t) => {
  const ingest = await openIngest(t)
  const session = await ingest.sessions.start(tester, { sessionType: 'telemetry' })
  await ingest.upload(session, { records: testRecords(50) })
  const ends = await Promise.all([
    ingest.sessions.end(tester, session.id, {}),
    ingest.sessions.end(tester, session.id, {}),
    ingest.sessions.end(tester, session.id, {}),
  ])
  ends.push(await ingest.sessions.end(tester, session.id, {}))
  for (const row of ends) {
    assert.equal(row.status, 'completed')
    assert.equal(row.atomsCreated, 50)
    assert.equal(row.endedAtMs, ends[0]?.endedAtMs)
    assert.deepEqual(row.chain, ends[0]?.chain)
  }
  const events = ingest.store.events.ofSession(0, session.number, 0, 100)
  assert.equal(events.filter(({ name }) => name === 'session-completed').length, 1)
  await assert.rejects(ingest.upload(session, { records: testRecords(1) }), conflict('completed'))
})

test('cancel works off what a 200 was given for, then nothing more is taken', async (t) => {
  const ingest = await openIngest(t)
  const session = await ingest.sessions.start(tester, { sessionType: 'telemetry' })
  await ingest.upload(session, { records: testRecords(7) })
  const cancelled = await ingest.sessions.cancel(tester, session.id)
  assert.equal(cancelled.status, 'cancelled')
  assert.equal(cancelled.atomsCreated, 7)
  assert.equal(cancelled.recordsQueued, 0)
  await assert.rejects(ingest.sessions.end(tester, session.id, {}), conflict('cancelled'))
  await assert.rejects(ingest.sessions.cancel(tester, session.id), conflict('cancelled'))
})

test('an end that races uploads loses none that was acknowledged', async (t) => {
  const ingest = await openIngest(t)
  const session = await ingest.sessions.start(tester, { sessionType: 'telemetry', batchSize: 40 })
  let acknowledged = 0
  const uploads = Array.from({ length: 60 }, async (_, index) => {
    try {
      const { reply } = await ingest.upload(session, { records: testRecords(10, index * 10) })
      acknowledged += reply.recordsReceived
    } catch (error) {
      assert.ok(error instanceof Refusal && error.code === 'SESSION_STATE_CONFLICT')
    }
  })
  await uploads[20]
  const ended = await ingest.sessions.end(tester, session.id, {})
  await Promise.all(uploads)
  assert.equal(ended.status, 'completed')
  assert.equal(ended.atomsCreated, acknowledged)
  assert.equal((await ingest.readAll(ended)).length, acknowledged)
})

test('settings that belong to another type of session are refused by name', async (t) => {
  const ingest = await openIngest(t)
  await assert.rejects(
    ingest.sessions.start(tester, { sessionType: 'audio', verify: 'pixels' }),
    (error) => error instanceof Refusal && error.code === 'INVALID_BODY',
  )
  await assert.rejects(
    ingest.sessions.start(tester, { sessionType: 'video', schema: { fields: [] } }),
    (error) => error instanceof Refusal && error.code === 'INVALID_BODY',
  )
  await assert.rejects(
    ingest.sessions.start(tester, {
      sessionType: 'telemetry',
      schema: { name: 'no', version: '1' },
    }),
    (error) => error instanceof Refusal && error.code === 'SCHEMA_NOT_FOUND',
  )
})

test('a tenant may have so many open sessions, and one that ends makes room', async (t) => {
  const ingest = await openIngest(t)
  const start = (tenant: number) =>
    ingest.sessions.start(testerOf(tenant), { sessionType: 'telemetry' })
  const [first] = await Promise.all(Array.from({ length: limits.openSessionsMax }, () => start(1)))
  const isFull = (error: unknown) =>
    error instanceof Refusal && error.code === 'SESSION_LIMIT_REACHED'
  await assert.rejects(start(1), isFull)
  await start(2)
  await ingest.sessions.end(testerOf(1), first?.id ?? '', {})
  await start(1)
  await assert.rejects(start(1), isFull)
})

test('of a pause and an end in one commit each is told its own result', async (t) => {
  const ingest = await openIngest(t)
  const session = await ingest.sessions.start(tester, { sessionType: 'telemetry' })
  const [paused, ended] = await Promise.all([
    ingest.sessions.pause(tester, session.id),
    ingest.sessions.end(tester, session.id, {}),
  ])
  assert.deepEqual([paused.status, ended.status], ['paused', 'completed'])
})
