import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { setImmediate as nextTurn } from 'node:timers/promises'
import type { SessionRow } from '../../src/store/interfaces.ts'
import { tester } from '../support/actors.ts'
import { openIngest, testRecords } from '../support/ingest.ts'

const batchSize = 1_000
const uploadRecords = 100

/** A session that has had an upload of a tenth of a batch, so that more like it gather. */
async function openGathering(t: TestContext) {
  const ingest = await openIngest(t)
  const session = await ingest.sessions.start(tester, { sessionType: 'telemetry', batchSize })
  await ingest.upload(session, { records: testRecords(uploadRecords) })
  return { ingest, session }
}

type Ingest = Awaited<ReturnType<typeof openGathering>>['ingest']

/** Resolves when a group of the store is on its way to disk. */
async function beginWrite({ store }: Ingest): Promise<void> {
  void store.commit((tx) => tx.appendEvent(0, null, 'write', {}))
  // A few microtasks later it is with LMDB's thread, whose answer takes a turn of the event loop.
  while (!store.isWriting) await null
}

function send(ingest: Ingest, session: SessionRow, count: number) {
  return Array.from({ length: count }, (_, index) =>
    ingest.upload(session, { records: testRecords(uploadRecords, index * uploadRecords) }),
  )
}

/** Records of each batch, in their order. */
function batches({ store }: Ingest, session: SessionRow): number[] {
  return store.events
    .ofSession(0, session.number, 0, 1_000)
    .filter(({ name }) => name === 'batch-received')
    .map(({ data }) => JSON.parse(data).recordCount)
}

test('uploads that come while the store writes fill whole batches, each counted by itself', async (t) => {
  const { ingest, session } = await openGathering(t)
  await beginWrite(ingest)
  const replies = await Promise.all(send(ingest, session, 32))
  for (const { reply } of replies) {
    assert.equal(reply.recordsReceived, uploadRecords)
    assert.equal(reply.recordsProcessed + reply.recordsQueued, uploadRecords)
  }
  await ingest.sessions.end(tester, session.id, {})
  assert.deepEqual(batches(ingest, session), [batchSize, batchSize, batchSize, 300])
  assert.equal(ingest.store.sessions.get(session.number)?.recordsProcessed, 33 * uploadRecords)
})

test('what has gathered when its session ends or is paused is taken yet, what comes later is not', async (t) => {
  const { ingest, session } = await openGathering(t)
  for (const move of ['pause', 'end'] as const) {
    await beginWrite(ingest)
    const gathered = send(ingest, session, 3)
    await nextTurn()
    const moving =
      move === 'end'
        ? ingest.sessions.end(tester, session.id, {})
        : ingest.sessions.pause(tester, session.id)
    const [late] = send(ingest, session, 1)
    await assert.rejects(late as Promise<unknown>, { code: 'SESSION_STATE_CONFLICT' })
    for (const { reply } of await Promise.all(gathered)) {
      assert.equal(reply.recordsReceived, uploadRecords)
    }
    await moving
    if (move === 'pause') await ingest.sessions.resume(tester, session.id)
  }
  assert.equal(ingest.store.sessions.get(session.number)?.recordsProcessed, 7 * uploadRecords)
})

test('of many sessions none gathers over a write, and each gets its replies', async (t) => {
  const { ingest } = await openGathering(t)
  const settings = { sessionType: 'telemetry', batchSize } as const
  const sessions = await Promise.all(
    Array.from({ length: 20 }, () => ingest.sessions.start(tester, settings)),
  )
  await Promise.all(sessions.flatMap((session) => send(ingest, session, 1)))
  await beginWrite(ingest)
  const replies = await Promise.all(sessions.flatMap((session) => send(ingest, session, 2)))
  assert.ok(replies.every(({ reply }) => reply.recordsQueued === uploadRecords))
  for (const session of sessions) {
    assert.equal(ingest.store.sessions.get(session.number)?.recordsQueued, 3 * uploadRecords)
  }
})
