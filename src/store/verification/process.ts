import { writeSync } from 'node:fs'
import { messageOf } from './inspection.ts'
import type { VerificationMessage } from './report.ts'
import { checkStore } from './store-check.ts'

/**
 * Checks one store and tells what it finds, a JSON line each, written before the next step: LMDB
 * trusts its file, and one that is damaged can end this process at any moment.
 */
function tell(message: VerificationMessage): void {
  writeSync(1, `${JSON.stringify(message)}\n`)
}

try {
  await checkStore(process.argv[2] ?? '', tell)
} catch (error) {
  tell({ kind: 'failed', message: messageOf(error) })
}
process.exit(0)
