import { appendFileSync, readFileSync } from 'node:fs'
import { parentPort, workerData } from 'node:worker_threads'
import { runMediaTask } from '../../src/codecs/media-job/task.ts'
import type { MediaMessage, MediaTask } from '../../src/contracts/tasks.ts'

/** The environment variable that names the file in which dying threads count themselves. */
export const deathsFileVariable = 'TEST_MEDIA_DEATHS_FILE'
/** So many threads die. */
const deathsMax = 2

/** The thread of a media task, which does it and dies when it has sent a chunk; the third one lives. */
if (parentPort !== null) {
  const port = parentPort
  const deathsFile = process.env[deathsFileVariable] ?? ''
  const result = await runMediaTask(workerData as MediaTask, {
    post: (message: MediaMessage, transfer = []) => {
      port.postMessage(message, transfer)
      if (message.kind !== 'chunk' || readFileSync(deathsFile).byteLength >= deathsMax) return
      appendFileSync(deathsFile, '.')
      process.exit(7)
    },
    onCommand: (listener) => port.on('message', listener),
  })
  port.postMessage({ kind: 'result', result } satisfies MediaMessage)
  port.close()
}
