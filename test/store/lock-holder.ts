import { Database } from '../../src/store/database.ts'

/** Holds the lock of all writers for some milliseconds, as a tool does that was stopped at work. */
const [path, holdMs] = process.argv.slice(2)
if (path === undefined) throw new Error('lock-holder FOLDER MILLISECONDS')
const database = new Database({ path, flush: true, maxBytes: 1024 ** 3 })
database.exclusively(() => {
  process.stdout.write('held\n')
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, Number(holdMs))
})
await database.close()
