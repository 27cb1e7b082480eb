import { type Config, loadConfig, settingRows } from '../config.ts'
import { type Arguments, type FlagNames, readFlags } from './flags.ts'

export type Environment = Readonly<Record<string, string | undefined>>

/** Takes a command's own flags and leaves the settings' flags to the configuration. */
export function readArguments(
  args: readonly string[],
  known: FlagNames,
  env?: Environment,
): { own: Arguments; positionals: readonly string[]; config: Config } {
  const own = readFlags(args, {
    valued: [...known.valued, ...settingRows.map((row) => row.flag)],
    switches: known.switches,
  })
  const settingArgs = settingRows.flatMap((row) => {
    const value = own.values.get(row.flag)
    return value === undefined ? [] : [`${row.flag}=${value}`]
  })
  return { own, positionals: own.positionals, config: loadConfig(settingArgs, env) }
}
