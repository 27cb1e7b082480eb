import { statfsSync } from 'node:fs'
import { readdir, rm, stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'

/** Removes the folder and gives the bytes that its files took. */
export async function removeFolder(folder: string): Promise<number> {
  let bytes = 0
  for (const name of await readdir(folder).catch(() => [])) {
    const { blocks } = await stat(join(folder, name)).catch(() => ({ blocks: 0 }))
    bytes += blocks * 512
  }
  await rm(folder, { recursive: true, force: true })
  return bytes
}

/** Of the disk of a folder that need not be there, though its parent is. A call takes some microseconds. */
export function freeBytesOf(folder: string): number {
  const { bavail, bsize } = statfsSync(dirname(folder))
  return bavail * bsize
}
