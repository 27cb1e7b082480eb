import { setImmediate as nextTurn } from 'node:timers/promises'
import type { Actor } from '../contracts/actor.ts'
import { Refusal } from '../contracts/errors.ts'
import type { TenantEventData, TenantEventName } from '../contracts/events.ts'
import type {
  CreateMemory,
  Memory,
  MemoryList,
  MemoryMatches,
  SearchMemories,
  UpdateMemory,
} from '../contracts/memory.ts'
import type { SearchHits, SearchRequest } from '../contracts/search.ts'
import { limits } from '../limits.ts'
import type { Logger } from '../log.ts'
import type { MemoryFilter, MemoryRow, Store, Transaction } from '../store/interfaces.ts'
import {
  createdData,
  isoTime,
  memoryId,
  memoryNumber,
  memoryOf,
  requireMetadata,
  updatedData,
  updatedMemory,
} from './memory.ts'

export interface MemoryServices {
  readonly store: Store
  readonly search: { search(request: SearchRequest): Promise<SearchHits> }
  readonly log: Logger
}

export interface ListOptions extends MemoryFilter {
  readonly limit?: number | undefined
  readonly offset?: number | undefined
  /** Ends a list that nobody waits for any more. */
  readonly signal?: AbortSignal | undefined
}

/**
 * The documents of tenants. Each change is one transaction with the events that tell of it. Every method
 * that takes an id throws Refusal `MEMORY_NOT_FOUND` for unknown, foreign and malformed ones alike, and
 * those that write throw what the store throws.
 */
export class MemoryService {
  readonly #services: MemoryServices
  /** Lists that count take turns of the event loop one after the other, however many there are. */
  #turns: Promise<void> = Promise.resolve()

  constructor(services: MemoryServices) {
    this.#services = services
  }

  /** Throws Refusal `INVALID_BODY` too. */
  async create({ tenant, user }: Actor, request: CreateMemory): Promise<Memory> {
    const { content, title = null, type = null, tags = [], metadata = {} } = request
    requireMetadata(metadata)
    const row = await this.#services.store.commit(
      (transaction) => {
        const { nowMs } = transaction
        const created = transaction.createMemory({
          ...{ tenant, content, title, type, tags, metadata },
          ...{ createdAtMs: nowMs, createdBy: user, updatedAtMs: nowMs, updatedBy: user },
        })
        appendEvent(transaction, tenant, 'memory.created', createdData(created))
        tellMemory(transaction, user, 'create', created)
        return created
      },
      { bytes: unitBytes(request) },
    )
    return memoryOf(row)
  }

  get(tenant: number, id: string): Memory {
    return memoryOf(this.#find(tenant, id))
  }

  /**
   * One page of what the filter selects, newest first, with the number of all. Where no counter tells
   * that, all are walked, some in each turn of the event loop.
   */
  async list(tenant: number, options: ListOptions): Promise<MemoryList> {
    const { memories } = this.#services.store
    const { limit = limits.memoriesPageLimitDefault, offset = 0, signal, ...filter } = options
    const end = offset + limit
    const counted = memories.count(tenant, filter)
    const isBeyond = counted !== null && counted <= offset
    const numbers: number[] = []
    let walked = 0
    let before: number | null = null
    while (!isBeyond && signal?.aborted !== true) {
      // A counter is there only where every key that is looked at is selected.
      const keys = counted === null ? Number.POSITIVE_INFINITY : end - walked
      const keysMax = Math.min(limits.memoryScanKeysPerTurn, keys)
      const { rows, next } = memories.numbers(tenant, filter, keysMax, before)
      numbers.push(...rows.slice(Math.max(0, offset - walked), Math.max(0, end - walked)))
      walked += rows.length
      before = next
      if (before === null || (counted !== null && walked >= end)) break
      await this.#turn()
    }
    // One may have been deleted since it was counted.
    const data = numbers.flatMap((number) => memories.get(tenant, number) ?? []).map(memoryOf)
    return { data, total: counted ?? walked, limit, offset }
  }

  /** Throws Refusal `INVALID_BODY` too, where the metadata has grown too large. */
  async update({ tenant, user }: Actor, id: string, request: UpdateMemory): Promise<Memory> {
    const { number, ...found } = this.#find(tenant, id)
    const row = await this.#services.store.commit(
      (transaction) => {
        const before = transaction.memory(tenant, number)
        if (before === null) throw memoryNotFound(id)
        const changed = updatedMemory(before, request)
        changed.updatedAtMs = transaction.nowMs
        changed.updatedBy = user
        transaction.putMemory(changed)
        appendEvent(transaction, tenant, 'memory.updated', updatedData(changed, before))
        tellMemory(transaction, user, 'update', changed)
        return changed
      },
      { bytes: unitBytes(found) + unitBytes(request) },
    )
    return memoryOf(row)
  }

  async remove({ tenant, user }: Actor, id: string, reason: string): Promise<void> {
    const { number } = this.#find(tenant, id)
    await this.#services.store.commit((transaction) => {
      const row = transaction.memory(tenant, number)
      if (row === null) throw memoryNotFound(id)
      transaction.deleteMemory(tenant, number)
      const { metadata } = row
      const deletedAt = isoTime(transaction.nowMs)
      const data = { id, metadata, deleted_at: deletedAt, deleted_by: user, reason }
      appendEvent(transaction, tenant, 'memory.deleted', data)
      tellMemory(transaction, user, 'delete', row)
    })
  }

  /**
   * Throws Refusal `SEARCH_NOT_READY` as long as the index is being built. A store without room for the
   * event that tells of the search does not keep its results back.
   */
  async search(actor: Actor, request: SearchMemories): Promise<MemoryMatches> {
    const { store, search, log } = this.#services
    const { tenant } = actor
    const startedAtMs = performance.now()
    const { query, limit = limits.memoriesPageLimitDefault, ...filter } = request
    const { hits, total } = await search.search({ tenant, query, limit, filter })
    const results = hits.flatMap(({ number, score }) => {
      const row = store.memories.get(tenant, number)
      return row === null ? [] : { ...memoryOf(row), score }
    })
    const executionTime = Math.round((performance.now() - startedAtMs) * 100) / 100
    try {
      await this.#tellSearch(actor, request, total, executionTime)
    } catch (error) {
      const hasNoRoom =
        error instanceof Refusal && (error.code === 'STORE_FULL' || error.code === 'SATURATED')
      if (!hasNoRoom) throw error
      log.warn({ tenant, code: error.code }, 'a search was answered without an event')
    }
    return { results, total, execution_time: executionTime }
  }

  #tellSearch(
    { tenant, user }: Actor,
    { query, type, tags, metadata }: SearchMemories,
    total: number,
    executionTime: number,
  ): Promise<void> {
    return this.#services.store.commit((transaction) => {
      appendEvent(transaction, tenant, 'search.performed', {
        query,
        results_count: total,
        execution_time: executionTime,
        user_id: user,
        timestamp: isoTime(transaction.nowMs),
        filters: { type, tags, metadata },
      })
      transaction.countSearch(tenant)
    })
  }

  #find(tenant: number, id: string): MemoryRow {
    const number = memoryNumber(id)
    const row = number === null ? null : this.#services.store.memories.get(tenant, number)
    if (row === null) throw memoryNotFound(id)
    return row
  }

  #turn(): Promise<void> {
    this.#turns = this.#turns.then(() => nextTurn())
    return this.#turns
  }
}

function appendEvent<N extends TenantEventName>(
  transaction: Transaction,
  tenant: number,
  name: N,
  data: TenantEventData<N>,
): void {
  transaction.appendEvent(tenant, null, name, data as Readonly<Record<string, unknown>>)
}

function tellMemory(
  transaction: Transaction,
  user: string,
  action: 'create' | 'update' | 'delete',
  { tenant, number, type }: MemoryRow,
): void {
  transaction.appendActivity(tenant, {
    user,
    action,
    resourceType: 'memory',
    resourceId: memoryId(number),
    metadata: { type },
  })
}

/** Once in the memory itself and once in its event. */
function unitBytes(document: object): number {
  return 2 * Buffer.byteLength(JSON.stringify(document))
}

function memoryNotFound(id: string): Refusal {
  return new Refusal('MEMORY_NOT_FOUND', { fields: { memoryId: id } })
}
