import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { newApiKey } from '../../src/cli/keys.ts'
import type { SessionRow, Transaction } from '../../src/store/interfaces.ts'
import { atomOf, blobOf, mediaFile, newMediaJob } from '../store/fixtures.ts'
import { tester, testerOf } from './actors.ts'
import { jsonBody, openIngest, testRecords } from './ingest.ts'
import { jpegFrame } from './media.ts'

/** Sessions of a store that holds some of everything. */
export interface RichStore {
  /** The folder of the store itself, `store` in the data folder. */
  readonly path: string
  /**
   * Telemetry: atoms, a rejected record, an answer to an idempotency key, a queued upload with a
   * job.
   */
  readonly telemetry: SessionRow
  /** Video: three atoms, two of the same bytes, and a queued frame. */
  readonly video: SessionRow
  /** Video that has ended; one of its frames is in `video` too. */
  readonly ended: SessionRow
  /** Telemetry: one dead letter. */
  readonly failed: SessionRow
  /**
   * Audio that is cut, of tenant 5: a segment of two buffers, which wait still, with a state; a job on a
   * file that has made a segment and goes on, and one that has ended.
   */
  readonly cut: SessionRow
}

const delayMs = 3_600_000

/** Makes such a store by real uploads in the data folder, and closes it. */
export async function makeRichStore(t: TestContext, dataDir: string): Promise<RichStore> {
  const path = join(dataDir, 'store')
  const ingest = await openIngest(t, { path })
  const { sessions, store, uploads } = ingest
  const telemetry = await sessions.start(tester, {
    sessionType: 'telemetry',
    batchSize: 10,
    maxBatchDelayMs: delayMs,
  })
  await ingest.upload(telemetry, { records: testRecords(10) })
  const wrong = { timestamp: 'yesterday', values: { temperature: 1 } }
  await ingest.upload(telemetry, { records: [...testRecords(10, 10), wrong] }, 'key-1')
  const options = { idempotencyKey: null, asJob: { actor: tester, uploadMs: 1 } }
  await uploads.upload(telemetry, jsonBody({ records: testRecords(4, 20) }), options)
  const frames = await Promise.all(
    [1, 2, 3].map((seed) => jpegFrame({ width: 64, height: 48, seed })),
  )
  const [one, two, three] = frames.map((bytes) => Buffer.from(bytes).toString('base64'))
  const video = await startVideo(3)
  await sendFrames(video, [one, one, two])
  await sendFrames(video, [three])
  const ended = await startVideo(2)
  await sendFrames(ended, [one, three])
  await sessions.end(tester, ended.id, {})
  const failed = await sessions.start(testerOf(3), {
    sessionType: 'telemetry',
    maxBatchDelayMs: delayMs,
  })
  await ingest.upload(failed, { records: testRecords(7) })
  await giveUp(failed)
  const cut = await sessions.start(testerOf(5), {
    sessionType: 'audio',
    segmentation: {},
    maxBatchDelayMs: delayMs,
  })
  await store.commit(fillMemories)
  await store.commit((transaction) => fillCut(transaction, transaction.session(cut.number)))
  await store.commit((transaction) =>
    transaction.putApiKey(newApiKey({ tenant: 0, user: 'ada', scopes: ['ingest'] }).row),
  )
  await ingest.close()
  return { path, telemetry, video, ended, failed, cut }

  function startVideo(batchSize: number): Promise<SessionRow> {
    return sessions.start(tester, { sessionType: 'video', batchSize, maxBatchDelayMs: delayMs })
  }

  async function sendFrames(session: SessionRow, images: readonly unknown[]): Promise<void> {
    const timestamp = '2025-01-20T10:30:00.000Z'
    const sent = images.map((imageData, frameNumber) => ({
      frameNumber,
      timestamp,
      imageData,
      format: 'jpeg',
      width: 64,
      height: 48,
    }))
    await ingest.upload(session, { frames: sent })
  }

  /** What the batcher stores when the last attempt at the session's first batch has failed. */
  async function giveUp(session: SessionRow): Promise<void> {
    await store.commit((transaction) => {
      const row = transaction.session(session.number)
      const records = row.recordsQueued
      transaction.putDeadLetter({
        id: `dlq-${'0'.repeat(32)}`,
        tenant: row.tenant,
        session: row.number,
        batch: 1,
        records,
        code: 'WORKER_FAILED',
        message: 'a worker left',
        history: [],
        firstFailedAtMs: transaction.nowMs,
        deadAtMs: transaction.nowMs,
      })
      row.recordsQueued = 0
      row.recordsDead = records
      row.deadLetters = 1
    })
  }
}

/** Two memories of tenant 0 that have one tag in common, and one of tenant 5. */
function fillMemories(transaction: Transaction): void {
  const own = { createdBy: 'ada', updatedBy: 'ada', createdAtMs: 1, updatedAtMs: 2 }
  const of = (tenant: number, content: string, type: string | null, tags: string[]) =>
    transaction.createMemory({ ...own, tenant, content, title: null, type, tags, metadata: {} })
  of(0, 'the first', 'note', ['common', 'rare'])
  of(0, 'the second', null, ['common'])
  of(5, 'another', 'note', [])
}

/** What is stored of a batch of two buffers and of a chunk of a file; the bytes are no sound. */
function fillCut(transaction: Transaction, session: SessionRow): void {
  const { tenant, number } = session
  const buffers = ['one', 'two'].map((text) => blobOf(`buffer ${text}`))
  for (const [index, { hash, bytes }] of buffers.entries()) {
    transaction.putBlob(tenant, hash, bytes)
    const place = { run: 0, startSample: 50 * index, samples: 50 }
    transaction.appendPending(session, { hash, byteLength: bytes.byteLength, ...place })
  }
  transaction.putStreamState(session, blobOf('state').bytes)
  for (const [batch, text] of [
    [1, 'segment of the buffers'],
    [2, 'segment of the file'],
  ] as const) {
    const { hash, bytes } = blobOf(text)
    transaction.putBlob(tenant, hash, bytes)
    transaction.appendAtom(session, { ...atomOf(hash, batch), kind: 'segment' })
  }
  const emitted = {
    atomsCreated: 1,
    media: { ...mediaFile, checkpoint: { emitted: 1, position: 50 } },
  }
  const owner = { tenant, session: number }
  transaction.createJob(newMediaJob('job-open', { ...owner, ...emitted, status: 'in-progress' }))
  const end = { status: 'failed', endedAtMs: transaction.nowMs } as const
  transaction.createJob(newMediaJob('job-ended', { ...owner, ...end }))
  session.recordsReceived += buffers.length + 1
  session.recordsProcessed += buffers.length + 1
  session.nextBatch += 2
  session.openJobs += 1
}
