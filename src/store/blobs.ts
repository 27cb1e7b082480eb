import type { Database, Table, Write } from './database.ts'
import type { Blobs } from './interfaces.ts'
import { blobKey } from './keys.ts'

/** The bytes themselves, without a header. */
export class BlobRepository implements Blobs {
  readonly #table: Table

  constructor(database: Database) {
    this.#table = database.table('blobs')
  }

  get(tenant: number, hash: Uint8Array): Uint8Array | null {
    return this.#table.get(blobKey(tenant, hash))
  }

  has(tenant: number, hash: Uint8Array): boolean {
    return this.#table.has(blobKey(tenant, hash))
  }

  write(tenant: number, hash: Uint8Array, bytes: Uint8Array): Write {
    return { table: this.#table, key: blobKey(tenant, hash), value: bytes }
  }
}
