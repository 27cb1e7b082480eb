import { existsSync, readdirSync, readFileSync } from 'node:fs'

/** What /proc tells of processes. Where there is none, nothing is told, and nothing is judged by it. */
export const tellsOfProcesses = existsSync(`/proc/${process.pid}/task`)

/** Anonymous resident memory; 0 where the system does not tell or the process has just ended. */
export function anonBytes(pid: number | undefined): number {
  try {
    const status = readFileSync(`/proc/${pid}/status`, 'utf8')
    return Number(/^RssAnon:\s+(\d+) kB/m.exec(status)?.[1] ?? 0) * 1_024
  } catch {
    return 0
  }
}

/** The processes that any thread of `pid` has started and that are still there. */
export function childrenOf(pid: number): number[] {
  try {
    const threads = readdirSync(`/proc/${pid}/task`)
    return threads.flatMap((thread) => childrenOfThread(`/proc/${pid}/task/${thread}/children`))
  } catch {
    return []
  }
}

function childrenOfThread(path: string): number[] {
  try {
    const text = readFileSync(path, 'utf8').trim()
    return text === '' ? [] : text.split(' ').map(Number)
  } catch {
    // The thread has just ended.
    return []
  }
}

/** One that has ended and that nobody has asked for yet is still there. */
export function isThere(pid: number): boolean {
  return existsSync(`/proc/${pid}`)
}
