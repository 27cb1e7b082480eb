import assert from 'node:assert/strict'
import type { Group } from './group.ts'
import type { MemoryRow } from './interfaces.ts'

export function createMemory(group: Group, row: Omit<MemoryRow, 'number'>): MemoryRow {
  const counters = group.tenant(row.tenant)
  counters.lastMemory += 1
  counters.memories += 1
  const created = { ...row, number: counters.lastMemory }
  group.put(group.rows.memories.writes(created, null))
  group.noteMemory(created.tenant, created.number)
  return created
}

export function changeMemory(group: Group, row: MemoryRow): void {
  const before = storedMemory(group, row.tenant, row.number)
  group.put(group.rows.memories.writes(row, before))
  group.noteMemory(row.tenant, row.number)
}

export function deleteMemory(group: Group, tenant: number, number: number): void {
  group.free(group.rows.memories.removals(storedMemory(group, tenant, number)))
  group.tenant(tenant).memories -= 1
  group.noteMemory(tenant, number)
}

function storedMemory(group: Group, tenant: number, number: number): MemoryRow {
  const row = group.rows.memories.get(tenant, number)
  assert(row !== null, `memory ${number} is unknown`)
  return row
}
