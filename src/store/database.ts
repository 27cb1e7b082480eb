import assert from 'node:assert/strict'
import {
  chmodSync,
  closeSync,
  existsSync,
  fdatasyncSync,
  fstatSync,
  openSync,
  statfsSync,
} from 'node:fs'
import { constants } from 'node:os'
import { join } from 'node:path'
import { type Database as LmdbDatabase, open, type RootDatabase } from 'lmdb'
import { limits } from '../limits.ts'
import { makeFolder } from './folders.ts'
import { ReadyPages } from './ready-pages.ts'

/** A key and its value, copied out. */
export interface Entry {
  readonly key: Uint8Array
  readonly value: Uint8Array
}

/** From `from`, inclusive, to `to`, exclusive; with `reverse` downwards, where `from` is the larger. */
export interface Range {
  readonly from: Uint8Array
  readonly to: Uint8Array
  readonly limit?: number
  readonly reverse?: boolean
}

/** One change of a transaction; a value of null removes the key. */
export interface Write {
  readonly table: TableName
  readonly key: Uint8Array
  /** LMDB's thread reads these very bytes: they must stay as they are until the commit is done. */
  readonly value: Uint8Array | null
}

/** What rows are read from: what is committed, or that with the changes of a group over it. */
export interface TableReader {
  /** A copy in a buffer of its own. */
  get(key: Uint8Array): Uint8Array | null
  has(key: Uint8Array): boolean
  entries(range: Range): Iterable<Entry>
  keys(range: Range): Iterable<Uint8Array>
}

export interface Tables {
  table(name: TableName): TableReader
}

/** A sorted map of bytes to bytes. Reads see the last commit, of whichever process. */
export class Table implements TableReader {
  readonly #lmdb: LmdbDatabase<Uint8Array, Uint8Array>

  constructor(lmdb: LmdbDatabase<Uint8Array, Uint8Array>) {
    this.#lmdb = lmdb
  }

  get(key: Uint8Array): Uint8Array | null {
    const bytes = this.#lmdb.getBinary(key)
    // lmdb-js gives a Buffer whose length is a patched property: nobody else should meet that.
    return bytes === undefined ? null : new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.length)
  }

  /** A value that is there is copied for it; a key that is not, as most, costs 1 µs, a cursor 5 µs. */
  has(key: Uint8Array): boolean {
    return this.#lmdb.doesExist(key)
  }

  entries(range: Range): Iterable<Entry> {
    return this.#lmdb.getRange(lmdbRange(range))
  }

  keys(range: Range): Iterable<Uint8Array> {
    return this.#lmdb.getKeys(lmdbRange(range)) as Iterable<Uint8Array>
  }

  put(key: Uint8Array, value: Uint8Array): void {
    // lmdb-js (3.5.6) cannot find where shared memory lies, and writes other bytes without a word.
    assert(value.buffer instanceof ArrayBuffer, 'what is stored does not lie in shared memory')
    this.#lmdb.put(key, value)
  }

  remove(key: Uint8Array): void {
    this.#lmdb.remove(key)
  }

  /** Bytes of the pages that hold this table. */
  usedBytes(): number {
    const { pageSize, ...pages } = this.#lmdb.getStats() as PageCounts
    return pageSize * countPages(pages)
  }
}

interface PageCounts {
  readonly pageSize: number
  readonly treeBranchPageCount: number
  readonly treeLeafPageCount: number
  readonly overflowPages: number
}

interface EnvironmentStats extends PageCounts {
  readonly lastPageNumber: number
  readonly root: PageCounts
  readonly free: PageCounts
}

export const tableNames = [
  'meta',
  'sessions',
  'session-states',
  'session-ids',
  'tenant-sessions',
  'open-sessions',
  'dropped-sessions',
  'atoms',
  'blobs',
  'blob-users',
  'journal',
  'journal-contents',
  'pending-buffers',
  'stream-states',
  'retries',
  'dead-letters',
  'dead-letter-ids',
  'session-dead-letters',
  'dead-batches',
  'jobs',
  'job-ids',
  'tenant-jobs',
  'open-media-jobs',
  'idempotency',
  'idempotency-times',
  'events',
  'session-events',
  'tenants',
  'rejected',
  'schemas',
  'api-keys',
  'told-keys',
  'memories',
  'memory-facets',
  'memory-facet-counts',
] as const
export type TableName = (typeof tableNames)[number]

/** A map is whole pages of memory, which are 64 KiB on some machines. */
const mapStepBytes = 65_536
/** The unit of `stat`'s blocks, whatever the file system's own is. */
const blockBytes = 512
const { EDQUOT, EFBIG, ENOSPC } = constants.errno
/** LMDB's MDB_MAP_FULL and the system's numbers. */
const fullCodes: ReadonlySet<unknown> = new Set([-30_792, EDQUOT, EFBIG, ENOSPC])

/** lmdb-js documents it, its types leave it out; see `apply`. */
const startsAtOnce = { txnStartThreshold: 1 }

export interface DatabaseOptions {
  readonly path: string
  readonly flush: boolean
  readonly maxBytes: number
}

/** The LMDB environment: its tables, one transaction at a time, its size. Nothing else imports lmdb. */
export class Database implements Tables {
  readonly #root: RootDatabase<Uint8Array, Uint8Array>
  readonly #tables: ReadonlyMap<TableName, Table>
  /** The file of the pages. */
  readonly file: string
  readonly #path: string
  readonly #flush: boolean
  /** A descriptor of the file beside LMDB's: a failed writeback is told once to each that is open. */
  readonly #witness: number
  readonly #ready: ReadyPages
  /** By the last commit. */
  #writtenBytes = 0

  /** Throws where the folder cannot be made or holds something that is not an LMDB environment. */
  constructor(options: DatabaseOptions) {
    makeFolder(options.path)
    const files = ['data.mdb', 'lock.mdb'].map((name) => join(options.path, name))
    const isNew = !files.some((file) => existsSync(file))
    this.#path = options.path
    this.file = join(options.path, 'data.mdb')
    this.#flush = options.flush
    this.#root = open<Uint8Array, Uint8Array>({
      path: options.path,
      // Without this a folder with a dot in its name would be taken for a file.
      noSubdir: false,
      maxDbs: tableNames.length,
      encoding: 'binary',
      keyEncoding: 'binary',
      // Mapped once and for all: else lmdb-js doubles the map in the middle of transactions and keeps
      // each old one. Address space costs nothing. The map is no bound, growing past it is silent.
      mapSize: Math.ceil(options.maxBytes / mapStepBytes) * mapStepBytes,
      // With overlapping sync a put that the disk refused can be seen by readers, and it buys
      // nothing where each commit waits for its flush: 0.35 ms a small commit against 0.32 ms.
      overlappingSync: false,
      noSync: !options.flush,
      // Else lmdb-js wraps each batch in one of its own, whose promise nobody can catch.
      eventTurnBatching: false,
      ...startsAtOnce,
    })
    const tables = new Map<TableName, Table>()
    this.#root.transactionSync(() => {
      for (const name of tableNames) {
        tables.set(
          name,
          new Table(this.#root.openDB(name, { encoding: 'binary', keyEncoding: 'binary' })),
        )
      }
    })
    this.#tables = tables
    // They hold the secret of the tickets and the digests of the keys.
    if (isNew) for (const file of files) chmodSync(file, 0o600)
    this.#witness = openSync(this.file, 'r')
    this.#ready = new ReadyPages(this.file)
  }

  table(name: TableName): Table {
    return this.#tables.get(name) as Table
  }

  /** Runs `change` alone among all processes and on the calling thread. For opening, not for work. */
  exclusively<T>(change: () => T): T {
    return this.#root.transactionSync(change)
  }

  /**
   * Writes all of `writes` in one transaction, on a thread of LMDB's, and resolves once that is
   * flushed. Traced: the thread calls fdatasync and writes the meta page through O_DSYNC before the
   * promise resolves. Rejects with the cause, whose `code` is LMDB's or the system's number.
   */
  async apply(writes: readonly Write[]): Promise<void> {
    if (this.#writtenBytes >= limits.readyCommitBytesMin) this.#makeReady()
    this.#writtenBytes = writes.reduce((sum, { value }) => sum + (value?.byteLength ?? 0), 0)
    try {
      const committed = this.#root.batch(() => {
        for (const { table, key, value } of writes) {
          if (value === null) this.table(table).remove(key)
          else this.table(table).put(key, value)
        }
      })
      // lmdb-js starts its thread in a `setImmediate`, up to 2 ms later under load, unless more than
      // `txnStartThreshold` writes wait when another comes: this one, of nothing.
      const started = this.#root.batch(() => undefined)
      await Promise.all([committed, started])
    } catch (error) {
      throw await commitCause(error)
    }
  }

  /** For the next two commits: this one takes what the one before has left. Nothing is being written. */
  #makeReady(): void {
    const { lastPageNumber, pageSize } = this.#root.getStats() as EnvironmentStats
    const end = (lastPageNumber + 1) * pageSize
    this.#ready.prepare(end, 3 * this.#writtenBytes)
  }

  /**
   * Whether a commit of about `bytes` failed for want of room. A disk that fills up in the middle of
   * a write takes the first part of it, which LMDB reports as EIO: then the free space tells.
   */
  isFull(error: unknown, bytes: number): boolean {
    const code = error instanceof Error && 'code' in error ? error.code : null
    try {
      const isShort = code === constants.errno.EIO && this.freeBytes() < bytes
      return (isShort || fullCodes.has(code)) && this.#isSound()
    } catch {
      // A file system that no longer tells its free space has more wrong with it.
      return false
    }
  }

  /** What the file takes of the disk; its pages that hold nothing are the part that is not used. */
  fileBytes(): number {
    return fstatSync(this.#witness).blocks * blockBytes
  }

  /** Free space of the disk. Of quotas it tells only where the file system counts them in. */
  freeBytes(): number {
    const { bavail, bsize } = statfsSync(this.#path)
    return bavail * bsize
  }

  /**
   * A full disk harms the one transaction that met it, whose pages nothing refers to yet. Not so where
   * LMDB could not write its meta page, for then it refuses every further transaction, nor where the
   * flush failed of itself, which the witness still hears of.
   */
  #isSound(): boolean {
    try {
      fdatasyncSync(this.#witness)
    } catch (error) {
      const { errno } = error as NodeJS.ErrnoException
      if (errno === undefined || !fullCodes.has(-errno)) return false
    }
    // Throws in that panic of LMDB's.
    this.exclusively(() => undefined)
    return true
  }

  /** Bytes of all pages that hold something; freed pages wait in the file for their next use. */
  usedBytes(): number {
    const stats = this.#root.getStats() as EnvironmentStats
    const metaPages = 2
    const ownPages = metaPages + countPages(stats.root) + countPages(stats.free)
    let bytes = ownPages * stats.pageSize
    for (const table of this.#tables.values()) bytes += table.usedBytes()
    return bytes
  }

  async close(): Promise<void> {
    closeSync(this.#witness)
    await this.#ready.close()
    if (!this.#flush) await this.#sync()
    await this.#root.close()
  }

  /** What the kernel has not yet written goes to disk at the latest when the store is closed. */
  #sync(): Promise<void> {
    const root = this.#root as unknown as { sync(done: (error?: Error) => void): void }
    return new Promise((resolve, reject) => {
      root.sync((error) => (error ? reject(error) : resolve()))
    })
  }
}

function lmdbRange({ from, to, limit, reverse }: Range) {
  return {
    start: from,
    end: to,
    // A scan that its reader has paused must not pin the pages of its snapshot.
    snapshot: false,
    ...(limit === undefined ? {} : { limit }),
    ...(reverse === undefined ? {} : { reverse }),
  }
}

function countPages(counts: Omit<PageCounts, 'pageSize'>): number {
  return counts.treeBranchPageCount + counts.treeLeafPageCount + counts.overflowPages
}

/** lmdb-js rejects each write with a wrapper whose `commitError` rejects with the cause. */
async function commitCause(error: unknown): Promise<unknown> {
  if (!(error instanceof Error) || !('commitError' in error)) return error
  try {
    await error.commitError
    return error
  } catch (cause) {
    return cause
  }
}
