import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, mkdirSync, openSync, rmSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import type { Scope } from '../support/server.ts'

const mountScript = 'mount -t tmpfs -o "$1" tmpfs "$2" && echo mounted && exec cat'

/**
 * A file system in memory, as small as wanted. It is mounted in a name space of its own, which only
 * those see who start `under` it, and which goes with its last process: however a run ends, nothing
 * stays mounted. Needs root.
 */
export class SmallDisk {
  readonly path: string
  readonly #pid: number
  /** The path as everybody else reaches it. */
  readonly #outsidePath: string

  private constructor(path: string, pid: number) {
    this.path = path
    this.#pid = pid
    this.#outsidePath = join(`/proc/${pid}/root`, path)
  }

  /** Null where it may not be mounted. */
  static async mount(scope: Scope, folder: string, sizeBytes: number): Promise<SmallDisk | null> {
    const path = join(folder, 'disk')
    mkdirSync(path, { recursive: true })
    const command = ['--mount', 'sh', '-c', mountScript, 'sh', `size=${sizeBytes},mode=0700`, path]
    // It lasts as long as its input, so it ends where this process does.
    const keeper = spawn('unshare', command, { stdio: ['pipe', 'pipe', 'ignore'] })
    const failed = Promise.race([once(keeper, 'exit'), once(keeper, 'error')])
    const mounted = once(keeper.stdout, 'data').then(() => true)
    const isMounted = await Promise.race([mounted, failed.then(() => false)]).catch(() => false)
    if (!isMounted || keeper.pid === undefined) return null
    scope.after(async () => {
      keeper.stdin.end()
      await failed
    })
    return new SmallDisk(path, keeper.pid)
  }

  /** For `under` of a server that is to see the disk. */
  get under(): string[] {
    return ['nsenter', '--target', `${this.#pid}`, '--mount', '--']
  }

  grow(sizeBytes: number): void {
    const [program = '', ...rest] = this.under
    execFileSync(program, [...rest, 'mount', '-o', `remount,size=${sizeBytes}`, this.path])
  }

  /** Takes all the space that is left, to the last page, as another program might. */
  fill(): void {
    const file = openSync(join(this.#outsidePath, 'filler'), 'a')
    try {
      for (let bytes = 1_048_576; bytes >= 1; bytes >>= 1) {
        const chunk = Buffer.alloc(bytes, 1)
        while (hasWritten(file, chunk));
      }
    } finally {
      closeSync(file)
    }
  }

  /** Gives back what `fill` took. */
  free(): void {
    rmSync(join(this.#outsidePath, 'filler'), { force: true })
  }
}

/** False where the disk is full; the first part of the chunk may have been taken. */
function hasWritten(file: number, chunk: Buffer): boolean {
  try {
    return writeSync(file, chunk) === chunk.byteLength
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOSPC') return false
    throw error
  }
}
