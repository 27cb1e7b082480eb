import assert from 'node:assert/strict'
import test from 'node:test'
import fc from 'fast-check'
import type { PendingBuffer, Store, Transaction } from '../../src/store/interfaces.ts'
import type { OpenStore, Recount } from './conformance.ts'
import { blobOf, newSession, temporaryFolder } from './fixtures.ts'

const failure = new Error('the unit fails')

/** What sessions hold between two batches: buffers that wait to be cut, and the state of their codec. */
export function streamConformance(name: string, open: OpenStore, recount: Recount): void {
  test(`${name}: buffers wait in order, each with its blob, until they are dropped`, async (t) => {
    const path = await temporaryFolder(t)
    const store = await open(path)
    const { number } = await store.commit((tx) => tx.createSession(newSession('a')))
    const other = await store.commit((tx) => tx.createSession(newSession('b')))
    assert.deepEqual(store.streams.pending(number), [])
    const numbers = await store.commit((tx) => [append(tx, number, 0), append(tx, number, 1)])
    await store.commit((tx) => append(tx, other.number, 0))
    assert.ok(numbers[0] !== undefined && numbers[1] !== undefined && numbers[1] > numbers[0])
    const expected = numbers.map((at, index) => ({
      ...bufferOf(index),
      session: number,
      number: at,
    }))
    assert.deepEqual(store.streams.pending(number), expected)
    await store.close()

    const again = await open(path)
    assert.deepEqual(again.streams.pending(number), expected)
    const third = await again.commit((tx) => append(tx, number, 2))
    assert.ok(third > numbers[1])
    await again.commit((tx) => tx.dropPending(tx.session(number), third - 1))
    assert.deepEqual(places(again, number), [2])
    // The first is held by the other session too.
    assert.deepEqual(heldBlobs(again), [true, false, true, false])
    await again.commit((tx) => tx.dropPending(tx.session(number), Number.MAX_SAFE_INTEGER))
    assert.deepEqual(again.streams.pending(number), [])
    assert.deepEqual(places(again, other.number), [0])
    await again.commit((tx) => tx.dropPending(tx.session(other.number), 0))
    assert.deepEqual(places(again, other.number), [0], 'no buffer has the number 0')
    await again.commit((tx) => tx.dropPending(tx.session(other.number), 1))
    assert.deepEqual(heldBlobs(again), [false, false, false, false])
    assert.deepEqual(again.usage(), [{ tenant: 1, bytes: 0 }])
    await again.close()
  })

  test(`${name}: units of a group see the buffers of those before them`, async (t) => {
    const store = await open(await temporaryFolder(t))
    const { number } = await store.commit((tx) => tx.createSession(newSession('a')))
    const results = await Promise.allSettled([
      store.commit((tx) => append(tx, number, 0)),
      store.commit((tx) => {
        append(tx, number, 1)
        tx.dropPending(tx.session(number), Number.MAX_SAFE_INTEGER)
        throw failure
      }),
      store.commit((tx) => append(tx, number, 2)),
      store.commit((tx) => tx.dropPending(tx.session(number), 1)),
      store.commit((tx) => append(tx, number, 3)),
    ])
    assert.deepEqual(
      results.map((result) => (result.status === 'fulfilled' ? result.value : result.reason)),
      [1, failure, 2, undefined, 3],
    )
    assert.deepEqual(places(store, number), [2, 3])
    assert.deepEqual(heldBlobs(store), [false, false, true, true])
    await store.close()
  })

  test(`${name}: a state is what was put last, in a copy, until there is none`, async (t) => {
    const path = await temporaryFolder(t)
    const store = await open(path)
    const { number } = await store.commit((tx) => tx.createSession(newSession('a')))
    const put = (state: Uint8Array | null, fails = false) =>
      store.commit((tx) => {
        tx.putStreamState(tx.session(number), state)
        if (fails) throw failure
      })
    assert.equal(store.streams.state(number), null)
    const first = blobOf('first', 10_000).bytes
    const given = new Uint8Array(first)
    const commit = put(given)
    await Promise.resolve().then(() => given.fill(0))
    await commit
    await assert.rejects(put(blobOf('lost').bytes, true), failure)
    await assert.rejects(put(null, true), failure)
    const read = store.streams.state(number)
    assert.deepEqual(read, first)
    assert.equal(read?.buffer.byteLength, first.byteLength, 'a buffer of its own')
    read.fill(7)
    assert.deepEqual(store.streams.state(number), first)
    await Promise.all([put(blobOf('second').bytes), put(new Uint8Array(0))])
    await store.close()

    const again = await open(path)
    assert.deepEqual(again.streams.state(number), new Uint8Array(0))
    await again.commit((tx) => tx.putStreamState(tx.session(number), null))
    assert.equal(again.streams.state(number), null)
    await again.close()
  })

  test(`${name}: whatever groups append and drop, what waits has its blob`, async (t) => {
    const run = async (groups: readonly Group[]) => {
      const path = await temporaryFolder(t)
      let store = await open(path)
      const { number } = await store.commit((tx) => tx.createSession(newSession('a')))
      let waiting: Waiting = []
      for (const { units, reopens } of groups) {
        const commits = units.map(({ steps, fails }) =>
          store.commit((tx) => {
            const after = steps.reduce((left, step) => take(tx, number, left, step), waiting)
            if (fails) throw failure
            waiting = after
          }),
        )
        const results = await Promise.allSettled(commits)
        assert.deepEqual(
          results.map((result) => result.status === 'rejected'),
          units.map(({ fails }) => fails),
        )
        if (reopens) {
          await store.close()
          store = await open(path)
        }
        assert.deepEqual(
          store.streams.pending(number).map((buffer) => [buffer.run, buffer.number]),
          waiting.map(({ blob, number }) => [blob, number]),
        )
        const held = blobs.map((_, index) => waiting.some(({ blob }) => blob === index))
        assert.deepEqual(heldBlobs(store), held)
      }
      const [usage] = store.usage()
      await store.close()
      assert.equal(usage?.bytes ?? 0, (await recount(path)).get(1) ?? 0)
    }
    await fc.assert(fc.asyncProperty(groupsArbitrary, run), { numRuns: 30, seed: 20_251_121 })
  })
}

const blobs = Array.from({ length: 4 }, (_, index) => blobOf(`buffer ${index}`, 100 + 900 * index))

/** A buffer of one of the blobs, whose `run` tells which. */
function bufferOf(blob: number): Omit<PendingBuffer, 'session' | 'number'> {
  const { hash, bytes } = blobs[blob] as (typeof blobs)[number]
  const { byteLength } = bytes
  return { hash, byteLength, run: blob, startSample: 2 ** 40 + blob, samples: byteLength / 2 }
}

function append(tx: Transaction, session: number, blob: number): number {
  const { hash, bytes } = blobs[blob] as (typeof blobs)[number]
  tx.putBlob(1, hash, bytes)
  return tx.appendPending(tx.session(session), bufferOf(blob))
}

function places(store: Store, session: number): number[] {
  return store.streams.pending(session).map(({ run }) => run)
}

function heldBlobs(store: Store): boolean[] {
  return blobs.map(({ hash }) => store.blobs.has(1, hash))
}

/** A blob to append, or how many of the oldest buffers to drop. */
type Step = { readonly append: number } | { readonly drop: number }
interface Group {
  readonly units: readonly { readonly steps: readonly Step[]; readonly fails: boolean }[]
  readonly reopens: boolean
}

const stepArbitrary: fc.Arbitrary<Step> = fc.oneof(
  { weight: 2, arbitrary: fc.record({ append: fc.nat(blobs.length - 1) }) },
  { weight: 1, arbitrary: fc.record({ drop: fc.nat(3) }) },
)
const unitArbitrary = fc.record({
  steps: fc.array(stepArbitrary, { maxLength: 5 }),
  fails: fc.boolean(),
})
const groupsArbitrary: fc.Arbitrary<Group[]> = fc.array(
  fc.record({ units: fc.array(unitArbitrary, { maxLength: 5 }), reopens: fc.boolean() }),
  { minLength: 1, maxLength: 6 },
)

type Waiting = readonly { readonly blob: number; readonly number: number }[]

/** Does the step and gives what waits after it: what is appended comes after all that waits. */
function take(tx: Transaction, session: number, waiting: Waiting, step: Step): Waiting {
  if ('append' in step) {
    const number = append(tx, session, step.append)
    assert.ok(number > (waiting.at(-1)?.number ?? 0))
    return [...waiting, { blob: step.append, number }]
  }
  const last = waiting.slice(0, step.drop).at(-1)
  if (last !== undefined) tx.dropPending(tx.session(session), last.number)
  return waiting.slice(step.drop)
}
