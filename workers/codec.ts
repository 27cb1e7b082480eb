import { move, transferableSymbol, valueSymbol } from 'piscina'
import { runTask } from '../src/codecs/task.ts'
import type { WorkerTask } from '../src/contracts/tasks.ts'

/**
 * Piscina's entry point: runs a task and moves the buffers of its result instead of copying them.
 */
export default async function codec(task: WorkerTask): Promise<unknown> {
  const { result, transfer } = await runTask(task)
  return move({ [valueSymbol]: result, [transferableSymbol]: transfer })
}
