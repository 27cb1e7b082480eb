import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { JobWatch } from '../../src/ingest/job-watch.ts'
import { limits } from '../../src/limits.ts'
import type { JobRow } from '../../src/store/interfaces.ts'
import { openStore } from '../../src/store/store.ts'
import { newJob } from '../store/fixtures.ts'
import { FakeClock } from '../support/fake-clock.ts'
import { within } from '../support/waiting.ts'

const signal = new AbortController().signal

async function openWatch(t: TestContext) {
  const path = await mkdtemp(join(tmpdir(), 'atomstream-watch-'))
  const store = openStore({ path, durability: 'flush', maxBytes: 1 << 28 })
  const clock = new FakeClock()
  const watch = new JobWatch(store, clock)
  t.after(async () => {
    watch.close()
    await store.close()
    await rm(path, { recursive: true, force: true })
  })
  const change = (number: number, changes: Partial<JobRow>) =>
    store.commit((transaction) => void Object.assign(transaction.job(number), changes))
  const create = (id: string) => store.commit((transaction) => transaction.createJob(newJob(id)))
  return { store, clock, watch, change, create }
}

/** Whether it has come to something by now, and what. */
async function settled<T>(promise: Promise<T>): Promise<T | 'waits'> {
  for (let turn = 0; turn < 5; turn++) await new Promise(setImmediate)
  return Promise.race([promise, Promise.resolve('waits' as const)])
}

test('a wait ends when the status or the step changes, not with mere progress', async (t) => {
  const { store, watch, change, create } = await openWatch(t)
  const job = await create('job-a')
  const other = await create('job-b')
  const byStatus = watch.wait(job, 60_000, signal)
  await change(job.number, { itemsProcessed: 5 })
  await change(other.number, { status: 'in-progress' })
  assert.equal(await settled(byStatus), 'waits')
  await change(job.number, { status: 'in-progress' })
  const begun = await within(byStatus, 'the change of status')
  assert.equal(begun.status, 'in-progress')
  assert.equal(begun.itemsProcessed, 5)
  const byStep = [watch.wait(begun, 60_000, signal), watch.wait(begun, 60_000, signal)]
  await change(job.number, { step: 'indexing' })
  for (const wait of byStep) assert.equal((await within(wait, 'the step')).step, 'indexing')
  assert.deepEqual(store.jobs.get(job.number)?.step, 'indexing')
})

test('a wait ends with its time and gives the newest row', async (t) => {
  const { clock, watch, change, create } = await openWatch(t)
  const job = await create('job-a')
  const wait = watch.wait(job, 2_000, signal)
  await change(job.number, { itemsProcessed: 7 })
  clock.advance(1_999)
  assert.equal(await settled(wait), 'waits')
  clock.advance(1)
  assert.equal((await within(wait, 'the end of the time')).itemsProcessed, 7)
  assert.equal(clock.nextMs, null)
})

test('an ended job is not waited for', async (t) => {
  const { clock, watch, change, create } = await openWatch(t)
  const job = await create('job-a')
  await change(job.number, { status: 'completed', endedAtMs: 2_000 })
  const ended = { ...job, status: 'completed', endedAtMs: 2_000 } as const
  assert.equal((await watch.wait(ended, 60_000, signal)).status, 'completed')
  assert.equal(clock.nextMs, null)
})

test('who goes away, and everybody at the close, is let go at once', async (t) => {
  const { clock, watch, create } = await openWatch(t)
  const job = await create('job-a')
  const aborter = new AbortController()
  const gone = watch.wait(job, 60_000, aborter.signal)
  const stays = watch.wait(job, 60_000, signal)
  aborter.abort()
  await within(gone, 'the end of who has gone')
  assert.equal(await settled(stays), 'waits')
  watch.close()
  watch.close()
  await within(stays, 'the end at the close')
  await within(watch.wait(job, 60_000, signal), 'a wait after the close')
  await within(watch.wait(job, 60_000, aborter.signal), 'a wait of who has gone')
  assert.equal(clock.nextMs, null)
})

test('more waits than there may be are refused, and one that ends makes room', async (t) => {
  const { watch, create } = await openWatch(t)
  const job = await create('job-a')
  const aborter = new AbortController()
  const first = watch.wait(job, 60_000, aborter.signal)
  const others = Array.from({ length: limits.jobWaitsMax - 1 }, () =>
    watch.wait(job, 60_000, signal),
  )
  await assert.rejects(watch.wait(job, 60_000, signal), { code: 'SATURATED' })
  aborter.abort()
  await first
  const next = watch.wait(job, 60_000, signal)
  assert.equal(await settled(next), 'waits')
  watch.close()
  await within(Promise.all([...others, next]), 'everybody')
})
