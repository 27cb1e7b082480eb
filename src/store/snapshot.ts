import { existsSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { type Database as LmdbDatabase, open, type RootDatabase } from 'lmdb'
import {
  type Entry,
  type Range,
  type TableName,
  type TableReader,
  type Tables,
  tableNames,
} from './database.ts'
import { readNumber } from './keys.ts'
import { formatKey, formatVersion } from './store.ts'

type Lmdb = LmdbDatabase<Uint8Array, Uint8Array>
type ReadTransaction = ReturnType<Lmdb['useReadTransaction']>

/** Mapped beyond the file as it is now, so that a writer beside us may let it grow. */
const mapHeadroomBytes = 1 << 30
const mapStepBytes = 65_536

/**
 * A store as it stands at one moment, for reading alone, beside a server that goes on writing.
 * While it is open the server cannot use again what it frees, so the file grows.
 */
export class Snapshot implements Tables {
  readonly #root: RootDatabase<Uint8Array, Uint8Array>
  readonly #tables: ReadonlyMap<TableName, SnapshotTable>
  readonly #transaction: ReadTransaction

  /** Throws, with a message for the operator, where there is no store or none that can be read. */
  constructor(path: string) {
    this.#root = openForReading(path)
    const tables = tableNames.map((name) => {
      const lmdb = this.#root.openDB(name, { encoding: 'binary', keyEncoding: 'binary' })
      return [name, lmdb] as const
    })
    // Opening a table renews the read transaction, so the moment comes after the last one.
    this.#transaction = this.#root.useReadTransaction()
    this.#tables = new Map(
      tables.map(([name, lmdb]) => [name, new SnapshotTable(lmdb, this.#transaction)]),
    )
    const format = this.table('meta').get(formatKey)
    const version = format === null ? null : readNumber(format, 0)
    if (version === formatVersion) return
    throw new Error(
      `the store in ${path} has format ${version}, this program reads format ${formatVersion}`,
    )
  }

  table(name: TableName): SnapshotTable {
    return this.#tables.get(name) as SnapshotTable
  }

  async close(): Promise<void> {
    this.#transaction.done()
    await this.#root.close()
  }
}

/**
 * Opens a store's file without the right to change it. Throws where there is none: lmdb-js would
 * make the folder.
 */
export function openForReading(path: string): RootDatabase<Uint8Array, Uint8Array> {
  const file = join(path, 'data.mdb')
  if (!existsSync(file)) throw new Error(`no store in ${path}`)
  const mapBytes = statSync(file).size + mapHeadroomBytes
  return open<Uint8Array, Uint8Array>({
    path,
    noSubdir: false,
    readOnly: true,
    overlappingSync: false,
    maxDbs: tableNames.length,
    encoding: 'binary',
    keyEncoding: 'binary',
    mapSize: Math.ceil(mapBytes / mapStepBytes) * mapStepBytes,
  })
}

export class SnapshotTable implements TableReader {
  readonly #lmdb: Lmdb
  readonly #transaction: ReadTransaction

  constructor(lmdb: Lmdb, transaction: ReadTransaction) {
    this.#lmdb = lmdb
    this.#transaction = transaction
  }

  get(key: Uint8Array): Uint8Array | null {
    const bytes = this.#lmdb.get(key, { transaction: this.#transaction })
    return bytes === undefined ? null : new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.length)
  }

  has(key: Uint8Array): boolean {
    const range = { start: key, end: key, inclusiveEnd: true, transaction: this.#transaction }
    return this.#lmdb.getKeysCount(range) > 0
  }

  entries(range: Range): Iterable<Entry> {
    return this.#lmdb.getRange(this.#options(range))
  }

  keys(range: Range): Iterable<Uint8Array> {
    return this.#lmdb.getKeys(this.#options(range)) as Iterable<Uint8Array>
  }

  /** Everything, in the order of the keys. */
  all(): Iterable<Entry> {
    return this.#lmdb.getRange({ transaction: this.#transaction })
  }

  #options({ from, to, limit, reverse }: Range) {
    return {
      start: from,
      end: to,
      transaction: this.#transaction,
      ...(limit === undefined ? {} : { limit }),
      ...(reverse === undefined ? {} : { reverse }),
    }
  }
}
