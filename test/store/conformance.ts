import type { Store } from '../../src/store/interfaces.ts'
import { commitConformance } from './commit-conformance.ts'
import { registryConformance } from './registry-conformance.ts'
import { sessionConformance } from './session-conformance.ts'
import { uploadConformance } from './upload-conformance.ts'

/** Opens an engine on a folder; the same folder again opens what was stored in it. */
export type OpenStore = (path: string) => Promise<Store> | Store

/** What every engine must do; run it from the engine's own test file. */
export function storeConformance(name: string, open: OpenStore): void {
  commitConformance(name, open)
  sessionConformance(name, open)
  uploadConformance(name, open)
  registryConformance(name, open)
}
