import { Snapshot } from '../snapshot.ts'
import { Inspection, messageOf } from './inspection.ts'
import { OccurrenceSums } from './occurrences.ts'
import { checkQueueLists } from './queues.ts'
import type { VerificationMessage } from './report.ts'
import { checkSessionLists, checkSessions } from './sessions.ts'
import { checkJobs, checkRegistries, checkTenants } from './tenants.ts'

/**
 * Goes over the store in the folder `path`, on one snapshot, and tells what it finds as it finds
 * it. Rejects where the store cannot be opened; where LMDB cannot bear the file the process itself
 * may end.
 */
export async function checkStore(
  path: string,
  tell: (message: VerificationMessage) => void,
): Promise<void> {
  tell({ kind: 'part', part: 'the file' })
  const snapshot = new Snapshot(path)
  try {
    const inspection = new Inspection(snapshot, (damage) => tell({ kind: 'damage', damage }))
    for (const [part, check] of partsOf(inspection)) {
      tell({ kind: 'part', part })
      try {
        check()
      } catch (error) {
        inspection.damage('file', { part }, 'what can be gone over', messageOf(error))
      }
    }
    tell({ kind: 'end', counts: inspection.counts })
  } finally {
    await snapshot.close()
  }
}

/**
 * What adds up to the bytes of a tenant comes before the tenants, what uses blobs before the sums, the
 * jobs that a session counts before it.
 */
function partsOf(inspection: Inspection): readonly [string, () => void][] {
  const sums = new OccurrenceSums(inspection)
  return [
    ['blobs', () => sums.checkBlobs()],
    ['jobs', () => checkJobs(inspection)],
    ['sessions', () => checkSessions(inspection, sums)],
    ['lists of sessions', () => checkSessionLists(inspection)],
    ['dead letters and answers', () => checkQueueLists(inspection)],
    ['schemas and keys', () => checkRegistries(inspection)],
    ['tenants and events', () => checkTenants(inspection)],
    ['uses of blobs', () => sums.explain()],
  ]
}
