import assert from 'node:assert/strict'
import test from 'node:test'
import fc from 'fast-check'
import type { Page, SessionRow } from '../../src/store/interfaces.ts'
import type { OpenStore } from './conformance.ts'
import { atomOf, frames, newSession, segments, sha256, temporaryFolder } from './fixtures.ts'

/** Session rows and the atoms of a session. */
export function sessionConformance(name: string, open: OpenStore): void {
  test(`${name}: a session is found by its id and tenant, and read by its number`, async (t) => {
    const store = await open(await temporaryFolder(t))
    const input = newSession('stream-session-1')
    const first = await store.commit((tx) => tx.createSession(input))
    const second = await store.commit((tx) => tx.createSession(newSession('b', { tenant: 2 })))
    assert.ok(first.number >= 1)
    assert.ok(second.number > first.number)
    assert.deepEqual(store.sessions.find(1, 'stream-session-1'), { ...input, number: first.number })
    assert.deepEqual(store.sessions.get(second.number)?.id, 'b')
    assert.equal(store.sessions.find(2, 'stream-session-1'), null)
    for (const id of ['', 'unknown', 'x'.repeat(100_000), '\0']) {
      assert.equal(store.sessions.find(1, id), null)
    }
    assert.equal(store.sessions.get(99), null)
    await store.close()
  })

  test(`${name}: a reader cannot change what is stored`, async (t) => {
    const store = await open(await temporaryFolder(t))
    const input = newSession('a', { frameExtraction: structuredClone(frames) })
    const { number } = await store.commit((tx) => tx.createSession(input))
    Object.assign(input.frameExtraction?.resolution ?? {}, { width: 1 })
    const row = store.sessions.get(number)
    assert.ok(row)
    assert.throws(() => {
      row.name = 'changed'
    })
    assert.throws(() => {
      Object.assign(row.frameExtraction?.resolution ?? {}, { width: 1 })
    })
    assert.throws(() => {
      row.metadata.device = 'changed'
    })
    const stored = { ...newSession('a', { frameExtraction: frames }), number }
    assert.deepEqual(store.sessions.get(number), stored)
    await store.close()
  })

  test(`${name}: every field of a session survives reopening, changed or not`, async (t) => {
    const path = await temporaryFolder(t)
    const store = await open(path)
    const { number } = await store.commit((tx) => tx.createSession(newSession('a')))
    const untouched = await store.commit((tx) => tx.createSession(newSession('b')))
    const changes = {
      status: 'failed' as const,
      name: 'renamed',
      metadata: { other: [1, 'two', null] },
      retry: { maxRetries: 1, retryDelayMs: 2, retryBackoffMultiplier: 3 },
      frameExtraction: frames,
      segmentation: segments,
      lastActivityAtMs: 1_760_000_000_000,
      endedAtMs: 1_760_000_000_001,
      bytesReceived: 2 ** 40,
      recordsReceived: 11,
      recordsRejected: 12,
      recordsQueued: 13,
      recordsProcessed: 27,
      recordsCancelled: 28,
      openJobs: 29,
      atomsCreated: 14,
      batchesReceived: 15,
      batchesProcessed: 16,
      processingTimeMs: 17.5,
      nextBatch: 18,
      atomRows: 19,
      rejectedRows: 20,
      journalEntries: 21,
      chain: sha256('chain'),
      recordsDead: 22,
      deadLetters: 23,
      ending: 'cancelled' as const,
      final: { recordsReceived: 1, batchesReceived: 2, atomsCreated: 3, chain: sha256('final') },
      eventsDroppedThrough: 24,
      atomRowsDropped: 25,
      rejectedRowsDropped: 26,
      chainDropped: sha256('dropped'),
    }
    await store.commit((tx) => Object.assign(tx.session(number), changes))
    const expected = { ...newSession('a'), ...changes, number }
    assert.deepEqual(store.sessions.get(number), expected)
    await store.close()

    const again = await open(path)
    assert.deepEqual(again.sessions.get(number), expected)
    assert.deepEqual(again.sessions.find(1, 'b'), { ...newSession('b'), number: untouched.number })
    const next = await again.commit((tx) => tx.createSession(newSession('c')))
    assert.equal(next.number, untouched.number + 1)
    await again.close()
  })

  test(`${name}: lists give a tenant's sessions, newest first, filtered, page by page`, async (t) => {
    const store = await open(await temporaryFolder(t))
    await store.commit((tx) => {
      for (let index = 0; index < 10; index += 1) {
        const type = index % 2 === 0 ? 'telemetry' : 'video'
        tx.createSession(newSession(`mine-${index}`, { type }))
        tx.createSession(newSession(`other-${index}`, { tenant: 2 }))
      }
    })
    const ended = store.sessions.find(1, 'mine-4')
    assert.ok(ended)
    await store.commit((tx) => {
      tx.session(ended.number).status = 'completed'
    })
    const ids = ({ rows }: Page<SessionRow>) => rows.map((row) => row.id)
    const page = store.sessions.list(1, {}, 4, null)
    assert.deepEqual(ids(page), ['mine-9', 'mine-8', 'mine-7', 'mine-6'])
    assert.deepEqual(ids(store.sessions.list(1, {}, 3, page.next)), ['mine-5', 'mine-4', 'mine-3'])
    assert.deepEqual(ids(store.sessions.list(1, { status: 'completed' }, 5, null)), ['mine-4'])
    assert.deepEqual(ids(store.sessions.list(1, { type: 'video' }, 2, null)), ['mine-9', 'mine-7'])
    assert.equal(store.sessions.list(1, { type: 'video' }, 5, null).next, null)
    const nothing = { rows: [], next: null }
    const filter = { type: 'video', status: 'completed' } as const
    assert.deepEqual(store.sessions.list(1, filter, 5, null), nothing)
    assert.deepEqual(store.sessions.list(1, {}, 5, 1), nothing)
    assert.deepEqual(store.sessions.list(3, {}, 5, null), nothing)
    await store.close()
  })

  test(`${name}: open sessions are those that have not ended, of all tenants`, async (t) => {
    const path = await temporaryFolder(t)
    const store = await open(path)
    const statuses = [
      'initializing',
      'active',
      'paused',
      'completing',
      'completed',
      'failed',
      'cancelled',
    ] as const
    await store.commit((tx) => {
      for (const [tenant, status] of statuses.entries()) {
        tx.createSession(newSession(status, { tenant, status }))
      }
    })
    await store.commit((tx) => {
      tx.session(2).status = 'cancelled'
    })
    await store.close()
    const again = await open(path)
    assert.deepEqual(
      again.sessions.open().map((session) => session.id),
      ['initializing', 'paused', 'completing'],
    )
    await again.close()
  })

  test(`${name}: metadata comes back as it was sent, whatever its keys`, async (t) => {
    const path = await temporaryFolder(t)
    const store = await open(path)
    const samples = fc.sample(fc.dictionary(fc.string(), fc.jsonValue()), { numRuns: 100, seed: 7 })
    samples.push(JSON.parse('{"__proto__":{"a":1},"constructor":"\\ud800"}'))
    const expected = samples.map((metadata) => JSON.stringify(metadata))
    await store.commit((tx) => {
      for (const [index, metadata] of samples.entries()) {
        const session = tx.createSession(newSession(`s-${index}`, { metadata }))
        tx.appendAtom(session, { ...atomOf(sha256('a')), metadata })
      }
    })
    await store.close()
    const again = await open(path)
    for (const [index, text] of expected.entries()) {
      const session = again.sessions.find(1, `s-${index}`)
      assert.ok(session)
      assert.equal(JSON.stringify(session.metadata), text)
      assert.equal(JSON.stringify(again.atoms.list(session.number, 0, 1)[0]?.metadata), text)
    }
    await again.close()
  })

  test(`${name}: atoms are counted, chained and read in order, page by page`, async (t) => {
    const store = await open(await temporaryFolder(t))
    const { number } = await store.commit((tx) => tx.createSession(newSession('a')))
    const hashes = Array.from({ length: 300 }, (_, index) => sha256(`atom ${index}`))
    for (let start = 0; start < hashes.length; start += 100) {
      await store.commit((tx) => {
        const session = tx.session(number)
        for (const [index, hash] of hashes.slice(start, start + 100).entries()) {
          const seq = tx.appendAtom(session, { ...atomOf(hash, start + index), atoms: 2 })
          assert.equal(seq, start + index)
        }
      })
    }
    let chain: Uint8Array = new Uint8Array(32)
    for (const hash of hashes) chain = sha256(chain, hash)
    const row = store.sessions.get(number)
    assert.equal(row?.atomRows, 300)
    assert.equal(row?.atomsCreated, 600)
    assert.deepEqual(new Uint8Array(row?.chain ?? []), chain)
    const [atom] = store.atoms.list(number, 299, 10)
    assert.deepEqual(atom, { ...atomOf(sha256('atom 299'), 299), atoms: 2, seq: 299 })
    assert.deepEqual(
      store.atoms.list(number, 150, 3).map((entry) => entry.seq),
      [150, 151, 152],
    )
    assert.deepEqual(store.atoms.list(number, 300, 3), [])
    assert.deepEqual(store.atoms.list(number + 1, 0, 3), [])
    assert.deepEqual(
      Array.from(store.atoms.scan(number, 1), (entry) => entry.seq),
      Array.from({ length: 299 }, (_, index) => index + 1),
    )
    await store.close()
  })

  test(`${name}: a scan goes on over commits made meanwhile and may be left early`, async (t) => {
    const store = await open(await temporaryFolder(t))
    const { number } = await store.commit((tx) => tx.createSession(newSession('a')))
    const append = (count: number) =>
      store.commit((tx) => {
        const session = tx.session(number)
        for (let index = 0; index < count; index += 1) tx.appendAtom(session, atomOf(sha256('x')))
      })
    await append(400)
    const seen: number[] = []
    for (const atom of store.atoms.scan(number, 0)) {
      if (atom.seq % 100 === 50) await append(100)
      seen.push(atom.seq)
      if (atom.seq === 699) break
    }
    assert.deepEqual(
      seen,
      Array.from({ length: 700 }, (_, index) => index),
    )
    await store.close()
  })
}
