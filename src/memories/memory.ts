import { isDeepStrictEqual } from 'node:util'
import { invalidBody } from '../contracts/errors.ts'
import type { TenantEventData } from '../contracts/events.ts'
import type { Memory, UpdateMemory } from '../contracts/memory.ts'
import { limits } from '../limits.ts'
import type { MemoryRow } from '../store/interfaces.ts'

type Metadata = Readonly<Record<string, unknown>>

/** `mem_` and the number as 16 hexadecimal digits. */
export function memoryId(number: number): string {
  return `mem_${number.toString(16).padStart(16, '0')}`
}

/** The number behind an id, null where none of ours looks like it. */
export function memoryNumber(id: string): number | null {
  if (!/^mem_[0-9a-f]{16}$/.test(id)) return null
  const number = Number.parseInt(id.slice('mem_'.length), 16)
  return Number.isSafeInteger(number) ? number : null
}

export function memoryOf(row: MemoryRow): Memory {
  return {
    ...document(row),
    created_at: isoTime(row.createdAtMs),
    created_by: row.createdBy,
    updated_at: isoTime(row.updatedAtMs),
    updated_by: row.updatedBy,
  }
}

export function createdData(row: MemoryRow): TenantEventData<'memory.created'> {
  return {
    ...document(row),
    created_at: isoTime(row.createdAtMs),
    created_by: row.createdBy,
  }
}

export function updatedData(row: MemoryRow, before: MemoryRow): TenantEventData<'memory.updated'> {
  const differs = (member: 'content' | 'title' | 'type' | 'metadata' | 'tags') =>
    !isDeepStrictEqual(row[member], before[member])
  return {
    ...document(row),
    updated_at: isoTime(row.updatedAtMs),
    updated_by: row.updatedBy,
    changes: {
      content: differs('content'),
      title: differs('title'),
      type: differs('type'),
      metadata: differs('metadata'),
      tags: differs('tags'),
    },
  }
}

/** The row after an update. Throws Refusal `INVALID_BODY` where its metadata is then too large. */
export function updatedMemory(
  row: MemoryRow,
  { content, title, type, tags, metadata }: UpdateMemory,
): MemoryRow {
  return {
    ...row,
    content: content ?? row.content,
    title: title === undefined ? row.title : title,
    type: type === undefined ? row.type : type,
    tags: tags ?? row.tags,
    metadata: metadata === undefined ? row.metadata : mergedMetadata(row.metadata, metadata),
  }
}

/** Throws Refusal `INVALID_BODY`. */
export function requireContent(content: string): void {
  const bytesMax = limits.memoryContentBytesMax
  if (Buffer.byteLength(JSON.stringify(content)) - '""'.length > bytesMax) {
    throw invalidBody('content', `a text of at most ${bytesMax} bytes as JSON`)
  }
}

/** Throws Refusal `INVALID_BODY`. */
export function requireMetadata(metadata: Metadata): void {
  const bytesMax = limits.memoryMetadataBytesMax
  const text = JSON.stringify(metadata, (_name, value: unknown) => {
    // JSON.parse reads 1e999 as infinity, which JSON cannot write.
    const isLost = typeof value === 'number' && !Number.isFinite(value)
    if (isLost) throw invalidBody('metadata', 'numbers that a double holds')
    return value
  })
  if (Buffer.byteLength(text) > bytesMax) {
    throw invalidBody('metadata', `an object of at most ${bytesMax} bytes as JSON`)
  }
}

/** By members, so that none is taken for a property that every object has. */
function mergedMetadata(metadata: Metadata, changes: Metadata): Record<string, unknown> {
  const members = new Map(Object.entries(metadata))
  for (const [name, value] of Object.entries(changes)) {
    if (value === null) members.delete(name)
    else members.set(name, value)
  }
  const merged = Object.fromEntries(members)
  requireMetadata(merged)
  return merged
}

function document({ number, content, title, type, metadata, tags }: MemoryRow) {
  return { id: memoryId(number), content, title, type, metadata, tags }
}

export function isoTime(ms: number): string {
  return new Date(ms).toISOString()
}
