import assert from 'node:assert/strict'
import test from 'node:test'
import type { JournalEntry } from '../../src/store/interfaces.ts'
import { chunkOf } from '../support/rejected.ts'
import type { OpenStore } from './conformance.ts'
import { blobOf, newSession, sha256, temporaryFolder } from './fixtures.ts'

/** Blobs, the journal, events and rejected records. */
export function uploadConformance(name: string, open: OpenStore): void {
  test(`${name}: a blob comes back byte for byte in a buffer of its own`, async (t) => {
    const store = await open(await temporaryFolder(t))
    const sizes = [1, 100, 2_000, 5_000, 40_000, 600_000, 3_000_000]
    const blobs = sizes.map((byteLength) => blobOf(`blob ${byteLength}`, byteLength))
    await store.commit((tx) => {
      for (const { hash, bytes } of blobs) tx.putBlob(1, hash, bytes)
    })
    for (const { hash, bytes } of blobs) {
      assert.equal(store.blobs.has(1, hash), true)
      const read = store.blobs.get(1, hash)
      assert.ok(read)
      assert.deepEqual(read, bytes)
      assert.equal(read.buffer.byteLength, bytes.byteLength)
      assert.notEqual(store.blobs.get(1, hash)?.buffer, read.buffer)
      assert.equal(
        structuredClone(read, { transfer: [read.buffer as ArrayBuffer] }).byteLength,
        bytes.byteLength,
      )
      assert.equal(read.byteLength, 0)
    }
    await store.close()
  })

  test(`${name}: blobs belong to their tenant and are put once however often they come`, async (t) => {
    const store = await open(await temporaryFolder(t))
    // A view into the middle of a buffer, as frames come out of a body.
    const body = blobOf('body', 500_000).bytes
    const bytes = body.subarray(100_001, 400_001)
    const hash = sha256(bytes)
    const put = () => store.commit((tx) => tx.putBlob(1, hash, bytes))
    await Promise.all([put(), put(), put()])
    const { usedBytes } = store.statistics()
    await put()
    assert.ok(store.statistics().usedBytes < usedBytes + bytes.byteLength)
    assert.deepEqual(store.blobs.get(1, hash), new Uint8Array(bytes))
    assert.equal(store.blobs.get(2, hash), null)
    assert.equal(store.blobs.has(2, hash), false)
    assert.equal(store.blobs.has(1, sha256('unknown')), false)
    await store.close()
  })

  test(`${name}: the journal gives back what was queued, batch by batch, until deleted`, async (t) => {
    const path = await temporaryFolder(t)
    const store = await open(path)
    const page = (session: number, batch: number, number: number): JournalEntry => ({
      session,
      batch,
      number,
      records: 10 + number,
      job: number === 0 ? null : 2 ** 40 + number,
      content: { kind: 'page', ...blobOf(`${session} ${batch} ${number}`, 9_000) },
    })
    const media: JournalEntry = {
      session: 2,
      batch: 0,
      number: 0,
      records: 2,
      job: null,
      content: {
        kind: 'media',
        items: [
          { hash: sha256('one'), byteLength: 1, metadata: { frameNumber: 1, keyframe: true } },
          { hash: sha256('two'), byteLength: 2, metadata: JSON.parse('{"__proto__":null}') },
        ],
      },
    }
    const entries = [page(1, 0, 0), page(1, 1, 1), page(1, 0, 2), media, page(300, 7, 5)]
    await store.commit((tx) => {
      for (const entry of entries) tx.putJournal(entry)
    })
    await store.close()

    const again = await open(path)
    assert.deepEqual(again.journal.pending(), [
      { session: 1, batch: 0, records: 22, firstNumber: 0 },
      { session: 1, batch: 1, records: 11, firstNumber: 1 },
      { session: 2, batch: 0, records: 2, firstNumber: 0 },
      { session: 300, batch: 7, records: 15, firstNumber: 5 },
    ])
    assert.deepEqual(again.journal.batch(1, 0), [page(1, 0, 0), page(1, 0, 2)])
    assert.deepEqual(again.journal.batch(2, 0), [media])
    assert.deepEqual(again.journal.batch(2, 1), [])
    await again.commit((tx) => {
      tx.deleteJournal(1, 0, 0)
      tx.deleteJournal(1, 0, 2)
      tx.deleteJournal(1, 1, 99)
    })
    assert.deepEqual(again.journal.batch(1, 0), [])
    assert.deepEqual(
      again.journal.pending().map(({ session, batch }) => [session, batch]),
      [
        [1, 1],
        [2, 0],
        [300, 7],
      ],
    )
    await again.close()
  })

  test(`${name}: events count per tenant and are read by tenant and by session`, async (t) => {
    const path = await temporaryFolder(t)
    const store = await open(path)
    const [mine, other] = await store.commit((tx) => [
      tx.createSession(newSession('mine')).number,
      tx.createSession(newSession('other', { tenant: 2 })).number,
    ])
    assert.ok(mine !== undefined && other !== undefined)
    assert.equal(store.events.last(1), 0)
    for (let index = 0; index < 5; index += 1) {
      await store.commit((tx) => {
        const event = tx.appendEvent(1, mine, 'progress', { index, text: 'Grüße "€"' })
        assert.deepEqual(event, {
          tenant: 1,
          number: 2 * index + 1,
          session: mine,
          name: 'progress',
          data: JSON.stringify({ index, text: 'Grüße "€"' }),
        })
        tx.appendEvent(1, null, 'tenant-wide', {})
        tx.appendEvent(2, other, 'foreign', { index })
      })
    }
    await store.close()

    const again = await open(path)
    const numbers = (events: readonly { number: number }[]) => events.map((event) => event.number)
    assert.equal(again.events.last(1), 10)
    assert.equal(again.events.last(2), 5)
    assert.equal(again.events.last(3), 0)
    assert.deepEqual(numbers(again.events.ofSession(1, mine, 0, 10)), [1, 3, 5, 7, 9])
    assert.deepEqual(numbers(again.events.ofSession(1, mine, 3, 2)), [5, 7])
    assert.deepEqual(numbers(again.events.ofTenant(1, 4, 3)), [5, 6, 7])
    assert.deepEqual(again.events.ofTenant(1, 10, 3), [])
    assert.equal(again.events.ofTenant(1, 0, 1)[0]?.data, '{"index":0,"text":"Grüße \\"€\\""}')
    assert.equal(again.events.ofTenant(1, 1, 1)[0]?.session, null)
    // The session of another tenant has events with numbers that this tenant has, too.
    assert.deepEqual(again.events.ofSession(1, other, 0, 10), [])
    assert.deepEqual(again.events.ofSession(2, mine, 0, 10), [])
    const next = await again.commit((tx) => tx.appendEvent(1, null, 'next', {}))
    assert.equal(next.number, 11)
    await again.close()
  })

  test(`${name}: rejected records are kept with their reason, page by page`, async (t) => {
    const store = await open(await temporaryFolder(t))
    const { number } = await store.commit((tx) => tx.createSession(newSession('a')))
    const reject = (recordIndex: number) => ({
      recordIndex,
      field: 'temperature',
      value: recordIndex % 2 === 0 ? { deep: [1] } : 'invalid',
      expectedType: 'float',
      message: 'Cannot parse as float',
      record: '{"values":{}}',
    })
    const nowMs = await store.commit((tx) => {
      tx.appendRejected(tx.session(number), 3, [chunkOf(reject(0), reject(1)), chunkOf(reject(2))])
      return tx.nowMs
    })
    await store.commit((tx) =>
      tx.appendRejected(tx.session(number), 4, [chunkOf(reject(3), reject(4))]),
    )
    assert.equal(store.sessions.get(number)?.rejectedRows, 5)
    assert.deepEqual(store.rejected.list(number, 0, 2), [
      { ...reject(0), seq: 0, batch: 3, atMs: nowMs },
      { ...reject(1), seq: 1, batch: 3, atMs: nowMs },
    ])
    const rest = store.rejected.list(number, 4, 10)
    assert.deepEqual(
      rest.map(({ seq, batch, value }) => ({ seq, batch, value })),
      [{ seq: 4, batch: 4, value: { deep: [1] } }],
    )
    for (let from = 0; from <= 6; from += 1) {
      for (let limit = 0; limit <= 6; limit += 1) {
        const seqs = store.rejected.list(number, from, limit).map(({ seq }) => seq)
        assert.deepEqual(seqs, [0, 1, 2, 3, 4].slice(from, from + limit))
      }
    }
    assert.deepEqual(store.rejected.list(number + 1, 0, 10), [])
    await store.close()
  })
}
