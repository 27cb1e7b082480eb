import type { Entry, Range, TableName, TableReader, Tables, Write } from './database.ts'

/** A change that a unit made to what is pending, to be taken back where the unit throws. */
interface Step {
  readonly pending: Map<string, Write>
  readonly name: string
  readonly before: Write | undefined
}

/**
 * The writes of a group, by table and key, over what is committed, or over the group before while that is
 * being written: what a unit reads here has the changes of the units before it. Each key is written once,
 * however often the group has changed it.
 */
export class Overlay implements Tables {
  #base: Tables
  readonly #tables = new Map<TableName, OverlayTable>()
  /** Since the last `mark`. */
  readonly #steps: Step[] = []

  constructor(base: Tables) {
    this.#base = base
  }

  table(name: TableName): OverlayTable {
    const known = this.#tables.get(name)
    if (known !== undefined) return known
    const table = new OverlayTable(this.#base.table(name))
    this.#tables.set(name, table)
    return table
  }

  /** Tables that hold the same as those so far: what lay between them is committed. */
  rebase(base: Tables): void {
    this.#base = base
    for (const [name, table] of this.#tables) table.rebase(base.table(name))
  }

  set(write: Write): void {
    const { pending } = this.table(write.table)
    const name = keyName(write.key)
    this.#steps.push({ pending, name, before: pending.get(name) })
    pending.set(name, write)
  }

  /** What is written from here on can be taken back by `undo`. */
  mark(): void {
    this.#steps.length = 0
  }

  undo(): void {
    for (const { pending, name, before } of this.#steps.reverse()) {
      if (before === undefined) pending.delete(name)
      else pending.set(name, before)
    }
    this.mark()
  }

  writes(): Write[] {
    const writes: Write[] = []
    for (const { pending } of this.#tables.values()) {
      for (const write of pending.values()) writes.push(write)
    }
    return writes
  }
}

class OverlayTable implements TableReader {
  /** By the key's bytes as text. */
  readonly pending = new Map<string, Write>()
  #base: TableReader

  constructor(base: TableReader) {
    this.#base = base
  }

  rebase(base: TableReader): void {
    this.#base = base
  }

  get(key: Uint8Array): Uint8Array | null {
    const write = this.#find(key)
    return write === undefined ? this.#base.get(key) : write.value
  }

  has(key: Uint8Array): boolean {
    const write = this.#find(key)
    return write === undefined ? this.#base.has(key) : write.value !== null
  }

  /** Whether the group removes the key, be it there or not. */
  removes(key: Uint8Array): boolean {
    return this.#find(key)?.value === null
  }

  entries(range: Range): Iterable<Entry> {
    const pending = this.#within(range)
    return pending.length === 0
      ? this.#base.entries(range)
      : limited(this.#merge(range, pending), range)
  }

  *keys(range: Range): Iterable<Uint8Array> {
    const pending = this.#within(range)
    if (pending.length === 0) yield* this.#base.keys(range)
    else for (const { key } of limited(this.#merge(range, pending), range)) yield key
  }

  #find(key: Uint8Array): Write | undefined {
    return this.pending.size === 0 ? undefined : this.pending.get(keyName(key))
  }

  /** Goes over all that is pending, 10 ns each: ranges are read by few units, of retention above all. */
  #within({ from, to, reverse = false }: Range): [string, Write][] {
    const first = keyName(from)
    const end = keyName(to)
    const found: [string, Write][] = []
    for (const entry of this.pending) {
      const [name] = entry
      if (reverse ? name <= first && name > end : name >= first && name < end) found.push(entry)
    }
    const direction = reverse ? -1 : 1
    return found.sort(([one], [other]) => (one < other ? -direction : direction))
  }

  /** `pending` is in the order of the range: what the group changes meanwhile is not seen. */
  *#merge(range: Range, pending: readonly [string, Write][]): Iterable<Entry> {
    const { from, to, reverse = false } = range
    let next = 0
    for (const entry of this.#base.entries({ from, to, reverse })) {
      const name = keyName(entry.key)
      let isReplaced = false
      for (; next < pending.length; next += 1) {
        const [pendingName, { key, value }] = pending[next] as [string, Write]
        if (reverse ? pendingName < name : pendingName > name) break
        isReplaced ||= pendingName === name
        if (value !== null) yield { key, value }
      }
      if (!isReplaced) yield entry
    }
    for (const [, { key, value }] of pending.slice(next)) {
      if (value !== null) yield { key, value }
    }
  }
}

function* limited(entries: Iterable<Entry>, { limit }: Range): Iterable<Entry> {
  let left = limit ?? Number.POSITIVE_INFINITY
  if (left <= 0) return
  for (const entry of entries) {
    yield entry
    left -= 1
    if (left <= 0) return
  }
}

/** One character a byte: texts of that kind compare as their bytes do, and a Map can look them up. */
function keyName(key: Uint8Array): string {
  const bytes = Buffer.isBuffer(key) ? key : Buffer.from(key.buffer, key.byteOffset, key.byteLength)
  return bytes.toString('latin1')
}
