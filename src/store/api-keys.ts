import { randomInt } from 'node:crypto'
import type { TableReader, Tables, Write } from './database.ts'
import type { ApiKeyRow, ApiKeys, Scope, UntoldKey } from './interfaces.ts'
import { digestBytes, digestKey, numberKey, readNumber, textKey } from './keys.ts'
import { decodeRow, encodeRow } from './rows.ts'

/** id, tenant, user, scopes, createdAtMs, revokedAtMs. */
const layoutVersion = 1
type ApiKeyItems = [string, number, string, Scope[], number, number | null]

const versionKey = textKey('api-keys-version')
const randomVersionMax = 2 ** 48 - 1

/** Reads renew LMDB's snapshot every turn of the event loop: another process's commit shows in the next. */
export class ApiKeyRepository implements ApiKeys {
  readonly #table: TableReader
  readonly #told: TableReader
  readonly #meta: TableReader

  constructor(tables: Tables) {
    this.#table = tables.table('api-keys')
    this.#told = tables.table('told-keys')
    this.#meta = tables.table('meta')
  }

  byDigest(digest: Uint8Array): ApiKeyRow | null {
    const key = digestKey(digest)
    const value = this.#table.get(key)
    return value === null ? null : decodeKey(key, value)
  }

  list(): ApiKeyRow[] {
    const range = {
      from: new Uint8Array(digestBytes),
      to: new Uint8Array(digestBytes + 1).fill(255),
    }
    return Array.from(this.#table.entries(range), ({ key, value }) => decodeKey(key, value))
  }

  untold(): UntoldKey[] {
    return this.list().flatMap((key) => {
      const told = this.#told.get(digestKey(key.digest))?.[0] ?? 0
      return told < newsOf(key) ? { key, isNew: told === 0 } : []
    })
  }

  version(): number {
    const value = this.#meta.get(versionKey)
    return value === null ? 0 : readNumber(value, 0)
  }

  /** Beside the key's row, which the process that adds and revokes keys may rewrite at any time. */
  toldWrite(row: ApiKeyRow): Write {
    return { table: 'told-keys', key: digestKey(row.digest), value: Uint8Array.of(newsOf(row)) }
  }

  /** The new version is random: two processes that count from the same number would arrive at one. */
  writes(row: ApiKeyRow): Write[] {
    const items: ApiKeyItems = [
      row.id,
      row.tenant,
      row.user,
      row.scopes,
      row.createdAtMs,
      row.revokedAtMs,
    ]
    return [
      { table: 'api-keys', key: digestKey(row.digest), value: encodeRow(layoutVersion, items) },
      { table: 'meta', key: versionKey, value: numberKey(1 + randomInt(randomVersionMax - 1)) },
    ]
  }
}

/** The last of what there is to tell of a key: 1 that it is there, 2 that it is revoked. */
function newsOf({ revokedAtMs }: ApiKeyRow): number {
  return revokedAtMs === null ? 1 : 2
}

function decodeKey(digest: Uint8Array, bytes: Uint8Array): ApiKeyRow {
  const items = decodeRow(layoutVersion, bytes) as ApiKeyItems
  const [id, tenant, user, scopes, createdAtMs, revokedAtMs] = items
  return { id, digest: new Uint8Array(digest), tenant, user, scopes, createdAtMs, revokedAtMs }
}
