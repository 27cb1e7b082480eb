import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { faultsFolderVariable, faultyWorkerFile, markText } from './faulty-mark.ts'
import type { TestRecord } from './ingest.ts'

/** For openIngest: workers that fail at merging where a record asks for it. */
export async function faultyWorkers(t: TestContext): Promise<{ workerFile: URL; folder: string }> {
  const folder = await mkdtemp(join(tmpdir(), 'atomstream-faults-'))
  process.env[faultsFolderVariable] = folder
  t.after(() => rm(folder, { recursive: true, force: true }))
  return { workerFile: faultyWorkerFile, folder }
}

/** A record whose batch fails at its first `times` attempts; `name` is the batch's alone. */
export function poisonRecord(name: string, times: number | 'always'): TestRecord {
  const note = markText({ task: 'merge', fault: 'throw', times, name })
  return { timestamp: '2025-01-01T00:00:00.000Z', values: { note } }
}
