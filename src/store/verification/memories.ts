import {
  digestBytes,
  facetKey,
  facetKeyNumber,
  keyNumber,
  numberBytes,
  readNumber,
} from '../keys.ts'
import { decodeMemory, facetsOf } from '../memories.ts'
import type { TenantRow } from '../tenants.ts'
import { Follower, type Inspection } from './inspection.ts'
import { hex } from './occurrences.ts'

/** What a tenant's memories stand in. */
export interface MemoryTables {
  readonly rows: Follower
  readonly facets: Follower
  readonly facetCounts: Follower
}

export function memoryTables(inspection: Inspection): MemoryTables {
  return {
    rows: new Follower(inspection, 'memories', 'tenant'),
    facets: new Follower(inspection, 'memory-facets', 'tenant'),
    facetCounts: new Follower(inspection, 'memory-facet-counts', 'tenant'),
  }
}

export function finishMemories({ rows, facets, facetCounts }: MemoryTables): void {
  for (const follower of [rows, facets, facetCounts]) follower.finish()
}

/** A tenant's memories can be read and are as many as it counts, and its lists lead to each of them. */
export function checkMemories(
  inspection: Inspection,
  { tenant, memories, lastMemory }: TenantRow,
  tables: MemoryTables,
): void {
  let found = 0
  for (const entry of tables.rows.of(tenant)) {
    found += 1
    inspection.counts.memories += 1
    const number = keyNumber(entry.key, 1)
    const where = { tenant, memory: number }
    if (number > lastMemory) {
      inspection.damage('memory', where, `a number up to ${lastMemory}`, `${number}`)
    }
    const row = inspection.attempt('memory', where, () => decodeMemory(entry))
    if (row === null) continue
    for (const facet of facetsOf(row)) {
      const isListed = inspection.snapshot
        .table('memory-facets')
        .has(facetKey(tenant, facet, number))
      inspection.compare('memory', where, `listed under ${hex(facet)}`, true, isListed)
    }
  }
  inspection.compare('tenant', { tenant }, 'memories', memories, found)
  checkFacets(inspection, tenant, tables)
}

/** A list of memories and its count stand side by side, both in the order of the facets. */
function checkFacets(inspection: Inspection, tenant: number, tables: MemoryTables): void {
  const lists = countedFacets(inspection, tenant, tables.facets)
  let list = lists.next().value
  for (const { key, value } of tables.facetCounts.of(tenant)) {
    const facet = hex(key.subarray(numberBytes))
    for (; list !== undefined && list.facet < facet; list = lists.next().value) {
      compareCount(inspection, tenant, list.facet, 0, list.count)
    }
    const listed = list?.facet === facet ? list.count : 0
    compareCount(inspection, tenant, facet, readNumber(value, 0), listed)
    if (listed > 0) list = lists.next().value
  }
  for (; list !== undefined; list = lists.next().value) {
    compareCount(inspection, tenant, list.facet, 0, list.count)
  }
}

function compareCount(
  inspection: Inspection,
  tenant: number,
  facet: string,
  counted: number,
  listed: number,
): void {
  inspection.compare('memory list', { tenant, facet }, 'memories', counted, listed)
}

/** By facet how many memories its list names; each must be there and bear it. */
function* countedFacets(
  inspection: Inspection,
  tenant: number,
  entries: Follower,
): Generator<{ readonly facet: string; readonly count: number }, undefined> {
  let facet = ''
  let count = 0
  for (const { key } of entries.of(tenant)) {
    const named = hex(key.subarray(numberBytes, numberBytes + digestBytes))
    if (named !== facet && count > 0) yield { facet, count }
    count = named === facet ? count + 1 : 1
    facet = named
    const number = facetKeyNumber(key)
    const row = inspection.attempt('memory list', { tenant, facet, memory: number }, () =>
      inspection.rows.memories.get(tenant, number),
    )
    const bears = row !== null && facetsOf(row).some((borne) => hex(borne) === named)
    const where = { tenant, facet, memory: number }
    inspection.compare('memory list', where, 'a memory that bears it', true, bears)
  }
  if (count > 0) yield { facet, count }
  return undefined
}
