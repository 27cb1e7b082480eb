import { Worker } from 'node:worker_threads'
import type {
  SearchCommand,
  SearchHits,
  SearchMessage,
  SearchRequest,
  SearchThreadData,
} from '../contracts/search.ts'
import { limits } from '../limits.ts'

export interface SearchThreadEvents {
  /** A message of changes has been carried out. */
  stored(): void
  found(id: number, hits: SearchHits): void
  failed(id: number, message: string): void
  /** Called once, unless it was closed: it is gone, and its index with it. */
  died(error: Error): void
}

type Changes = Extract<SearchCommand, { kind: 'put' | 'remove' }>

const searchFile = new URL('../../workers/search.js', import.meta.url)

/** The thread with the search index, from its start to its end. */
export class SearchThread {
  readonly #worker: Worker
  readonly #events: SearchThreadEvents
  readonly #exited: Promise<void>
  readonly #watch: NodeJS.Timeout
  /** Messages of changes, and searches, that it has not answered. */
  #changes = 0
  #searches = 0
  #heardAtMs = performance.now()
  #isOver = false

  constructor(folder: string, events: SearchThreadEvents, workerFile: URL = searchFile) {
    this.#events = events
    this.#worker = new Worker(workerFile, {
      workerData: { folder } satisfies SearchThreadData,
      resourceLimits: { maxOldGenerationSizeMb: limits.memorySearchHeapMiBMax },
    })
    this.#exited = new Promise((resolve) => {
      this.#worker.on('exit', (code) => {
        resolve()
        this.#die(new Error(`the search thread ended with ${code}`))
      })
    })
    this.#worker.on('message', (message: SearchMessage) => this.#take(message))
    this.#worker.on('messageerror', (error) => this.#die(error))
    this.#worker.on('error', (error) => this.#die(error))
    this.#watch = setInterval(() => this.#look(), limits.memorySearchStallCheckMs)
  }

  /** It may be given another message of changes. */
  get hasRoom(): boolean {
    return this.#changes < limits.memorySearchMessagesMax
  }

  /** It has carried out all changes that it was given. */
  get isUpToDate(): boolean {
    return this.#changes === 0
  }

  /** Searches that it has not answered. */
  get searches(): number {
    return this.#searches
  }

  change(changes: Changes): void {
    this.#changes += 1
    this.#post(changes)
  }

  search(id: number, request: SearchRequest): void {
    this.#searches += 1
    this.#post({ kind: 'search', id, ...request })
  }

  /** Resolves once the thread is gone. */
  async close(): Promise<void> {
    this.#finish()
    this.#post({ kind: 'close' })
    const grace = setTimeout(() => void this.#worker.terminate(), limits.memorySearchCloseGraceMs)
    await this.#exited
    clearTimeout(grace)
  }

  /** Resolves once the thread is gone, whatever it is at. */
  async terminate(): Promise<void> {
    this.#finish()
    await this.#worker.terminate()
    await this.#exited
  }

  #post(command: SearchCommand): void {
    if (this.#changes + this.#searches === 1) this.#heardAtMs = performance.now()
    this.#worker.postMessage(command)
  }

  #take(message: SearchMessage): void {
    if (this.#isOver) return
    this.#heardAtMs = performance.now()
    if (message.kind === 'stored') {
      this.#changes -= 1
      this.#events.stored()
      return
    }
    this.#searches -= 1
    if (message.kind === 'failed') this.#events.failed(message.id, message.message)
    else this.#events.found(message.id, { hits: message.hits, total: message.total })
  }

  #look(): void {
    const owes = this.#changes + this.#searches > 0
    if (!owes || performance.now() - this.#heardAtMs < limits.memorySearchStallMs) return
    this.#die(new Error(`the search thread has told nothing for ${limits.memorySearchStallMs} ms`))
  }

  #die(error: Error): void {
    if (this.#isOver) return
    this.#finish()
    void this.#worker.terminate()
    this.#events.died(error)
  }

  #finish(): void {
    this.#isOver = true
    clearInterval(this.#watch)
  }
}
