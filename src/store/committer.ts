import { Refusal, retryLater } from '../contracts/errors.ts'
import type { StoredEvent } from '../contracts/events.ts'
import { limits } from '../limits.ts'
import type { Database } from './database.ts'
import type { CommitOptions, Transaction } from './interfaces.ts'
import type { Repositories } from './repositories.ts'
import { GroupTransaction } from './transaction.ts'

interface Unit {
  readonly run: (transaction: Transaction) => unknown
  readonly bytes: number
  readonly resolve: (value: unknown) => void
  readonly reject: (error: unknown) => void
}

/** How a unit ended, told only when its group is on disk. */
type Outcome =
  | { readonly unit: Unit; readonly value: unknown }
  | { readonly unit: Unit; readonly error: unknown }

/**
 * What a group takes beyond its rows: a second copy of the pages from the root to each leaf it
 * touches, because LMDB never changes a page that readers may see. 16 tables of 4 levels.
 */
const groupBytes = 64 * 4_096
/** More than any one unit writes. */
const nearlyFullBytes = 2 * limits.inflatedBodyBytesMax

/**
 * Group commit. Units queue; one transaction is under way at a time and takes all that wait, as long
 * as bytes and number of them fit; the next begins when it is flushed. So one flush pays for as many
 * units as arrived during the one before, and a lone unit waits for nobody.
 */
export class Committer {
  readonly #database: Database
  readonly #repositories: Repositories
  readonly #owner: boolean
  readonly #maxBytes: number
  readonly #queue: Unit[] = []
  #listener: (events: readonly StoredEvent[]) => void = () => {}
  #working: Promise<void> | null = null
  #closed = false
  /** What the disk said when it failed other than by being full: nothing can be promised any more. */
  #failure: { readonly error: unknown } | null = null
  /** At least what is in use; counted again only when it nears the bound. */
  #usedBytes = Number.POSITIVE_INFINITY
  #commits = 0
  #units = 0

  constructor(database: Database, repositories: Repositories, owner: boolean, maxBytes: number) {
    this.#database = database
    this.#repositories = repositories
    this.#owner = owner
    this.#maxBytes = maxBytes
  }

  get commits(): number {
    return this.#commits
  }

  get units(): number {
    return this.#units
  }

  onEvents(listener: (events: readonly StoredEvent[]) => void): void {
    this.#listener = listener
  }

  commit<T>(run: (transaction: Transaction) => T, options: CommitOptions = {}): Promise<T> {
    if (this.#closed) return Promise.reject(retryLater('SHUTTING_DOWN'))
    if (this.#failure !== null) return Promise.reject(this.#failure.error)
    if (this.#queue.length >= limits.commitQueueUnitsMax) {
      return Promise.reject(retryLater('SATURATED'))
    }
    return new Promise((resolve, reject) => {
      this.#queue.push({
        run,
        bytes: options.bytes ?? 0,
        resolve: resolve as (value: unknown) => void,
        reject,
      })
      this.#working ??= this.#work()
    })
  }

  /** Refuses new units and resolves when all that wait are settled. */
  async close(): Promise<void> {
    this.#closed = true
    await this.#working
  }

  async #work(): Promise<void> {
    // What is committed in the same turn of the event loop goes into the same transaction.
    await Promise.resolve()
    while (this.#queue.length > 0) await this.#commitGroup()
    this.#working = null
  }

  async #commitGroup(): Promise<void> {
    const outcomes: Outcome[] = []
    let bytes = groupBytes
    try {
      const transaction = new GroupTransaction(this.#repositories, this.#owner)
      this.#runUnits(transaction, outcomes)
      bytes += transaction.bytes
      const writes = transaction.finish()
      if (writes.length > 0) {
        await this.#database.apply(writes)
        this.#usedBytes += bytes
        this.#commits += 1
      }
      transaction.adopt()
      this.#settle(outcomes)
      if (transaction.events.length > 0) this.#publish(transaction.events)
    } catch (error) {
      this.#fail(outcomes, error, bytes)
    }
  }

  /** Takes units off the queue for as long as they fit, one at least. */
  #runUnits(transaction: GroupTransaction, outcomes: Outcome[]): void {
    const roomBytes = this.#roomBytes()
    for (const unit of this.#queue) {
      if (outcomes.length === limits.commitUnitsMax) break
      const bytes = transaction.bytes + unit.bytes
      if (outcomes.length > 0 && bytes > limits.commitBytesMax) break
      try {
        outcomes.push({ unit, value: transaction.run(unit.run, roomBytes) })
      } catch (error) {
        outcomes.push({ unit, error })
      }
    }
    this.#queue.splice(0, outcomes.length)
  }

  #settle(outcomes: readonly Outcome[]): void {
    for (const outcome of outcomes) {
      if ('error' in outcome) {
        outcome.unit.reject(outcome.error)
      } else {
        this.#units += 1
        outcome.unit.resolve(outcome.value)
      }
    }
  }

  /**
   * What a group may add. LMDB as lmdb-js has changed it grows its map past any size, so the bound is
   * kept here. Counting pages takes 60 µs, so far from the bound the sum of what was added has to do.
   */
  #roomBytes(): number {
    if (this.#maxBytes - this.#usedBytes < nearlyFullBytes) {
      this.#usedBytes = this.#database.usedBytes()
    }
    return this.#maxBytes - this.#usedBytes - groupBytes
  }

  #fail(outcomes: readonly Outcome[], error: unknown, bytes: number): void {
    this.#usedBytes = Number.POSITIVE_INFINITY
    if (this.#database.isFull(error, bytes)) {
      const refusal = new Refusal('STORE_FULL')
      for (const { unit } of outcomes) unit.reject(refusal)
      return
    }
    // After a flush that failed the kernel may call pages clean that are not on disk.
    this.#failure = { error }
    const units = [...outcomes.map(({ unit }) => unit), ...this.#queue.splice(0)]
    for (const unit of units) unit.reject(error)
  }

  /** A listener that throws must not undo or delay what is on disk: its error is the process's. */
  #publish(events: readonly StoredEvent[]): void {
    try {
      this.#listener(events)
    } catch (error) {
      process.nextTick(() => {
        throw error
      })
    }
  }
}
