import assert from 'node:assert/strict'
import test from 'node:test'
import { Refusal } from '../../src/contracts/errors.ts'
import type { StoredEvent } from '../../src/contracts/events.ts'
import type { OpenStore } from './conformance.ts'
import { atomOf, blobOf, newSession, temporaryFolder } from './fixtures.ts'

/** Units, their order, their end, and what of them is seen when. */
export function commitConformance(name: string, open: OpenStore): void {
  test(`${name}: what a unit changes is seen once its commit resolves, not before`, async (t) => {
    const store = await open(await temporaryFolder(t))
    const created = await store.commit((tx) => tx.createSession(newSession('a')))
    const change = store.commit((tx) => {
      tx.session(created.number).bytesReceived = 7
    })
    assert.equal(store.sessions.get(created.number)?.bytesReceived, 0)
    await change
    assert.equal(store.sessions.get(created.number)?.bytesReceived, 7)
    await store.close()
  })

  test(`${name}: units see what those before them did and resolve in their order`, async (t) => {
    const store = await open(await temporaryFolder(t))
    const { number } = await store.commit((tx) => tx.createSession(newSession('a')))
    const ended: number[] = []
    const counts = await Promise.all(
      Array.from({ length: 50 }, async (_, index) => {
        const count = await store.commit((tx) => {
          const session = tx.session(number)
          session.recordsReceived += 1
          return session.recordsReceived
        })
        ended.push(index)
        return count
      }),
    )
    assert.deepEqual(
      counts,
      Array.from({ length: 50 }, (_, index) => index + 1),
    )
    assert.deepEqual(
      ended,
      counts.map((count) => count - 1),
    )
    assert.equal(store.sessions.get(number)?.recordsReceived, 50)
    await store.close()
  })

  test(`${name}: of a unit that throws nothing is stored, and its neighbours are`, async (t) => {
    const store = await open(await temporaryFolder(t))
    const { number } = await store.commit((tx) => tx.createSession(newSession('a')))
    const lost = blobOf('lost')
    const kept = blobOf('kept')
    const write = (label: string) =>
      store.commit((tx) => {
        const session = tx.session(number)
        session.bytesReceived += 10
        const { hash, bytes } = label === 'lost' ? lost : kept
        tx.putBlob(1, hash, bytes)
        const seq = tx.appendAtom(session, atomOf(hash))
        const event = tx.appendEvent(1, number, label, {})
        const content = { kind: 'page' as const, bytes, hash }
        tx.putJournal({ session: number, number: seq, batch: 0, records: 1, job: null, content })
        const second = tx.createSession(newSession(`${label} ${seq}`))
        if (label === 'lost') throw new Error('the unit fails')
        return { seq, event: event.number, second: second.number }
      })
    const results = await Promise.allSettled([write('first'), write('lost'), write('second')])
    assert.deepEqual(results, [
      { status: 'fulfilled', value: { seq: 0, event: 1, second: number + 1 } },
      { status: 'rejected', reason: new Error('the unit fails') },
      { status: 'fulfilled', value: { seq: 1, event: 2, second: number + 2 } },
    ])
    assert.equal(store.sessions.get(number)?.bytesReceived, 20)
    assert.equal(store.sessions.get(number)?.atomRows, 2)
    assert.equal(store.atoms.list(number, 0, 10).length, 2)
    assert.equal(store.blobs.has(1, lost.hash), false)
    assert.equal(store.blobs.has(1, kept.hash), true)
    assert.deepEqual(
      store.events.ofTenant(1, 0, 10).map((event) => event.name),
      ['first', 'second'],
    )
    assert.equal(store.journal.batch(number, 0).length, 2)
    assert.deepEqual(
      store.sessions.list(1, {}, 10, null).rows.map((session) => session.id),
      ['second 1', 'first 0', 'a'],
    )
    await store.close()
  })

  test(`${name}: a blob that a failed unit put is stored by the next unit that puts it`, async (t) => {
    const store = await open(await temporaryFolder(t))
    const { hash, bytes } = blobOf('shared')
    const failed = store.commit((tx) => {
      tx.putBlob(1, hash, bytes)
      throw new Error('the unit fails')
    })
    const stored = store.commit((tx) => tx.putBlob(1, hash, bytes))
    await assert.rejects(failed)
    await stored
    assert.deepEqual(store.blobs.get(1, hash), bytes)
    await store.close()
  })

  test(`${name}: a unit that asks for an unknown session is rejected`, async (t) => {
    const store = await open(await temporaryFolder(t))
    await assert.rejects(store.commit((tx) => tx.session(99)))
    assert.equal(await store.commit(() => 'well'), 'well')
    await store.close()
  })

  test(`${name}: a transaction cannot be used after its unit`, async (t) => {
    const store = await open(await temporaryFolder(t))
    const kept = await store.commit((tx) => tx)
    assert.throws(() => kept.appendEvent(1, null, 'late', {}))
    assert.equal(store.events.last(1), 0)
    await store.close()
  })

  test(`${name}: the listener gets every event once, in order, when it can be read`, async (t) => {
    const store = await open(await temporaryFolder(t))
    const heard: StoredEvent[] = []
    store.onEvents((events) => {
      for (const event of events) {
        assert.ok(store.events.last(event.tenant) >= event.number)
        heard.push(event)
      }
    })
    const appended = await Promise.all(
      Array.from({ length: 30 }, (_, index) =>
        store.commit((tx) => [
          tx.appendEvent(index % 2, null, 'one', { index }),
          tx.appendEvent(index % 2, null, 'two', { index }),
        ]),
      ),
    )
    assert.deepEqual(heard, appended.flat())
    await store.close()
  })

  test(`${name}: a promise of a unit resolves after the events of units before it`, async (t) => {
    const store = await open(await temporaryFolder(t))
    const steps: string[] = []
    store.onEvents((events) => steps.push(...events.map((event) => event.name)))
    const first = store.commit((tx) => tx.appendEvent(1, null, 'first', {}))
    await first
    const second = store.commit((tx) => tx.appendEvent(1, null, 'second', {}))
    second.then(() => steps.push('second resolved'))
    await second
    assert.deepEqual(steps, ['first', 'second', 'second resolved'])
    await store.close()
  })

  test(`${name}: close stores what waits, refuses what comes and can be called again`, async (t) => {
    const path = await temporaryFolder(t)
    const store = await open(path)
    const waiting = Array.from({ length: 20 }, (_, index) =>
      store.commit((tx) => tx.appendEvent(1, null, 'waiting', { index })),
    )
    const closing = store.close()
    const isShuttingDown = (error: unknown) =>
      error instanceof Refusal && error.code === 'SHUTTING_DOWN'
    await assert.rejects(
      store.commit((tx) => tx.appendEvent(1, null, 'late', {})),
      isShuttingDown,
    )
    await Promise.all([...waiting, closing, store.close()])
    await assert.rejects(
      store.commit(() => 1),
      isShuttingDown,
    )
    assert.throws(() => store.events.last(1))

    const again = await open(path)
    assert.equal(again.events.last(1), 20)
    await again.close()
  })

  test(`${name}: statistics count the units that were stored and the bytes in use`, async (t) => {
    const store = await open(await temporaryFolder(t))
    const before = store.statistics()
    const { hash, bytes } = blobOf('counted', 300_000)
    await Promise.allSettled([
      store.commit((tx) => tx.putBlob(1, hash, bytes)),
      store.commit(() => {
        throw new Error('the unit fails')
      }),
      store.commit((tx) => tx.appendEvent(1, null, 'counted', {})),
    ])
    const after = store.statistics()
    assert.equal(after.units - before.units, 2)
    assert.ok(after.commits > before.commits)
    assert.ok(after.usedBytes >= before.usedBytes + bytes.byteLength)
    assert.ok(after.usedBytes <= after.maxBytes)
    await store.close()
  })
}
