import assert from 'node:assert/strict'
import { test } from 'node:test'
import { DeadLetterList, JobList, SessionList } from '../../src/contracts/http.ts'
import { limits } from '../../src/limits.ts'
import { newDeadLetter, newJob, newSession } from '../store/fixtures.ts'
import { Client } from '../support/client.ts'
import { openDoor, ownKey } from './door.ts'

const base = '/api/streaming'

test('a list whose filter takes none of the rows it looks at names the page that follows', async (t) => {
  const { url, store } = await openDoor(t)
  const client = new Client(url, ownKey)
  const session = await store.commit((tx) => {
    const wanted = tx.createSession(
      newSession('stream-session-0', { tenant: 0, type: 'video', createdAtMs: 1_000 }),
    )
    tx.createJob(newJob('job-0', { tenant: 0, status: 'failed' }))
    tx.putDeadLetter(newDeadLetter(wanted.number, 0, { tenant: 0, code: 'WANTED' }))
    for (let index = 1; index <= limits.listScanRowsMax; index += 1) {
      tx.createSession(newSession(`stream-session-${index}`, { tenant: 0, status: 'completed' }))
      tx.createJob(newJob(`job-${index}`, { tenant: 0 }))
    }
    for (let index = 1; index <= limits.deadLetterScanRowsMax; index += 1) {
      tx.putDeadLetter(newDeadLetter(wanted.number, index, { tenant: 0 }))
    }
    return wanted
  })

  const videos = { type: 'video', limit: 1 }
  const noSession = (await client.get(`${base}/sessions`, videos)).as(SessionList)
  assert.deepEqual(noSession, { sessions: [], nextCursor: '2' })
  const sessions = (await client.get(`${base}/sessions`, { ...videos, cursor: '2' })).as(
    SessionList,
  )
  assert.deepEqual([sessions.sessions[0]?.sessionId, sessions.nextCursor], [session.id, null])

  const failed = { status: 'failed', limit: 1 }
  const noJob = (await client.get(`${base}/jobs`, failed)).as(JobList)
  assert.deepEqual(noJob, { jobs: [], nextCursor: '2' })
  const jobs = (await client.get(`${base}/jobs`, { ...failed, cursor: '2' })).as(JobList)
  assert.deepEqual([jobs.jobs[0]?.jobId, jobs.nextCursor], ['job-0', null])

  const wanted = { errorCode: 'WANTED', sessionId: session.id }
  const noLetter = (await client.get(`${base}/dlq`, wanted)).as(DeadLetterList)
  assert.deepEqual(noLetter, { deadLetters: [], nextCursor: '2' })
  const letters = (await client.get(`${base}/dlq`, { ...wanted, cursor: '2' })).as(DeadLetterList)
  assert.equal(letters.deadLetters.length, 1)
  assert.equal(letters.nextCursor, null)
  for (const path of ['sessions', 'jobs', 'dlq']) {
    const reply = await client.get(`${base}/${path}`, { cursor: 'x' })
    reply.refused(400, 'INVALID_PARAMETER')
  }
})
