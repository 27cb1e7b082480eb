import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { limits } from '../limits.ts'
import {
  type Damage,
  noCounts,
  type VerificationCounts,
  type VerificationMessage,
  type VerificationSummary,
} from './verification/report.ts'

export { type Damage, damageText, type VerificationSummary } from './verification/report.ts'

const program = fileURLToPath(new URL('./verification/process.js', import.meta.url))

export interface VerificationOptions {
  /** Called with each damage as it is found. */
  readonly onDamage?: (damage: Damage) => void
}

/**
 * Recounts and rehashes the store in the folder `path`, on one snapshot, also beside a server that
 * has it open. It is read by a process of its own, because a damaged file can make LMDB end the
 * process that reads it: that too is told as damage. Rejects where there is no store.
 */
export async function verifyStore(
  path: string,
  options: VerificationOptions = {},
): Promise<VerificationSummary> {
  if (!existsSync(join(path, 'data.mdb'))) throw new Error(`no store in ${path}`)
  const startMs = performance.now()
  let damages = 0
  let part = 'the file'
  let counts: VerificationCounts | null = null
  const damage = (found: Damage): void => {
    damages += 1
    options.onDamage?.(found)
  }
  const ending = await readProcess(path, (message) => {
    if (message.kind === 'part') part = message.part
    else if (message.kind === 'damage') damage(message.damage)
    else if (message.kind === 'end') counts = message.counts
    else damage(unreadable(part, message.message))
  })
  if (counts === null && (damages === 0 || !ending.isOrderly)) {
    damage(unreadable(part, ending.text))
  }
  return {
    sound: damages === 0,
    damages,
    counts: counts ?? noCounts(),
    durationMs: performance.now() - startMs,
  }
}

function unreadable(part: string, found: string): Damage {
  return { kind: 'file', where: { part }, expected: 'a file that LMDB can read', found }
}

/** How the reading process ended, in words where it did not end in order. */
interface Ending {
  readonly isOrderly: boolean
  readonly text: string
}

async function readProcess(
  path: string,
  take: (message: VerificationMessage) => void,
): Promise<Ending> {
  const child = spawn(process.execPath, [program, path], { stdio: ['ignore', 'pipe', 'pipe'] })
  let errors = ''
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    errors = (errors + text).slice(-limits.failureMessageCharsMax)
  })
  const ended = new Promise<Ending>((resolve, reject) => {
    child.once('error', reject)
    child.once('close', (code, signal) => {
      const how = signal === null ? `ended with ${code}` : `was ended by ${signal}`
      const said = errors.trim() === '' ? '' : `: ${errors.trim()}`
      resolve({ isOrderly: code === 0, text: `the process that read it ${how}${said}` })
    })
  })
  for await (const line of createInterface({ input: child.stdout })) {
    const message = parseMessage(line)
    if (message !== null) take(message)
  }
  return ended
}

/** A process that dies amid a line leaves half of one. */
function parseMessage(line: string): VerificationMessage | null {
  try {
    return JSON.parse(line) as VerificationMessage
  } catch {
    return null
  }
}
