import { writeSync } from 'node:fs'
import { openStore } from '../../src/store/store.ts'
import { atomOf, blobOf, newSession } from './fixtures.ts'

/** Commits until it is killed; prints the label of every unit that was acknowledged. */
const [path] = process.argv.slice(2)
if (path === undefined) throw new Error('crash-writer FOLDER')
const store = openStore({ path, durability: 'flush', maxBytes: 1024 ** 3 })
const known = store.sessions.find(1, 'crashed')
const session = known ?? (await store.commit((tx) => tx.createSession(newSession('crashed'))))

async function write(lane: number): Promise<never> {
  for (let index = 0; ; index += 1) {
    // The dot at the end tells a whole line from one that was cut.
    const label = `${process.pid} ${lane} ${index}.`
    const { hash, bytes } = blobOf(label, 3_000)
    await store.commit((tx) => {
      tx.putBlob(1, hash, bytes)
      const metadata = { label }
      tx.appendAtom(tx.session(session.number), { ...atomOf(hash), metadata })
      tx.appendEvent(1, session.number, 'stored', metadata)
    })
    writeSync(1, `${label}\n`)
  }
}
await Promise.all(Array.from({ length: 8 }, (_, lane) => write(lane)))
