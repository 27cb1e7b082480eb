import assert from 'node:assert/strict'
import test from 'node:test'
import { Refusal } from '../../src/contracts/errors.ts'
import type { RejectedChunk } from '../../src/contracts/tasks.ts'
import type { SessionRow, Store, Transaction } from '../../src/store/interfaces.ts'
import { chunkOf } from '../support/rejected.ts'
import type { OpenStore, Recount } from './conformance.ts'
import {
  atomOf,
  blobOf,
  mediaEntry,
  newAnswer,
  newDeadLetter,
  newRetry,
  newSession,
  sha256,
  temporaryFolder,
} from './fixtures.ts'

const failure = new Error('the unit fails')

/** What retention takes away piece by piece, and what it leaves. */
export function retentionConformance(name: string, open: OpenStore, recount: Recount): void {
  test(`${name}: events go from the oldest on, and their session notes how far`, async (t) => {
    const path = await temporaryFolder(t)
    const store = await open(path, { now: () => 7_000 })
    const { number } = await store.commit((tx) => tx.createSession(newSession('a')))
    await store.commit((tx) => {
      for (let index = 0; index < 6; index += 1) {
        tx.appendEvent(1, index % 2 === 0 ? number : null, 'progress', { index, text: 'Grüße' })
      }
      tx.appendEvent(2, null, 'foreign', {})
    })
    const [foreign] = store.usage().filter(({ tenant }) => tenant === 2)
    const oldest = store.events.oldest(1, 4)
    assert.deepEqual(
      oldest.map(({ event, atMs }) => [event.number, atMs]),
      [1, 2, 3, 4].map((event) => [event, 7_000]),
    )
    assert.equal(store.events.first(1), 1)
    const [first, second] = oldest
    assert.ok(first && second)
    await assert.rejects(store.commit((tx) => tx.dropEvent(second.event)))
    await store.commit((tx) => {
      for (const { event } of oldest) tx.dropEvent(event)
    })
    assert.equal(store.sessions.get(number)?.eventsDroppedThrough, 3)
    assert.equal(store.events.first(1), 5)
    assert.deepEqual(
      store.events.ofTenant(1, 0, 9).map((event) => event.number),
      [5, 6],
    )
    assert.deepEqual(
      store.events.ofSession(1, number, 0, 9).map((event) => event.number),
      [5],
    )
    await store.commit((tx) => {
      for (const { event } of store.events.oldest(1, 9)) tx.dropEvent(event)
    })
    assert.deepEqual(store.events.oldest(1, 9), [])
    assert.deepEqual(store.usage(), [{ tenant: 1, bytes: 0 }, foreign])
    await store.close()

    const again = await open(path)
    assert.equal(again.events.last(1), 6)
    assert.equal(again.events.first(1), 7)
    assert.equal((await again.commit((tx) => tx.appendEvent(1, null, 'next', {}))).number, 7)
    assert.equal(again.events.oldest(1, 9)[0]?.event.number, 7)
    await again.close()
  })

  test(`${name}: atoms go a batch at a time, the chain before what is left is known`, async (t) => {
    const path = await temporaryFolder(t)
    const store = await open(path)
    const { number } = await store.commit((tx) => tx.createSession(newSession('a')))
    // 200 rows of batch 0, then 1 of batch 1, then 2 of batch 0 that was redriven; one blob for all.
    const batches = [...Array.from({ length: 200 }, () => 0), 1, 0, 0]
    const hashes = batches.map((_, index) => blobOf(index % 50 === 7 ? 'shared' : `atom ${index}`))
    const append = (tx: Transaction) => {
      for (const [index, { hash, bytes }] of hashes.entries()) {
        tx.putBlob(1, hash, bytes)
        tx.appendAtom(tx.session(number), atomOf(hash, batches[index]))
      }
    }
    const drop = (batch: number) => store.commit((tx) => tx.dropAtoms(tx.session(number), batch))
    await store.commit(append)
    assert.equal(await drop(1), 0)
    assert.deepEqual(await Promise.all([drop(0), drop(0), drop(1), drop(1)]), [200, 0, 1, 0])
    let chain: Uint8Array = new Uint8Array(32)
    for (const { hash } of hashes.slice(0, 201)) chain = sha256(chain, hash)
    const row = store.sessions.get(number)
    assert.equal(row?.atomRowsDropped, 201)
    assert.equal(row?.atomRows, 203)
    assert.equal(row?.atomsCreated, 203)
    assert.deepEqual(new Uint8Array(row?.chainDropped ?? []), chain)
    for (const [index, { hash }] of hashes.entries()) {
      assert.equal(store.blobs.has(1, hash), index >= 201, `the blob of row ${index}`)
    }
    const seqs = Array.from(store.atoms.scan(number, 0), (atom) => atom.seq)
    assert.deepEqual(seqs, [201, 202])
    assert.deepEqual(
      store.atoms.list(number, 202, 9).map((atom) => atom.seq),
      [202],
    )
    const usage = store.usage()
    await store.close()
    assert.deepEqual(await recount(path), new Map([[1, usage[0]?.bytes ?? 0]]))
  })

  test(`${name}: rejected records go from the oldest on`, async (t) => {
    const path = await temporaryFolder(t)
    const store = await open(path)
    const { number } = await store.commit((tx) => tx.createSession(newSession('a')))
    await store.commit((tx) => tx.appendRejected(tx.session(number), 0, rejected(3, 4, 2)))
    const [full] = store.usage()
    await store.commit((tx) => tx.dropRejected(tx.session(number), 7))
    assert.equal(store.sessions.get(number)?.rejectedRowsDropped, 7)
    for (const from of [0, 2, 6, 7]) {
      const seqs = store.rejected.list(number, from, 9).map((entry) => entry.seq)
      assert.deepEqual(seqs, [7, 8], `from ${from}`)
    }
    const [part] = store.usage()
    assert.ok(full && part && part.bytes < full.bytes)
    await store.commit((tx) => tx.dropRejected(tx.session(number), 100))
    assert.equal(store.sessions.get(number)?.rejectedRowsDropped, 9)
    assert.deepEqual(store.usage(), [{ tenant: 1, bytes: 0 }])
    await store.commit((tx) => {
      tx.appendRejected(tx.session(number), 1, rejected(2, 1))
      // What the same unit has put goes with it.
      tx.dropRejected(tx.session(number), 2)
    })
    assert.equal(store.rejected.list(number, 0, 9)[0]?.seq, 11)
    const [last] = store.usage()
    await store.close()
    assert.deepEqual(await recount(path), new Map([[1, last?.bytes ?? 0]]))
  })

  test(`${name}: a session goes in steps with all that it has, and nobody finds it`, async (t) => {
    const path = await temporaryFolder(t)
    let store = await open(path)
    const kept = await fill(store, 'kept')
    const row = await fill(store, 'dropped')
    const { number, id } = row
    const step = (rowsMax: number) =>
      store.commit((tx) => tx.dropSession(tx.session(number), rowsMax))
    await assert.rejects(
      store.commit((tx) => {
        tx.dropSession(tx.session(number), 1_000)
        throw failure
      }),
      failure,
    )
    assert.equal(store.sessions.find(1, id)?.number, number)
    assert.equal(store.journal.pending().length, 2)
    assert.equal(await step(1), false)
    for (let round = 0; ; round += 1) {
      assert.equal(store.sessions.find(1, id), null)
      assert.equal(store.sessions.get(number), null)
      assert.deepEqual(store.sessions.list(1, {}, 9, null).rows, [store.sessions.get(kept.number)])
      assert.deepEqual(
        store.sessions.dropping().map((row) => row.number),
        [number],
      )
      if (round === 5) {
        await store.close()
        store = await open(path)
      }
      if (await step(3)) break
      assert.ok(round < 50, 'it comes to an end')
    }
    assert.deepEqual(store.sessions.dropping(), [])
    await assert.rejects(step(1))
    checkGone(store, row)
    assert.equal(store.journal.pending().length, 1)
    assert.equal(store.deadLetters.list(1, {}, 9, null).rows.length, 1)
    assert.equal(store.atoms.list(kept.number, 0, 9).length, 3)
    assert.equal(store.blobs.has(1, blobOf('shared').hash), true)
    const next = await store.commit((tx) => tx.createSession(newSession('next')))
    assert.equal(next.number, number + 1, 'no number comes twice')
    const counted = store.usage()
    await store.close()
    assert.deepEqual(await recount(path), new Map(counted.map((row) => [row.tenant, row.bytes])))

    const again = await open(path)
    await again.commit((tx) => tx.dropSession(tx.session(kept.number), 1_000))
    checkGone(again, kept)
    assert.equal(again.blobs.has(1, blobOf('shared').hash), false)
    // The events themselves are the tenant's: they go when they are old.
    await again.commit((tx) => {
      for (const { event } of again.events.oldest(1, 9)) tx.dropEvent(event)
    })
    assert.deepEqual(again.usage(), [{ tenant: 1, bytes: 0 }])
    await again.close()
  })

  test(`${name}: units of a group see that a session is gone`, async (t) => {
    const store = await open(await temporaryFolder(t))
    const row = await fill(store, 'a')
    const { number } = row
    const { hash } = blobOf('late')
    const results = await Promise.allSettled([
      store.commit((tx) => {
        tx.session(number).name = 'changed'
      }),
      store.commit((tx) => tx.dropSession(tx.session(number), 2)),
      store.commit((tx) => tx.appendAtom(tx.session(number), atomOf(hash))),
      store.commit((tx) => {
        tx.dropSession(tx.session(number), 1_000)
        throw failure
      }),
      store.commit((tx) => tx.dropSession(tx.session(number), 1_000)),
      store.commit((tx) => tx.session(number)),
      store.commit((tx) => {
        for (const { event } of store.events.oldest(1, 1)) tx.dropEvent(event)
      }),
      store.commit((tx) => tx.createSession(newSession('a')).number),
    ])
    assert.deepEqual(
      results.map((result) => result.status),
      [
        'fulfilled',
        'fulfilled',
        'fulfilled',
        'rejected',
        'fulfilled',
        'rejected',
        'fulfilled',
        'fulfilled',
      ],
    )
    checkGone(store, row)
    assert.equal(store.sessions.find(1, 'a')?.number, number + 1)
    assert.equal(store.sessions.get(number), null)
    await store.close()
  })

  test(`${name}: a session of the same group and one that is open`, async (t) => {
    const path = await temporaryFolder(t)
    const store = await open(path)
    const { number } = await store.commit((tx) => tx.createSession(newSession('open')))
    await assert.rejects(store.commit((tx) => tx.dropSession(tx.session(number), 10)))
    assert.equal(store.sessions.get(number)?.id, 'open')
    const [ended] = await Promise.all([
      store.commit((tx) => tx.createSession(newSession('short')).number),
      store.commit((tx) => {
        tx.session(number + 1).status = 'completed'
      }),
      store.commit((tx) => tx.dropSession(tx.session(number + 1), 10)),
    ])
    assert.equal(store.sessions.get(ended), null)
    assert.deepEqual(
      store.sessions.open().map((row) => row.number),
      [number],
    )
    await store.close()
    const again = await open(path)
    assert.equal(again.sessions.find(1, 'short'), null)
    const next = await again.commit((tx) => tx.createSession(newSession('short')))
    assert.equal(next.number, ended + 1)
    await again.close()
  })

  test(`${name}: a full store is emptied and filled again, as often as one likes`, async (t) => {
    const maxBytes = 64 * 1024 * 1024
    const store = await open(await temporaryFolder(t), { maxBytes })
    const counts: number[] = []
    for (let cycle = 0; cycle < 3; cycle += 1) {
      const { number } = await store.commit((tx) => tx.createSession(newSession(`s-${cycle}`)))
      counts.push(await fillUp(store, number))
      assert.ok(store.statistics().usedBytes <= maxBytes)
      await store.commit((tx) => {
        tx.session(number).status = 'completed'
      })
      // Half of it by batch, the rest with the session.
      const half = Math.floor((counts[cycle] ?? 0) / 2)
      await store.commit((tx) => {
        for (let batch = 0; batch < half; batch += 1) tx.dropAtoms(tx.session(number), batch)
      })
      while (!(await store.commit((tx) => tx.dropSession(tx.session(number), 50))));
      while (store.events.oldest(1, 1).length > 0) {
        await store.commit((tx) => {
          for (const { event } of store.events.oldest(1, 100)) tx.dropEvent(event)
        })
      }
      assert.deepEqual(store.usage(), [{ tenant: 1, bytes: 0 }])
      assert.ok(store.statistics().usedBytes < 1024 * 1024)
    }
    const [first = 0, ...later] = counts
    assert.ok(first > 100)
    for (const count of later) assert.ok(count >= 0.98 * first, `${count} of ${first} fitted`)
    await store.close()
  })
}

/** An ended session with some of everything that can belong to one. */
async function fill(store: Store, id: string): Promise<SessionRow> {
  const { number } = await store.commit((tx) => tx.createSession(newSession(id)))
  const own = ['one', 'two', 'three'].map((text) => blobOf(`${id} ${text}`))
  const shared = blobOf('shared')
  const journaled = [blobOf(`${id} journaled`), shared]
  const pending = [blobOf(`${id} pending`), shared]
  await store.commit((tx) => {
    const session = tx.session(number)
    const put = [...own, shared, ...journaled, ...pending]
    for (const { hash, bytes } of put) tx.putBlob(1, hash, bytes)
    for (const [batch, { hash }] of [...own.slice(0, 2), shared].entries()) {
      tx.appendAtom(session, atomOf(hash, batch))
    }
    tx.releaseBlob(1, own[2]?.hash as Uint8Array)
    tx.putJournal(mediaEntry(number, 3, 0, journaled))
    const content = { kind: 'page' as const, ...shared }
    tx.putJournal({ session: number, batch: 4, number: 1, records: 1, job: 5, content })
    for (const { hash, bytes } of pending) {
      const place = { run: 0, startSample: 0, samples: 50 }
      tx.appendPending(session, { hash, byteLength: bytes.byteLength, ...place })
    }
    tx.putStreamState(session, blobOf('state').bytes)
    tx.putDeadLetter(newDeadLetter(number, 3))
    tx.putRetry(newRetry(number, 4))
    tx.putIdempotency(newAnswer(number, 'a'))
    tx.putIdempotency(newAnswer(number, 'b'))
    tx.appendRejected(session, 0, rejected(4, 1))
    tx.appendEvent(1, number, 'progress', { id })
    tx.appendEvent(1, number, 'session-completed', { id })
    session.status = 'completed'
  })
  return store.sessions.get(number) as SessionRow
}

function checkGone(store: Store, { number, id }: SessionRow): void {
  assert.deepEqual(store.atoms.list(number, 0, 9), [])
  assert.deepEqual(store.rejected.list(number, 0, 9), [])
  assert.deepEqual(store.journal.batch(number, 3), [])
  assert.deepEqual(store.journal.batch(number, 4), [])
  assert.equal(store.journal.retry(number, 4), null)
  assert.deepEqual(store.deadLetters.list(1, { session: number }, 9, null).rows, [])
  assert.equal(store.deadLetters.find(1, `dlq-${number}-3`), null)
  assert.equal(store.idempotency.get(number, sha256('a')), null)
  assert.deepEqual(store.events.ofSession(1, number, 0, 9), [])
  assert.deepEqual(store.streams.pending(number), [])
  assert.equal(store.streams.state(number), null)
  for (const text of ['one', 'two', 'three', 'journaled', 'pending']) {
    assert.equal(store.blobs.has(1, blobOf(`${id} ${text}`).hash), false)
  }
}

/** Batches of one blob each, until there is no room; gives how many. A removal finds room all the same. */
async function fillUp(store: Store, session: number): Promise<number> {
  const bytes = new Uint8Array(250_000)
  for (let batch = 0; ; batch += 1) {
    const hash = sha256(`${session} ${batch}`)
    try {
      await store.commit(
        (tx) => {
          tx.putBlob(1, hash, bytes)
          const atom = { ...atomOf(hash, batch), byteLength: bytes.byteLength }
          tx.appendAtom(tx.session(session), atom)
          tx.appendEvent(1, session, 'batch-processed', { batch })
        },
        { bytes: bytes.byteLength },
      )
    } catch (error) {
      assert.ok(error instanceof Refusal && error.code === 'STORE_FULL')
      return batch
    }
  }
}

/** A chunk of so many records each. */
function rejected(...counts: readonly number[]): RejectedChunk[] {
  const rejection = (_: unknown, recordIndex: number) => ({
    recordIndex,
    field: 'temperature',
    value: 'Grüße',
    expectedType: 'float',
    message: 'Cannot parse as float',
    record: '{"values":{}}',
  })
  return counts.map((length) => chunkOf(...Array.from({ length }, rejection)))
}
