import { rmSync } from 'node:fs'
import { parentPort, workerData } from 'node:worker_threads'
import type { SearchCommand, SearchThreadData } from '../../src/contracts/search.ts'

/** A search thread that stores what it is given and answers no search; at `die` it ends itself. */
const { folder } = workerData as SearchThreadData
parentPort?.on('message', (command: SearchCommand) => {
  if (command.kind === 'put' || command.kind === 'remove') {
    parentPort?.postMessage({ kind: 'stored' })
  } else if (command.kind === 'search') {
    if (command.query === 'die') process.exit(3)
  } else {
    rmSync(folder, { recursive: true, force: true })
    parentPort?.close()
  }
})
