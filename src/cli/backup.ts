import { basename, dirname, resolve, sep } from 'node:path'
import { storeOptions } from '../config.ts'
import { backUpStore } from '../store/backup.ts'
import { CommandFailure, ConfigError } from './flags.ts'
import { type Environment, readArguments } from './settings.ts'

/**
 * `backup DIR`: a copy of the store, also while a server runs on it, that is a data folder of its
 * own. Gives the line for standard output. Throws ConfigError for wrong arguments, CommandFailure
 * where the copy cannot be made.
 */
export async function runBackup(args: readonly string[], env?: Environment): Promise<string> {
  const { positionals, config } = readArguments(args, { valued: [], switches: [] }, env)
  const [target, extra] = positionals
  if (target === undefined || target === '') {
    throw new ConfigError('backup: expected the folder to copy to')
  }
  if (extra !== undefined) throw new ConfigError(`unexpected argument "${extra}"`)
  const folder = resolve(target)
  const { path } = storeOptions(config)
  const dataFolder = dirname(path)
  if (folder === dataFolder || folder.startsWith(`${dataFolder}${sep}`)) {
    throw new ConfigError('backup: expected a folder outside the data folder')
  }
  try {
    const { bytes, durationMs } = await backUpStore(path, folder, basename(path))
    const seconds = (durationMs / 1_000).toFixed(1)
    return `copied ${bytes} bytes in ${seconds} s; serve it by: atomstream --data-dir ${folder}`
  } catch (error) {
    throw new CommandFailure(`backup: ${error instanceof Error ? error.message : error}`)
  }
}
