import { Refusal, retryLater } from '../contracts/errors.ts'
import type { StoredEvent } from '../contracts/events.ts'
import { limits } from '../limits.ts'
import type { Database, Write } from './database.ts'
import type {
  CommitOptions,
  JobRow,
  MemoryChange,
  StoreFailure,
  Transaction,
} from './interfaces.ts'
import type { Repositories } from './repositories.ts'
import { GroupTransaction } from './transaction.ts'

interface Unit {
  readonly run: (transaction: Transaction) => unknown
  readonly bytes: number
  readonly removes: boolean
  readonly resolve: (value: unknown) => void
  readonly reject: (error: unknown) => void
}

/** What a group may still take. */
interface Room {
  additionBytes: number
  /** With what is kept for the events that tell of removals. */
  removalBytes: number
}

/** How a unit ended, told only when its group is on disk. */
type Outcome =
  | { readonly unit: Unit; readonly value: unknown }
  | { readonly unit: Unit; readonly error: unknown }

/** Units that go to disk together. */
interface UnitGroup {
  readonly transaction: GroupTransaction
  readonly room: Room
  /** The disk has no room for anything. */
  readonly isBlocked: boolean
  readonly outcomes: Outcome[]
  hasRefused: boolean
}

/**
 * What a group takes beyond its rows: a second copy of the pages from the root to each leaf it
 * touches, because LMDB never changes a page that readers may see. 36 tables of 4 levels.
 */
const groupBytes = 144 * 4_096
/** The disk holds the commit up without end, or LMDB waits for a lock that nobody gives back. */
class CommitStuck extends Error {}

/** More than any one unit writes. */
const nearlyFullBytes = 2 * limits.inflatedBodyBytesMax

/**
 * Group commit. Units queue; one transaction is under way at a time, and the next group gathers meanwhile:
 * its units run, over what the one under way will have written, as they come and as long as bytes and
 * number of them fit. So LMDB and the event loop work side by side, one flush pays for as many units as
 * arrived during the one before, and a lone unit waits for nobody. A group that fails takes the one that
 * was built on it along.
 */
export class Committer {
  readonly #database: Database
  readonly #repositories: Repositories
  readonly #owner: boolean
  readonly #maxBytes: number
  /** Of that what additions leave to removals. */
  readonly #keptBytes: number
  readonly #now: () => number
  readonly #queue: Unit[] = []
  readonly #queueBytesMax: number
  #queuedBytes = 0
  #listener: (events: readonly StoredEvent[]) => void = () => {}
  #jobListener: (jobs: readonly JobRow[]) => void = () => {}
  #memoryListener: (changes: readonly MemoryChange[]) => void = () => {}
  #beforeWriteListener: () => void = () => {}
  #failureListener: (failure: StoreFailure) => void = () => {}
  #working: Promise<void> | null = null
  /** What is on its way to disk, and what gathers behind it. */
  #writing: UnitGroup | null = null
  #gathering: UnitGroup | null = null
  #isFillDue = false
  #closed = false
  /** What the disk said when it failed other than by being full: nothing can be promised any more. */
  #failure: { readonly error: unknown } | null = null
  /** At least what is in use; counted again only when it nears the bound. */
  #usedBytes = Number.POSITIVE_INFINITY
  /** The room there was when a unit was refused for want of it; null once all of a group have fitted. */
  #refusedAtBytes: number | null = null
  /** The file's length at the last look, infinite as long as the disk had plenty of room. */
  #fileBytes = Number.POSITIVE_INFINITY
  /** Of its pages those that hold nothing, at the last look, and those that lie too scattered for use. */
  #spareBytes = 0
  #scatteredBytes = 0
  #commits = 0
  #units = 0
  /** Rejects the commit that is under way. */
  #giveUp: ((reason: CommitStuck) => void) | null = null
  #looks = 0
  readonly #looking: NodeJS.Timeout

  constructor(
    database: Database,
    repositories: Repositories,
    owner: boolean,
    maxBytes: number,
    lookIntervalMs: number = limits.commitLookIntervalMs,
    now: () => number = Date.now,
    queueBytesMax: number = limits.commitQueueBytesMax,
  ) {
    this.#now = now
    this.#queueBytesMax = queueBytesMax
    this.#database = database
    this.#repositories = repositories
    this.#owner = owner
    this.#maxBytes = maxBytes
    this.#keptBytes = Math.min(maxBytes * limits.storeRemovalShare, limits.storeRemovalBytesMax)
    this.#looking = setInterval(() => this.#look(), lookIntervalMs).unref()
  }

  get commits(): number {
    return this.#commits
  }

  get units(): number {
    return this.#units
  }

  /** As `Store.isFull`. */
  get isFull(): boolean {
    const roomBytes = this.#room().additionBytes
    return roomBytes <= 0 || (this.#refusedAtBytes !== null && roomBytes <= this.#refusedAtBytes)
  }

  onEvents(listener: (events: readonly StoredEvent[]) => void): void {
    this.#listener = listener
  }

  onJobs(listener: (jobs: readonly JobRow[]) => void): void {
    this.#jobListener = listener
  }

  onMemories(listener: (changes: readonly MemoryChange[]) => void): void {
    this.#memoryListener = listener
  }

  /** As `Store.isWriting`. */
  get isWriting(): boolean {
    return this.#writing !== null
  }

  onBeforeWrite(listener: () => void): void {
    this.#beforeWriteListener = listener
  }

  onFailure(listener: (failure: StoreFailure) => void): void {
    this.#failureListener = listener
  }

  commit<T>(run: (transaction: Transaction) => T, options: CommitOptions = {}): Promise<T> {
    if (this.#closed) return Promise.reject(retryLater('SHUTTING_DOWN'))
    if (this.#failure !== null) return Promise.reject(this.#failure.error)
    const { bytes = 0, removes = false } = options
    if (!this.#hasPlaceFor(bytes)) return Promise.reject(retryLater('SATURATED'))
    return new Promise((resolve, reject) => {
      this.#queuedBytes += bytes
      this.#queue.push({
        run,
        bytes,
        removes,
        resolve: resolve as (value: unknown) => void,
        reject,
      })
      if (this.#working === null) this.#working = this.#work()
      else this.#fillSoon()
    })
  }

  /** Refuses new units and resolves when all that wait are settled. */
  async close(): Promise<void> {
    this.#closed = true
    await this.#working
    clearInterval(this.#looking)
  }

  /** A unit without bytes moves a state: no flood of data may keep it out. Any one unit fits. */
  #hasPlaceFor(bytes: number): boolean {
    if (this.#queue.length >= limits.commitQueueUnitsMax) return false
    if (bytes === 0 || this.#queuedBytes === 0) return true
    return this.#queuedBytes + bytes <= this.#queueBytesMax
  }

  async #work(): Promise<void> {
    // What is committed in the same turn of the event loop goes into the same transaction.
    await Promise.resolve()
    for (;;) {
      publish(this.#beforeWriteListener)
      this.#fill()
      const group = this.#gathering
      if (group === null) break
      await this.#write(group)
    }
    this.#working = null
  }

  #fillSoon(): void {
    if (this.#isFillDue || this.#writing === null) return
    this.#isFillDue = true
    queueMicrotask(() => {
      this.#isFillDue = false
      this.#fill()
    })
  }

  /** Runs units of the queue for as long as they fit into the group that gathers, one at least. */
  #fill(): void {
    if (this.#queue.length === 0) return
    try {
      this.#gathering ??= this.#openGroup()
      if (this.#gathering !== null) this.#runUnits(this.#gathering)
    } catch (error) {
      // While a group is on its way its units may yet be stored: the next attempt comes when it has ended.
      if (this.#writing === null) this.#failForGood(error)
    }
  }

  /** Null where the bounds are so near that the next group has to wait for what this one leaves. */
  #openGroup(): UnitGroup | null {
    const before = this.#writing?.transaction ?? null
    const freeBytes = this.#database.freeBytes()
    const isBlocked = freeBytes < limits.diskRemovalBytesMin
    const room = this.#room(freeBytes)
    if (before !== null) {
      const writtenBytes = before.bytes + groupBytes
      room.additionBytes -= writtenBytes
      room.removalBytes -= writtenBytes
      if (isBlocked || room.additionBytes < nearlyFullBytes) return null
    }
    const options = { owner: this.#owner, before }
    const transaction = new GroupTransaction(this.#repositories, this.#database, options)
    return { transaction, room, isBlocked, outcomes: [], hasRefused: false }
  }

  #runUnits(group: UnitGroup): void {
    const { transaction, outcomes, room, isBlocked } = group
    const nowMs = this.#now()
    let taken = 0
    for (const unit of this.#queue) {
      if (outcomes.length === limits.commitUnitsMax) break
      const bytes = transaction.bytes + unit.bytes
      if (outcomes.length > 0 && bytes > limits.commitBytesMax) break
      try {
        if (isBlocked) throw new Refusal('STORE_FULL')
        const roomBytes = unit.removes ? room.removalBytes : room.additionBytes
        outcomes.push({ unit, value: transaction.run(unit.run, nowMs, roomBytes) })
      } catch (error) {
        outcomes.push({ unit, error })
        group.hasRefused ||= error instanceof Refusal && error.code === 'STORE_FULL'
      }
      taken += 1
    }
    this.#queue.splice(0, taken)
  }

  /** Writes the group that has gathered. */
  async #write(group: UnitGroup): Promise<void> {
    this.#gathering = null
    this.#writing = group
    const { transaction, outcomes, room } = group
    for (const { unit } of outcomes) this.#queuedBytes -= unit.bytes
    let bytes = groupBytes
    try {
      if (group.hasRefused) this.#refusedAtBytes = room.additionBytes
      else if (transaction.bytes > 0) this.#refusedAtBytes = null
      bytes += transaction.bytes
      const writes = transaction.finish()
      if (writes.length > 0) {
        await this.#apply(writes)
        this.#usedBytes += bytes
        this.#commits += 1
      }
      transaction.adopt()
      this.#writing = null
      const next = this.#gathering as UnitGroup | null
      next?.transaction.settleOnCommitted()
    } catch (error) {
      this.#fail(error, bytes)
      return
    }
    const memories = transaction.changedMemories()
    if (memories.length > 0) publish(() => this.#memoryListener(memories))
    this.#settle(outcomes)
    const { events } = transaction
    if (events.length > 0) publish(() => this.#listener(events))
    const jobs = transaction.changedJobs()
    if (jobs.length > 0) publish(() => this.#jobListener(jobs))
  }

  /** Commits and flushes, or rejects where that does not come to an end. */
  #apply(writes: readonly Write[]): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#looks = 0
      this.#giveUp = reject
      const end = (): void => {
        this.#giveUp = null
      }
      this.#database.apply(writes).finally(end).then(resolve, reject)
    })
  }

  /**
   * Counts looks, not time: a process that was stopped or a machine that slept must not take its own
   * pause for the disk's.
   */
  #look(): void {
    if (this.#giveUp === null) return
    this.#looks += 1
    if (this.#looks <= limits.commitLooksMax) return
    this.#giveUp(new CommitStuck('a commit has not come back'))
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
  #room(freeBytes = this.#database.freeBytes()): Room {
    if (this.#maxBytes - this.#usedBytes < nearlyFullBytes + this.#keptBytes) {
      this.#usedBytes = this.#database.usedBytes()
    }
    const leftBytes = this.#maxBytes - this.#usedBytes
    const disk = this.#diskRoom(freeBytes)
    return {
      additionBytes: Math.min(leftBytes - this.#keptBytes, disk.additionBytes) - groupBytes,
      removalBytes: Math.min(leftBytes, disk.removalBytes) - groupBytes,
    }
  }

  /**
   * The disk's room is kept here too: LMDB reports a write that the disk refuses through a buffer that
   * can be too short for the report (lmdb 3.5.6: 100 bytes), which ends the process where it is unlucky,
   * so it had better not meet a full disk. A group may fill the free space down to the reserve, and the
   * pages that are free in the file. Where LMDB makes the file longer all the same, those it has left
   * lie too scattered: they do not count from then on. So what that takes of the reserve is little.
   */
  #diskRoom(freeBytes: number): Room {
    const { diskReserveBytes: reserveBytes, diskRemovalBytesMin } = limits
    const fileBytes = this.#fileBytes
    this.#fileBytes = Number.POSITIVE_INFINITY
    if (freeBytes > reserveBytes + nearlyFullBytes) {
      return { additionBytes: Number.POSITIVE_INFINITY, removalBytes: Number.POSITIVE_INFINITY }
    }
    this.#fileBytes = this.#database.fileBytes()
    const spareBytes = Math.max(0, this.#fileBytes - this.#database.usedBytes())
    const hasGrown = freeBytes < reserveBytes && this.#fileBytes > fileBytes
    // Not those that a removal has just made: it may itself have made the file longer.
    const scatteredBytes = hasGrown ? this.#spareBytes : this.#scatteredBytes
    this.#scatteredBytes = Math.min(scatteredBytes, spareBytes)
    this.#spareBytes = spareBytes
    const removalBytes = freeBytes - 2 * diskRemovalBytesMin
    const additionBytes = Math.max(0, freeBytes - reserveBytes) + spareBytes - this.#scatteredBytes
    return { additionBytes: Math.min(additionBytes, removalBytes), removalBytes }
  }

  /**
   * Of the group on its way to disk nothing is stored, so nothing of the one behind it may be, removals
   * included: what their units have set in memory speaks of that group, so they cannot run again.
   */
  #fail(error: unknown, bytes: number): void {
    this.#usedBytes = Number.POSITIVE_INFINITY
    if (!this.#database.isFull(error, bytes)) {
      this.#failForGood(error)
      return
    }
    const refusal = new Refusal('STORE_FULL')
    for (const unit of this.#takeUnits()) unit.reject(refusal)
    this.#refusedAtBytes = this.#room().additionBytes
  }

  #failForGood(error: unknown): void {
    // After a flush that failed the kernel may call pages clean that are not on disk.
    this.#failure = { error }
    const units = [...this.#takeUnits(), ...this.#queue.splice(0)]
    const isStuck = error instanceof CommitStuck
    this.#failureListener({ path: this.#database.file, error, isStuck })
    for (const unit of units) unit.reject(error)
  }

  /** Those of both groups. */
  #takeUnits(): Unit[] {
    const units = [this.#writing, this.#gathering].flatMap((group) =>
      group === null ? [] : group.outcomes.map(({ unit }) => unit),
    )
    for (const { unit } of this.#gathering?.outcomes ?? []) this.#queuedBytes -= unit.bytes
    this.#writing = null
    this.#gathering = null
    return units
  }
}

/** A listener that throws must not undo or delay what is on disk: its error is the process's. */
function publish(tell: () => void): void {
  try {
    tell()
  } catch (error) {
    process.nextTick(() => {
      throw error
    })
  }
}
