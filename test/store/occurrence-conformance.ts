import assert from 'node:assert/strict'
import test from 'node:test'
import fc from 'fast-check'
import type { Store, Transaction } from '../../src/store/interfaces.ts'
import type { OpenStore, Recount } from './conformance.ts'
import { atomOf, blobOf, newSession, temporaryFolder } from './fixtures.ts'

const failure = new Error('the unit fails')

/** Blobs go with the last of those that are of them. */
export function occurrenceConformance(name: string, open: OpenStore, recount: Recount): void {
  test(`${name}: a blob stays until as many have released it as have put it`, async (t) => {
    const path = await temporaryFolder(t)
    const store = await open(path)
    const { hash, bytes } = blobOf('shared', 5_000)
    await store.commit((tx) => {
      tx.putBlob(1, hash, bytes)
      tx.putBlob(1, hash, bytes)
      tx.putBlob(2, hash, bytes)
    })
    await store.commit((tx) => tx.putBlob(1, hash, bytes))
    await store.close()
    const again = await open(path)
    for (const isLeft of [true, true, false]) {
      await again.commit((tx) => tx.releaseBlob(1, hash))
      assert.equal(again.blobs.has(1, hash), isLeft)
    }
    assert.equal(again.blobs.get(1, hash), null)
    assert.deepEqual(again.blobs.get(2, hash), bytes)
    await again.commit((tx) => tx.releaseBlob(1, hash))
    await again.commit((tx) => tx.putBlob(1, hash, bytes))
    assert.deepEqual(again.blobs.get(1, hash), bytes)
    await again.commit((tx) => tx.releaseBlob(1, hash))
    assert.equal(again.blobs.has(1, hash), false)
    await again.close()
    assert.deepEqual([...(await recount(path)).keys()], [2])
  })

  test(`${name}: units of a group put and release one blob, those that fail do not`, async (t) => {
    const store = await open(await temporaryFolder(t))
    const { hash, bytes } = blobOf('shared', 5_000)
    const put = () => store.commit((tx) => tx.putBlob(1, hash, bytes))
    const release = () => store.commit((tx) => tx.releaseBlob(1, hash))
    const fail = (unit: (tx: Transaction) => void) =>
      assert.rejects(
        store.commit((tx) => {
          unit(tx)
          throw failure
        }),
        failure,
      )
    await Promise.all([put(), release(), put(), fail((tx) => tx.releaseBlob(1, hash))])
    assert.deepEqual(store.blobs.get(1, hash), bytes)
    await Promise.all([release(), fail((tx) => tx.putBlob(1, hash, bytes)), put(), put()])
    await Promise.all([fail((tx) => tx.releaseBlob(1, hash)), release()])
    assert.equal(store.blobs.has(1, hash), true)
    await Promise.all([release(), fail((tx) => tx.putBlob(1, hash, bytes))])
    assert.equal(store.blobs.has(1, hash), false)
    assert.deepEqual(store.usage(), [{ tenant: 1, bytes: 0 }])
    await store.close()
  })

  test(`${name}: whatever groups put, release and drop, what is counted is there`, async (t) => {
    const run = async (groups: readonly Group[]) => {
      const path = await temporaryFolder(t)
      let store = await open(path)
      const { number } = await store.commit((tx) => tx.createSession(newSession('a')))
      const model = new Model()
      for (const { units, reopens } of groups) {
        await commitUnits(store, number, model, units)
        if (reopens) {
          await store.close()
          store = await open(path)
        }
        for (const [index, blob] of blobs.entries()) {
          assert.equal(store.blobs.has(1, blob.hash), model.users(index) > 0)
        }
        const atoms = store.atoms.list(number, 0, 1_000)
        assert.deepEqual(
          atoms.map((atom) => atom.batch),
          model.atoms.map((atom) => atom.batch),
        )
      }
      const [usage] = store.usage()
      await store.close()
      assert.equal(usage?.bytes ?? 0, (await recount(path)).get(1) ?? 0)
    }
    await fc.assert(fc.asyncProperty(groupsArbitrary, run), { numRuns: 30, seed: 20_251_121 })
  })
}

const blobs = Array.from({ length: 4 }, (_, index) => blobOf(`blob ${index}`, 100 + 3_000 * index))

type Step =
  | { readonly kind: 'put' | 'release'; readonly blob: number }
  | { readonly kind: 'append'; readonly blob: number; readonly batch: number }
  | { readonly kind: 'drop' }
interface Unit {
  readonly steps: readonly Step[]
  readonly fails: boolean
}
interface Group {
  readonly units: readonly Unit[]
  readonly reopens: boolean
}

const blobArbitrary = fc.nat(blobs.length - 1)
const stepArbitrary: fc.Arbitrary<Step> = fc.oneof(
  fc.record({ kind: fc.constantFrom('put', 'release'), blob: blobArbitrary }),
  fc.record({ kind: fc.constant('append'), blob: blobArbitrary, batch: fc.nat(2) }),
  fc.record({ kind: fc.constant('drop') }),
)
const unitArbitrary: fc.Arbitrary<Unit> = fc.record({
  steps: fc.array(stepArbitrary, { maxLength: 6 }),
  fails: fc.boolean(),
})
const groupsArbitrary: fc.Arbitrary<Group[]> = fc.array(
  fc.record({ units: fc.array(unitArbitrary, { maxLength: 6 }), reopens: fc.boolean() }),
  { minLength: 1, maxLength: 8 },
)

/** What is held by hand, blob by blob, and the atoms that are retained. */
class Model {
  held: number[]
  atoms: { readonly blob: number; readonly batch: number }[]

  constructor(from?: Model) {
    this.held = from === undefined ? blobs.map(() => 0) : [...from.held]
    this.atoms = from === undefined ? [] : [...from.atoms]
  }

  users(blob: number): number {
    const atoms = this.atoms.filter((atom) => atom.blob === blob)
    return (this.held[blob] ?? 0) + atoms.length
  }

  /** Takes the step and gives what a unit has to do for it. Nobody releases what he does not hold. */
  take(step: Step, session: number): (tx: Transaction) => void {
    if (step.kind === 'drop') {
      const [first] = this.atoms
      const left = this.atoms.findIndex((atom) => atom.batch !== first?.batch)
      this.atoms = left === -1 ? [] : this.atoms.slice(left)
      return (tx) => tx.dropAtoms(tx.session(session), first?.batch ?? 0)
    }
    const { hash, bytes } = blobs[step.blob] as (typeof blobs)[number]
    const held = this.held[step.blob] ?? 0
    if (step.kind === 'release' && held === 0) return () => {}
    if (step.kind === 'append') {
      this.atoms.push({ blob: step.blob, batch: step.batch })
      return (tx) => {
        tx.putBlob(1, hash, bytes)
        const atom = { ...atomOf(hash, step.batch), byteLength: bytes.byteLength }
        tx.appendAtom(tx.session(session), atom)
      }
    }
    this.held[step.blob] = held + (step.kind === 'put' ? 1 : -1)
    return (tx) => (step.kind === 'put' ? tx.putBlob(1, hash, bytes) : tx.releaseBlob(1, hash))
  }
}

/** All in one group; the model goes on with the units that do not fail. */
async function commitUnits(
  store: Store,
  session: number,
  model: Model,
  units: readonly Unit[],
): Promise<void> {
  const commits = units.map(({ steps, fails }) => {
    const next = fails ? new Model(model) : model
    const actions = steps.map((step) => next.take(step, session))
    return store.commit((tx) => {
      for (const action of actions) action(tx)
      if (fails) throw failure
    })
  })
  for (const [index, result] of (await Promise.allSettled(commits)).entries()) {
    assert.equal(result.status, units[index]?.fails ? 'rejected' : 'fulfilled')
    if (result.status === 'rejected') assert.equal(result.reason, failure)
  }
}
