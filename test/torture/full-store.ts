import assert from 'node:assert/strict'
import { statfsSync } from 'node:fs'
import { limits } from '../../src/limits.ts'
import { openStore } from '../../src/store/store.ts'
import { blobOf, newSession } from '../store/fixtures.ts'

/**
 * Fills the disk of FOLDER with a store, removes half and fills it again, several times over with other
 * sizes. Ends with 0 where removals always got through and left room, and the reserve stayed.
 */
const [path] = process.argv.slice(2)
if (path === undefined) throw new Error('full-store FOLDER')
const rounds = 20
const store = openStore({ path, durability: 'flush', maxBytes: 1024 ** 3 })
const { number: session } = await store.commit((tx) => tx.createSession(newSession('a')))
const queued: number[] = []
let next = 0

/** Writes pages of this size until one is refused; gives how many were taken. */
async function fill(pageBytes: number): Promise<number> {
  for (let taken = 0; ; taken += 1) {
    const number = next
    next += 1
    const content = { kind: 'page' as const, ...blobOf(String(number), pageBytes) }
    const stored = store.commit(
      (tx) => tx.putJournal({ session, batch: 0, number, records: 1, job: null, content }),
      { bytes: pageBytes },
    )
    const isStored = await stored.then(
      () => true,
      (error: { code?: string }) => {
        assert.equal(error.code, 'STORE_FULL')
        return false
      },
    )
    if (!isStored) return taken
    queued.push(number)
  }
}

await fill(300_000)
for (let round = 0; round < rounds; round += 1) {
  assert(store.isFull)
  const removed = queued.splice(0, queued.length >> 1)
  await store.commit((tx) => {
    for (const number of removed) tx.deleteJournal(session, 0, number)
  })
  const taken = await fill(50_000 + ((round * 7) % 11) * 20_000)
  assert(taken > 0, `round ${round}: ${removed.length} pages were removed and none fits`)
  const { bavail, bsize } = statfsSync(path)
  assert(bavail * bsize > limits.diskReserveBytes / 2, `round ${round}: the reserve is used up`)
}
await store.close()
