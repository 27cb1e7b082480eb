import assert from 'node:assert/strict'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { setImmediate } from 'node:timers/promises'
import type { StoredEvent } from '../../src/contracts/events.ts'
import { Retention, type RetentionPolicy } from '../../src/ingest/retention.ts'
import { limits } from '../../src/limits.ts'
import { createLogger } from '../../src/log.ts'
import { createMetrics } from '../../src/metrics.ts'
import type { SessionRow, Store } from '../../src/store/interfaces.ts'
import { openStore } from '../../src/store/store.ts'
import { type Damage, damageText, verifyStore } from '../../src/store/verification.ts'
import { atomOf, blobOf, newJob, newSession } from '../store/fixtures.ts'
import { FakeClock } from '../support/fake-clock.ts'
import { openIngest, testRecords } from '../support/ingest.ts'
import { jpegFrame } from '../support/media.ts'
import { makeRichStore } from '../support/rich-store.ts'
import { startServer, temporaryFolder } from '../support/server.ts'
import { eventually, waitTimeoutMs } from '../support/waiting.ts'

type Ingest = Awaited<ReturnType<typeof openIngest>>

const hourMs = 3_600_000

function newRetention(store: Store, clock: FakeClock, policy: Partial<RetentionPolicy>): Retention {
  const services = { store, clock, log: createLogger('silent'), metrics: createMetrics() }
  return new Retention(services, { hours: 0, bytes: 0, ...policy })
}

/** One look of retention at `nowMs`, to its end. */
async function retain(
  store: Store,
  nowMs: number,
  policy: Partial<RetentionPolicy>,
): Promise<void> {
  const clock = new FakeClock(nowMs)
  const retention = newRetention(store, clock, policy)
  retention.start()
  await eventually(async () => clock.nextMs ?? undefined, 'the end of the look')
  await retention.close()
}

/** Stops retention once it has begun and before it is done. */
async function retainPartly(store: Store, clock: FakeClock, hasBegun: () => boolean) {
  const retention = newRetention(store, clock, { hours: 1 })
  retention.start()
  const deadlineMs = performance.now() + waitTimeoutMs
  while (!hasBegun() && performance.now() < deadlineMs) await setImmediate()
  await retention.close()
}

async function assertSound(path: string): Promise<void> {
  const damaged: Damage[] = []
  await verifyStore(path, { onDamage: (damage) => damaged.push(damage) })
  assert.deepEqual(damaged.map(damageText), [])
}

async function open(t: TestContext, maxBytes?: number) {
  const clock = new FakeClock()
  return { clock, ingest: await openIngest(t, { clock, ...(maxBytes ? { maxBytes } : {}) }) }
}

/** A telemetry session whose every upload of ten records is a batch. */
function start(ingest: Ingest, tenant = 0): Promise<SessionRow> {
  return ingest.sessions.start(tenant, { sessionType: 'telemetry', batchSize: 10 })
}

/** How many records a page has that begins at `seq.index`. */
async function recordsFrom(ingest: Ingest, session: SessionRow, place: string): Promise<number> {
  const cursor = Buffer.from(place).toString('base64url')
  const all = { fromMs: null, toMs: null, fields: null, limit: 1_000, format: 'ndjson' } as const
  const { bytes } = await ingest.records.read(session, { ...all, cursor })
  return Buffer.from(bytes).toString().trim().split('\n').length
}

function eventsOf(ingest: Ingest, tenant = 0): StoredEvent[] {
  return ingest.store.events.ofTenant(tenant, 0, 1_000)
}

test('what is older than it may be goes, events, atoms and blobs together', async (t) => {
  const { clock, ingest } = await open(t)
  const { store, path } = ingest
  const session = await start(ingest)
  for (const first of [0, 10, 20]) {
    const wrong = { timestamp: 'yesterday', values: { temperature: 1 } }
    await ingest.upload(session, { records: [...testRecords(10, first), wrong] })
  }
  const old = store.atoms.list(session.number, 0, 10)
  const lastOld = store.events.last(0)
  clock.advance(2 * hourMs)
  await ingest.upload(session, { records: testRecords(10, 30) })
  const chain = ingest.row(session).chain
  await retain(store, clock.now(), { hours: 3 })
  assert.equal(store.events.first(0), 1, 'nothing is that old yet')
  await retain(store, clock.now(), { hours: 1 })
  assert.deepEqual(
    eventsOf(ingest).map(({ name }) => name),
    ['progress', 'batch-received', 'batch-processed'].slice(-eventsOf(ingest).length),
  )
  assert.equal(store.events.first(0), lastOld + 1)
  assert.equal(old.length, 3)
  for (const { hash } of old) assert.equal(store.blobs.has(0, hash), false)
  const row = ingest.row(session)
  assert.deepEqual([row.atomRowsDropped, row.rejectedRowsDropped, row.atomsCreated], [3, 3, 40])
  assert.equal(row.eventsDroppedThrough, lastOld)
  assert.deepEqual(row.chain, chain)
  assert.deepEqual(store.rejected.list(session.number, 0, 10), [])
  assert.deepEqual(await ingest.readAll(row), testRecords(10, 30))
  assert.equal(await recordsFrom(ingest, row, '1.5'), 10, 'a cursor from before goes on behind it')
  await assertSound(path)
  await ingest.upload(session, { records: testRecords(10, 40) })
  const numbers = eventsOf(ingest).map(({ number }) => number)
  assert.equal(numbers[0], lastOld + 1)
  assert.deepEqual(
    numbers,
    numbers.map((_, at) => lastOld + 1 + at),
  )
  await assertSound(path)
})

test('a session that has ended goes whole with its last event, other tenants keep theirs', async (t) => {
  const { clock, ingest } = await open(t)
  const { store, path } = ingest
  const [one, other] = [await start(ingest, 1), await start(ingest, 2)]
  for (const session of [one, other]) {
    await ingest.upload(session, { records: testRecords(10) })
    await ingest.upload(session, { records: testRecords(4) }, 'a key')
  }
  await ingest.sessions.end(1, one.id, {})
  const { hash } = store.atoms.list(one.number, 0, 1)[0] ?? assert.fail('no atom')
  await store.commit((transaction) => {
    const ended = { status: 'completed', endedAtMs: clock.now(), createdAtMs: clock.now() } as const
    transaction.createJob(newJob('job-old', { session: one.number, ...ended }))
  })
  clock.advance(hourMs)
  await eventually(
    async () => (ingest.row(other).recordsQueued === 0 ? true : undefined),
    'the batch that closes by its delay',
  )
  const before = eventsOf(ingest, 2)
  // Both hold about the same: the one bound lets go of nothing, by time only what has an end goes.
  await retain(store, clock.now(), { bytes: 1_000_000 })
  assert.notEqual(store.sessions.find(1, one.id), null)
  const fresh = await start(ingest, 1)
  clock.advance(hourMs / 2)
  await retain(store, clock.now(), { hours: 1 })
  assert.equal(store.sessions.find(1, one.id), null)
  assert.deepEqual(store.sessions.list(1, {}, 10, null), [store.sessions.get(fresh.number)])
  assert.deepEqual(store.atoms.list(one.number, 0, 1), [])
  assert.equal(store.blobs.has(1, hash), false)
  assert.equal(store.jobs.find(1, 'job-old'), null)
  assert.deepEqual(
    eventsOf(ingest, 1).map(({ name, session }) => [name, session]),
    [['session-started', fresh.number]],
  )
  assert(before.length > 0)
  const kept = ingest.row(other)
  assert.deepEqual([kept.atomRowsDropped, kept.status], [1, 'active'], 'open sessions stay')
  await assertSound(path)
  assert.deepEqual(await ingest.readAll(kept), testRecords(4))
})

test('beyond its bytes a tenant loses its oldest, and no more than it has to', async (t) => {
  const { clock, ingest } = await open(t)
  const { store, path } = ingest
  const sessions = [await start(ingest, 1), await start(ingest, 2)]
  for (let batch = 0; batch < 30; batch += 1) {
    for (const session of sessions.slice(0, batch < 5 ? 2 : 1)) {
      await ingest.upload(session, { records: testRecords(10, batch * 10) })
    }
  }
  const used = (tenant: number) => store.usage().find((usage) => usage.tenant === tenant)?.bytes
  const [large = 0, small = 0] = [used(1), used(2)]
  const bytes = Math.floor(large / 2)
  assert(small < bytes)
  await retain(store, clock.now(), { bytes })
  assert.equal(used(2), small)
  const left = used(1) ?? 0
  assert(left <= bytes && left > bytes * 0.9, `${left} of ${bytes}`)
  const [row] = sessions.map((session) => ingest.row(session))
  const { atomRowsDropped = 0 } = row ?? {}
  assert(atomRowsDropped > 10 && atomRowsDropped < 20)
  assert.deepEqual(
    await ingest.readAll(row as SessionRow),
    testRecords(300 - atomRowsDropped * 10, atomRowsDropped * 10),
  )
  await assertSound(path)
})

test('bytes that two sessions share stay until the second one goes', async (t) => {
  const { clock, ingest } = await open(t)
  const { store, path } = ingest
  const image = await jpegFrame({ width: 64, height: 48, seed: 1 })
  const video = async (): Promise<SessionRow> => {
    const session = await ingest.sessions.start(0, { sessionType: 'video', batchSize: 1 })
    const timestamp = '2025-01-20T10:30:00.000Z'
    const imageData = Buffer.from(image).toString('base64')
    const frame = { frameNumber: 0, timestamp, imageData, format: 'jpeg', width: 64, height: 48 }
    await ingest.upload(session, { frames: [frame] })
    return ingest.sessions.end(0, session.id, {})
  }
  const first = await video()
  clock.advance(2 * hourMs)
  const second = await video()
  const { hash } = store.atoms.list(second.number, 0, 1)[0] ?? assert.fail('no atom')
  await retain(store, clock.now(), { hours: 1 })
  assert.equal(store.sessions.get(first.number), null)
  assert.equal(store.blobs.has(0, hash), true)
  await assertSound(path)
  clock.advance(2 * hourMs)
  await retain(store, clock.now(), { hours: 1 })
  assert.equal(store.sessions.get(second.number), null)
  assert.equal(store.blobs.has(0, hash), false)
  assert.deepEqual(store.usage(), [{ tenant: 0, bytes: 0 }])
  await assertSound(path)
})

test('the space is used again: uploads go on far beyond the bound of the store', async (t) => {
  const { clock, ingest } = await open(t, 64 << 20)
  const { store, path } = ingest
  const session = await ingest.sessions.start(0, { sessionType: 'telemetry', batchSize: 1 })
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

test('what is queued stays while its session is open, and becomes atoms', async (t) => {
  const { clock, ingest } = await open(t)
  const { store, path } = ingest
  const session = await ingest.sessions.start(0, {
    sessionType: 'telemetry',
    maxBatchDelayMs: limits.batchDelayMsMax,
  })
  await ingest.upload(session, { records: testRecords(7) })
  await retain(store, clock.now() + 1_000 * hourMs, { hours: 1, bytes: 1 })
  assert.equal(store.events.first(0), store.events.last(0) + 1, 'no event is left')
  assert.equal(ingest.row(session).recordsQueued, 7)
  await assertSound(path)
  const row = await ingest.sessions.end(0, session.id, {})
  assert.equal(row.atomsCreated, 7)
  assert.equal((await ingest.readAll(row)).length, 7)
  await assertSound(path)
})

test('of a store that holds some of everything only what may go goes', async (t) => {
  const { path, telemetry, video, ended, failed } = await makeRichStore(t, await temporaryFolder(t))
  const store = openStore({ path, durability: 'flush', maxBytes: 1 << 30 })
  t.after(() => store.close())
  await retain(store, Date.now() + 3 * hourMs, { hours: 1 })
  await assertSound(path)
  assert.equal(store.sessions.get(ended.number), null)
  for (const { number } of [telemetry, video, failed]) {
    assert.notEqual(store.sessions.get(number), null)
    assert.deepEqual(store.atoms.list(number, 0, 1), [])
  }
  const queued = store.journal.pending().map(({ session, records }) => [session, records])
  assert.deepEqual(queued, [
    [telemetry.number, 4],
    [video.number, 1],
  ])
  assert.equal(store.jobs.list(0, {}, 10, null).length, 1, 'its upload waits in the journal')
  const [letter] = store.deadLetters.list(3, {}, 10, null)
  assert.equal(letter?.session, failed.number)
  assert.equal(store.journal.batch(failed.number, 1)[0]?.records, 7)
})

test('an answer to an idempotency key goes after its time, also where all else is kept', async (t) => {
  const { clock, ingest } = await open(t)
  const session = await start(ingest)
  await ingest.upload(session, { records: testRecords(10) }, 'old')
  clock.advance(limits.idempotencyTtlMs - hourMs)
  await ingest.upload(session, { records: testRecords(10, 10) }, 'young')
  const answers = async () => {
    const { counts } = await verifyStore(ingest.path)
    return counts.idempotencyAnswers
  }
  assert.equal(await answers(), 2)
  await retain(ingest.store, clock.now() + 2 * hourMs, {})
  assert.equal(await answers(), 1)
  assert.equal(ingest.row(session).atomRows, 2)
  await assertSound(ingest.path)
})

test('a reader whose events retention has dropped is told of the gap', async (t) => {
  const { clock, ingest } = await open(t)
  const session = await start(ingest)
  await ingest.upload(session, { records: testRecords(10) })
  clock.advance(2 * hourMs)
  await ingest.upload(session, { records: testRecords(10, 10) })
  await retain(ingest.store, clock.now(), { hours: 1 })
  const first = ingest.store.events.first(0)
  const events: StoredEvent[] = []
  const subscription = ingest.hub.subscribe({
    tenant: 0,
    session: session.number,
    after: 1,
    deliver: (delivered) => {
      events.push(...delivered)
      return true
    },
    onEnd: () => {},
  })
  await eventually(async () => events.at(1), 'the gap and an event')
  subscription.close()
  assert.equal(events[0]?.name, 'gap')
  const { fromEventId, toEventId } = JSON.parse(events[0]?.data ?? '') as Record<string, unknown>
  assert.deepEqual([fromEventId, toEventId], ['event_2', `event_${first - 1}`])
  assert.equal(events[1]?.number, first)
})

test('retention goes on looking, one look at a time, until it is closed', async (t) => {
  const { clock, ingest } = await open(t)
  const own = new FakeClock(clock.now())
  const retention = newRetention(ingest.store, own, { hours: 1 })
  retention.start()
  await eventually(async () => own.nextMs ?? undefined, 'the first look')
  assert.equal(own.nextMs, limits.retentionIntervalMs)
  await start(ingest)
  own.advance(2 * hourMs)
  await eventually(
    async () => (ingest.store.events.first(0) === 2 ? true : undefined),
    'the first event to go',
  )
  await retention.close()
  await retention.close()
  retention.start()
  assert.equal(own.nextMs, null)
})

test('what a server has dropped is as unknown as what never was', async (t) => {
  const server = await startServer(t, { env: { ATOMSTREAM_RETENTION_BYTES: '1' } })
  const { client } = server
  const { sessionId } = await client.start({ sessionType: 'telemetry', batchSize: 10 })
  await client.upload(sessionId, { records: testRecords(10) })
  const [atom] = await client.atoms(sessionId)
  const hash = atom?.hash ?? '0'.repeat(64)
  await client.end(sessionId)
  const paths = ['status', 'records', 'atoms', 'rejected'].map((name) =>
    client.session(sessionId, name),
  )
  await eventually(async () => {
    const { status } = await client.get(client.session(sessionId, 'status'))
    return status === 404 ? true : undefined
  }, 'the end of the session')
  for (const path of paths) (await client.get(path)).refused(404, 'SESSION_NOT_FOUND')
  for (const path of [`/api/atoms/${hash}`, `/api/atoms/${hash}/0`]) {
    const reply = await client.get(path)
    reply.refused(404, 'ATOM_NOT_FOUND')
  }
  const next = await client.start({ sessionType: 'telemetry', batchSize: 10 })
  const reply = await client.upload(next.sessionId, { records: testRecords(10) })
  assert.equal(reply.recordsProcessed, 10)
  await server.stop()
  await assertSound(join(server.dataDir, 'store'))
})
