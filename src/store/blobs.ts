import type { TableReader, Tables, Write } from './database.ts'
import type { Blobs } from './interfaces.ts'
import { hashKey, numberKey, readNumber } from './keys.ts'

/**
 * The bytes themselves, without a header. How many atoms, journaled items and pending buffers are of a blob
 * stands beside it only where they are two or more, so that bytes that come once cost no further row.
 */
export class BlobRepository implements Blobs {
  readonly #table: TableReader
  readonly #users: TableReader

  constructor(tables: Tables) {
    this.#table = tables.table('blobs')
    this.#users = tables.table('blob-users')
  }

  get(tenant: number, hash: Uint8Array): Uint8Array | null {
    return this.#table.get(hashKey([tenant], hash))
  }

  has(tenant: number, hash: Uint8Array): boolean {
    return this.#table.has(hashKey([tenant], hash))
  }

  /** Occurrences of a blob that is there. */
  users(tenant: number, hash: Uint8Array): number {
    const value = this.#users.get(hashKey([tenant], hash))
    return value === null ? 1 : readNumber(value, 0)
  }

  write(tenant: number, hash: Uint8Array, bytes: Uint8Array): Write {
    return { table: 'blobs', key: hashKey([tenant], hash), value: bytes }
  }

  usersWrite(tenant: number, hash: Uint8Array, users: number): Write {
    const value = users > 1 ? numberKey(users) : null
    return { table: 'blob-users', key: hashKey([tenant], hash), value }
  }

  removal(tenant: number, hash: Uint8Array): Write {
    return { table: 'blobs', key: hashKey([tenant], hash), value: null }
  }
}
