import assert from 'node:assert/strict'
import { mkdtemp } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { Refusal } from '../../src/contracts/errors.ts'
import type { BatchRetry, SessionRow } from '../../src/store/interfaces.ts'
import { tester } from '../support/actors.ts'
import { FakeClock } from '../support/fake-clock.ts'
import { faultyWorkers, poisonRecord } from '../support/faults.ts'
import { tasksMarked } from '../support/faulty-mark.ts'
import { openIngest, testRecords } from '../support/ingest.ts'
import { eventually } from '../support/waiting.ts'

type Ingest = Awaited<ReturnType<typeof openIngest>>

async function openFaulty(t: TestContext, more: { path?: string; clock?: FakeClock } = {}) {
  const clock = more.clock ?? new FakeClock()
  const { workerFile, folder } = await faultyWorkers(t)
  const path = more.path ?? (await mkdtemp(join(tmpdir(), 'atomstream-ingest-')))
  return { clock, folder, path, ingest: await openIngest(t, { clock, workerFile, path }) }
}

/** A session whose first batch is two uploads, the first of which fails the batch `times` times. */
async function poisoned(ingest: Ingest, name: string, times: number | 'always') {
  const session = await ingest.sessions.start(tester, { sessionType: 'telemetry', batchSize: 4 })
  await ingest.upload(session, { records: [poisonRecord(name, times)] })
  const answer = await ingest.upload(session, { records: testRecords(3) })
  return { session, answer }
}

function failed(ingest: Ingest, session: SessionRow, failures: number): Promise<BatchRetry> {
  return eventually(async () => {
    const retry = ingest.store.journal.retry(session.number, 1)
    return retry?.failures === failures ? retry : undefined
  }, `failure ${failures}`)
}

function until(ingest: Ingest, session: SessionRow, is: (row: SessionRow) => boolean) {
  return eventually(async () => {
    const row = ingest.row(session)
    return is(row) ? row : undefined
  }, 'the row')
}

function events(ingest: Ingest, session: SessionRow) {
  return ingest.store.events
    .ofSession(0, session.number, 0, 1_000)
    .filter(({ name }) => name !== 'progress')
    .map(({ name, data }) => {
      const { deadLetterId } = JSON.parse(data) as { deadLetterId?: unknown }
      return { name, deadLetterId }
    })
}

test('attempts come after 0, 1, 2 and 4 seconds, then the batch is a dead letter', async (t) => {
  const { ingest, clock, folder } = await openFaulty(t)
  const { session, answer } = await poisoned(ingest, 'schedule', 'always')
  assert.equal(answer.status, 202, 'the upload that closed the batch goes into the journal')
  assert.equal(answer.reply.recordsQueued, 3)
  for (const [index, delayMs] of [1_000, 2_000, 4_000].entries()) {
    const retry = await failed(ingest, session, index + 1)
    assert.equal(retry.nextAttemptAtMs - clock.now(), delayMs)
    assert.equal(await tasksMarked(folder, 'schedule'), index + 1)
    clock.advance(delayMs)
  }
  const row = await until(ingest, session, ({ deadLetters }) => deadLetters === 1)
  assert.equal(await tasksMarked(folder, 'schedule'), 4)
  assert.deepEqual([row.recordsQueued, row.recordsDead, row.atomsCreated], [0, 4, 0])
  assert.equal(row.recordsReceived, 4)
  const [letter] = ingest.deadLetters.list(0, {}, 10, null).rows
  assert.equal(letter?.records, 4)
  assert.deepEqual(
    letter?.history.map(({ attempt, code }) => [attempt, code]),
    [1, 2, 3, 4].map((attempt) => [attempt, 'WORKER_FAILED']),
  )
  assert.equal(ingest.store.journal.retry(session.number, 1), null)
  assert.deepEqual(ingest.store.journal.pending(), [])
  const told = events(ingest, session)
  assert.deepEqual(
    told.map(({ name }) => name),
    ['session-started', 'batch-received', 'error', 'error', 'error', 'error'],
  )
  assert.equal(told.at(-1)?.deadLetterId, letter?.id)
})

test('a batch that heals is processed, announced once and before its failures', async (t) => {
  const { ingest, clock } = await openFaulty(t)
  const { session } = await poisoned(ingest, 'heals', 2)
  await failed(ingest, session, 1)
  clock.advance(1_000)
  await failed(ingest, session, 2)
  clock.advance(2_000)
  const row = await until(ingest, session, ({ atomsCreated }) => atomsCreated === 4)
  assert.deepEqual([row.batchesReceived, row.batchesProcessed, row.recordsQueued], [1, 1, 0])
  assert.deepEqual(
    events(ingest, session).map(({ name }) => name),
    ['session-started', 'batch-received', 'error', 'error', 'batch-processed'],
  )
  assert.equal(ingest.store.journal.retry(session.number, 1), null)
})

test('a retry is due at the same moment after a restart', async (t) => {
  const first = await openFaulty(t)
  const { clock, path } = first
  const { session } = await poisoned(first.ingest, 'restart', 2)
  await failed(first.ingest, session, 1)
  clock.advance(1_000)
  await failed(first.ingest, session, 2)
  await first.ingest.close()
  clock.advance(1_500)
  const second = await openFaulty(t, { clock, path })
  // The counts of the first process went with its folder's variable: here the fault begins anew.
  second.ingest.sessions.recover()
  const retry = await failed(second.ingest, session, 2)
  assert.equal(retry.nextAttemptAtMs - clock.now(), 500)
  clock.advance(499)
  assert.equal(await tasksMarked(second.folder, 'restart'), 0)
  clock.advance(1)
  await failed(second.ingest, session, 3)
  clock.advance(4_000)
  const row = await until(second.ingest, session, ({ deadLetters }) => deadLetters === 1)
  assert.equal(row.recordsDead, 4, 'its fourth failure was its last')
})

test('what cannot heal becomes a dead letter at once', async (t) => {
  const { ingest } = await openFaulty(t)
  const session = await ingest.sessions.start(tester, { sessionType: 'telemetry', batchSize: 100 })
  await ingest.upload(session, { records: testRecords(5) })
  await ingest.upload(session, { records: testRecords(5, 5) })
  await ingest.store.commit((transaction) => transaction.deleteJournal(session.number, 1, 0))
  const ended = await ingest.sessions.end(tester, session.id, {})
  assert.equal(ended.status, 'failed')
  const [letter] = ingest.deadLetters.list(0, {}, 10, null).rows
  assert.equal(letter?.code, 'JOURNAL_DAMAGED')
  assert.equal(letter?.history.length, 1)
  assert.deepEqual(
    events(ingest, session).map(({ name }) => name),
    ['session-started', 'batch-received', 'error', 'session-failed'],
  )
})

test('ends wait for retries, and two at once get the same final answer', async (t) => {
  const { ingest, clock } = await openFaulty(t)
  const { session } = await poisoned(ingest, 'ends', 1)
  await failed(ingest, session, 1)
  const ends = [0, 1].map(() => ingest.sessions.end(tester, session.id, {}))
  await until(ingest, session, ({ status }) => status === 'completing')
  await assert.rejects(
    ingest.upload(session, { records: testRecords(1) }),
    (error) => error instanceof Refusal && error.code === 'SESSION_STATE_CONFLICT',
  )
  clock.advance(1_000)
  const [one, other] = await Promise.all(ends)
  assert.equal(one?.status, 'completed')
  assert.equal(one?.atomsCreated, 4)
  assert.deepEqual(one, other)
  assert.deepEqual(await ingest.sessions.end(tester, session.id, {}), one)
})

test('an end that may not wait is told that the session is completing', async (t) => {
  const { ingest, clock } = await openFaulty(t)
  const { session } = await poisoned(ingest, 'late', 1)
  await failed(ingest, session, 1)
  const ending = ingest.sessions.end(tester, session.id, { waitForCompletion: false })
  await until(ingest, session, ({ status }) => status === 'completing')
  clock.advance(0)
  assert.equal((await ending).status, 'completing')
  clock.advance(1_000)
  await until(ingest, session, ({ status }) => status === 'completed')
})

test('a cancel that a crash cuts short is a cancel after the restart', async (t) => {
  const first = await openFaulty(t)
  const { clock, path } = first
  const { session } = await poisoned(first.ingest, 'cancel', 1)
  await failed(first.ingest, session, 1)
  const cancelling = first.ingest.sessions.cancel(tester, session.id)
  cancelling.catch(() => undefined)
  await until(first.ingest, session, ({ ending }) => ending === 'cancelled')
  await first.ingest.close()
  const second = await openIngest(t, { clock, path })
  second.sessions.recover()
  clock.advance(1_000)
  const row = await until(second, session, ({ status }) => status === 'cancelled')
  assert.equal(row.atomsCreated, 4, 'what was acknowledged is kept')
})

test('an end that does not wait leaves a cancel that is under way a cancel', async (t) => {
  const { ingest, clock } = await openFaulty(t)
  const { session } = await poisoned(ingest, 'undo', 1)
  await failed(ingest, session, 1)
  const cancelling = ingest.sessions.cancel(tester, session.id)
  await until(ingest, session, ({ ending }) => ending === 'cancelled')
  const ending = ingest.sessions.end(tester, session.id, { waitForCompletion: false })
  clock.advance(0)
  assert.equal((await ending).status, 'completing')
  clock.advance(1_000)
  assert.equal((await cancelling).status, 'cancelled')
})
