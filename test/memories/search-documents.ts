import { mkdtempSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import type { SearchDocument, SearchRequest } from '../../src/contracts/search.ts'
import type { MemoryRow } from '../../src/store/interfaces.ts'

export function searchFolder(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'atomstream-search-'))
  t.after(() => rm(folder, { recursive: true, force: true }))
  return folder
}

export function document(
  number: number,
  content: string,
  rest: Partial<SearchDocument> = {},
): SearchDocument {
  const nothing = { title: null, type: null, tags: [], metadata: {} }
  return { tenant: 1, number, content, ...nothing, ...rest }
}

export function request(query: string, rest: Partial<SearchRequest> = {}): SearchRequest {
  return { tenant: 1, query, limit: 20, filter: {}, ...rest }
}

export function newMemory(
  content: string,
  rest: Partial<MemoryRow> = {},
): Omit<MemoryRow, 'number'> {
  const made = { createdAtMs: 1_000, createdBy: 'ann', updatedAtMs: 1_000, updatedBy: 'ann' }
  return { tenant: 1, content, title: null, type: null, tags: [], metadata: {}, ...made, ...rest }
}
