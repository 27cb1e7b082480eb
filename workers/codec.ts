import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { move, transferableSymbol, valueSymbol } from 'piscina'
import { parsedLength } from '../src/codecs/gzip.ts'
import { runTask, type TaskOutcome } from '../src/codecs/task.ts'
import type { DecodeUpload, WorkerTask } from '../src/contracts/tasks.ts'
import { limits } from '../src/limits.ts'

/** A full garbage collection, now. V8 gives it no other name than this. */
const collectGarbage = exposedCollector()

/**
 * Piscina's entry point: runs a task and moves the buffers of its result instead of copying them.
 *
 * A heavy task leaves its garbage in the heap until the next one fills it up. With 16 bodies of 26 MB
 * one after the other the process took 30 MiB more at its peak, and up to 200 MiB more afterwards.
 */
export default async function codec(task: WorkerTask): Promise<unknown> {
  const bytes = bytesOf(task)
  const { result, transfer } = await runTask(task)
  const isHeavy = bytes > limits.lightBodyBytesMax && !isPassedOn(task, { result, transfer })
  // After the result has been posted, so that nobody waits for it.
  if (isHeavy) setImmediate(collectGarbage)
  return move({ [valueSymbol]: result, [transferableSymbol]: transfer })
}

/**
 * Whether a body goes on as it came: of one that is parsed in place its own bytes are all there is. A
 * collection after each 20 MB of frames took a tenth of the time that they did.
 */
function isPassedOn(task: WorkerTask, { result, transfer }: TaskOutcome): boolean {
  if (task.kind !== 'decode' || !('verdicts' in result)) return false
  // What was rejected may have been parsed into millions of values.
  const isWhole = result.verdicts.every(
    (verdict) => verdict.kind === 'accepted' && verdict.rejected.count === 0,
  )
  const isMoved = ({ body }: DecodeUpload) => body instanceof ArrayBuffer && transfer.includes(body)
  return isWhole && task.uploads.every(isMoved)
}

function bytesOf(task: WorkerTask): number {
  switch (task.kind) {
    case 'decode':
      // A heavy upload goes alone; many light ones leave no more than many tasks would.
      return Math.max(...task.uploads.map(parsedLength))
    case 'merge':
      return task.pages.reduce((sum, { byteLength }) => sum + byteLength, 0)
    case 'read':
      return task.blocks.reduce((sum, { bytes }) => sum + bytes.byteLength, 0)
    case 'aggregate':
    case 'combine':
    case 'select':
    case 'analyse':
    case 'cut':
      // Bounded by limits.streamTaskBytesMax and its like, and nothing of them is parsed into objects.
      return 0
  }
}

/** The flag stays set: it is the whole process's, and another thread may be at the same place. */
function exposedCollector(): () => void {
  setFlagsFromString('--expose-gc')
  return runInNewContext('gc') as () => void
}
