import assert from 'node:assert/strict'
import { rm } from 'node:fs/promises'
import { retryLater } from '../contracts/errors.ts'
import type { SearchDocument, SearchHits, SearchRequest } from '../contracts/search.ts'
import { limits } from '../limits.ts'
import type { Logger } from '../log.ts'
import type { MemoryChange, MemoryRow, Store } from '../store/interfaces.ts'
import { freeBytesOf, removeFolder } from './search-folder.ts'
import { SearchThread } from './search-thread.ts'
import { TenantQueue } from './tenant-queue.ts'

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
  /** Of the disk, where it is not the file system that tells. */
  readonly freeBytes?: (() => number) | undefined
}

interface Waiting {
  readonly request: SearchRequest
  /** Number of the last change that the search must see, of those of its tenant. */
  readonly after: number
  readonly resolve: (hits: SearchHits) => void
  readonly reject: (error: unknown) => void
  readonly deadline: NodeJS.Timeout
}

interface MemoryKey {
  readonly tenant: number
  readonly number: number
}

/**
 * Searches memories on a thread of its own, and keeps its index by what the store holds at the
 * start and tells afterwards. Each change is given to the thread with the row as it is then, so
 * that whatever the loading brings in between, the last that is given is what is stored. Changes
 * and searches are taken in turn by tenant. Where the disk has less room than is left to the store
 * the index, which is a cache, goes, and comes again when there is room for it.
 */
export class MemorySearch {
  readonly #options: MemorySearchOptions
  #thread: SearchThread | null = null
  #state: 'building' | 'ready' | 'failed' = 'building'
  /** Of the loading: the last memory that was given; all have been where `isLoaded`. */
  #loadedTo: MemoryKey | null = null
  #isLoaded = false
  #loadedCount = 0
  /**
   * Numbers of memories with the first change that waits. Their rows are read when their turn
   * comes, so changes of one memory become one.
   */
  readonly #changed = new TenantQueue<number, number>()
  #lastChange = 0
  /** All searches that nobody has answered; in the queue those that the thread has not been given. */
  readonly #waiting = new Map<number, Waiting>()
  readonly #unsent = new TenantQueue<number, Waiting>()
  #lastSearch = 0
  #nextTurn: NodeJS.Immediate | null = null
  #restart: NodeJS.Timeout | null = null
  #diskWatch: NodeJS.Timeout | null = null
  /** The end of the thread before, and of its files. */
  #clearing: Promise<void> = Promise.resolve()
  /** What has to be free for the index to be built. */
  #neededBytes: number = limits.memorySearchReserveBytes
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
    if (this.#isClosing) return
    this.#diskWatch = setInterval(() => this.#lookAtDisk(), limits.memorySearchDiskLookMs)
    // What an end without a close left behind takes room.
    this.#clear(null, 0)
  }

  /**
   * Resolves with what matches among all that was committed before. Rejects with Refusal
   * `SEARCH_NOT_READY` until the index is built, `SATURATED` where too many wait, in all or of the
   * tenant, or it takes too long, `SHUTTING_DOWN` after close.
   */
  search(request: SearchRequest): Promise<SearchHits> {
    if (this.#isClosing) return Promise.reject(retryLater('SHUTTING_DOWN'))
    if (this.#state !== 'ready') return Promise.reject(retryLater('SEARCH_NOT_READY'))
    const { tenant } = request
    const isFull =
      this.#waiting.size >= limits.memorySearchesWaitingMax ||
      this.#unsent.sizeOf(tenant) >= limits.memorySearchesOfTenantMax
    if (isFull) {
      return Promise.reject(retryLater('SATURATED'))
    }
    this.#lastSearch += 1
    const id = this.#lastSearch
    return new Promise((resolve, reject) => {
      const deadline = setTimeout(() => {
        this.#take(id)?.reject(retryLater('SATURATED'))
      }, limits.memorySearchTimeoutMs)
      const waiting = { request, after: this.#lastChange, resolve, reject, deadline }
      this.#waiting.set(id, waiting)
      this.#unsent.add(tenant, id, waiting)
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
    if (this.#diskWatch !== null) clearInterval(this.#diskWatch)
    this.#rejectAll('SHUTTING_DOWN')
    this.#changed.clear()
    const thread = this.#thread
    this.#thread = null
    await thread?.close()
    await this.#clearing
    await rm(this.#options.folder, { recursive: true, force: true })
  }

  /** Once there is room; until then it is tried again. */
  #build(): void {
    const { folder, workerFile } = this.#options
    this.#restart = null
    if (this.#freeBytes() < this.#neededBytes) {
      this.#state = 'failed'
      this.#restart = setTimeout(() => this.#build(), limits.memorySearchDiskLookMs)
      return
    }
    this.#state = 'building'
    this.#startedAtMs = performance.now()
    this.#loadedTo = null
    this.#loadedCount = 0
    this.#isLoaded = false
    this.#changed.clear()
    const thread: SearchThread = new SearchThread(
      folder,
      {
        stored: () => this.#turn(),
        found: (id, hits) => this.#answer(id, (waiting) => waiting.resolve(hits)),
        failed: (id, message) => {
          this.#answer(id, ({ reject }) => reject(new Error(`search: ${message}`)))
        },
        died: (error) => this.#rebuild(thread, error),
      },
      workerFile,
    )
    this.#thread = thread
    this.#turn()
  }

  #note(changes: readonly MemoryChange[]): void {
    // A thread that is yet to start loads what is stored then.
    if (this.#thread === null) return
    for (const { tenant, number } of changes) {
      this.#lastChange += 1
      // One that waits already is read later still.
      this.#changed.add(tenant, number, this.#lastChange)
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
      if (!this.#lookAtDisk()) return
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
    for (const tenant of [...this.#unsent.tenants()]) {
      // Its own changes may wait still; those of others do not matter to it.
      const firstChange = this.#changed.first(tenant) ?? Number.POSITIVE_INFINITY
      for (const id of this.#unsent.keys(tenant)) {
        if (thread.searches >= limits.memorySearchesPostedMax) return
        const waiting = this.#waiting.get(id)
        assert(waiting !== undefined, 'who waits for the thread waits for an answer')
        if (waiting.after >= firstChange) break
        this.#unsent.remove(tenant, id)
        this.#unsent.pass(tenant)
        thread.search(id, waiting.request)
        break
      }
    }
  }

  /** Of the tenant whose turn it is. */
  #sendChanges(thread: SearchThread): void {
    const [tenant] = this.#changed.tenants()
    assert(tenant !== undefined, 'a change waits')
    const documents = new Slice()
    const removed: MemoryKey[] = []
    for (const number of this.#changed.keys(tenant)) {
      if (documents.isFull || removed.length >= limits.memorySearchMessageItemsMax) break
      this.#changed.remove(tenant, number)
      const row = this.#options.store.memories.get(tenant, number)
      if (row === null) removed.push({ tenant, number })
      else documents.add(row)
    }
    this.#changed.pass(tenant)
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

  /** Nobody may wait for it any more; the thread has room for another all the same. */
  #answer(id: number, tell: (waiting: Waiting) => void): void {
    const waiting = this.#take(id)
    if (waiting !== null) tell(waiting)
    this.#turn()
  }

  #take(id: number): Waiting | null {
    const waiting = this.#waiting.get(id) ?? null
    if (waiting === null) return null
    this.#waiting.delete(id)
    this.#unsent.remove(waiting.request.tenant, id)
    clearTimeout(waiting.deadline)
    return waiting
  }

  #rejectAll(code: 'SEARCH_NOT_READY' | 'SHUTTING_DOWN'): void {
    for (const id of [...this.#waiting.keys()]) this.#take(id)?.reject(retryLater(code))
  }

  #freeBytes(): number {
    const { folder, freeBytes } = this.#options
    return freeBytes?.() ?? freeBytesOf(folder)
  }

  /** Gives the index up where the disk has less than it leaves to the store; then false. */
  #lookAtDisk(): boolean {
    const thread = this.#thread
    if (thread === null) return false
    const freeBytes = this.#freeBytes()
    if (freeBytes >= limits.memorySearchReserveBytes) return true
    this.#options.log.error({ freeBytes }, 'the search index is given up: the disk has no room')
    this.#lose(thread, limits.memorySearchDiskLookMs)
    return false
  }

  #fallBehind(thread: SearchThread): void {
    this.#rebuild(thread, new Error(`${limits.memorySearchChangesMax} changed memories wait`))
  }

  #rebuild(thread: SearchThread, error: Error): void {
    const wasReady = this.#state === 'ready'
    const now = performance.now()
    if (wasReady && now - this.#readyAtMs > limits.memorySearchRestartMsMax) {
      this.#restartMs = limits.memorySearchRestartMsMin
    }
    const restartMs = this.#restartMs
    this.#restartMs = Math.min(restartMs * 2, limits.memorySearchRestartMsMax)
    this.#options.log.error({ err: error, restartMs }, 'the search index is lost and built again')
    this.#lose(thread, restartMs)
  }

  #lose(thread: SearchThread, restartMs: number): void {
    this.#thread = null
    this.#state = 'failed'
    this.#stopTurns()
    this.#changed.clear()
    this.#rejectAll('SEARCH_NOT_READY')
    this.#clear(thread, restartMs)
  }

  /** Removes what the thread leaves as soon as it is gone, and builds the index after so long. */
  #clear(thread: SearchThread | null, restartMs: number): void {
    const clear = async () => {
      await thread?.terminate()
      const tookBytes = await removeFolder(this.#options.folder)
      // Built again into just as little room, it would only be given up again.
      const { memorySearchReserveBytes, memorySearchReturnBytes } = limits
      const returnBytes = memorySearchReserveBytes + memorySearchReturnBytes + tookBytes
      const hadNoRoom = thread !== null && this.#freeBytes() - tookBytes < memorySearchReserveBytes
      this.#neededBytes = hadNoRoom ? returnBytes : memorySearchReserveBytes
    }
    this.#clearing = clear()
      .catch((error) => {
        this.#options.log.error({ err: error }, 'the folder of the search index cannot be removed')
      })
      .then(() => {
        if (this.#isClosing) return
        this.#restart = setTimeout(() => this.#build(), restartMs)
      })
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
