import type { WorkerTask } from './tasks.ts'

/** What a worker did: it ended, threw, ran out of heap, or did not finish in time. */
export type WorkerFault = 'exit' | 'threw' | 'out of memory' | 'deadline'

/**
 * A worker failed to do a task. What of the task's input was transferred is gone. Not a fault of the
 * request, as far as anybody can tell; `cause` is what the pool reported.
 */
export class WorkerFailure extends Error {
  constructor(
    readonly task: WorkerTask['kind'] | 'media',
    readonly fault: WorkerFault,
    cause: unknown,
  ) {
    const reason = cause instanceof Error ? cause.message : String(cause)
    super(`The worker failed on a ${task} task (${fault}): ${reason}`, { cause })
    this.name = 'WorkerFailure'
  }
}
