import assert from 'node:assert/strict'
import { test } from 'node:test'
import { limits } from '../../src/limits.ts'
import { openStore } from '../../src/store/store.ts'
import { atomOf, blobOf, newSession } from '../store/fixtures.ts'
import { tester } from '../support/actors.ts'
import { FakeClock } from '../support/fake-clock.ts'
import { openIngest } from '../support/ingest.ts'
import { hourMs, newRetention, retain, retainPartly } from '../support/retention.ts'
import { temporaryFolder } from '../support/server.ts'
import { assertSound } from '../support/soundness.ts'
import { eventually } from '../support/waiting.ts'

test('the space is used again: uploads go on far beyond the bound of the store', async (t) => {
  const clock = new FakeClock()
  const ingest = await openIngest(t, { clock, maxBytes: 64 << 20 })
  const { store, path } = ingest
  const session = await ingest.sessions.start(tester, { sessionType: 'telemetry', batchSize: 1 })
  const retention = newRetention(store, clock, { bytes: 24 << 20 })
  t.after(() => retention.close())
  retention.start()
  const payload = 'x'.repeat(60_000)
  let sentBytes = 0
  for (let upload = 0; sentBytes < 160 << 20; upload += 1) {
    const records = Array.from({ length: 64 }, (_, at) => ({
      timestamp: upload * 64 + at,
      values: { payload: `${upload} ${at} ${payload}` },
    }))
    const { status } = await ingest.upload(session, { records })
    assert.equal(status, 200)
    sentBytes += records.length * payload.length
    clock.advance(limits.retentionIntervalMs)
    await eventually(async () => {
      const [usage] = store.usage()
      return (usage?.bytes ?? 0) <= 24 << 20 ? true : undefined
    }, 'the bytes below the bound')
  }
  await retention.close()
  assert(ingest.row(session).atomRowsDropped > 30)
  assert(store.statistics().usedBytes < 40 << 20)
  await assertSound(path)
})

test('a stop in the middle of a large session is made good by the next start', async (t) => {
  const path = await temporaryFolder(t)
  const rows = 8 * limits.retentionUnitRows
  const openAgain = () => openStore({ path, durability: 'flush', maxBytes: 1 << 30 })
  const nowMs = Date.now()
  let store = openAgain()
  const session = await store.commit((transaction) => {
    const created = newSession('stream-session-large', { type: 'video', nextBatch: 2 })
    const row = transaction.session(transaction.createSession(created).number)
    for (let at = 0; at < rows; at += 1) {
      const { bytes, hash } = blobOf(`blob ${at}`)
      transaction.putBlob(row.tenant, hash, bytes)
      transaction.appendAtom(row, atomOf(hash, 1))
    }
    row.recordsReceived = rows
    row.recordsProcessed = rows
    row.status = 'completed'
    row.endedAtMs = nowMs
    row.final = { ...row, recordsReceived: rows, batchesReceived: 1 }
    transaction.appendEvent(row.tenant, row.number, 'session-completed', {})
    return row
  })
  await assertSound(path)
  const clock = new FakeClock(nowMs + 2 * hourMs)
  await retainPartly(store, clock, () => store.sessions.dropping().length > 0)
  const [half] = store.sessions.dropping()
  assert.equal(half?.number, session.number)
  assert((half?.atomRowsDropped ?? rows) < rows)
  assert.equal(store.sessions.get(session.number), null)
  assert.equal(store.events.first(1), 1, 'its event waits for the last of it')
  await store.close()
  await assertSound(path)
  store = openAgain()
  t.after(() => store.close())
  // Also where nothing is to be dropped by now.
  await retain(store, nowMs, {})
  assert.deepEqual(store.sessions.dropping(), [])
  await assertSound(path)
  await retain(store, clock.now(), { hours: 1 })
  assert.deepEqual(store.usage(), [{ tenant: 1, bytes: 0 }])
  assert.deepEqual([store.events.first(1), store.events.last(1)], [2, 1])
  await assertSound(path)
})

test('a batch of more rows than one transaction drops goes in steps, its event with the last', async (t) => {
  const path = await temporaryFolder(t)
  const store = openStore({ path, durability: 'flush', maxBytes: 1 << 30 })
  t.after(() => store.close())
  const rows = 8 * limits.retentionUnitRows + 7
  await store.commit((transaction) => {
    const created = newSession('stream-session-wide', { type: 'video', nextBatch: 2 })
    const row = transaction.session(transaction.createSession(created).number)
    const { bytes, hash } = blobOf('the same')
    for (let at = 0; at < rows; at += 1) {
      transaction.putBlob(row.tenant, hash, bytes)
      transaction.appendAtom(row, atomOf(hash, 1))
    }
    row.recordsReceived = rows
    row.recordsProcessed = rows
    transaction.appendEvent(row.tenant, row.number, 'batch-processed', { batchId: 'batch-001' })
  })
  const clock = new FakeClock(Date.now() + 2 * hourMs)
  const dropped = () => store.sessions.get(1)?.atomRowsDropped ?? 0
  await retainPartly(store, clock, () => dropped() > 0)
  assert(dropped() < rows)
  assert.equal(store.events.first(1), 1)
  await assertSound(path)
  await retain(store, clock.now(), { hours: 1 })
  assert.equal(dropped(), rows)
  assert.equal(store.events.first(1), 2)
  await assertSound(path)
})
