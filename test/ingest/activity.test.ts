import assert from 'node:assert/strict'
import { test } from 'node:test'
import { mediaTypes } from '../../src/contracts/media.ts'
import { limits } from '../../src/limits.ts'
import { actionsOf, activitiesOf } from '../support/activities.ts'
import { tester, testerOf } from '../support/actors.ts'
import { wavFile } from '../support/data.ts'
import { FakeClock } from '../support/fake-clock.ts'
import { faultyWorkers, poisonRecord } from '../support/faults.ts'
import { jsonBody, openIngest, testRecords } from '../support/ingest.ts'
import { eventually } from '../support/waiting.ts'

const telemetry = { sessionType: 'telemetry' } as const
const ada = { tenant: 3, user: 'ada' }

test('each change of a session is told with its user, its own log as it was', async (t) => {
  const { sessions, store } = await openIngest(t)
  const session = await sessions.start(ada, { ...telemetry, sessionName: 'line 4' })
  await sessions.pause(ada, session.id)
  await sessions.resume({ tenant: 3, user: 'bob' }, session.id)
  await sessions.end(ada, session.id, {})
  await sessions.end(ada, session.id, {})
  const told = activitiesOf(store, 3)
  assert.deepEqual(
    told.map(({ action, user_id: user }) => [action, user]),
    [
      ['create', 'ada'],
      ['pause', 'ada'],
      ['resume', 'bob'],
      ['end', 'ada'],
    ],
  )
  for (const { resource_type: type, resource_id: id, metadata } of told) {
    assert.deepEqual([type, id], ['session', session.id])
    assert.deepEqual(metadata, { type: 'telemetry', name: 'line 4' })
  }
  const log = store.events.ofSession(3, session.number, 0, 100).map(({ name }) => name)
  assert.deepEqual(log, [
    'session-started',
    'session-paused',
    'session-resumed',
    'session-completed',
  ])
  assert.equal(store.counts(3).operations, 4)
  assert.deepEqual(actionsOf(store, 0), [])
})

test('a refused change tells nothing, and of ends at once one is told', async (t) => {
  const { sessions, store, upload } = await openIngest(t)
  const session = await sessions.start(tester, { ...telemetry, batchSize: 100 })
  await upload(session, { records: testRecords(5) })
  await assert.rejects(sessions.resume(tester, session.id))
  await assert.rejects(sessions.pause(testerOf(1), session.id))
  const request = { waitForCompletion: false }
  await Promise.all([0, 1, 2].map(() => sessions.end(tester, session.id, request)))
  await sessions.end(tester, session.id, {})
  await assert.rejects(sessions.cancel(tester, session.id))
  assert.deepEqual(actionsOf(store), ['create session', 'end session'])
})

test('a cancel that takes an end over is told beside it, once', async (t) => {
  const { workerFile } = await faultyWorkers(t)
  const { sessions, store, upload } = await openIngest(t, { workerFile })
  const retry = { maxRetries: 3, retryDelayMs: 300, retryBackoffMultiplier: 1 }
  const session = await sessions.start(tester, { ...telemetry, batchSize: 4, retry })
  await upload(session, { records: [poisonRecord('over', 2)] })
  await upload(session, { records: testRecords(3) })
  await sessions.end(tester, session.id, { waitForCompletion: false })
  const cancels = [sessions.cancel(tester, session.id), sessions.cancel(tester, session.id)]
  for (const row of await Promise.all(cancels)) assert.equal(row.status, 'cancelled')
  assert.deepEqual(actionsOf(store), ['create session', 'end session', 'cancel session'])
})

test('what ends by its age tells nothing: nobody did it', async (t) => {
  const clock = new FakeClock()
  const ingest = await openIngest(t, { clock })
  ingest.sessions.recover()
  const session = await ingest.sessions.start(tester, telemetry)
  clock.advance(limits.sessionTtlMs + limits.sessionSweepMs)
  await eventually(async () => ingest.row(session).endedAtMs ?? undefined, 'the end')
  assert.deepEqual(actionsOf(ingest.store), ['create session'])
})

test('a queued upload is a job that is made once, and cancelled once', async (t) => {
  const { sessions, uploads, jobs, store } = await openIngest(t)
  const session = await sessions.start(tester, { ...telemetry, batchSize: 100 })
  const options = { idempotencyKey: 'one', asJob: { actor: ada, uploadMs: 1 } }
  const body = () => jsonBody({ records: testRecords(3) })
  const answer = await uploads.upload(session, body(), {
    ...options,
    asJob: { actor: tester, uploadMs: 1 },
  })
  assert.deepEqual(await uploads.upload(session, body(), options), answer)
  assert.ok(answer.kind === 'job')
  await jobs.cancel(tester, answer.jobId)
  await assert.rejects(jobs.cancel(tester, answer.jobId))
  const told = activitiesOf(store).slice(1)
  assert.deepEqual(
    told.map(({ action, resource_id: id, user_id: user }) => [action, id, user]),
    [
      ['create', answer.jobId, 'tester'],
      ['cancel', answer.jobId, 'tester'],
    ],
  )
  assert.deepEqual(told[0]?.metadata, { kind: 'upload', sessionId: session.id })
})

test('a file is a job; one that its session takes along is told by the session alone', async (t) => {
  const { sessions, spool, mediaJobs, store } = await openIngest(t)
  const session = await sessions.start(tester, { sessionType: 'audio' })
  const type = mediaTypes['audio/wav'] ?? assert.fail()
  const accept = async () => {
    const bytes = wavFile(Buffer.alloc(16_000 * 2 * 60))
    const writer = spool.create(bytes.byteLength)
    writer.write(bytes)
    return mediaJobs.accept(session, {
      actor: tester,
      spooled: await writer.finish(),
      contentType: 'audio/wav',
      type,
      beginsAtMs: 0,
      uploadMs: 1,
      arrivedAtMs: 0,
      idempotencyKey: 'file',
    })
  }
  const answer = await accept()
  assert.deepEqual(await accept(), answer)
  await sessions.cancel(tester, session.id)
  assert.deepEqual(actionsOf(store), ['create session', 'create job', 'cancel session'])
})

test('a redrive is a job that is made, and a drop a dead letter that is deleted', async (t) => {
  const { workerFile } = await faultyWorkers(t)
  const { sessions, deadLetters, store, upload, row } = await openIngest(t, { workerFile })
  const retry = { maxRetries: 0, retryDelayMs: 0, retryBackoffMultiplier: 1 }
  const session = await sessions.start(tester, { ...telemetry, batchSize: 4, retry })
  await upload(session, { records: [poisonRecord('told', 'always')] })
  await upload(session, { records: testRecords(3) })
  const letters = () => deadLetters.list(0, {}, 10, null).rows
  const letter = await eventually(async () => letters()[0], 'the dead letter')
  const job = await deadLetters.redrive(tester, { deadLetterIds: [letter.id] })
  const again = await eventually(
    async () => (row(session).deadLetters === 1 ? letters()[0] : undefined),
    'the dead letter once more',
  )
  await deadLetters.drop(tester, again.id)
  await assert.rejects(deadLetters.drop(tester, again.id))
  const [, made, dropped, ...others] = activitiesOf(store)
  assert.deepEqual(others, [])
  assert.deepEqual([made?.action, made?.resource_id], ['create', job.id])
  assert.deepEqual(made?.metadata, { kind: 'redrive', sessionId: session.id })
  assert.deepEqual([dropped?.action, dropped?.resource_type], ['delete', 'dead_letter'])
  assert.equal(dropped?.resource_id, again.id)
  assert.equal(dropped?.metadata.sessionId, session.id)
})
