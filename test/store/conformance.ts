import type { Store, StoreOptions } from '../../src/store/interfaces.ts'
import { backlogConformance } from './backlog-conformance.ts'
import { commitConformance } from './commit-conformance.ts'
import { jobConformance } from './job-conformance.ts'
import { listConformance } from './list-conformance.ts'
import { memoryConformance } from './memory-conformance.ts'
import { occurrenceConformance } from './occurrence-conformance.ts'
import { registryConformance } from './registry-conformance.ts'
import { retentionConformance } from './retention-conformance.ts'
import { sessionConformance } from './session-conformance.ts'
import { streamConformance } from './stream-conformance.ts'
import { uploadConformance } from './upload-conformance.ts'

/** Opens an engine on a folder; the same folder again opens what was stored in it. */
export type OpenStore = (path: string, options?: Partial<StoreOptions>) => Promise<Store> | Store

/** Counts the bytes of each tenant in the rows of a store that is closed; tenants without any are left out. */
export type Recount = (path: string) => Promise<Map<number, number>>

/** What every engine must do; run it from the engine's own test file. */
export function storeConformance(name: string, open: OpenStore, recount: Recount): void {
  commitConformance(name, open)
  sessionConformance(name, open)
  uploadConformance(name, open)
  registryConformance(name, open)
  backlogConformance(name, open)
  jobConformance(name, open)
  listConformance(name, open)
  memoryConformance(name, open)
  occurrenceConformance(name, open, recount)
  streamConformance(name, open, recount)
  retentionConformance(name, open, recount)
}
