import assert from 'node:assert/strict'
import { mkdtemp } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { Refusal } from '../../src/contracts/errors.ts'
import { limits } from '../../src/limits.ts'
import type { SessionRow } from '../../src/store/interfaces.ts'
import { tester } from '../support/actors.ts'
import { FakeClock } from '../support/fake-clock.ts'
import { openIngest, testRecords } from '../support/ingest.ts'
import { eventually } from '../support/waiting.ts'

const isConflict = (error: unknown) =>
  error instanceof Refusal && error.code === 'SESSION_STATE_CONFLICT'

type Ingest = Awaited<ReturnType<typeof openIngest>>

function ended(ingest: Ingest, session: SessionRow): Promise<SessionRow> {
  return eventually(async () => {
    const row = ingest.row(session)
    return row.endedAtMs === null ? undefined : row
  }, 'the end of the session')
}

test('a session ends by itself 24 hours after its start, its queue first', async (t) => {
  const clock = new FakeClock()
  const ingest = await openIngest(t, { clock })
  ingest.sessions.recover()
  const session = await ingest.sessions.start(tester, {
    sessionType: 'telemetry',
    maxBatchDelayMs: limits.batchDelayMsMax,
  })
  clock.advance(limits.sessionTtlMs - limits.sessionSweepMs)
  await ingest.upload(session, { records: testRecords(7) })
  assert.equal(ingest.row(session).recordsQueued, 7)
  assert.equal(ingest.row(session).status, 'active')
  clock.advance(2 * limits.sessionSweepMs)
  const row = await ended(ingest, session)
  assert.equal(row.status, 'completed')
  assert.equal(row.atomsCreated, 7)
  assert.deepEqual(
    (await ingest.readAll(row)).map(({ values }) => values),
    testRecords(7).map(({ values }) => values),
  )
})

test('a paused session ends at its age too, a younger one does not', async (t) => {
  const clock = new FakeClock()
  const ingest = await openIngest(t, { clock })
  ingest.sessions.recover()
  const old = await ingest.sessions.start(tester, { sessionType: 'audio' })
  await ingest.sessions.pause(tester, old.id)
  clock.advance(limits.sessionTtlMs / 2)
  const young = await ingest.sessions.start(tester, { sessionType: 'telemetry' })
  clock.advance(limits.sessionTtlMs / 2 + limits.sessionSweepMs)
  assert.equal((await ended(ingest, old)).status, 'completed')
  assert.equal(ingest.row(young).status, 'active')
})

test('a session that came of age while no server ran ends at the next start', async (t) => {
  const clock = new FakeClock()
  const path = await mkdtemp(join(tmpdir(), 'atomstream-ingest-'))
  const before = await openIngest(t, { clock, path })
  const session = await before.sessions.start(tester, { sessionType: 'telemetry' })
  await before.upload(session, { records: testRecords(5) })
  await before.close()
  clock.advance(limits.sessionTtlMs + 1)
  const after = await openIngest(t, { clock, path })
  after.sessions.recover()
  const row = await ended(after, session)
  assert.equal(row.status, 'completed')
  assert.equal(row.atomsCreated, 5)
})

test('more sessions than one sweep ends are all ended, and take no upload meanwhile', async (t) => {
  const clock = new FakeClock()
  const ingest = await openIngest(t, { clock })
  ingest.sessions.recover()
  const count = 2 * limits.sessionSweepMax + 10
  const all = await Promise.all(
    Array.from({ length: count }, () =>
      ingest.sessions.start(tester, { sessionType: 'telemetry' }),
    ),
  )
  clock.advance(limits.sessionTtlMs - 1)
  clock.advance(1)
  const last = all.at(-1) as SessionRow
  await assert.rejects(ingest.upload(last, { records: testRecords(1) }), isConflict)
  clock.advance(limits.sessionSweepMs)
  for (let sweep = 0; sweep < 3; sweep += 1) {
    await eventually(async () => {
      const open = ingest.store.sessions.open().length
      return open <= Math.max(0, count - (sweep + 1) * limits.sessionSweepMax) ? true : undefined
    }, 'the end of a sweep')
    clock.advance(limits.sessionSweepAgainMs)
  }
  assert.deepEqual(ingest.store.sessions.open(), [])
})
