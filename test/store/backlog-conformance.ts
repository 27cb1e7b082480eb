import assert from 'node:assert/strict'
import test from 'node:test'
import type { DeadLetterRow, Page, Store } from '../../src/store/interfaces.ts'
import type { OpenStore } from './conformance.ts'
import { blobOf, mediaEntry, newDeadLetter, newRetry, temporaryFolder } from './fixtures.ts'

const failure = new Error('the unit fails')
const nothing = { rows: [], next: null }

/** Retries, dead letters and what of the journal waits. */
export function backlogConformance(name: string, open: OpenStore): void {
  test(`${name}: a retry is read as it was put, also after reopening, until deleted`, async (t) => {
    const path = await temporaryFolder(t)
    const store = await open(path)
    const first = newRetry(1, 0)
    const second = newRetry(1, 2 ** 33, {
      failures: 3,
      history: Array.from({ length: 32 }, (_, index) => ({
        attempt: index + 1,
        atMs: index,
        code: 'BATCH_PROCESSING_FAILED',
        message: 'm'.repeat(500),
      })),
      redrive: { deadLetterId: 'dlq-1', job: 2 ** 40 },
    })
    await store.commit((tx) => {
      tx.putRetry(first)
      tx.putRetry(second)
    })
    await store.close()
    const again = await open(path)
    assert.deepEqual(again.journal.retry(1, 0), first)
    assert.deepEqual(again.journal.retry(1, 2 ** 33), second)
    assert.equal(again.journal.retry(1, 1), null)
    await again.commit((tx) => {
      tx.putRetry({ ...first, failures: 2 })
      tx.deleteRetry(1, 2 ** 33)
      tx.deleteRetry(1, 99)
    })
    assert.equal(again.journal.retry(1, 0)?.failures, 2)
    assert.equal(again.journal.retry(1, 2 ** 33), null)
    await again.close()
  })

  test(`${name}: units see the retries of those before them, not of one that failed`, async (t) => {
    const store = await open(await temporaryFolder(t))
    await store.commit((tx) => tx.putRetry(newRetry(1, 1)))
    const seen = await Promise.allSettled([
      store.commit((tx) => {
        tx.putRetry(newRetry(1, 1, { failures: 2 }))
        tx.putRetry(newRetry(1, 2))
      }),
      store.commit((tx) => {
        tx.deleteRetry(1, 1)
        tx.putRetry(newRetry(1, 2, { failures: 9 }))
        throw failure
      }),
      store.commit((tx) => [tx.retry(1, 1)?.failures, tx.retry(1, 2)?.failures]),
      store.commit((tx) => tx.deleteRetry(1, 1)),
      store.commit((tx) => tx.retry(1, 1)),
    ])
    assert.deepEqual(seen[2], { status: 'fulfilled', value: [2, 1] })
    assert.deepEqual(seen[4], { status: 'fulfilled', value: null })
    assert.equal(store.journal.retry(1, 1), null)
    assert.equal(store.journal.retry(1, 2)?.failures, 1)
    await store.close()
  })

  test(`${name}: a dead letter is found by its tenant alone and listed, newest first`, async (t) => {
    const path = await temporaryFolder(t)
    const store = await open(path)
    const rows = await store.commit((tx) =>
      Array.from({ length: 10 }, (_, index) =>
        tx.putDeadLetter(
          newDeadLetter(index % 2 === 0 ? 1 : 2, index, {
            id: `dlq-${index}`,
            code: index % 3 === 0 ? 'JOURNAL_DAMAGED' : 'WORKER_FAILED',
          }),
        ),
      ),
    )
    const foreign = await store.commit((tx) =>
      tx.putDeadLetter(newDeadLetter(3, 0, { id: 'dlq-foreign', tenant: 2 })),
    )
    await store.close()
    const again = await open(path)
    const { deadLetters } = again
    for (const row of rows) assert.deepEqual(deadLetters.find(1, row.id), row)
    assert.deepEqual(deadLetters.find(2, 'dlq-foreign'), foreign)
    for (const id of ['dlq-foreign', '', 'unknown', 'x'.repeat(100_000)]) {
      assert.equal(deadLetters.find(1, id), null)
    }
    assert.deepEqual(deadLetters.list(1, {}, 100, null), { rows: rows.toReversed(), next: null })
    const { next } = deadLetters.list(1, {}, 4, null)
    assert.equal(next, rows[6]?.number)
    assert.deepEqual(deadLetters.list(1, {}, 3, next).rows, rows.toReversed().slice(4, 7))
    const batches = (page: Page<DeadLetterRow>) => page.rows.map((row) => row.batch)
    assert.deepEqual(batches(deadLetters.list(1, { session: 2 }, 3, null)), [9, 7, 5])
    assert.deepEqual(
      batches(deadLetters.list(1, { session: 2 }, 3, rows[5]?.number ?? null)),
      [3, 1],
    )
    assert.deepEqual(
      batches(deadLetters.list(1, { code: 'JOURNAL_DAMAGED' }, 9, null)),
      [9, 6, 3, 0],
    )
    assert.deepEqual(
      batches(deadLetters.list(1, { session: 1, code: 'JOURNAL_DAMAGED' }, 9, null)),
      [6, 0],
    )
    const oldest = deadLetters.oldest(1, { session: 1 }, 3, null)
    assert.deepEqual([batches(oldest), oldest.next], [[0, 2, 4], rows[4]?.number])
    assert.deepEqual(batches(deadLetters.oldest(1, { session: 1 }, 3, oldest.next)), [6, 8])
    assert.deepEqual(deadLetters.oldest(1, {}, 10, null), { rows, next: null })
    assert.deepEqual(deadLetters.oldest(1, {}, 9, rows[9]?.number ?? null), nothing)
    assert.deepEqual(deadLetters.list(1, { session: 3 }, 9, null), nothing)
    assert.deepEqual(deadLetters.list(2, { session: 1 }, 9, null), nothing)
    assert.deepEqual(deadLetters.list(1, {}, 0, null), nothing)
    assert.deepEqual(deadLetters.list(1, {}, 9, 0), nothing)
    await again.close()
  })

  test(`${name}: a dead letter that an earlier unit deleted is gone for those after it`, async (t) => {
    const store = await open(await temporaryFolder(t))
    const row = await store.commit((tx) => tx.putDeadLetter(newDeadLetter(1, 0)))
    const take = (fails: boolean) =>
      store.commit((tx) => {
        const found = tx.deadLetter(1, row.id)
        if (found === null) return 'gone'
        tx.deleteDeadLetter(found)
        if (fails) throw failure
        return 'taken'
      })
    const results = await Promise.allSettled([take(true), take(false), take(false)])
    assert.deepEqual(
      results.map((result) => (result.status === 'fulfilled' ? result.value : 'failed')),
      ['failed', 'taken', 'gone'],
    )
    assert.equal(store.deadLetters.find(1, row.id), null)
    assert.deepEqual(store.deadLetters.list(1, {}, 9, null), nothing)
    assert.deepEqual(store.deadLetters.list(1, { session: 1 }, 9, null), nothing)
    const again = await store.commit((tx) => tx.putDeadLetter(newDeadLetter(1, 0)))
    assert.ok(again.number > row.number, 'no number comes twice')
    assert.equal(await store.commit((tx) => tx.deadLetter(2, row.id)), null)
    await store.close()
  })

  test(`${name}: a batch that is a dead letter does not wait, until it is redriven`, async (t) => {
    const path = await temporaryFolder(t)
    const store = await open(path)
    await store.commit((tx) => {
      for (const [number, batch] of [0, 0, 1, 2].entries()) {
        tx.putJournal(mediaEntry(1, batch, number, [blobOf('a')]))
      }
      tx.putJournal(mediaEntry(2, 0, 0, [blobOf('a')]))
    })
    const pending = (of: Store) =>
      of.journal.pending().map(({ session, batch }) => [session, batch])
    const row = await store.commit((tx) => tx.putDeadLetter(newDeadLetter(1, 0)))
    assert.deepEqual(pending(store), [
      [1, 1],
      [1, 2],
      [2, 0],
    ])
    await store.close()
    const again = await open(path)
    assert.equal(again.journal.batch(1, 0).length, 2, 'its uploads stay')
    assert.deepEqual(again.journal.heads(1, 0), [
      { number: 0, records: 1, job: null },
      { number: 1, records: 1, job: null },
    ])
    assert.equal(pending(again).length, 3)
    await again.commit((tx) => tx.deleteDeadLetter(row))
    assert.deepEqual(pending(again)[0], [1, 0])
    await again.close()
  })
}
