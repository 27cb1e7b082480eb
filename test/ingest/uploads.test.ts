import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { test } from 'node:test'
import { Refusal } from '../../src/contracts/errors.ts'
import { tester } from '../support/actors.ts'
import { openIngest, type TestRecord, testRecords } from '../support/ingest.ts'

test('uploads smaller than a batch are queued, the one that fills it waits for all of it', async (t) => {
  const ingest = await openIngest(t)
  const session = await ingest.sessions.start(tester, {
    sessionType: 'telemetry',
    batchSize: 1_000,
  })
  const sent = testRecords(1_000)
  const first = await ingest.upload(session, { records: sent.slice(0, 600) })
  assert.equal(first.status, 200)
  assert.equal(first.reply.recordsQueued, 600)
  assert.equal(first.reply.recordsProcessed, 0)
  assert.equal(first.reply.batchId, 'batch-001')
  assert.equal(ingest.row(session).recordsQueued, 600)

  const second = await ingest.upload(session, { records: sent.slice(600) })
  assert.equal(second.reply.recordsProcessed, 400)
  assert.equal(second.reply.recordsQueued, 0)
  assert.equal(second.reply.batchId, 'batch-001')
  const row = ingest.row(session)
  assert.equal(row.recordsReceived, 1_000)
  assert.equal(row.atomsCreated, 1_000)
  assert.equal(row.recordsQueued, 0)
  assert.equal(row.batchesReceived, 1)
  assert.deepEqual(ingest.store.journal.pending(), [])
  assert.equal(ingest.store.atoms.list(session.number, 0, 10).length, 1, 'a batch is one block')
  assert.deepEqual(await ingest.readAll(session), sent)
})

test('a batch of many uploads has the bytes of the same records sent at once', async (t) => {
  const ingest = await openIngest(t)
  const sent = testRecords(900)
  const many = await ingest.sessions.start(tester, { sessionType: 'telemetry', batchSize: 900 })
  for (let at = 0; at < 900; at += 90) {
    await ingest.upload(many, { records: sent.slice(at, at + 90) })
  }
  const once = await ingest.sessions.start(tester, { sessionType: 'telemetry', batchSize: 900 })
  await ingest.upload(once, { records: sent })
  const [fromMany] = ingest.store.atoms.list(many.number, 0, 1)
  const [fromOnce] = ingest.store.atoms.list(once.number, 0, 1)
  assert.deepEqual(fromMany?.hash, fromOnce?.hash)
  const expected = createHash('sha256')
    .update(Buffer.alloc(32))
    .update(fromOnce?.hash ?? '')
    .digest()
  assert.deepEqual(Buffer.from(ingest.row(once).chain), expected)
})

test('an upload that would take a batch past 10,000 records closes it first', async (t) => {
  const ingest = await openIngest(t)
  const session = await ingest.sessions.start(tester, {
    sessionType: 'telemetry',
    batchSize: 10_000,
    // One at a time, so that batches are committed in the order of their closing.
    maxConcurrentBatches: 1,
  })
  const sent = testRecords(15_000)
  await ingest.upload(session, { records: sent.slice(0, 7_000) })
  const second = await ingest.upload(session, { records: sent.slice(7_000) })
  assert.equal(second.reply.batchId, 'batch-002')
  assert.equal(second.reply.recordsQueued, 8_000)
  const ended = await ingest.sessions.end(tester, session.id, {})
  assert.equal(ended.batchesReceived, 2)
  assert.equal(ended.atomsCreated, 15_000)
  assert.deepEqual(await ingest.readAll(ended), sent)
})

test('a batch closes by itself after its delay', async (t) => {
  const ingest = await openIngest(t)
  const session = await ingest.sessions.start(tester, {
    sessionType: 'telemetry',
    maxBatchDelayMs: 50,
  })
  const processed = new Promise<void>((resolve) => {
    ingest.hub.subscribe({
      tenant: 0,
      session: session.number,
      after: 0,
      deliver: (events) => {
        if (events.some((event) => event.name === 'batch-processed')) resolve()
        return true
      },
      onEnd: () => undefined,
    })
  })
  const reply = await ingest.upload(session, { records: testRecords(3) })
  assert.equal(reply.reply.recordsQueued, 3)
  await processed
  assert.equal(ingest.row(session).atomsCreated, 3)
})

test('uploads enter in the order of their bodies, though the first takes longest to decode', async (t) => {
  const ingest = await openIngest(t)
  const session = await ingest.sessions.start(tester, {
    sessionType: 'telemetry',
    batchSize: 10_000,
  })
  const sent = testRecords(9_050)
  const replies = [ingest.upload(session, { records: sent.slice(0, 9_000) })]
  for (let at = 9_000; at < 9_050; at += 1) {
    replies.push(ingest.upload(session, { records: [sent[at]] }))
  }
  await Promise.all(replies)
  const ended = await ingest.sessions.end(tester, session.id, {})
  assert.deepEqual(await ingest.readAll(ended), sent)
})

test('what is queued when the process goes becomes atoms in the next one, once', async (t) => {
  const ingest = await openIngest(t)
  const session = await ingest.sessions.start(tester, { sessionType: 'telemetry', batchSize: 500 })
  const sent = testRecords(700)
  for (let at = 0; at < 700; at += 100) {
    await ingest.upload(session, { records: sent.slice(at, at + 100) })
  }
  assert.equal(ingest.row(session).recordsQueued, 200)
  await ingest.close()

  const next = await openIngest(t, { path: ingest.path })
  next.sessions.recover()
  const ended = await next.sessions.end(tester, session.id, {})
  assert.equal(ended.status, 'completed')
  assert.equal(ended.atomsCreated, 700)
  assert.equal(ended.recordsQueued, 0)
  assert.equal(ended.batchesReceived, 2)
  assert.deepEqual(await next.readAll(ended), sent)
})

test('a full store refuses with 507, keeps nothing of the upload, and everything acknowledged', async (t) => {
  const ingest = await openIngest(t, { maxBytes: 4 << 20 })
  const session = await ingest.sessions.start(tester, {
    sessionType: 'telemetry',
    batchSize: 10_000,
  })
  let acknowledged = 0
  let refusal: unknown
  for (let upload = 0; upload < 100 && refusal === undefined; upload += 1) {
    try {
      await ingest.upload(session, { records: bulkyRecords(10_000, upload * 10_000) })
      acknowledged += 10_000
    } catch (error) {
      refusal = error
    }
  }
  assert.ok(refusal instanceof Refusal)
  assert.equal(refusal.code, 'STORE_FULL')
  assert.ok(acknowledged > 0)
  const row = ingest.row(session)
  assert.equal(row.recordsReceived, acknowledged)
  assert.equal(row.atomsCreated, acknowledged)
  assert.equal(row.recordsQueued, 0)
  assert.deepEqual(await ingest.readAll(session), bulkyRecords(acknowledged))
})

/** Of values that a page keeps as they are. */
function bulkyRecords(count: number, first = 0): TestRecord[] {
  return testRecords(count, first).map(({ timestamp }, index) => ({
    timestamp,
    values: { temperature: Math.sqrt(first + index) },
  }))
}

test('a batch closes before its pages would take more memory than a merge may', async (t) => {
  const ingest = await openIngest(t)
  const session = await ingest.sessions.start(tester, {
    sessionType: 'telemetry',
    batchSize: 10_000,
  })
  const text = 'x'.repeat(64_000)
  const records = testRecords(300).map((record) => ({ ...record, values: { text } }))
  const first = await ingest.upload(session, { records })
  const second = await ingest.upload(session, { records })
  assert.deepEqual([first.reply.batchId, second.reply.batchId], ['batch-001', 'batch-002'])
  const ended = await ingest.sessions.end(tester, session.id, {})
  assert.equal(ended.atomsCreated, 600)
})

test('a batch closes before it has more columns than a merge may build', async (t) => {
  const ingest = await openIngest(t)
  const session = await ingest.sessions.start(tester, {
    sessionType: 'telemetry',
    batchSize: 10_000,
  })
  const names: string[] = []
  for (let upload = 0; upload < 70; upload += 1) {
    const fields = Array.from({ length: 1_000 }, (_, field) => [`f${upload}-${field}`, field])
    const record = { timestamp: 0, values: Object.fromEntries(fields) }
    const { reply } = await ingest.upload(session, { records: [record] })
    names.push(reply.batchId)
  }
  assert.equal(names[0], 'batch-001')
  assert.equal(names[64], 'batch-001')
  assert.equal(names[65], 'batch-002')
  assert.equal((await ingest.sessions.end(tester, session.id, {})).atomsCreated, 70)
})
