import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import type { Entry, Range, TableReader, Tables, Write } from './database.ts'
import type { Memories, MemoryFilter, MemoryRow, Page } from './interfaces.ts'
import {
  facetKey,
  facetKeyNumber,
  hashKey,
  keyNumber,
  lastNumber,
  numberKey,
  readNumber,
} from './keys.ts'
import { newestFirst } from './pages.ts'
import { decodeRow, encodeRow, parseObject } from './rows.ts'
import type { TenantRepository } from './tenants.ts'

/** createdAtMs, createdBy, updatedAtMs, updatedBy, and as JSON text what clients named. */
const layoutVersion = 1
type MemoryItems = [number, string, number, string, string]
type Document = Pick<MemoryRow, 'content' | 'title' | 'type' | 'tags' | 'metadata'>

/**
 * Memories by tenant and number. Their type and each of their tags is a facet, named by its SHA-256: an
 * index leads from it to the memories that bear it, and how many these are is counted with each change,
 * so that a list walks the rarest of the facets it is asked for.
 */
export class MemoryRepository implements Memories {
  readonly #rows: TableReader
  readonly #facets: TableReader
  readonly #counts: TableReader
  readonly #tenants: TenantRepository

  constructor(tables: Tables, tenants: TenantRepository) {
    this.#rows = tables.table('memories')
    this.#facets = tables.table('memory-facets')
    this.#counts = tables.table('memory-facet-counts')
    this.#tenants = tenants
  }

  get(tenant: number, number: number): MemoryRow | null {
    const key = numberKey(tenant, number)
    const value = this.#rows.get(key)
    return value === null ? null : decodeMemory({ key, value })
  }

  count(tenant: number, filter: MemoryFilter): number | null {
    const [facet, ...others] = facetsOf(filter)
    if (facet === undefined) return this.#tenants.get(tenant).memories
    return others.length > 0 ? null : this.#countOf(tenant, facet)
  }

  numbers(
    tenant: number,
    filter: MemoryFilter,
    keysMax: number,
    before: number | null,
  ): Page<number> {
    const [facet, ...others] = facetsOf(filter)
      .map((named) => ({ named, count: this.#countOf(tenant, named) }))
      .sort((one, other) => one.count - other.count)
      .map(({ named }) => named)
    const rows: number[] = []
    let keys = 0
    let last = before
    for (const number of this.#walk(tenant, facet, before)) {
      if (keys >= keysMax) return { rows, next: last }
      keys += 1
      const bears = (other: Uint8Array) => {
        keys += 1
        return this.#facets.has(facetKey(tenant, other, number))
      }
      if (others.every(bears)) rows.push(number)
      last = number
    }
    return { rows, next: null }
  }

  *scan(after: { readonly tenant: number; readonly number: number } | null): Iterable<MemoryRow> {
    const from = after === null ? numberKey(0) : numberKey(after.tenant, after.number + 1)
    for (const entry of this.#rows.entries({ from, to: numberKey(lastNumber) })) {
      yield decodeMemory(entry)
    }
  }

  /** How a memory is written in the place of `before`, null where it is new. */
  writes(row: MemoryRow, before: MemoryRow | null): Write[] {
    const { tenant, number } = row
    const facets = before === null ? [] : facetsOf(before)
    const isKept = new Set(facets.map(textOf))
    const gained = facetsOf(row).filter((facet) => !isKept.delete(textOf(facet)))
    const lost = facets.filter((facet) => isKept.has(textOf(facet)))
    return [
      { table: 'memories', key: numberKey(tenant, number), value: encodeMemory(row) },
      ...gained.flatMap((facet) => this.#facetWrites(row, facet, 1)),
      ...lost.flatMap((facet) => this.#facetWrites(row, facet, -1)),
    ]
  }

  removals(row: MemoryRow): Write[] {
    return [
      { table: 'memories', key: numberKey(row.tenant, row.number), value: null },
      ...facetsOf(row).flatMap((facet) => this.#facetWrites(row, facet, -1)),
    ]
  }

  #facetWrites({ tenant, number }: MemoryRow, facet: Uint8Array, by: 1 | -1): Write[] {
    const count = this.#countOf(tenant, facet) + by
    assert(count >= 0, 'a facet is counted for each memory that bears it')
    return [
      {
        table: 'memory-facets',
        key: facetKey(tenant, facet, number),
        value: by === 1 ? new Uint8Array(0) : null,
      },
      {
        table: 'memory-facet-counts',
        key: hashKey([tenant], facet),
        value: count === 0 ? null : numberKey(count),
      },
    ]
  }

  #countOf(tenant: number, facet: Uint8Array): number {
    const value = this.#counts.get(hashKey([tenant], facet))
    return value === null ? 0 : readNumber(value, 0)
  }

  *#walk(tenant: number, facet: Uint8Array | undefined, before: number | null): Iterable<number> {
    if (facet === undefined) {
      for (const key of this.#rows.keys(newestFirst(tenant, before))) yield keyNumber(key, 1)
      return
    }
    const first = before === null ? lastNumber : Math.max(before - 1, 0)
    const range: Range = {
      from: facetKey(tenant, facet, first),
      to: facetKey(tenant, facet, 0),
      reverse: true,
    }
    for (const key of this.#facets.keys(range)) yield facetKeyNumber(key)
  }
}

/**
 * The facets of a memory, or those that a filter asks for, each once. A value is taken as JSON text, in
 * which halves of surrogate pairs differ, as they would not in UTF-8.
 */
export function facetsOf({
  type,
  tags = [],
}: {
  readonly type?: string | null | undefined
  readonly tags?: readonly string[] | undefined
}): Uint8Array[] {
  const names = tags.map((tag) => `tag\0${JSON.stringify(tag)}`)
  if (type !== null && type !== undefined) names.push(`type\0${JSON.stringify(type)}`)
  return Array.from(new Set(names), (name) => createHash('sha256').update(name).digest())
}

function textOf(facet: Uint8Array): string {
  return Buffer.from(facet).toString('latin1')
}

function encodeMemory(row: MemoryRow): Uint8Array {
  const { content, title, type, tags, metadata } = row
  const document: Document = { content, title, type, tags, metadata }
  const { createdAtMs, createdBy, updatedAtMs, updatedBy } = row
  const text = JSON.stringify(document)
  const items: MemoryItems = [createdAtMs, createdBy, updatedAtMs, updatedBy, text]
  return encodeRow(layoutVersion, items)
}

export function decodeMemory({ key, value }: Entry): MemoryRow {
  const items = decodeRow(layoutVersion, value) as MemoryItems
  const [createdAtMs, createdBy, updatedAtMs, updatedBy, text] = items
  return {
    tenant: keyNumber(key, 0),
    number: keyNumber(key, 1),
    ...(parseObject(text) as unknown as Document),
    createdAtMs,
    createdBy,
    updatedAtMs,
    updatedBy,
  }
}
