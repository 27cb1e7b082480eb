import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { Refusal } from '../../src/contracts/errors.ts'
import { jobStatus } from '../../src/ingest/job-report.ts'
import { sessionEnded } from '../../src/ingest/session-report.ts'
import { limits } from '../../src/limits.ts'
import type { DeadLetterRow, JobRow, SessionRow } from '../../src/store/interfaces.ts'
import { newDeadLetter } from '../store/fixtures.ts'
import { tester, testerOf } from '../support/actors.ts'
import { faultyWorkers, poisonRecord } from '../support/faults.ts'
import { openIngest, testRecords } from '../support/ingest.ts'
import { jpegFrame } from '../support/media.ts'
import { eventually } from '../support/waiting.ts'

type Ingest = Awaited<ReturnType<typeof openIngest>>

const retry = { maxRetries: 1, retryDelayMs: 0, retryBackoffMultiplier: 1 }
const notFound = (error: unknown) =>
  error instanceof Refusal && error.code === 'DEAD_LETTER_NOT_FOUND'

async function openFaulty(t: TestContext): Promise<Ingest> {
  return openIngest(t, { workerFile: (await faultyWorkers(t)).workerFile })
}

/** A session with one dead letter of four records; it fails so many times in all. */
async function withDeadLetter(ingest: Ingest, name: string, times: number | 'always', tenant = 0) {
  const session = await ingest.sessions.start(testerOf(tenant), {
    sessionType: 'telemetry',
    batchSize: 4,
    retry,
  })
  await ingest.upload(session, { records: [poisonRecord(name, times)] })
  await ingest.upload(session, { records: testRecords(3) })
  const letter = await eventually(
    async () => ingest.deadLetters.list(tenant, { session: session.number }, 1, null).rows[0],
    'the dead letter',
  )
  return { session, letter }
}

function ended(ingest: Ingest, job: JobRow): Promise<JobRow> {
  return eventually(async () => {
    const row = ingest.store.jobs.get(job.number)
    return row?.endedAtMs === null ? undefined : (row ?? undefined)
  }, 'the end of the job')
}

async function recordsOf(ingest: Ingest, letter: DeadLetterRow, offset: number, limit: number) {
  const page = await ingest.deadLetters.payload(letter, offset, limit)
  assert.ok(page.kind === 'records')
  return { next: page.next, records: JSON.parse(`[${Buffer.from(page.bytes)}]`) as unknown[] }
}

test('a dead letter shows what it holds, page by page', async (t) => {
  const ingest = await openFaulty(t)
  const { letter } = await withDeadLetter(ingest, 'shows', 'always')
  const first = await recordsOf(ingest, letter, 0, 3)
  assert.equal(first.next, 3)
  const rest = await recordsOf(ingest, letter, 3, 3)
  assert.equal(rest.next, null)
  const all = [...first.records, ...rest.records] as { address: string; values: object }[]
  assert.deepEqual(
    all.map(({ values }) => values),
    [poisonRecord('shows', 'always'), ...testRecords(3)].map(({ values }) => values),
  )
  assert.deepEqual(
    all.map(({ address }) => address),
    [`${letter.id}/0/0`, `${letter.id}/1/0`, `${letter.id}/1/1`, `${letter.id}/1/2`],
  )
})

test('a redriven dead letter becomes atoms, and its job tells', async (t) => {
  const ingest = await openFaulty(t)
  const { session, letter } = await withDeadLetter(ingest, 'redrive', 2)
  const job = await ingest.deadLetters.redrive(tester, { deadLetterIds: [letter.id] })
  const done = await ended(ingest, job)
  assert.deepEqual([done.status, done.atomsCreated, done.itemsTotal], ['completed', 4, 4])
  const row = ingest.row(session)
  assert.deepEqual([row.deadLetters, row.recordsDead, row.recordsQueued], [0, 0, 0])
  assert.equal(row.atomsCreated, 4)
  assert.deepEqual(ingest.deadLetters.list(0, {}, 10, null).rows, [])
  const report = jobStatus(done, session.id, 'http://host', Date.now())
  assert.equal(report.result?.finalHash, Buffer.from(row.chain).toString('hex'))
  assert.equal((await ingest.sessions.end(tester, session.id, {})).status, 'completed')
})

test('one that fails again is the same dead letter with a longer history', async (t) => {
  const ingest = await openFaulty(t)
  const { session, letter } = await withDeadLetter(ingest, 'again', 'always')
  const job = await ended(ingest, await ingest.deadLetters.redrive(tester, { all: true }))
  assert.equal(job.status, 'failed')
  assert.equal(job.error?.code, 'WORKER_FAILED')
  const again = ingest.deadLetters.find(0, letter.id)
  assert.deepEqual(
    again.history.map(({ attempt }) => attempt),
    [1, 2, 3, 4],
  )
  assert.equal(again.firstFailedAtMs, letter.firstFailedAtMs)
  assert.equal(ingest.row(session).deadLetters, 1)
})

test('redriving after the end adds atoms, no event, and leaves the answer of the end', async (t) => {
  const ingest = await openFaulty(t)
  const { session, letter } = await withDeadLetter(ingest, 'after', 2)
  const end = sessionEnded(await ingest.sessions.end(tester, session.id, {}), 0)
  assert.equal(end.status, 'failed')
  const log = () => ingest.store.events.ofSession(0, session.number, 0, 1_000)
  const told = log()
  await ended(ingest, await ingest.deadLetters.redrive(tester, { deadLetterIds: [letter.id] }))
  assert.equal(ingest.row(session).atomsCreated, 4)
  assert.equal((await ingest.readAll(session)).length, 4)
  assert.equal(ingest.row(session).status, 'failed')
  assert.deepEqual(log(), told)
  assert.deepEqual(sessionEnded(await ingest.sessions.end(tester, session.id, {}), 0), end)
})

test('a selection goes by session, by code, or takes all, in one job', async (t) => {
  const ingest = await openFaulty(t)
  const one = await withDeadLetter(ingest, 'one', 2)
  const other = await withDeadLetter(ingest, 'other', 2)
  const { sessions } = ingest
  const none = { errorCode: 'STORE_FULL' }
  await assert.rejects(ingest.deadLetters.redrive(tester, none), notFound)
  const bySession = await ingest.deadLetters.redrive(tester, { sessionId: one.session.id })
  assert.equal(bySession.session, one.session.number)
  await ended(ingest, bySession)
  const byCode = await ingest.deadLetters.redrive(tester, { errorCode: 'WORKER_FAILED' })
  await ended(ingest, byCode)
  assert.equal(ingest.row(other.session).atomsCreated, 4)
  assert.equal((await sessions.end(tester, one.session.id, {})).status, 'completed')
})

test('a selection finds what lies behind many others, and takes the oldest of too many', async (t) => {
  const ingest = await openFaulty(t)
  const crowded = await ingest.sessions.start(tester, { sessionType: 'telemetry', retry })
  const put = (code: string, count: number) =>
    ingest.store.commit((tx) => {
      const session = tx.session(crowded.number)
      session.deadLetters += count
      return Array.from({ length: count }, (_, index) => {
        const id = `dlq-${code}-${index}`
        const changes = { id, tenant: 0, records: 0, code }
        return tx.putDeadLetter(newDeadLetter(crowded.number, session.nextBatch++, changes))
      })
    })
  await put('OTHER', limits.deadLetterScanRowsMax + 1)
  const { letter } = await withDeadLetter(ingest, 'behind', 2)
  const job = await ingest.deadLetters.redrive(tester, { errorCode: letter.code })
  assert.equal((await ended(ingest, job)).atomsCreated, 4)
  const many = await put('MANY', limits.redriveSelectionMax + 1)
  const half = await ingest.deadLetters.redrive(tester, { errorCode: 'MANY' })
  assert.equal(half.batchesLeft, limits.redriveSelectionMax)
  assert.deepEqual(ingest.deadLetters.list(0, { code: 'MANY' }, 9, null).rows, many.slice(-1))
})

test('of two redrives of one dead letter the second finds none', async (t) => {
  const ingest = await openFaulty(t)
  const { letter } = await withDeadLetter(ingest, 'twice', 'always')
  const selection = { deadLetterIds: [letter.id] }
  const results = await Promise.allSettled([
    ingest.deadLetters.redrive(tester, selection),
    ingest.deadLetters.redrive(tester, selection),
  ])
  assert.deepEqual(
    results.map(({ status }) => status),
    ['fulfilled', 'rejected'],
  )
})

test('another tenant finds nothing of it', async (t) => {
  const ingest = await openFaulty(t)
  const { letter, session } = await withDeadLetter(ingest, 'tenant', 'always', 7)
  assert.deepEqual(ingest.deadLetters.list(0, {}, 10, null).rows, [])
  assert.throws(() => ingest.deadLetters.find(0, letter.id), notFound)
  await assert.rejects(ingest.deadLetters.drop(tester, letter.id), notFound)
  await assert.rejects(ingest.deadLetters.redrive(tester, { deadLetterIds: [letter.id] }), notFound)
  await assert.rejects(ingest.deadLetters.redrive(tester, { all: true }), notFound)
  await assert.rejects(
    ingest.deadLetters.redrive(tester, { sessionId: session.id }),
    (error) => error instanceof Refusal && error.code === 'SESSION_NOT_FOUND',
  )
})

test('a dropped dead letter takes its frames along, but not those that others have', async (t) => {
  const ingest = await openFaulty(t)
  const session = await ingest.sessions.start(tester, {
    sessionType: 'video',
    batchSize: 10,
    retry,
  })
  const frame = async (frameNumber: number, width: number) => {
    const imageData = Buffer.from(await jpegFrame({ width, height: 48 })).toString('base64')
    const common = { timestamp: 0, format: 'jpeg', height: 48 }
    return { frames: [{ ...common, frameNumber, imageData, width }] }
  }
  const kept = await ingest.sessions.start(tester, { sessionType: 'video', batchSize: 1 })
  await ingest.upload(kept, await frame(1, 64))
  for (const width of [64, 80, 96]) await ingest.upload(session, await frame(width, width))
  const [lost, shared, own] = ingest.store.journal.batch(session.number, 1)
  await ingest.store.commit((transaction) =>
    transaction.deleteJournal(session.number, 1, own?.number ?? 0),
  )
  assert.equal((await ingest.sessions.end(tester, session.id, {})).status, 'failed')
  const [letter] = ingest.deadLetters.list(0, {}, 1, null).rows
  const page = await ingest.deadLetters.payload(letter as DeadLetterRow, 0, 10)
  assert.ok(page.kind === 'frames')
  assert.equal(page.items.length, 2)
  await ingest.deadLetters.drop(tester, letter?.id ?? '')
  const hashOf = (entry: typeof lost) =>
    entry?.content.kind === 'media' ? entry.content.items[0]?.hash : undefined
  const has = (entry: typeof lost) => ingest.store.blobs.has(0, hashOf(entry) ?? new Uint8Array(32))
  assert.deepEqual([has(lost), has(shared)], [true, false], 'the first frame is an atom elsewhere')
  const row: SessionRow = ingest.row(session)
  assert.deepEqual([row.deadLetters, row.recordsDead], [0, 3])
  assert.deepEqual(ingest.store.journal.batch(session.number, 1), [])
  assert.throws(() => ingest.deadLetters.find(0, letter?.id ?? ''), notFound)
})

test('a dead letter is dropped from a full store, and told of there', async (t) => {
  const { workerFile } = await faultyWorkers(t)
  const ingest = await openIngest(t, { workerFile, maxBytes: 4 << 20 })
  const { store } = ingest
  const { letter } = await withDeadLetter(ingest, 'full', 'always')
  for (const chars of [50_000, 500, 1]) {
    const data = { title: 'x'.repeat(chars) }
    const fill = async () => {
      for (;;) await store.commit((transaction) => transaction.appendEvent(0, null, 'e', data))
    }
    await assert.rejects(fill(), { code: 'STORE_FULL' })
  }
  await ingest.deadLetters.drop(tester, letter.id)
  assert.equal(store.deadLetters.find(0, letter.id), null)
  const last = store.events.ofTenant(0, store.events.last(0) - 1, 1)[0]
  assert.equal(last?.name, 'user.activity')
  assert.equal(JSON.parse(last.data).resource_id, letter.id)
})

test('what retention is taking away is neither redriven nor dropped, in the same commit too', async (t) => {
  const ingest = await openFaulty(t)
  const { session, letter } = await withDeadLetter(ingest, 'taken', 'always')
  await ingest.sessions.end(tester, session.id, {})
  const selection = { deadLetterIds: [letter.id] }
  const [taken, redriven, dropped] = await Promise.allSettled([
    ingest.store.commit((tx) => tx.dropSession(tx.session(session.number), 1)),
    ingest.deadLetters.redrive(tester, selection),
    ingest.deadLetters.drop(tester, letter.id),
  ])
  assert.equal(taken.status, 'fulfilled')
  assert.ok(redriven.status === 'rejected' && notFound(redriven.reason))
  assert.ok(dropped.status === 'rejected' && notFound(dropped.reason))
  assert.throws(() => ingest.deadLetters.find(0, letter.id), notFound)
  assert.deepEqual(ingest.deadLetters.list(0, {}, 10, null).rows, [])
  await assert.rejects(ingest.deadLetters.redrive(tester, { all: true }), notFound)
  await assert.rejects(ingest.deadLetters.redrive(tester, selection), notFound)
  assert.deepEqual(ingest.store.jobs.list(0, {}, 10, null).rows, [])
})

test('an end that meets a redrive waits for its batch, and timers go on', async (t) => {
  const ingest = await openFaulty(t)
  const { session, letter } = await withDeadLetter(ingest, 'meets', 2)
  const [job, end] = await Promise.all([
    ingest.deadLetters.redrive(tester, { deadLetterIds: [letter.id] }),
    ingest.sessions.end(tester, session.id, {}),
  ])
  assert.equal((await ended(ingest, job)).status, 'completed')
  // Whichever came first: with its batch it is completed, before it the dead letter made it fail.
  assert.equal(end.status, end.atomsCreated === 4 ? 'completed' : 'failed')
})

test('what is left of a damaged batch is redriven, and of a lost one the job says so', async (t) => {
  const ingest = await openFaulty(t)
  const damaged = async (lost: readonly number[]) => {
    const session = await ingest.sessions.start(tester, { sessionType: 'telemetry', retry })
    await ingest.upload(session, { records: testRecords(5) })
    await ingest.upload(session, { records: testRecords(5, 5) })
    await ingest.store.commit((tx) => {
      for (const number of lost) tx.deleteJournal(session.number, 1, number)
    })
    assert.equal((await ingest.sessions.end(tester, session.id, {})).status, 'failed')
    const [letter] = ingest.deadLetters.list(0, { session: session.number }, 1, null).rows
    const deadLetterIds = [letter?.id ?? '']
    const job = await ended(ingest, await ingest.deadLetters.redrive(tester, { deadLetterIds }))
    return { job, row: ingest.row(session) }
  }
  const half = await damaged([0])
  assert.equal(half.job.status, 'completed')
  assert.deepEqual(
    [half.row.atomsCreated, half.row.recordsQueued, half.row.recordsDead, half.row.deadLetters],
    [5, 0, 5, 0],
  )
  const whole = await damaged([0, 1])
  assert.equal(whole.job.error?.code, 'JOURNAL_DAMAGED')
  assert.deepEqual(
    [whole.row.atomsCreated, whole.row.recordsQueued, whole.row.recordsDead],
    [0, 0, 10],
  )
  assert.equal(whole.row.deadLetters, 1)
})
