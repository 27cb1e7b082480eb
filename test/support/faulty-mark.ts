import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { WorkerTask } from '../../src/contracts/tasks.ts'
import { limits } from '../../src/limits.ts'

/** What the thread really does; `pause` is no fault, it only takes its time. */
export type InflictedFault = 'exit' | 'throw' | 'heap' | 'hang' | 'pause'

/** Text in a telemetry value that makes a faulty worker commit a fault at a task of this kind. */
export interface FaultMark {
  readonly task: WorkerTask['kind']
  readonly fault: InflictedFault
  /** The first so many tasks that bear it, all threads and servers counted. */
  readonly times: number | 'always'
  /** Tells marks apart: its file in the faults folder counts the tasks that bore it. */
  readonly name: string
}

/** The environment variable that names the folder in which a faulty worker counts. */
export const faultsFolderVariable = 'TEST_FAULTS_FOLDER'

/** The environment variable that tells faulty-server.ts its task timeout, in milliseconds. */
export const taskTimeoutVariable = 'TEST_TASK_TIMEOUT_MS'

export const faultyWorkerFile = new URL('./faulty-worker.cjs', import.meta.url)

export function markText({ task, fault, times, name }: FaultMark): string {
  return `fault:${task}:${fault}:${times}:${name};`
}

/** Values that make a body so long that it is decoded by a worker and not in place. */
export function longValues(): Record<string, string> {
  const text = ' '.repeat(limits.stringValueBytesMax)
  const values = Math.ceil(limits.inPlaceBodyBytesMax / text.length)
  return Object.fromEntries(Array.from({ length: values }, (_, n) => [`long ${n}`, text]))
}

/** How many tasks have borne the mark of this name. */
export async function tasksMarked(folder: string, name: string): Promise<number> {
  const counted = await readFile(join(folder, name)).catch(() => Buffer.alloc(0))
  return counted.byteLength
}
