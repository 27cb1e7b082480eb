import { randomBytes } from 'node:crypto'
import type { StoredEvent } from '../contracts/events.ts'
import { limits } from '../limits.ts'
import { Committer } from './committer.ts'
import { Database } from './database.ts'
import { FolderLock } from './folder-lock.ts'
import type {
  CommitOptions,
  JobRow,
  MemoryChange,
  Store,
  StoreFailure,
  StoreOptions,
  StoreStatistics,
  TenantCounts,
  TenantUsage,
  Transaction,
} from './interfaces.ts'
import { numberKey, readNumber, textKey } from './keys.ts'
import { Repositories } from './repositories.ts'

/** Rises with every change after which an older program would misread what is stored. */
export const formatVersion = 5
export const formatKey = textKey('format')
const secretKey = textKey('secret')
const secretBytes = 32

/**
 * Opens the embedded store, and makes it where the folder holds none. Throws, with a message for the
 * operator, where another server has the folder, where it was written by a newer version, or where
 * it cannot be read.
 */
export function openStore(options: StoreOptions): Store {
  const { path, durability, maxBytes, exclusive = true } = options
  const lock = exclusive ? FolderLock.take(path) : null
  let database: Database | null = null
  try {
    database = new Database({ path, maxBytes, flush: durability === 'flush' })
    const secret = initialise(database, path)
    return new LmdbStore(database, secret, lock, options)
  } catch (error) {
    void database?.close()
    lock?.release()
    throw error
  }
}

class LmdbStore extends Repositories implements Store {
  readonly secret: Uint8Array
  readonly #database: Database
  readonly #committer: Committer
  readonly #lock: FolderLock | null
  readonly #maxBytes: number
  #closing: Promise<void> | null = null

  constructor(
    database: Database,
    secret: Uint8Array,
    lock: FolderLock | null,
    { maxBytes, queueBytesMax, now }: StoreOptions,
  ) {
    super(database)
    this.secret = secret
    this.#database = database
    this.#lock = lock
    this.#maxBytes = maxBytes
    const { commitLookIntervalMs } = limits
    this.#committer = new Committer(
      database,
      this,
      lock !== null,
      maxBytes,
      commitLookIntervalMs,
      now,
      queueBytesMax,
    )
  }

  commit<T>(unit: (transaction: Transaction) => T, options?: CommitOptions): Promise<T> {
    return this.#committer.commit(unit, options)
  }

  onEvents(listener: (events: readonly StoredEvent[]) => void): void {
    this.#committer.onEvents(listener)
  }

  onJobs(listener: (jobs: readonly JobRow[]) => void): void {
    this.#committer.onJobs(listener)
  }

  onMemories(listener: (changes: readonly MemoryChange[]) => void): void {
    this.#committer.onMemories(listener)
  }

  onFailure(listener: (failure: StoreFailure) => void): void {
    this.#committer.onFailure(listener)
  }

  onBeforeWrite(listener: () => void): void {
    this.#committer.onBeforeWrite(listener)
  }

  get isWriting(): boolean {
    return this.#committer.isWriting
  }

  counts(tenant: number): TenantCounts {
    const { memories, searches, operations } = this.tenants.get(tenant)
    return { memories, searches, operations }
  }

  usage(): TenantUsage[] {
    return this.tenants.list().map(({ tenant, bytes }) => ({ tenant, bytes }))
  }

  get isFull(): boolean {
    return this.#committer.isFull
  }

  statistics(): StoreStatistics {
    return {
      usedBytes: this.#database.usedBytes(),
      maxBytes: this.#maxBytes,
      commits: this.#committer.commits,
      units: this.#committer.units,
    }
  }

  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close(): Promise<void> {
    try {
      await this.#committer.close()
    } finally {
      await this.#database.close()
      this.#lock?.release()
    }
  }
}

/** Checks the format, or writes it and a new secret into an empty store. Gives the secret. */
function initialise(database: Database, path: string): Uint8Array {
  const meta = database.table('meta')
  return database.exclusively(() => {
    const format = meta.get(formatKey)
    const secret = meta.get(secretKey)
    if (format !== null && secret !== null) {
      const version = readNumber(format, 0)
      if (version === formatVersion) return secret
      throw new Error(
        `The store in ${path} has format ${version}, this program reads format ${formatVersion}: ` +
          'start the version that wrote it, or another folder',
      )
    }
    const made = randomBytes(secretBytes)
    meta.put(formatKey, numberKey(formatVersion))
    meta.put(secretKey, made)
    return made
  })
}
