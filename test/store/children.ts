import { spawn } from 'node:child_process'
import { once } from 'node:events'
import type { TestContext } from 'node:test'
import { fileURLToPath } from 'node:url'

/** A process of ours that runs one of the built modules of this folder; it dies with the test. */
export interface Child {
  /** The lines it has printed, once `enough` of them are there or it has exited. */
  lines(enough?: (lines: readonly string[]) => boolean): Promise<string[]>
  errors(): string
  kill(): Promise<void>
  /** Waits for its exit code. */
  exit(): Promise<number | null>
}

export function startChild(t: TestContext, module: string, ...args: readonly string[]): Child {
  const path = fileURLToPath(new URL(`./${module}.js`, import.meta.url))
  const child = spawn(process.execPath, [path, ...args], { stdio: ['ignore', 'pipe', 'pipe'] })
  t.after(() => child.kill('SIGKILL'))
  let output = ''
  let errors = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    output += text
  })
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    errors += text
  })
  const closed = once(child, 'close')
  let hasClosed = false
  closed.then(() => {
    hasClosed = true
  })
  return {
    async lines(enough = () => false) {
      for (;;) {
        const lines = output.split('\n').slice(0, -1)
        if (hasClosed || enough(lines)) return lines
        await Promise.race([closed, once(child.stdout, 'data')])
      }
    },
    errors: () => errors,
    async kill() {
      child.kill('SIGKILL')
      await closed
    },
    async exit() {
      await closed
      return child.exitCode
    },
  }
}
