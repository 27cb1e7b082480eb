/**
 * A worker failed to do a task: it died, ran out of memory, or its code has a bug. The task's
 * input was transferred and is gone. Not a fault of the request; `cause` is what the pool
 * reported.
 */
export class WorkerFailure extends Error {
  constructor(taskKind: string, cause: unknown) {
    const reason = cause instanceof Error ? cause.message : String(cause)
    super(`The worker failed on a ${taskKind} task: ${reason}`, { cause })
    this.name = 'WorkerFailure'
  }
}
