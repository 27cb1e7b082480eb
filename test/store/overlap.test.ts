import assert from 'node:assert/strict'
import { constants } from 'node:os'
import test from 'node:test'
import fc from 'fast-check'
import { Refusal } from '../../src/contracts/errors.ts'
import { Committer } from '../../src/store/committer.ts'
import { Database, tableNames, type Write } from '../../src/store/database.ts'
import type { SessionRow, Store, Transaction } from '../../src/store/interfaces.ts'
import { Repositories } from '../../src/store/repositories.ts'
import { openStore } from '../../src/store/store.ts'
import { startChild } from './children.ts'
import { atomOf, blobOf, newJob, newSession, temporaryFolder } from './fixtures.ts'
import { writtenBlob } from './short-file.ts'

/** Units run over a group that is still being written: these tests have some there at all times. */

type Change = (transaction: Transaction) => unknown

const open = (path: string): Store =>
  openStore({ path, durability: 'flush', maxBytes: 1024 ** 3, now: () => 1_750_000_000_000 })

/** What units do, with a session or job by its number, a blob by its text. */
const kinds: ((number: number, text: string) => Change)[] = [
  () => (tx) => tx.createSession(newSession(`session ${tx.job(1).itemsProcessed++}`)).number,
  (number) => (tx) => {
    tx.job(1).atomsCreated += 1
    const session = tx.session(number)
    session.recordsReceived += 1
    return session.recordsReceived
  },
  (number, text) => (tx) => {
    const { hash, bytes } = blobOf(text)
    tx.putBlob(1, hash, bytes)
    const event = tx.appendEvent(1, number, 'atom', { text })
    return [tx.appendAtom(tx.session(number), atomOf(hash)), event.number]
  },
  (number) => (tx) => {
    const session = tx.session(number)
    session.status = 'completed'
    session.endedAtMs = tx.nowMs
  },
  (number, text) => (tx) => tx.dropSession(tx.session(number), text.length),
  (number) => (tx) => tx.dropAtoms(tx.session(number), 0, 1),
  (number) => (tx) => {
    tx.job(number).itemsProcessed += 1
    return tx.createJob(newJob(`job ${tx.job(1).itemsProcessed}`)).number
  },
  () => (tx) => {
    tx.appendEvent(1, null, 'lost', {})
    tx.job(1).itemsProcessed += 100
    throw new Error('the unit fails')
  },
]
const changes = fc
  .tuple(fc.constantFrom(...kinds), fc.integer({ min: 1, max: 3 }), fc.constantFrom('a', 'bb'))
  .map(([kind, number, text]) => kind(number, text))

/** What became of each unit, and all that the store holds in the end, its secret aside. */
async function outcome(
  path: string,
  units: readonly Change[],
  run: (store: Store, units: readonly Change[]) => Promise<PromiseSettledResult<unknown>[]>,
) {
  const store = open(path)
  await store.commit((tx) => tx.createJob(newJob('first')))
  const results = await run(store, units)
  const seen = [1, 2, 3].map((session) => store.sessions.get(session))
  await store.close()
  const database = new Database({ path, flush: false, maxBytes: 1024 ** 3 })
  const everything = { from: Uint8Array.of(0), to: new Uint8Array(64).fill(255) }
  const rows = tableNames.flatMap((name) =>
    Array.from(database.table(name).entries(everything), ({ key, value }) => {
      const text = Buffer.from(key).toString('latin1')
      return text.includes('secret') ? [] : [name, text, Buffer.from(value).toString('latin1')]
    }),
  )
  await database.close()
  const ends = results.map((result) =>
    result.status === 'fulfilled' ? result.value : String(result.reason),
  )
  return { ends, seen, rows }
}

async function oneByOne(store: Store, units: readonly Change[]) {
  const results: PromiseSettledResult<unknown>[] = []
  for (const unit of units) results.push(...(await Promise.allSettled([store.commit(unit)])))
  return results
}

/** Each unit is committed while the one before is on its way to disk. */
async function overlapping(store: Store, units: readonly Change[]) {
  const commits: Promise<unknown>[] = []
  for (const unit of units) {
    const before = commits.at(-1)
    commits.push(store.commit(unit))
    await before?.catch(() => undefined)
  }
  return Promise.allSettled(commits)
}

test('units over a group on its way to disk make the same store as units one by one', async (t) => {
  const path = await temporaryFolder(t)
  let runs = 0
  const sequence = fc.array(changes, { minLength: 5, maxLength: 40 })
  await fc.assert(
    fc.asyncProperty(sequence, async (units) => {
      const folder = `${path}/${runs++}`
      const expected = await outcome(`${folder}-one`, units, oneByOne)
      assert.deepEqual(await outcome(`${folder}-two`, units, overlapping), expected)
    }),
    { numRuns: 40 },
  )
})

test('a unit is seen when it is on disk, though the next has run over it', async (t) => {
  const store = open(await temporaryFolder(t))
  const { number } = await store.commit((tx) => tx.createSession(newSession('a')))
  const steps: string[] = []
  const row = (): SessionRow | null => store.sessions.get(number)
  const count: Change = (tx) => {
    const session = tx.session(number)
    session.recordsReceived += 1
    steps.push(`run ${session.recordsReceived}, seen ${row()?.recordsReceived}`)
  }
  const first = store.commit(count)
  // A microtask later the first is with LMDB's thread, whose answer takes a turn of the event loop.
  await Promise.resolve()
  const second = store.commit(count)
  await first
  steps.push(`first, seen ${row()?.recordsReceived}`)
  await second
  steps.push(`second, seen ${row()?.recordsReceived}`)
  assert.deepEqual(steps, ['run 1, seen 0', 'run 2, seen 0', 'first, seen 1', 'second, seen 2'])
  await store.close()
})

test('a group that cannot be written takes along what was built on it, and nothing else', async (t) => {
  const path = await temporaryFolder(t)
  const child = startChild(t, 'short-file-writer', path, '20000000')
  const lines = await child.lines()
  assert.equal(await child.exit(), 0, child.errors())
  const { stored, refused, seen } = JSON.parse(lines[0] as string)
  assert.ok(stored.length > 20 && refused.length >= 2, `${stored.length} and ${refused.length}`)
  assert.equal(seen, stored.length)
  const store = open(path)
  const has = (index: number) => store.blobs.has(1, writtenBlob(index).hash)
  assert.equal(store.sessions.get(1)?.recordsReceived, stored.length)
  assert.deepEqual([stored.every(has), refused.some(has)], [true, false])
  await store.close()
})

/** Says of one transaction that the disk has no room for it, as a quota does that nobody can foresee. */
class QuotaDatabase extends Database {
  refuses = false

  override async apply(writes: readonly Write[]): Promise<void> {
    if (!this.refuses) return super.apply(writes)
    this.refuses = false
    // Its answer takes a turn of the event loop too.
    await new Promise((resolve) => setImmediate(resolve))
    throw Object.assign(new Error('no room'), { code: constants.errno.EDQUOT })
  }
}

test('where a quota refuses a group, the one built on it is refused and the next is stored', async (t) => {
  const path = await temporaryFolder(t)
  const database = new QuotaDatabase({ path, flush: true, maxBytes: 1024 ** 3 })
  const committer = new Committer(database, new Repositories(database), true, 1024 ** 3)
  const append = () => committer.commit((tx) => tx.appendEvent(1, null, 'event', {}).number)
  assert.equal(await append(), 1)
  database.refuses = true
  const first = append()
  await Promise.resolve()
  const results = await Promise.allSettled([first, append()])
  for (const result of results) {
    assert.ok(result.status === 'rejected' && result.reason instanceof Refusal)
    assert.equal(result.reason.code, 'STORE_FULL')
  }
  assert.equal(await append(), 2)
  await committer.close()
  await database.close()
})
