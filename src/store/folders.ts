import { existsSync, mkdirSync } from 'node:fs'
import { dirname } from 'node:path'

/**
 * Makes a folder that only its owner may enter, and its parents; gives the first that was made, null
 * where all were there. Written out, because Node's own `recursive` tries for ever where a folder like
 * /proc calls a new entry not found though its parent is there.
 */
export function makeFolder(path: string): string | null {
  if (existsSync(path)) return null
  const parent = dirname(path)
  const made = parent === path ? null : makeFolder(parent)
  try {
    mkdirSync(path, { mode: 0o700 })
  } catch (error) {
    // Another process may have been quicker.
    if (!(error instanceof Error && 'code' in error && error.code === 'EEXIST')) throw error
  }
  return made ?? path
}
