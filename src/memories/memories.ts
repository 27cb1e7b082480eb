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
  requireContent,
  requireMetadata,
  updatedData,
  updatedMemory,
} from './memory.ts'
import { type PageOptions, renderPage } from './page.ts'
import { Turns } from './turns.ts'

export interface MemoryServices {
  readonly store: Store
  readonly search: { search(request: SearchRequest): Promise<SearchHits> }
  readonly log: Logger
}

export interface ListOptions extends MemoryFilter, PageOptions {
  readonly limit?: number | undefined
  readonly offset?: number | undefined
}

export interface SearchOptions extends PageOptions {
  /** Neither told by an event nor counted. */
  readonly untold?: boolean | undefined
}

/**
 * The documents of tenants. Each change is one transaction with the events that tell of it. Every method
 * that takes an id throws Refusal `MEMORY_NOT_FOUND` for unknown, foreign and malformed ones alike, and
 * those that write throw what the store throws.
 */
export class MemoryService {
  readonly #services: MemoryServices
  readonly #turns = new Turns()

  constructor(services: MemoryServices) {
    this.#services = services
  }

  /** Throws Refusal `INVALID_BODY` too. */
  async create({ tenant, user }: Actor, request: CreateMemory): Promise<Memory> {
    const { content, title = null, type = null, tags = [], metadata = {} } = request
    requireContent(content)
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
   * One page of what the filter selects, newest first, with the number of all, as JSON of a `MemoryList`.
   * Where no counter tells that number, all are walked, some in each turn of the event loop. Throws what
   * `hold` throws.
   */
  async list(tenant: number, options: ListOptions): Promise<Uint8Array> {
    const { memories } = this.#services.store
    const { limit = limits.memoriesPageLimitDefault, offset = 0, ...others } = options
    const { signal, hold, ...filter } = others
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
      await this.#turns.next()
    }
    const rest: Omit<MemoryList, 'data'> = { total: counted ?? walked, limit, offset }
    // One may have been deleted since it was counted.
    const read = (number: number): Memory | null => {
      const row = memories.get(tenant, number)
      return row === null ? null : memoryOf(row)
    }
    const page = { name: 'data', picks: numbers, read, rest }
    return renderPage(page, this.#turns, { signal, hold })
  }

  /** Throws Refusal `INVALID_BODY` too, also where the metadata has grown too large. */
  async update({ tenant, user }: Actor, id: string, request: UpdateMemory): Promise<Memory> {
    const { number, ...found } = this.#find(tenant, id)
    if (request.content !== undefined) requireContent(request.content)
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
    await this.#services.store.commit(
      (transaction) => {
        const row = transaction.memory(tenant, number)
        if (row === null) throw memoryNotFound(id)
        transaction.deleteMemory(tenant, number)
        const { metadata } = row
        const deletedAt = isoTime(transaction.nowMs)
        const data = { id, metadata, deleted_at: deletedAt, deleted_by: user, reason }
        appendEvent(transaction, tenant, 'memory.deleted', data)
        tellMemory(transaction, user, 'delete', row)
      },
      { removes: true },
    )
  }

  /**
   * The best of what matches, as JSON of `MemoryMatches`. Throws what `hold` throws, and Refusal
   * `SEARCH_NOT_READY` as long as the index is being built. A store without room for the event that tells
   * of the search does not keep its results back.
   */
  async search(
    actor: Actor,
    request: SearchMemories,
    options: SearchOptions = {},
  ): Promise<Uint8Array> {
    const { store, search } = this.#services
    const { tenant } = actor
    const startedAtMs = performance.now()
    const { query, limit = limits.memoriesPageLimitDefault, ...filter } = request
    const { hits, total } = await search.search({ tenant, query, limit, filter })
    const executionTime = Math.round((performance.now() - startedAtMs) * 100) / 100
    const rest: Omit<MemoryMatches, 'results'> = { total, execution_time: executionTime }
    const read = ({ number, score }: SearchHits['hits'][number]) => {
      const row = store.memories.get(tenant, number)
      return row === null ? null : { ...memoryOf(row), score }
    }
    const page = { name: 'results', picks: hits, read, rest }
    const reply = await renderPage(page, this.#turns, options)
    if (options.untold !== true) await this.#tryTellSearch(actor, request, total, executionTime)
    return reply
  }

  async #tryTellSearch(
    actor: Actor,
    request: SearchMemories,
    total: number,
    executionTime: number,
  ): Promise<void> {
    try {
      await this.#tellSearch(actor, request, total, executionTime)
    } catch (error) {
      const hasNoRoom =
        error instanceof Refusal && (error.code === 'STORE_FULL' || error.code === 'SATURATED')
      if (!hasNoRoom) throw error
      const { tenant } = actor
      this.#services.log.warn(
        { tenant, code: error.code },
        'a search was answered without an event',
      )
    }
  }

  #tellSearch(
    { tenant, user }: Actor,
    { query, type, tags, metadata }: SearchMemories,
    total: number,
    executionTime: number,
  ): Promise<void> {
    const filters = { ...metadata, type, tags }
    return this.#services.store.commit(
      (transaction) => {
        appendEvent(transaction, tenant, 'search.performed', {
          query,
          results_count: total,
          execution_time: executionTime,
          user_id: user,
          timestamp: isoTime(transaction.nowMs),
          filters,
        })
        transaction.countSearch(tenant)
      },
      { bytes: Buffer.byteLength(JSON.stringify({ query, filters })) },
    )
  }

  #find(tenant: number, id: string): MemoryRow {
    const number = memoryNumber(id)
    const row = number === null ? null : this.#services.store.memories.get(tenant, number)
    if (row === null) throw memoryNotFound(id)
    return row
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
