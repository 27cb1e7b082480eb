import { limits } from '../../limits.ts'
import type { ColumnBuilder } from './column-builder.ts'
import type { PageBuilder } from './page-builder.ts'
import { fieldNameFault, type RecordSchema } from './schema.ts'

type FieldCheck = NonNullable<ReturnType<RecordSchema['fields']['get']>>

/** A name as it stands in a body, quotes included, and the column that its values go to. */
export class FieldKey {
  /** The row that had it last. */
  row = -1
  /** What came after it in the record before. */
  next: FieldKey | null = null
  /** Another key with the same hash. */
  sibling: FieldKey | null = null

  constructor(
    readonly words: Int32Array,
    readonly column: ColumnBuilder,
    readonly check: FieldCheck | null,
    readonly isRequired: boolean,
  ) {}

  get length(): number {
    return this.words[0] as number
  }
}

const hashBits = 8

/**
 * The fields of a body by the bytes of their names. Records repeat their fields in the same order, so the
 * one that followed the last time is tried first: a comparison of four bytes at a time and no hash.
 */
export class FieldKeys {
  readonly #bytes: Uint8Array
  readonly #builder: PageBuilder
  readonly #schema: RecordSchema | null
  readonly #required: ReadonlySet<string>
  readonly #byHash: (FieldKey | null)[] = new Array(1 << hashBits).fill(null)
  /** The first of a record follows the last one's nothing. */
  readonly #start: FieldKey
  #last: FieldKey

  constructor(bytes: Uint8Array, builder: PageBuilder, schema: RecordSchema | null) {
    this.#bytes = bytes
    this.#builder = builder
    this.#schema = schema
    this.#required = new Set(schema?.required.map(({ name }) => name))
    this.#start = { next: null } as FieldKey
    this.#last = this.#start
  }

  /** The key that stands at `at`; null where it is none, or JSON.parse has to say what it is. */
  find(view: DataView, at: number, end: number): FieldKey | null {
    const likely = this.#last.next
    if (likely !== null && matchesKey(view, at, end, likely.words)) {
      this.#last = likely
      return likely
    }
    const key = this.#look(view, at, end)
    if (key === null) return null
    this.#last.next = key
    this.#last = key
    return key
  }

  endRecord(): void {
    this.#last = this.#start
  }

  #look(view: DataView, start: number, end: number): FieldKey | null {
    const bytes = this.#bytes
    if (bytes[start] !== 0x22) return null
    let at = start + 1
    let hash = 0
    for (;;) {
      const byte = bytes[at] as number
      if (byte === 0x22) break
      // Escapes and control characters are rare in names.
      if (byte < 0x20 || byte === 0x5c || at >= end) return null
      hash = (Math.imul(hash, 31) + byte) | 0
      at += 1
    }
    const slot = (hash ^ (hash >>> hashBits)) & ((1 << hashBits) - 1)
    const first = this.#byHash[slot] ?? null
    const length = at + 1 - start
    for (let key = first; key !== null; key = key.sibling) {
      if (key.length === length && matchesKey(view, start, end, key.words)) return key
    }
    const key = this.#add(start, at + 1)
    if (key === null) return null
    key.sibling = first
    this.#byHash[slot] = key
    return key
  }

  #add(start: number, end: number): FieldKey | null {
    const quoted = Buffer.from(this.#bytes.subarray(start, end))
    const name = quoted.toString('utf8', 1, quoted.length - 1)
    // JSON.parse puts names that are array indexes before all others.
    if (fieldNameFault(name) !== null || /^(0|[1-9]\d*)$/.test(name)) return null
    const check = this.#schema?.fields.get(name) ?? null
    if (check === null && this.#schema?.additionalFields === false) return null
    if (this.#builder.columnCount === limits.uploadFieldsMax) return null
    const column = this.#builder.column(name)
    return new FieldKey(keyWords(quoted), column, check, this.#required.has(name))
  }
}

/**
 * A quoted name to be compared four bytes at a time: its length, its words from the beginning, and the
 * word that ends with its last byte. The least one, `"a"`, is compared with the byte after it masked.
 */
export function keyWords(quoted: Uint8Array): Int32Array {
  const { length } = quoted
  const view = new DataView(quoted.buffer, quoted.byteOffset, length)
  const words = [length]
  if (length < 4) {
    words.push((quoted[0] as number) | ((quoted[1] as number) << 8) | ((quoted[2] as number) << 16))
    return Int32Array.from(words)
  }
  for (let at = 0; at + 4 < length; at += 4) words.push(view.getInt32(at, true))
  words.push(view.getInt32(length - 4, true))
  return Int32Array.from(words)
}

/** Whether the name stands at `at`, whole, before `end`. */
export function matchesKey(view: DataView, at: number, end: number, words: Int32Array): boolean {
  const length = words[0] as number
  if (at + length >= end) return false
  if (length < 4) return (view.getInt32(at, true) & 0xff_ff_ff) === words[1]
  const last = words.length - 1
  for (let word = 1; word < last; word += 1) {
    if (view.getInt32(at + word * 4 - 4, true) !== words[word]) return false
  }
  return view.getInt32(at + length - 4, true) === words[last]
}
