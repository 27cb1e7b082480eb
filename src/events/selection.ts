import { isDeepStrictEqual } from 'node:util'
import type { StoredEvent } from '../contracts/events.ts'

/** An event that selections are asked about; its data is parsed once, for the first that looks. */
export class Candidate {
  #data: Readonly<Record<string, unknown>> | null = null

  constructor(readonly event: StoredEvent) {}

  get data(): Readonly<Record<string, unknown>> {
    this.#data ??= JSON.parse(this.event.data) as Record<string, unknown>
    return this.#data
  }
}

/**
 * Which events of a tenant a subscriber wants: those of these names whose data or `metadata` has
 * every one of these members.
 */
export class Selection {
  /** The same for selections that take the same, however they were written. */
  readonly key: string
  readonly #names: ReadonlySet<string>
  readonly #filters: readonly (readonly [key: string, value: unknown])[]

  constructor(names: Iterable<string>, filters: Readonly<Record<string, unknown>> = {}) {
    this.#names = new Set(names)
    this.#filters = Object.entries(filters)
    this.key = JSON.stringify([[...this.#names].sort(), canonical(filters)])
  }

  takes(candidate: Candidate): boolean {
    if (!this.#names.has(candidate.event.name)) return false
    for (const [key, wanted] of this.#filters) {
      const { data } = candidate
      if (!has(data, key, wanted) && !has(data.metadata, key, wanted)) return false
    }
    return true
  }
}

/** Only what stands in the event counts: no member of a prototype is one of its data. */
function has(container: unknown, key: string, wanted: unknown): boolean {
  if (!isObject(container) || !Object.hasOwn(container, key)) return false
  const value = container[key]
  return isSame(value, wanted) || (Array.isArray(value) && value.some((one) => isSame(one, wanted)))
}

/** A query can only write text: 5 and "5" are the same, and so are true and "true". */
function isSame(value: unknown, wanted: unknown): boolean {
  if (typeof value === 'object' && value !== null) return isDeepStrictEqual(value, wanted)
  if (typeof wanted === 'object' && wanted !== null) return false
  return String(value) === String(wanted)
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** Members in the order of their names, as pairs, so that no name has a meaning of its own. */
function canonical(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(canonical)
  if (!isObject(value)) return value
  const names = Object.keys(value).sort()
  return { members: names.map((name) => [name, canonical(value[name])]) }
}
