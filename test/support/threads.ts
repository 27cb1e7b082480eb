import type { TestContext } from 'node:test'
import type { Worker } from 'node:worker_threads'

/** The threads that are there, as they come and go. */
export function watchThreads(t: TestContext): Set<Worker> {
  const threads = new Set<Worker>()
  const onWorker = (worker: Worker) => {
    threads.add(worker)
    worker.once('exit', () => threads.delete(worker))
  }
  process.on('worker', onWorker)
  t.after(() => process.off('worker', onWorker))
  return threads
}
