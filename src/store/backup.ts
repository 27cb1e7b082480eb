import {
  chmodSync,
  closeSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
} from 'node:fs'
import { dirname, join } from 'node:path'
import { makeFolder } from './folders.ts'
import { openForReading } from './snapshot.ts'

/** What a copy is called until it is whole and on disk. */
const partialSuffix = '.partial'

export interface BackupResult {
  readonly bytes: number
  readonly durationMs: number
}

/**
 * Copies the store in `source` to `folder/name`, as it stands when the copy begins, also while a
 * server writes. The folder is made, or is empty. The copy bears its name only once all of it is
 * on disk, so one that was cut short is never taken for a store. Rejects, with a message for the
 * operator and nothing left behind, where there is no store, the folder holds something, or the
 * disk refuses.
 *
 * The pages are copied as they lie, free ones included: LMDB's compacting copy would be smaller,
 * but it gives up where a page has ever leaked, and lmdb-js has an open report of damaged ones.
 * While the copy runs the server cannot use again what it frees, so its file may grow.
 */
export async function backUpStore(
  source: string,
  folder: string,
  name: string,
): Promise<BackupResult> {
  const startMs = performance.now()
  if (!existsSync(join(source, 'data.mdb'))) throw new Error(`no store in ${source}`)
  requireEmpty(folder)
  const made = makeFolder(folder)
  const partial = join(folder, `${name}${partialSuffix}`)
  try {
    mkdirSync(partial, { mode: 0o700 })
    const bytes = await copyPages(source, partial)
    renameSync(partial, join(folder, name))
    flushFolders(folder, made ?? folder)
    return { bytes, durationMs: performance.now() - startMs }
  } catch (error) {
    rmSync(made ?? partial, { recursive: true, force: true })
    const reason = error instanceof Error ? error.message : String(error)
    throw new Error(`cannot copy to ${folder}: ${reason}`)
  }
}

async function copyPages(source: string, partial: string): Promise<number> {
  const root = openForReading(source)
  try {
    await root.backup(partial, false)
  } finally {
    await root.close()
  }
  const file = join(partial, 'data.mdb')
  // It holds the secret of the tickets and the digests of the keys.
  chmodSync(file, 0o600)
  flush(file)
  flush(partial)
  return statSync(file).size
}

function requireEmpty(folder: string): void {
  if (!existsSync(folder)) return
  if (!statSync(folder).isDirectory()) throw new Error(`${folder} is not a folder`)
  const names = readdirSync(folder)
  if (names.length === 0) return
  const isCutShort = names.some((name) => name.endsWith(partialSuffix))
  const hint = isCutShort ? ', among it a backup that was cut short: remove it' : ''
  throw new Error(`${folder} is not empty${hint}; give a new or empty folder`)
}

/**
 * The names of the copy and of every folder that was made for it: from `folder` up to above
 * `made`.
 */
function flushFolders(folder: string, made: string): void {
  const last = dirname(made)
  for (let path = folder; ; path = dirname(path)) {
    flush(path)
    if (path === last || path === dirname(path)) return
  }
}

function flush(path: string): void {
  const descriptor = openSync(path, 'r')
  try {
    fsyncSync(descriptor)
  } finally {
    closeSync(descriptor)
  }
}
