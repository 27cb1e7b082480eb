import assert from 'node:assert/strict'
import { test } from 'node:test'
import { UploadReply } from '../../src/contracts/http.ts'
import { conforming } from '../support/client.ts'
import { startServer } from '../support/server.ts'

function records(count: number, first: number): unknown[] {
  return Array.from({ length: count }, (_, index) => ({
    timestamp: Date.UTC(2025, 0, 20) + first + index,
    values: { n: first + index },
  }))
}

test('small uploads that come together are each answered and counted by themselves', async (t) => {
  const { client } = await startServer(t)
  const session = await client.start({ sessionType: 'telemetry', batchSize: 100 })
  const path = client.session(session.sessionId, 'upload')
  const sent = Array.from({ length: 300 }, (_, n) => ({
    // Every thirtieth is wrong as a whole, every fortieth in one of its records.
    kind: n % 30 === 7 ? 'wrong' : n % 40 === 11 ? 'partly' : 'good',
    records: records(1 + (n % 3), 10 * n),
  }))
  // The first tells how many records to expect of an upload.
  await client.upload(session.sessionId, { records: records(1, 100_000) })
  const replies = await Promise.all(
    sent.map(async ({ kind, records: good }) => {
      const bad = { timestamp: 'never', values: {} }
      const json = { records: kind === 'wrong' ? [bad] : kind === 'partly' ? [...good, bad] : good }
      return client.raw('POST', path, { json })
    }),
  )
  const kept: unknown[] = records(1, 100_000)
  for (const [n, reply] of replies.entries()) {
    const { kind, records: good } = sent[n] as (typeof sent)[number]
    if (kind === 'wrong') {
      reply.refused(422, 'INVALID_RECORDS')
      continue
    }
    assert.equal(reply.status, 200, `upload ${n}`)
    conforming(UploadReply, reply.json)
    const body = reply.json as UploadReply
    assert.equal(body.recordsReceived, good.length + (kind === 'partly' ? 1 : 0))
    assert.equal(body.recordsRejected, kind === 'partly' ? 1 : 0)
    assert.equal(body.recordsProcessed + body.recordsQueued, good.length)
    kept.push(...good)
  }
  const ended = await client.end(session.sessionId)
  assert.equal(ended.status, 'completed')
  assert.equal(ended.finalStatistics.totalAtomsCreated, kept.length)
  const numberOf = (record: unknown) => (record as { values: { n: number } }).values.n
  const stored = (await client.records(session.sessionId)).map(numberOf)
  const ascending = (a: number, b: number) => a - b
  assert.deepEqual(stored.toSorted(ascending), kept.map(numberOf).toSorted(ascending))
})

test('one key among many uploads that come together still counts once', async (t) => {
  const { client } = await startServer(t)
  const session = await client.start({ sessionType: 'telemetry', batchSize: 1_000 })
  const path = client.session(session.sessionId, 'upload')
  await client.upload(session.sessionId, { records: records(1, 0) })
  const replies = await Promise.all(
    Array.from({ length: 100 }, (_, n) => {
      const keyed = n % 10 === 0
      const headers: Record<string, string> = keyed ? { 'Idempotency-Key': 'the-same' } : {}
      return client.raw('POST', path, {
        json: { records: records(1, keyed ? 1 : 10 + n) },
        headers,
      })
    }),
  )
  for (const { status } of replies) assert.equal(status, 200)
  assert.equal((await client.end(session.sessionId)).finalStatistics.totalAtomsCreated, 1 + 1 + 90)
})
