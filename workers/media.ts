import { parentPort, workerData } from 'node:worker_threads'
import { runMediaTask } from '../src/codecs/media-job/task.ts'
import type { MediaCommand, MediaMessage, MediaTask } from '../src/contracts/tasks.ts'

/** The thread of one media task: what it tells goes out, what it is told comes in, then it ends. */
if (parentPort === null) throw new Error('this is the entry point of a thread')
const port = parentPort
const result = await runMediaTask(workerData as MediaTask, {
  post: (message: MediaMessage, transfer = []) => port.postMessage(message, transfer),
  onCommand: (listener: (command: MediaCommand) => void) => port.on('message', listener),
})
port.postMessage({ kind: 'result', result } satisfies MediaMessage)
port.close()
