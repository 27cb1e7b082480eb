import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import type { Static } from '@sinclair/typebox'
import {
  DeadLetterDetail,
  DeadLetterList,
  JobStarted,
  JobStatusReply,
} from '../../src/contracts/http.ts'
import { Client } from '../support/client.ts'
import { faultyWorkers, poisonRecord } from '../support/faults.ts'
import { markText } from '../support/faulty-mark.ts'
import { testRecords } from '../support/ingest.ts'
import { eventually } from '../support/waiting.ts'
import { addKey, openDoor, ownKey } from './door.ts'

const base = '/api/streaming/dlq'
type Letters = Static<typeof DeadLetterList>['deadLetters']

async function openFaulty(t: TestContext) {
  const door = await openDoor(t, { workerFile: (await faultyWorkers(t)).workerFile })
  return { ...door, client: new Client(door.url, ownKey) }
}

/** Lets a batch of four records of a new session fail for good. */
async function makeDeadLetter(client: Client, name: string, times: number | 'always') {
  const { sessionId } = await client.start({
    sessionType: 'telemetry',
    batchSize: 4,
    retry: { maxRetries: 1, retryDelayMs: 0 },
  })
  await client.upload(sessionId, { records: [poisonRecord(name, times)] })
  await client.upload(sessionId, { records: testRecords(3) }, 202)
  const [letter] = await eventually(async () => {
    const letters = await list(client, { sessionId })
    return letters.length === 0 ? undefined : letters
  }, 'the dead letter')
  assert.ok(letter)
  return { sessionId, letter }
}

async function list(client: Client, query: Record<string, string | number> = {}): Promise<Letters> {
  return (await client.get(base, query)).as(DeadLetterList).deadLetters
}

function finished(client: Client, { statusUrl = '' }: JobStarted): Promise<JobStatusReply> {
  return eventually(async () => {
    const job = (await client.get(statusUrl)).as(JobStatusReply)
    return job.status === 'completed' || job.status === 'failed' ? job : undefined
  }, 'the end of the job')
}

test('a batch that fails for good is listed, shown with payload and history, and redriven', async (t) => {
  const { client } = await openFaulty(t)
  const { sessionId, letter } = await makeDeadLetter(client, 'shown', 2)
  assert.deepEqual(
    [letter.sessionId, letter.batchId, letter.recordCount, letter.attempts, letter.errorCode],
    [sessionId, 'batch-001', 4, 2, 'WORKER_FAILED'],
  )
  const path = `${base}/${letter.deadLetterId}`
  const detail = (await client.get(path, { limit: 3 })).as(DeadLetterDetail)
  assert.deepEqual(
    detail.history.map(({ attempt }) => attempt),
    [1, 2],
  )
  assert.equal(detail.payload.records?.length, 3)
  const rest = (await client.get(path, { cursor: detail.payload.nextCursor ?? '' })).as(
    DeadLetterDetail,
  )
  assert.equal(rest.payload.records?.length, 1)
  assert.equal(rest.payload.nextCursor, null)
  assert.equal((await client.status(sessionId)).statistics.totalRecordsDeadLettered, 4)

  const reply = await client.raw('POST', `${path}/retry`)
  const job = await finished(client, reply.as(JobStarted, 202))
  assert.equal(job.status, 'completed')
  assert.equal(job.kind, 'redrive')
  assert.equal(job.result?.atomsCreated, 4)
  ;(await client.get(path)).refused(404, 'DEAD_LETTER_NOT_FOUND')
  assert.equal((await client.end(sessionId)).status, 'completed')
})

test('a payload that breaks its reader is shown as unreadable, and the server goes on', async (t) => {
  const { client, store } = await openFaulty(t)
  const { sessionId } = await client.start({ sessionType: 'telemetry' })
  const note = markText({ task: 'read', fault: 'throw', times: 'always', name: 'reader' })
  const unreadable = { timestamp: '2025-01-01T00:00:00Z', values: { note } }
  await client.upload(sessionId, { records: [unreadable] })
  await client.upload(sessionId, { records: testRecords(1) })
  // A journal that has lost an entry is what cannot heal.
  const session = store.sessions.find(0, sessionId)?.number ?? 0
  await store.commit((transaction) => transaction.deleteJournal(session, 1, 1))
  assert.equal((await client.end(sessionId)).status, 'failed')
  const [letter] = await list(client)
  const detail = (await client.get(`${base}/${letter?.deadLetterId}`)).as(DeadLetterDetail)
  assert.match(detail.payload.unreadable ?? '', /worker/)
  assert.equal(detail.errorCode, 'JOURNAL_DAMAGED')
  assert.equal((await client.get('/health')).status, 200)
})

test('several dead letters are redriven by a selection, as one job over several sessions', async (t) => {
  const { client } = await openFaulty(t)
  const one = await makeDeadLetter(client, 'several-1', 2)
  const other = await makeDeadLetter(client, 'several-2', 'always')
  const json = { deadLetterIds: [one.letter.deadLetterId, other.letter.deadLetterId] }
  const started = (await client.raw('POST', `${base}/retry`, { json })).as(JobStarted, 202)
  assert.equal(started.sessionId, null)
  const job = await finished(client, started)
  assert.equal(job.status, 'failed')
  assert.equal(job.error?.code, 'WORKER_FAILED')
  assert.deepEqual(job.partialResult, { atomsCreated: 4, itemsProcessed: 4 })
  const [left] = await list(client)
  assert.equal(left?.deadLetterId, other.letter.deadLetterId)
  assert.equal(left?.attempts, 4)
})

test('a selection that selects nothing, or is none, is refused and says why', async (t) => {
  const { client } = await openFaulty(t)
  const retry = (json: unknown) => client.raw('POST', `${base}/retry`, { json })
  ;(await retry({ all: true })).refused(404, 'DEAD_LETTER_NOT_FOUND')
  ;(await retry({ deadLetterIds: ['dlq-none'] })).refused(404, 'DEAD_LETTER_NOT_FOUND')
  ;(await retry({ sessionId: 'stream-session-none' })).refused(404, 'SESSION_NOT_FOUND')
  ;(await retry({})).refused(422, 'INVALID_BODY')
  const empty = (await retry({ deadLetterIds: [] })).refused(422, 'INVALID_BODY')
  assert.match(`${empty.expected}`, /1 to 1000 items/)
  ;(await retry({ all: true, errorCode: 'X' })).refused(422, 'INVALID_BODY')
  ;(await retry({ ids: ['a'] })).refused(422, 'INVALID_BODY')
})

test('a dead letter is dropped once, and only by a key with the scope for it', async (t) => {
  const { client, store, url } = await openFaulty(t)
  const { letter, sessionId } = await makeDeadLetter(client, 'dropped', 'always')
  const path = `${base}/${letter.deadLetterId}`
  const reader = new Client(url, (await addKey(store, 0, ['sessions:write', 'ingest'])).key)
  ;(await reader.raw('DELETE', path)).refused(403, 'SCOPE_MISSING')
  const stranger = new Client(url, (await addKey(store, 5, ['dlq'])).key)
  ;(await stranger.raw('DELETE', path)).refused(404, 'DEAD_LETTER_NOT_FOUND')
  assert.equal((await client.raw('DELETE', path)).status, 204)
  ;(await client.raw('DELETE', path)).refused(404, 'DEAD_LETTER_NOT_FOUND')
  assert.deepEqual(await list(client), [])
  const { statistics } = await client.status(sessionId)
  assert.equal(statistics.totalRecordsDeadLettered, 4, 'what was dropped is not forgotten')
  assert.equal((await client.end(sessionId)).status, 'completed', 'no dead letter remains')
})
