import { parentPort, workerData } from 'node:worker_threads'
import type { SearchCommand, SearchMessage, SearchThreadData } from '../src/contracts/search.ts'
import { QueryFailed, SearchEngine } from '../src/memories/search/engine.ts'

/**
 * The thread that holds the search index. Any failure but a query's own ends it: the index is
 * unfit for use then.
 */
if (parentPort === null) throw new Error('this is the entry point of a thread')
const port = parentPort
const engine = new SearchEngine((workerData as SearchThreadData).folder)
const tell = (message: SearchMessage) => port.postMessage(message)

port.on('message', (command: SearchCommand) => {
  switch (command.kind) {
    case 'put':
      for (const document of command.documents) engine.put(document)
      tell({ kind: 'stored' })
      break
    case 'remove':
      for (const { tenant, number } of command.memories) engine.remove(tenant, number)
      tell({ kind: 'stored' })
      break
    case 'search':
      search(command)
      break
    case 'close':
      engine.close()
      port.close()
  }
})

function search({ id, ...request }: Extract<SearchCommand, { kind: 'search' }>): void {
  try {
    tell({ kind: 'found', id, ...engine.search(request) })
  } catch (error) {
    if (!(error instanceof QueryFailed)) throw error
    tell({ kind: 'failed', id, message: error.message })
  }
}
