import { storeOptions } from '../config.ts'
import { limits } from '../limits.ts'
import {
  type Damage,
  damageText,
  type VerificationSummary,
  verifyStore,
} from '../store/verification.ts'
import { CommandFailure, ConfigError } from './flags.ts'
import { type Environment, readArguments } from './settings.ts'

/**
 * `verify [--json]`: counts and hashes everything again, also beside a running server. Prints each
 * damage as it is found and a summary, or one JSON object, and gives whether all is sound. Throws
 * ConfigError for wrong arguments, CommandFailure where there is no store.
 */
export async function runVerify(
  args: readonly string[],
  print: (line: string) => void,
  env?: Environment,
): Promise<boolean> {
  const flags = { valued: [], switches: ['--json'] }
  const { own, positionals, config } = readArguments(args, flags, env)
  if (positionals.length > 0) throw new ConfigError(`unexpected argument "${positionals[0]}"`)
  const { path } = storeOptions(config)
  if (own.switches.has('--json')) return verifyAsJson(path, print)
  const onDamage = (damage: Damage) => print(`damaged: ${damageText(damage)}`)
  const summary = await verify(path, onDamage)
  print(summaryText(summary))
  return summary.sound
}

async function verifyAsJson(path: string, print: (line: string) => void): Promise<boolean> {
  const damaged: Damage[] = []
  const onDamage = (damage: Damage) => {
    if (damaged.length < limits.verificationDamagesMax) damaged.push(damage)
  }
  const summary = await verify(path, onDamage)
  print(JSON.stringify({ ...summary, durationMs: Math.round(summary.durationMs), damaged }))
  return summary.sound
}

async function verify(
  path: string,
  onDamage: (damage: Damage) => void,
): Promise<VerificationSummary> {
  try {
    return await verifyStore(path, { onDamage })
  } catch (error) {
    throw new CommandFailure(`verify: ${error instanceof Error ? error.message : error}`)
  }
}

function summaryText({ sound, damages, counts, durationMs }: VerificationSummary): string {
  const numbers: readonly [string, number][] = [
    ['sessions', counts.sessions],
    ['atoms', counts.atoms],
    ['blobs', counts.blobs],
    ['bytes of blobs', counts.blobBytes],
    ['journal entries', counts.journalEntries],
    ['pending buffers', counts.pendingBuffers],
    ['events', counts.events],
    ['rejected records', counts.rejected],
    ['dead letters', counts.deadLetters],
    ['jobs', counts.jobs],
    ['idempotency answers', counts.idempotencyAnswers],
    ['schemas', counts.schemas],
    ['API keys', counts.apiKeys],
  ]
  const list = numbers.map(([name, count]) => `${name} ${count}`).join(', ')
  const verdict = sound ? 'sound' : `damaged, ${damages} found`
  return `${verdict}: ${list}; ${(durationMs / 1_000).toFixed(1)} s`
}
