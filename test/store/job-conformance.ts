import assert from 'node:assert/strict'
import test from 'node:test'
import type { JobRow, Page } from '../../src/store/interfaces.ts'
import type { OpenStore } from './conformance.ts'
import {
  mediaFile,
  newAnswer,
  newJob,
  newMediaJob,
  newSession,
  sha256,
  temporaryFolder,
} from './fixtures.ts'

const failure = new Error('the unit fails')
const nothing = { rows: [], next: null }

/** Jobs, stored answers, and the sessions that are open for too long. */
export function jobConformance(name: string, open: OpenStore): void {
  test(`${name}: every field of a job survives changes and reopening`, async (t) => {
    const path = await temporaryFolder(t)
    const store = await open(path)
    const created = await store.commit((tx) => tx.createJob(newJob('job-a', { session: 7 })))
    assert.deepEqual(store.jobs.get(created.number), {
      ...newJob('job-a', { session: 7 }),
      number: 1,
    })
    const changes: Partial<JobRow> = {
      status: 'failed',
      step: 'completion',
      stepDurationsMs: { upload: 1, atomization: 0.5 },
      stepStartedAtMs: 1_999.5,
      stepItemsBefore: 3,
      itemUnit: 'frames',
      itemsTotal: null,
      itemsProcessed: 5,
      atomsCreated: 6,
      batchesLeft: 0,
      chain: sha256('chain'),
      startedAtMs: 2_000,
      updatedAtMs: 2_001,
      endedAtMs: 2_002,
      error: { code: 'WORKER_FAILED', message: 'left', details: 'batch-0 is dead letter dlq-1' },
      media: { ...mediaFile, checkpoint: { emitted: 6, position: 90 }, description: 'h264 ×' },
    }
    await store.commit((tx) => Object.assign(tx.job(created.number), changes))
    await store.close()
    const again = await open(path)
    const expected = { ...newJob('job-a', { session: 7 }), ...changes, number: created.number }
    assert.deepEqual(again.jobs.get(created.number), expected)
    assert.deepEqual(again.jobs.find(1, 'job-a'), expected)
    assert.equal(again.jobs.find(2, 'job-a'), null)
    for (const id of ['', 'unknown', 'x'.repeat(100_000)])
      assert.equal(again.jobs.find(1, id), null)
    assert.equal(again.jobs.get(99), null)
    const next = await again.commit((tx) => tx.createJob(newJob('job-b', { tenant: 2 })))
    assert.equal(next.number, created.number + 1)
    await assert.rejects(again.commit((tx) => tx.job(99)))
    await again.close()
  })

  test(`${name}: units that change one job add to what those before them did`, async (t) => {
    const store = await open(await temporaryFolder(t))
    const { number } = await store.commit((tx) => tx.createJob(newJob('job-a')))
    const advance = (by: number, fails = false) =>
      store.commit((tx) => {
        const job = tx.job(number)
        job.itemsProcessed += by
        assert.equal(tx.job(number), job)
        if (fails) throw failure
        return job.itemsProcessed
      })
    const created = store.commit((tx) => {
      const job = tx.createJob(newJob('job-lost'))
      assert.equal(tx.job(job.number).id, 'job-lost')
      throw failure
    })
    const results = await Promise.allSettled([advance(1), advance(10, true), advance(100), created])
    assert.deepEqual(
      results.map((result) => (result.status === 'fulfilled' ? result.value : null)),
      [1, null, 101, null],
    )
    assert.equal(store.jobs.get(number)?.itemsProcessed, 101)
    assert.equal(store.jobs.find(1, 'job-lost'), null)
    const next = await store.commit((tx) => tx.createJob(newJob('job-b')))
    assert.equal(next.number, number + 1)
    await store.close()
  })

  test(`${name}: jobs are listed by tenant, newest first, by status and session`, async (t) => {
    const store = await open(await temporaryFolder(t))
    await store.commit((tx) => {
      for (let index = 0; index < 10; index += 1) {
        tx.createJob(newJob(`job-${index}`, { session: index % 2 === 0 ? 5 : null }))
        tx.createJob(newJob(`other-${index}`, { tenant: 2, session: 6 }))
      }
    })
    const fourth = store.jobs.find(1, 'job-4')
    assert.ok(fourth)
    await store.commit((tx) => {
      tx.job(fourth.number).status = 'completed'
    })
    const ids = ({ rows }: Page<JobRow>) => rows.map((row) => row.id)
    const page = store.jobs.list(1, {}, 3, null)
    assert.deepEqual(ids(page), ['job-9', 'job-8', 'job-7'])
    assert.deepEqual(ids(store.jobs.list(1, {}, 2, page.next)), ['job-6', 'job-5'])
    assert.equal(store.jobs.list(1, {}, 10, null).next, null)
    assert.deepEqual(ids(store.jobs.list(1, { status: 'completed' }, 9, null)), ['job-4'])
    assert.deepEqual(ids(store.jobs.list(1, { session: 5 }, 2, null)), ['job-8', 'job-6'])
    assert.deepEqual(store.jobs.list(1, { session: 6 }, 9, null), nothing)
    assert.deepEqual(store.jobs.list(1, { session: 5, status: 'failed' }, 9, null), nothing)
    assert.deepEqual(store.jobs.list(1, {}, 0, null), nothing)
    assert.deepEqual(store.jobs.list(3, {}, 9, null), nothing)
    await store.close()
  })

  test(`${name}: old jobs go, oldest first, those that have not ended stay`, async (t) => {
    const store = await open(await temporaryFolder(t))
    await store.commit((tx) => {
      for (let index = 0; index < 10; index += 1) {
        const status = index === 3 ? 'in-progress' : 'completed'
        tx.createJob(newJob(`job-${index}`, { status, createdAtMs: 1_000 + index }))
      }
      tx.createJob(newJob('other', { tenant: 2, status: 'completed', createdAtMs: 0 }))
    })
    const ids = () => store.jobs.list(1, {}, 100, null).rows.map((row) => row.id)
    const left = await Promise.all([
      store.commit((tx) => tx.dropJobs(1, 1_006, 2)),
      store.commit((tx) => tx.dropJobs(1, 1_006, 100)),
      store.commit((tx) => tx.dropJobs(1, 1_006, 100)),
    ])
    assert.deepEqual(left, [2, 3, 0])
    assert.deepEqual(ids(), ['job-9', 'job-8', 'job-7', 'job-6', 'job-3'])
    assert.equal(store.jobs.find(1, 'job-0'), null)
    const running = store.jobs.find(1, 'job-3')
    assert.ok(running)
    const dropped = await store.commit((tx) => {
      tx.job(running.number).status = 'cancelled'
      return tx.dropJobs(1, 1_006, 100)
    })
    assert.equal(dropped, 1)
    assert.equal(store.jobs.get(running.number), null)
    assert.equal(store.jobs.list(2, {}, 9, null).rows.length, 1)
    const next = await store.commit((tx) => tx.createJob(newJob('next')))
    assert.equal(next.number, 12)
    await store.close()
  })

  test(`${name}: jobs on files that have not ended are found, oldest first`, async (t) => {
    const path = await temporaryFolder(t)
    const store = await open(path)
    const create = (row: Omit<JobRow, 'number'>, fails = false) =>
      store.commit((tx) => {
        const { number } = tx.createJob(row)
        if (fails) throw failure
        return number
      })
    const results = await Promise.allSettled([
      create(newMediaJob('file-0')),
      create(newJob('upload')),
      create(newMediaJob('lost'), true),
      create(newMediaJob('file-1', { tenant: 2, status: 'in-progress' })),
      create(newMediaJob('ended', { status: 'failed' })),
      create(newMediaJob('file-2')),
    ])
    assert.equal(results[2]?.status, 'rejected')
    const ids = (from = store) => from.jobs.openMedia().map((row) => row.id)
    assert.deepEqual(ids(), ['file-0', 'file-1', 'file-2'])
    const [first, second] = store.jobs.openMedia()
    assert.ok(first && second)
    assert.deepEqual(first, { ...newMediaJob('file-0'), number: first.number })
    const end = (number: number, fails = false) =>
      store.commit((tx) => {
        tx.job(number).status = 'completed'
        // What is dropped in the unit that ends it must not stay in a list.
        assert.equal(tx.dropJobs(1, 9_000, 100), number === first.number ? 2 : 0)
        if (fails) throw failure
      })
    await assert.rejects(end(first.number, true), failure)
    assert.deepEqual(ids(), ['file-0', 'file-1', 'file-2'])
    await Promise.all([end(first.number), end(second.number)])
    assert.deepEqual(ids(), ['file-2'])
    assert.equal(store.jobs.get(first.number), null)
    await store.close()
    const again = await open(path)
    assert.deepEqual(ids(again), ['file-2'])
    await again.close()
  })

  test(`${name}: the listener gets each job that a transaction changed, as it is stored`, async (t) => {
    const store = await open(await temporaryFolder(t))
    const heard: JobRow[][] = []
    store.onJobs((jobs) => {
      for (const job of jobs) assert.deepEqual(store.jobs.get(job.number), job)
      heard.push([...jobs])
    })
    const names = () => heard.splice(0).map((jobs) => jobs.map((job) => [job.id, job.atomsCreated]))
    const advance = (number: number, atoms: number, fails = false) =>
      store.commit((tx) => {
        tx.job(number).atomsCreated += atoms
        if (fails) throw failure
      })
    const [a, b] = await Promise.all([
      store.commit((tx) => tx.createJob(newMediaJob('a')).number),
      store.commit((tx) => tx.createJob(newJob('b')).number),
    ])
    assert.deepEqual(names(), [
      [
        ['a', 0],
        ['b', 0],
      ],
    ])
    await Promise.allSettled([advance(b, 1), advance(a, 10), advance(a, 100, true), advance(b, 2)])
    const [jobs] = heard
    for (const job of jobs ?? []) Object.assign(job, { status: 'failed' }).chain.fill(9)
    jobs?.find((job) => job.media !== null)?.media?.hash.fill(9)
    assert.deepEqual(store.jobs.get(a), { ...newMediaJob('a'), number: a, atomsCreated: 10 })
    assert.deepEqual(names(), [
      [
        ['b', 3],
        ['a', 10],
      ],
    ])
    // Neither what has not changed, nor what was taken back, nor what no longer is.
    await advance(a, 0)
    const undone = store.commit((tx) => {
      tx.job(a).atomsCreated += 100
      tx.dropJobs(1, 0, 1)
      throw failure
    })
    await assert.rejects(undone, failure)
    await store.commit((tx) => tx.appendEvent(1, null, 'other', {}))
    await store.commit((tx) => {
      tx.job(b).status = 'completed'
      return tx.dropJobs(1, 9_000, 100)
    })
    assert.deepEqual(names(), [])
    await store.close()
  })

  test(`${name}: an answer is read by session and key, and goes once it is old`, async (t) => {
    const path = await temporaryFolder(t)
    const store = await open(path)
    const answers = ['a', 'b', 'c', 'd'].map((key, index) =>
      newAnswer(1, key, { createdAtMs: 1_000 + index }),
    )
    const other = newAnswer(2, 'a', { createdAtMs: 500, status: 202 })
    await store.commit((tx) => {
      for (const answer of [...answers, other]) tx.putIdempotency(answer)
    })
    await store.close()
    const again = await open(path)
    for (const answer of [...answers, other]) {
      const read = again.idempotency.get(answer.session, answer.keyDigest)
      assert.deepEqual(read, answer)
      assert.equal(JSON.stringify(read?.answer), JSON.stringify(answer.answer))
    }
    assert.equal(again.idempotency.get(2, sha256('b')), null)
    // A key that comes again after its time is given another answer and another time.
    const renewed = newAnswer(2, 'a', { createdAtMs: 9_000 })
    const drops = await Promise.all([
      again.commit((tx) => tx.putIdempotency(renewed)),
      again.commit((tx) => tx.dropIdempotency(1_002, 1)),
      again.commit((tx) => tx.dropIdempotency(1_002, 100)),
      again.commit((tx) => tx.dropIdempotency(1_002, 100)),
      again.commit((tx) => tx.dropIdempotency(0, 100)),
    ])
    assert.deepEqual(drops.slice(1), [1, 1, 0, 0])
    const kept = answers.map(({ keyDigest }) => again.idempotency.get(1, keyDigest) !== null)
    assert.deepEqual(kept, [false, false, true, true])
    assert.deepEqual(again.idempotency.get(2, renewed.keyDigest), renewed)
    assert.equal(await again.commit((tx) => tx.dropIdempotency(10_000, 100)), 3)
    await again.close()
  })

  test(`${name}: open sessions are found by their age, oldest first`, async (t) => {
    const path = await temporaryFolder(t)
    const store = await open(path)
    // Not in the order of their numbers, as after a clock was set back; in one millisecond they are.
    const times = [3_000, 1_000.5, 2_000, 1_000, 4_000]
    await store.commit((tx) => {
      for (const createdAtMs of times) {
        tx.createSession(newSession(`s-${createdAtMs}`, { createdAtMs }))
      }
    })
    await store.commit((tx) => {
      tx.session(3).status = 'completed'
    })
    await store.close()
    const again = await open(path)
    const ids = (beforeMs: number, limit = 9) =>
      again.sessions.openBefore(beforeMs, limit).map((row) => row.id)
    assert.deepEqual(ids(4_000), ['s-1000.5', 's-1000', 's-3000'])
    assert.deepEqual(ids(1_000.5), ['s-1000'])
    assert.deepEqual(ids(1_000), [])
    assert.deepEqual(ids(4_001, 2), ['s-1000.5', 's-1000'])
    assert.deepEqual(ids(-5), [])
    assert.deepEqual(
      again.sessions.open().map((row) => row.createdAtMs),
      [1_000.5, 1_000, 3_000, 4_000],
    )
    await again.close()
  })

  test(`${name}: the store's time is the clock's`, async (t) => {
    let nowMs = 5_000
    const store = await open(await temporaryFolder(t), { now: () => nowMs })
    await store.commit((tx) => tx.appendEvent(1, null, 'first', {}))
    nowMs = 6_000
    assert.equal(
      await store.commit((tx) => {
        tx.appendEvent(1, null, 'second', {})
        return tx.nowMs
      }),
      6_000,
    )
    assert.deepEqual(
      store.events.oldest(1, 5).map(({ event, atMs }) => [event.name, atMs]),
      [
        ['first', 5_000],
        ['second', 6_000],
      ],
    )
    await store.close()
  })
}
