import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { eventually } from './waiting.ts'

/** Why system calls cannot be watched here, null where they can. */
export function straceMissing(): string | null {
  const { error, status, stderr } = spawnSync('strace', ['-D', '-f', '-o', '/dev/null', 'true'])
  if (error !== undefined) return 'strace is not installed'
  return status === 0 ? null : `strace may not be used: ${String(stderr).trim()}`
}

export interface StraceOptions {
  /** Where the trace goes. */
  readonly output: string
  readonly calls: readonly string[]
  /** `fdatasync:error=EIO:when=6` lets each thread's sixth fail instead of being made. */
  readonly inject?: string
  /** Of each string in a call, so much is kept. */
  readonly stringBytes?: number
}

/**
 * For `under` of a server. With -D the tracer is a grandchild, so the server keeps its own process id
 * and exit code; with --seccomp-bpf it stops at these calls alone.
 */
export function strace({ output, calls, inject, stringBytes = 32 }: StraceOptions): string[] {
  const program = ['strace', '-D', '-f', '--seccomp-bpf', '-q', '-y', '-s', `${stringBytes}`]
  const injected = inject === undefined ? [] : ['-e', `inject=${inject}`]
  return [...program, '-e', `trace=${calls.join(',')}`, ...injected, '-o', output, '--']
}

/** The lines of a trace, once the process that it is of has ended and all is written. */
export function traceOf(output: string, pid: number): Promise<string[]> {
  const end = new RegExp(`^${pid} +\\+\\+\\+ (exited|killed)`, 'm')
  return eventually(async () => {
    const text = readFileSync(output, 'latin1')
    return end.test(text) ? text.trimEnd().split('\n') : undefined
  }, 'the end of the trace')
}
