import assert from 'node:assert/strict'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import type { StoredEvent } from '../../src/contracts/events.ts'
import { limits } from '../../src/limits.ts'
import type { SessionRow } from '../../src/store/interfaces.ts'
import { openStore } from '../../src/store/store.ts'
import { verifyStore } from '../../src/store/verification.ts'
import { newJob } from '../store/fixtures.ts'
import { tester, testerOf } from '../support/actors.ts'
import { FakeClock } from '../support/fake-clock.ts'
import { openIngest, testRecords } from '../support/ingest.ts'
import { jpegFrame } from '../support/media.ts'
import { hourMs, newRetention, retain } from '../support/retention.ts'
import { makeRichStore } from '../support/rich-store.ts'
import { startServer, temporaryFolder } from '../support/server.ts'
import { assertSound } from '../support/soundness.ts'
import { eventually } from '../support/waiting.ts'

type Ingest = Awaited<ReturnType<typeof openIngest>>

async function open(t: TestContext) {
  const clock = new FakeClock()
  return { clock, ingest: await openIngest(t, { clock }) }
}

/** A telemetry session whose every upload of ten records is a batch. */
function start(ingest: Ingest, tenant = 0): Promise<SessionRow> {
  return ingest.sessions.start(testerOf(tenant), { sessionType: 'telemetry', batchSize: 10 })
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
  await ingest.sessions.end(testerOf(1), one.id, {})
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
  assert.deepEqual(store.sessions.list(1, {}, 10, null).rows, [store.sessions.get(fresh.number)])
  assert.deepEqual(store.atoms.list(one.number, 0, 1), [])
  assert.equal(store.blobs.has(1, hash), false)
  assert.equal(store.jobs.find(1, 'job-old'), null)
  assert.deepEqual(
    eventsOf(ingest, 1).map(({ name, session }) => [name, session]),
    [
      ['session-started', fresh.number],
      ['user.activity', null],
    ],
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
    const session = await ingest.sessions.start(tester, { sessionType: 'video', batchSize: 1 })
    const timestamp = '2025-01-20T10:30:00.000Z'
    const imageData = Buffer.from(image).toString('base64')
    const frame = { frameNumber: 0, timestamp, imageData, format: 'jpeg', width: 64, height: 48 }
    await ingest.upload(session, { frames: [frame] })
    return ingest.sessions.end(tester, session.id, {})
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

test('what is queued stays while its session is open, and becomes atoms', async (t) => {
  const { clock, ingest } = await open(t)
  const { store, path } = ingest
  const session = await ingest.sessions.start(tester, {
    sessionType: 'telemetry',
    maxBatchDelayMs: limits.batchDelayMsMax,
  })
  await ingest.upload(session, { records: testRecords(7) })
  await retain(store, clock.now() + 1_000 * hourMs, { hours: 1, bytes: 1 })
  assert.equal(store.events.first(0), store.events.last(0) + 1, 'no event is left')
  assert.equal(ingest.row(session).recordsQueued, 7)
  await assertSound(path)
  const row = await ingest.sessions.end(tester, session.id, {})
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
  assert.equal(store.jobs.list(0, {}, 10, null).rows.length, 1, 'its upload waits in the journal')
  const [letter] = store.deadLetters.list(3, {}, 10, null).rows
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
    async () => (ingest.store.events.first(0) === 3 ? true : undefined),
    'its start and who started it to go',
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
