import type { Entry, TableName } from '../database.ts'
import { keyNumber, numberBytes } from '../keys.ts'
import { Repositories } from '../repositories.ts'
import type { Snapshot } from '../snapshot.ts'
import { type Damage, noCounts } from './report.ts'

/**
 * What the checks of one snapshot share. Everything goes by in the order of the keys; what is kept
 * is a row of sums for each tenant, and no more.
 */
export class Inspection {
  readonly snapshot: Snapshot
  readonly rows: Repositories
  readonly counts = noCounts()
  readonly #tell: (damage: Damage) => void
  /** Bytes that were counted for each tenant. */
  readonly #tenantBytes = new Map<number, number>()
  /** By session how many jobs on files have not ended: of those that have some, so these are few. */
  readonly #openJobs = new Map<number, number>()

  constructor(snapshot: Snapshot, tell: (damage: Damage) => void) {
    this.snapshot = snapshot
    this.rows = new Repositories(snapshot)
    this.#tell = tell
  }

  damage(kind: string, where: Damage['where'], expected: string, found: string): void {
    this.#tell({ kind, where, expected, found })
  }

  /** Tells of the damage where the two differ. */
  compare(
    kind: string,
    where: Damage['where'],
    what: string,
    expected: string | number | boolean | null,
    found: string | number | boolean | null,
  ): void {
    if (expected === found) return
    this.damage(kind, where, `${what} ${expected}`, `${found}`)
  }

  /** What `read` gives, null where it throws, which is told as damage. */
  attempt<T>(kind: string, where: Damage['where'], read: () => T): T | null {
    try {
      return read()
    } catch (error) {
      this.damage(kind, where, 'a row that can be read', messageOf(error))
      return null
    }
  }

  /** A whole table; where LMDB cannot read on, that is told and the rest is left out. */
  *entries(table: TableName): Iterable<Entry> {
    try {
      yield* this.snapshot.table(table).all()
    } catch (error) {
      this.damage('file', { table }, 'a table that can be read', messageOf(error))
    }
  }

  addBytes(tenant: number, bytes: number): void {
    this.#tenantBytes.set(tenant, (this.#tenantBytes.get(tenant) ?? 0) + bytes)
  }

  /** The sum of a tenant's bytes, which is then no longer kept. */
  takeBytes(tenant: number): number {
    const bytes = this.#tenantBytes.get(tenant) ?? 0
    this.#tenantBytes.delete(tenant)
    return bytes
  }

  addOpenJob(session: number): void {
    this.#openJobs.set(session, this.openJobs(session) + 1)
  }

  openJobs(session: number): number {
    return this.#openJobs.get(session) ?? 0
  }

  /** Tenants whose bytes nobody has taken. */
  leftTenants(): Iterable<number> {
    return this.#tenantBytes.keys()
  }
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}

/**
 * A table whose keys begin with the number of what its rows belong to, read along with the owners
 * in their order.
 */
export class Follower {
  readonly #inspection: Inspection
  readonly #table: TableName
  readonly #owner: string
  readonly #entries: Iterator<Entry>
  #next: Entry | null = null

  constructor(inspection: Inspection, table: TableName, owner: 'session' | 'tenant') {
    this.#inspection = inspection
    this.#table = table
    this.#owner = owner
    this.#entries = inspection.entries(table)[Symbol.iterator]()
    this.#advance()
  }

  /** The rows of this owner, to be read to the end. Those passed over on the way have none. */
  *of(owner: number): Iterable<Entry> {
    this.#skipTo(owner)
    while (this.#next !== null && keyNumber(this.#next.key, 0) === owner) {
      const entry = this.#next
      this.#advance()
      yield entry
    }
  }

  /** Every row that is left has no owner. */
  finish(): void {
    this.#skipTo(Number.POSITIVE_INFINITY)
  }

  /**
   * One word for all rows of an owner that is not there: a lost session may have had a million.
   */
  #skipTo(owner: number): void {
    while (this.#next !== null) {
      const stray = keyNumber(this.#next.key, 0)
      if (stray >= owner) return
      let rows = 0
      while (this.#next !== null && keyNumber(this.#next.key, 0) === stray) {
        rows += 1
        this.#advance()
      }
      const where = { table: this.#table, [this.#owner]: stray }
      this.#inspection.damage('owner', where, `a ${this.#owner} that is there`, `${rows} rows`)
    }
  }

  #advance(): void {
    for (;;) {
      const { value, done } = this.#entries.next()
      this.#next = done === true ? null : (value as Entry)
      if (this.#next === null || this.#next.key.byteLength >= numberBytes) return
      const key = Buffer.from(this.#next.key).toString('hex')
      this.#inspection.damage('key', { table: this.#table, key }, 'numbers', 'a shorter key')
    }
  }
}
