import assert from 'node:assert/strict'
import test from 'node:test'
import { limits } from '../../src/limits.ts'
import type { Page, Transaction } from '../../src/store/interfaces.ts'
import type { OpenStore } from './conformance.ts'
import { newDeadLetter, newJob, newSession, temporaryFolder } from './fixtures.ts'

const { listScanRowsMax, deadLetterScanRowsMax } = limits

/** Lists whose filter takes few rows of more than one page looks at. */
export function listConformance(name: string, open: OpenStore): void {
  test(`${name}: a list of sessions goes on after a page that held none`, async (t) => {
    const store = await open(await temporaryFolder(t))
    await store.commit((tx) =>
      repeat(listScanRowsMax + 2, (index) => {
        const type = index === 0 ? 'video' : 'audio'
        tx.createSession(newSession(`session-${index}`, { type }))
      }),
    )
    const list = store.sessions.list.bind(store.sessions, 1)
    const videos = pages((before) => list({ type: 'video' }, 9, before))
    assert.deepEqual(videos, [nothingUntil(3), { ids: ['session-0'], next: null }])
    const failed = pages((before) => list({ status: 'failed' }, 9, before))
    assert.deepEqual(failed, [nothingUntil(3), nothing])
    await store.close()
  })

  test(`${name}: a list of jobs goes on after a page that held none`, async (t) => {
    const store = await open(await temporaryFolder(t))
    await store.commit((tx) =>
      repeat(listScanRowsMax + 2, (index) =>
        tx.createJob(newJob(`job-${index}`, { status: index === 0 ? 'failed' : 'completed' })),
      ),
    )
    const list = store.jobs.list.bind(store.jobs, 1)
    const failed = pages((before) => list({ status: 'failed' }, 9, before))
    assert.deepEqual(failed, [nothingUntil(3), { ids: ['job-0'], next: null }])
    const bySession = pages((before) => list({ session: 7 }, 9, before))
    assert.deepEqual(bySession, [nothingUntil(3), nothing])
    const all = list({}, listScanRowsMax + 1, null)
    assert.equal(all.rows.length, listScanRowsMax, 'a page of all is bounded too')
    assert.equal(all.next, 3)
    await store.close()
  })

  test(`${name}: lists of dead letters go on after a page that held none, both ways`, async (t) => {
    const store = await open(await temporaryFolder(t))
    const count = deadLetterScanRowsMax + 2
    await store.commit((tx) => {
      putDeadLetter(tx, 0, 'OLDEST')
      repeat(count - 2, (index) => putDeadLetter(tx, index + 1, 'OTHER'))
      putDeadLetter(tx, count - 1, 'NEWEST')
    })
    const { deadLetters } = store
    for (const session of [{}, { session: 1 }]) {
      const list = (code: string) =>
        pages((before) => deadLetters.list(1, { ...session, code }, 9, before))
      const oldest = (code: string) =>
        pages((after) => deadLetters.oldest(1, { ...session, code }, 9, after))
      assert.deepEqual(list('OLDEST'), [nothingUntil(3), { ids: ['dlq-1-0'], next: null }])
      assert.deepEqual(list('NONE'), [nothingUntil(3), nothing])
      const newest = { ids: [`dlq-1-${count - 1}`], next: null }
      assert.deepEqual(oldest('NEWEST'), [nothingUntil(count - 2), newest])
      assert.deepEqual(oldest('NONE'), [nothingUntil(count - 2), nothing])
    }
    await store.close()
  })
}

const nothing = { ids: [], next: null }
const nothingUntil = (next: number) => ({ ids: [], next })

function putDeadLetter(tx: Transaction, batch: number, code: string): void {
  tx.putDeadLetter(newDeadLetter(1, batch, { code }))
}

function repeat(count: number, act: (index: number) => void): void {
  for (let index = 0; index < count; index += 1) act(index)
}

/** All pages of a list, by the ids in them. */
function pages(read: (place: number | null) => Page<{ id: string }>) {
  const found: { ids: string[]; next: number | null }[] = []
  let place: number | null = null
  do {
    const { rows, next } = read(place)
    found.push({ ids: rows.map(({ id }) => id), next })
    place = next
  } while (place !== null)
  return found
}
