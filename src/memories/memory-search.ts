import { rm } from 'node:fs/promises'
import { retryLater } from '../contracts/errors.ts'
import type { SearchDocument, SearchHits, SearchRequest } from '../contracts/search.ts'
import { limits } from '../limits.ts'
import type { Logger } from '../log.ts'
import type { MemoryChange, MemoryRow, Store } from '../store/interfaces.ts'
import { SearchThread } from './search-thread.ts'

export interface MemorySearchOptions {
  readonly store: {
    readonly memories: Pick<Store['memories'], 'get' | 'scan'>
    readonly onMemories: Store['onMemories']
  }
  /** Of the index, for it alone: a cache that is made anew at each start. */
  readonly folder: string
  readonly log: Logger
  /** Entry point of the thread. */
  readonly workerFile?: URL | undefined
}

interface Waiting {
  readonly request: SearchRequest
  /** Number of the last change that the search must see. */
  readonly after: number
  readonly resolve: (hits: SearchHits) => void
  readonly reject: (error: unknown) => void
  readonly deadline: NodeJS.Timeout
}

/** A memory whose row is read when its turn comes, so that changes of one memory become one. */
interface Changed {
  readonly tenant: number
  readonly number: number
  readonly change: number
}

type MemoryKey = Pick<Changed, 'tenant' | 'number'>

/**
 * Searches memories on a thread of its own, and keeps its index by what the store holds at the
 * start and tells afterwards. Each change is given to the thread with the row as it is then, so
 * that whatever the loading brings in between, the last that is given is what is stored.
 */
export class MemorySearch {
  readonly #options: MemorySearchOptions
  #thread: SearchThread | null = null
  #state: 'building' | 'ready' | 'failed' = 'building'
  /** Of the loading: the last memory that was given; all have been where `isLoaded`. */
  #loadedTo: MemoryKey | null = null
  #isLoaded = false
  #loadedCount = 0
  readonly #changed = new Map<string, Changed>()
  #lastChange = 0
  readonly #waiting = new Map<number, Waiting>()
  /** Of those that wait, the ones that the thread has not been given, oldest first. */
  #unsent: number[] = []
  #lastSearch = 0
  #nextTurn: NodeJS.Immediate | null = null
  #restart: NodeJS.Timeout | null = null
  #restartMs: number = limits.memorySearchRestartMsMin
  #startedAtMs = 0
  #readyAtMs = 0
  #isClosing = false
  #closed: Promise<void> | null = null

  constructor(options: MemorySearchOptions) {
    this.#options = options
    options.store.onMemories((changes) => this.#note(changes))
  }

  get state(): 'building' | 'ready' | 'failed' {
    return this.#state
  }

  /** Begins to build the index; once. */
  start(): void {
    if (!this.#isClosing) this.#build()
  }

  /**
   * Resolves with what matches among all that was committed before. Rejects with Refusal
   * `SEARCH_NOT_READY` until the index is built, `SATURATED` where too many wait or it takes too
   * long, `SHUTTING_DOWN` after close.
   */
  search(request: SearchRequest): Promise<SearchHits> {
    if (this.#isClosing) return Promise.reject(retryLater('SHUTTING_DOWN'))
    if (this.#state !== 'ready') return Promise.reject(retryLater('SEARCH_NOT_READY'))
    if (this.#waiting.size >= limits.memorySearchesWaitingMax) {
      return Promise.reject(retryLater('SATURATED'))
    }
    this.#lastSearch += 1
    const id = this.#lastSearch
    return new Promise((resolve, reject) => {
      const deadline = setTimeout(() => {
        this.#take(id)?.reject(retryLater('SATURATED'))
      }, limits.memorySearchTimeoutMs)
      this.#waiting.set(id, { request, after: this.#lastChange, resolve, reject, deadline })
      this.#unsent.push(id)
      this.#turn()
    })
  }

  /** Ends the thread and removes its files. Idempotent. */
  close(): Promise<void> {
    this.#closed ??= this.#close()
    return this.#closed
  }

  async #close(): Promise<void> {
    this.#isClosing = true
    this.#stopTurns()
    if (this.#restart !== null) clearTimeout(this.#restart)
    this.#rejectAll('SHUTTING_DOWN')
    this.#changed.clear()
    const thread = this.#thread
    this.#thread = null
    await thread?.close()
    await rm(this.#options.folder, { recursive: true, force: true })
  }

  #build(): void {
    const { folder, workerFile } = this.#options
    this.#state = 'building'
    this.#startedAtMs = performance.now()
    this.#loadedTo = null
    this.#loadedCount = 0
    this.#isLoaded = false
    this.#changed.clear()
    this.#thread = new SearchThread(
      folder,
      {
        stored: () => this.#turn(),
        found: (id, hits) => this.#take(id)?.resolve(hits),
        failed: (id, message) => this.#take(id)?.reject(new Error(`search: ${message}`)),
        died: (error) => this.#rebuild(error),
      },
      workerFile,
    )
    this.#turn()
  }

  #note(changes: readonly MemoryChange[]): void {
    // A thread that is yet to start loads what is stored then.
    if (this.#thread === null) return
    for (const { tenant, number } of changes) {
      const key = `${tenant}/${number}`
      this.#lastChange += 1
      // One that waits already is read later still.
      if (this.#changed.has(key)) continue
      this.#changed.set(key, { tenant, number, change: this.#lastChange })
    }
    if (this.#changed.size > limits.memorySearchChangesMax) this.#fallBehind(this.#thread)
    else this.#turn()
  }

  /** Gives the thread what it has room for, within a bounded time, and goes on in another turn. */
  #turn(): void {
    const thread = this.#thread
    if (thread === null || this.#nextTurn !== null) return
    const untilMs = performance.now() + limits.memorySearchTurnMs
    for (;;) {
      this.#sendSearches(thread)
      if (!thread.hasRoom || (this.#changed.size === 0 && this.#isLoaded)) break
      if (performance.now() >= untilMs) {
        this.#nextTurn = setImmediate(() => {
          this.#nextTurn = null
          this.#turn()
        })
        return
      }
      if (this.#changed.size > 0) this.#sendChanges(thread)
      else this.#load(thread)
    }
    const isReady = this.#isLoaded && this.#changed.size === 0 && thread.isUpToDate
    if (this.#state === 'building' && isReady) this.#beReady()
  }

  #stopTurns(): void {
    if (this.#nextTurn !== null) clearImmediate(this.#nextTurn)
    this.#nextTurn = null
  }

  #sendSearches(thread: SearchThread): void {
    const [next] = this.#changed.values()
    const sentThrough = next === undefined ? this.#lastChange : next.change - 1
    while (this.#unsent.length > 0) {
      const id = this.#unsent[0] as number
      const waiting = this.#waiting.get(id)
      if (waiting !== undefined && waiting.after > sentThrough) return
      this.#unsent.shift()
      if (waiting !== undefined) thread.search(id, waiting.request)
    }
  }

  #sendChanges(thread: SearchThread): void {
    const documents = new Slice()
    const removed: MemoryKey[] = []
    for (const [key, { tenant, number }] of this.#changed) {
      if (documents.isFull || removed.length >= limits.memorySearchMessageItemsMax) break
      this.#changed.delete(key)
      const row = this.#options.store.memories.get(tenant, number)
      if (row === null) removed.push({ tenant, number })
      else documents.add(row)
    }
    if (removed.length > 0) thread.change({ kind: 'remove', memories: removed })
    if (documents.items.length > 0) thread.change({ kind: 'put', documents: documents.items })
  }

  #load(thread: SearchThread): void {
    const slice = new Slice()
    for (const row of this.#options.store.memories.scan(this.#loadedTo)) {
      slice.add(row)
      this.#loadedTo = { tenant: row.tenant, number: row.number }
      if (slice.isFull) break
    }
    this.#isLoaded = !slice.isFull
    this.#loadedCount += slice.items.length
    if (slice.items.length > 0) thread.change({ kind: 'put', documents: slice.items })
  }

  #beReady(): void {
    this.#state = 'ready'
    this.#readyAtMs = performance.now()
    const durationMs = Math.round(this.#readyAtMs - this.#startedAtMs)
    this.#options.log.info({ memories: this.#loadedCount, durationMs }, 'memories can be searched')
  }

  #take(id: number): Waiting | null {
    const waiting = this.#waiting.get(id) ?? null
    this.#waiting.delete(id)
    if (waiting !== null) clearTimeout(waiting.deadline)
    return waiting
  }

  #rejectAll(code: 'SEARCH_NOT_READY' | 'SHUTTING_DOWN'): void {
    for (const id of [...this.#waiting.keys()]) this.#take(id)?.reject(retryLater(code))
    this.#unsent = []
  }

  #fallBehind(thread: SearchThread): void {
    void thread.terminate()
    this.#rebuild(new Error(`${limits.memorySearchChangesMax} changed memories wait`))
  }

  #rebuild(error: Error): void {
    const wasReady = this.#state === 'ready'
    const now = performance.now()
    if (wasReady && now - this.#readyAtMs > limits.memorySearchRestartMsMax) {
      this.#restartMs = limits.memorySearchRestartMsMin
    }
    const restartMs = this.#restartMs
    this.#restartMs = Math.min(restartMs * 2, limits.memorySearchRestartMsMax)
    this.#options.log.error({ err: error, restartMs }, 'the search index is lost and built again')
    this.#thread = null
    this.#state = 'failed'
    this.#stopTurns()
    this.#changed.clear()
    this.#rejectAll('SEARCH_NOT_READY')
    this.#restart = setTimeout(() => this.#build(), restartMs)
  }
}

/** Documents of one message, bounded in number and text. */
class Slice {
  readonly items: SearchDocument[] = []
  #chars = 0

  add({ tenant, number, content, title, type, tags, metadata }: MemoryRow): void {
    this.items.push({ tenant, number, content, title, type, tags, metadata })
    this.#chars += content.length
  }

  get isFull(): boolean {
    return (
      this.items.length >= limits.memorySearchMessageItemsMax ||
      this.#chars >= limits.memorySearchMessageChars
    )
  }
}
