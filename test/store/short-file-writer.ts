import { execFileSync } from 'node:child_process'
import { openStore } from '../../src/store/store.ts'
import { newSession } from './fixtures.ts'
import { writtenBlob } from './short-file.ts'

/**
 * Commits blobs, each while the one before is on its way to disk, until the kernel does not let the file
 * grow past so many bytes; then says which were stored. Free space does not tell of that bound.
 */
const [path = '', bytesMax = ''] = process.argv.slice(2)
// Else the signal that comes with the refusal ends the process.
process.on('SIGXFSZ', () => undefined)
execFileSync('prlimit', ['--pid', `${process.pid}`, `--fsize=${bytesMax}`])
const store = openStore({ path, durability: 'flush', maxBytes: 1024 ** 3 })
const { number } = await store.commit((tx) => tx.createSession(newSession('a')))
const commits: Promise<void>[] = []
let hasFailed = false
while (!hasFailed) {
  const { hash, bytes } = writtenBlob(commits.length)
  const before = commits.at(-1)
  commits.push(
    store.commit((tx) => {
      tx.session(number).recordsReceived += 1
      tx.putBlob(1, hash, bytes)
    }),
  )
  await before?.catch(() => {
    hasFailed = true
  })
}
const results = await Promise.allSettled(commits)
const those = (status: string) =>
  results.flatMap((result, at) => (result.status === status ? at : []))
const seen = store.sessions.get(number)?.recordsReceived
await store.close()
console.log(JSON.stringify({ stored: those('fulfilled'), refused: those('rejected'), seen }))
