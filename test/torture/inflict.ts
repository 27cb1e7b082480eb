import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import type { Fault, FaultReport } from './fault.ts'
import type { FromFault, ToFault } from './messages.ts'

export interface InflictOptions {
  readonly runs: number
  readonly thorough: boolean
  readonly seed: number
  readonly folder: string
  readonly timeoutMs: number
  /** Aborted when the user stops. */
  readonly signal: AbortSignal
  readonly say: (line: string) => void
}

const processPath = join(import.meta.dirname, 'fault-process.js')
/** A fault that is told to stop may end what it has started within this time, then all of it is killed. */
const stopTimeoutMs = 30_000

/**
 * Inflicts the fault in a process group of its own. Whatever happens, nothing of the group is left
 * when it resolves. A fault that takes longer than it may, dies or throws has not held.
 */
export async function inflictApart(fault: Fault, options: InflictOptions): Promise<FaultReport> {
  const { signal, say, timeoutMs, ...order } = options
  const child = fork(processPath, {
    detached: true,
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  })
  const ended = once(child, 'exit') as Promise<[number | null, NodeJS.Signals | null]>
  const reported = reportOf(child, say)
  const stop = () => tell(child, { kind: 'stop' })
  const stopped = AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)])
  stopped.addEventListener('abort', stop)
  try {
    tell(child, { kind: 'order', name: fault.name, order })
    const died = ended.then(([code, by]) => failure(`its process ended by ${by ?? `code ${code}`}`))
    const report = await Promise.race([reported, died, overdue(stopped)])
    if (!stopped.aborted) return report
    const why = signal.aborted ? 'interrupted' : `not done after ${timeoutMs / 60_000} minutes`
    return { ...report, failures: [...report.failures, why] }
  } finally {
    stopped.removeEventListener('abort', stop)
    killGroup(child)
    await ended
  }
}

function reportOf(child: ChildProcess, say: (line: string) => void): Promise<FaultReport> {
  return new Promise((resolve) => {
    child.on('message', (message: FromFault) => {
      if (message.kind === 'line') say(message.text)
      else if (message.kind === 'report') resolve(message.report)
      else resolve(failure(message.message))
    })
  })
}

async function overdue(stopped: AbortSignal): Promise<FaultReport> {
  if (!stopped.aborted) await once(stopped, 'abort')
  await delay(stopTimeoutMs, undefined, { ref: false })
  return failure(`did not stop within ${stopTimeoutMs / 1_000} s`)
}

function failure(text: string): FaultReport {
  return { runs: 0, measured: 'nothing', failures: [text] }
}

function tell(child: ChildProcess, message: ToFault): void {
  if (child.connected) child.send(message)
}

function killGroup(child: ChildProcess): void {
  if (child.pid === undefined) return
  try {
    process.kill(-child.pid, 'SIGKILL')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
  }
}
