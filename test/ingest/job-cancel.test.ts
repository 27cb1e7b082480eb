import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { Refusal } from '../../src/contracts/errors.ts'
import type { JobRow, SessionRow } from '../../src/store/interfaces.ts'
import { tester, testerOf } from '../support/actors.ts'
import { faultyWorkers, poisonRecord } from '../support/faults.ts'
import { jsonBody, openIngest, testRecords } from '../support/ingest.ts'
import { jpegFrame } from '../support/media.ts'
import { assertSound } from '../support/soundness.ts'
import { eventually } from '../support/waiting.ts'

type Ingest = Awaited<ReturnType<typeof openIngest>>

const refusedWith = (code: string) => (error: unknown) =>
  error instanceof Refusal && error.code === code

/** Uploads as a job; the batch stays open. */
async function uploadAsJob(ingest: Ingest, session: SessionRow, value: unknown): Promise<JobRow> {
  const options = { idempotencyKey: null, asJob: { actor: tester, uploadMs: 1 } }
  const answer = await ingest.uploads.upload(session, jsonBody(value), options)
  assert.ok(answer.kind === 'job')
  return ingest.jobs.find(session.tenant, answer.jobId)
}

async function assertCounts(ingest: Ingest, session: SessionRow, expected: Partial<SessionRow>) {
  const row = ingest.row(session)
  const found = Object.fromEntries(
    Object.keys(expected).map((name) => [name, row[name as keyof SessionRow]]),
  )
  assert.deepEqual(found, expected)
}

async function frameBody(seed: number) {
  const bytes = await jpegFrame({ width: 64, height: 48, seed })
  return {
    frames: [
      {
        frameNumber: seed,
        timestamp: '2025-01-20T00:00:00Z',
        imageData: Buffer.from(bytes).toString('base64'),
        format: 'jpeg',
        width: 64,
        height: 48,
      },
    ],
  }
}

test('a queued upload whose job is cancelled leaves its batch, the others become atoms', async (t) => {
  const ingest = await openIngest(t)
  const session = await ingest.sessions.start(tester, { sessionType: 'telemetry', batchSize: 100 })
  await ingest.upload(session, { records: testRecords(3) })
  const job = await uploadAsJob(ingest, session, { records: testRecords(5, 3) })
  await ingest.upload(session, { records: testRecords(2, 8) })
  const cancelled = await ingest.jobs.cancel(tester, job.id)
  assert.deepEqual([cancelled.status, cancelled.atomsCreated], ['cancelled', 0])
  await assertCounts(ingest, session, { recordsQueued: 5, recordsCancelled: 5 })
  await assert.rejects(ingest.jobs.cancel(tester, job.id), refusedWith('JOB_STATE_CONFLICT'))
  await assert.rejects(ingest.jobs.cancel(testerOf(1), job.id), refusedWith('JOB_NOT_FOUND'))
  const ended = await ingest.sessions.end(tester, session.id, {})
  assert.equal(ended.status, 'completed')
  await assertCounts(ingest, session, {
    recordsReceived: 10,
    recordsProcessed: 5,
    recordsCancelled: 5,
    recordsQueued: 0,
    atomsCreated: 5,
  })
  assert.deepEqual(await ingest.readAll(session), [...testRecords(3), ...testRecords(2, 8)])
  await ingest.close()
  await assertSound(ingest.path)
})

test('a batch whose only upload is cancelled ends without atoms, and its bytes go', async (t) => {
  const ingest = await openIngest(t)
  const session = await ingest.sessions.start(tester, { sessionType: 'video', batchSize: 100 })
  const job = await uploadAsJob(ingest, session, await frameBody(1))
  await ingest.jobs.cancel(tester, job.id)
  const kept = await uploadAsJob(ingest, session, await frameBody(2))
  assert.equal((await ingest.sessions.end(tester, session.id, {})).status, 'completed')
  await assertCounts(ingest, session, { atomsCreated: 1, recordsCancelled: 1 })
  assert.equal(ingest.jobs.find(0, kept.id).status, 'completed')
  await assert.rejects(ingest.jobs.cancel(tester, kept.id), refusedWith('JOB_STATE_CONFLICT'))
  await ingest.close()
  await assertSound(ingest.path)
})

/** Dead letters of four records each, which fail for ever. */
async function deadLetters(t: TestContext, count: number) {
  const ingest = await openIngest(t, { workerFile: (await faultyWorkers(t)).workerFile })
  const session = await ingest.sessions.start(tester, {
    sessionType: 'telemetry',
    batchSize: 4,
    retry: { maxRetries: 0 },
  })
  for (let index = 0; index < count; index += 1) {
    await ingest.upload(session, { records: [poisonRecord(`cancel-${index}`, 'always')] })
    await ingest.upload(session, { records: testRecords(3) })
  }
  await eventually(
    async () => (ingest.row(session).deadLetters === count ? true : undefined),
    'the dead letters',
  )
  return { ingest, session }
}

test('a cancelled redrive leaves its dead letters in the queue', async (t) => {
  const { ingest, session } = await deadLetters(t, 3)
  const job = await ingest.deadLetters.redrive(tester, { all: true })
  const row = await ingest.jobs.cancel(tester, job.id).catch((error: unknown) => error)
  // It may have been quicker than the cancel; then it has failed, and they are dead letters all the same.
  assert.ok(row instanceof Refusal || (row as JobRow).status === 'cancelled')
  await eventually(
    async () => (ingest.row(session).deadLetters === 3 ? true : undefined),
    'the dead letters',
  )
  await assertCounts(ingest, session, { recordsQueued: 0, recordsDead: 12 })
  assert.equal((await ingest.sessions.end(tester, session.id, {})).status, 'failed')
  await ingest.close()
  await assertSound(ingest.path)
})
