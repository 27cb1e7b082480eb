import { readFileSync, readlinkSync, renameSync, rmSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { makeFolder } from './folders.ts'

const fileName = 'owner.lock'

/**
 * Keeps a second server out of a data folder. Node has no flock, so the owner leaves a symbolic link to
 * its process id and, because ids come again, the moment its process was started and the boot it was
 * started in: a link is made whole or not at all, and takes no space on a disk that is full. One whose
 * process is gone (kill -9, power cut) is taken over. Trusts that all servers of one folder see the
 * same process table: two containers that share a folder do not.
 */
export class FolderLock {
  readonly #path: string
  readonly #text: string
  #released = false

  private constructor(path: string, text: string) {
    this.#path = path
    this.#text = text
  }

  /** Throws an Error for the operator where a live process owns the folder. */
  static take(folder: string): FolderLock {
    makeFolder(folder)
    const path = join(folder, fileName)
    const text = processName(process.pid) ?? `${process.pid}`
    if (!tryLink(text, path)) {
      refuseWhileOwned(folder, path)
      if (!tryLink(text, path)) throw new Error(inUse(folder, 'another process'))
    }
    return new FolderLock(path, text)
  }

  /** Idempotent. */
  release(): void {
    if (this.#released) return
    this.#released = true
    if (readOwner(this.#path) === this.#text) rmSync(this.#path, { force: true })
  }
}

/** Moves away the link of a process that is gone; throws where it lives. */
function refuseWhileOwned(folder: string, path: string): void {
  const owner = readOwner(path)
  if (owner === null) return
  if (isAlive(owner)) throw new Error(inUse(folder, `process ${owner.split(' ')[0]}`))
  const stale = `${path}.stale.${process.pid}`
  renameSync(path, stale)
  // Two that found the same dead owner: the slower one may have moved the faster one's new link.
  const moved = readOwner(stale)
  if (moved !== null && moved !== owner) tryLink(moved, path)
  rmSync(stale, { force: true })
}

function isAlive(owner: string): boolean {
  const pid = Number.parseInt(owner, 10)
  return Number.isInteger(pid) && pid > 0 && processName(pid) === owner.trim()
}

/** `pid start boot`, the same for as long as the process lives; null where there is no such process. */
function processName(pid: number): string | null {
  const stat = readText(`/proc/${pid}/stat`)
  const boot = readText('/proc/sys/kernel/random/boot_id')
  if (boot === null) return signalName(pid)
  // The command in parentheses may hold anything; behind it stands the state, the number of threads is
  // the 18th field and the start time the 20th.
  const fields = stat?.slice(stat.lastIndexOf(')') + 2).split(' ') ?? []
  const [state, threads, start] = [fields[0], fields[17], fields[19]]
  // One that was killed and whose parent has not looked yet; a first thread may end before others do.
  const isOver = state === 'Z' && Number(threads) <= 1
  return start === undefined || isOver ? null : `${pid} ${start} ${boot.trim()}`
}

/** Without a /proc the id alone has to do. */
function signalName(pid: number): string | null {
  try {
    process.kill(pid, 0)
    return `${pid}`
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM' ? `${pid}` : null
  }
}

function inUse(folder: string, owner: string): string {
  return `The data folder ${folder} is in use by ${owner}: stop that server or choose another folder`
}

function tryLink(owner: string, path: string): boolean {
  try {
    symlinkSync(owner, path)
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false
    throw error
  }
}

/** What the link says, or the file that earlier versions left in its place; null where there is neither. */
function readOwner(path: string): string | null {
  try {
    return readlinkSync(path)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null
    if ((error as NodeJS.ErrnoException).code !== 'EINVAL') throw error
    return readText(path)
  }
}

function readText(path: string): string | null {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null
    throw error
  }
}
