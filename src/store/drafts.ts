/** A row as the units of one group see and change it. */
export interface Draft<R> {
  readonly row: R
  /** What is stored; null for a row of this group. */
  readonly base: R | null
  /** The last unit that asked for it: each unit keeps a copy of what it found, to go back to. */
  unit: number
}

/**
 * Rows that units change in place, so that what all units of a group change in one is encoded and written
 * once. Their members that are objects are never changed: a unit puts another in their place.
 */
export class Drafts<R extends object> {
  readonly #drafts = new Map<number, Draft<R>>()
  #unit = 0
  /** What the unit under way found: the row as it was, null where it was not there. */
  readonly #found: { readonly number: number; readonly row: R | null }[] = []

  /** What is changed from here on can be taken back by `undo`. */
  mark(): void {
    this.#unit += 1
    this.#found.length = 0
  }

  undo(): void {
    for (const { number, row } of this.#found.reverse()) {
      const draft = this.#drafts.get(number)
      if (row === null) this.#drafts.delete(number)
      else if (draft !== undefined) Object.assign(draft.row, row)
    }
    this.#found.length = 0
  }

  /** The row for changing, null where there is none; `read` gives what is stored, asked for once. */
  open(number: number, read: () => R | null): R | null {
    let draft = this.#drafts.get(number)
    if (draft === undefined) {
      const base = read()
      if (base === null) return null
      draft = { row: { ...base }, base, unit: 0 }
      this.#drafts.set(number, draft)
    }
    if (draft.unit !== this.#unit) {
      draft.unit = this.#unit
      this.#found.push({ number, row: { ...draft.row } })
    }
    return draft.row
  }

  /** The row as the last unit left it. */
  find(number: number): R | null {
    return this.#drafts.get(number)?.row ?? null
  }

  add(number: number, row: R): void {
    this.#drafts.set(number, { row, base: null, unit: this.#unit })
    this.#found.push({ number, row: null })
  }

  /** Whether the unit under way was given this very row. */
  isOpen(number: number, row: R): boolean {
    const draft = this.#drafts.get(number)
    return draft?.row === row && draft.unit === this.#unit
  }

  values(): Iterable<Draft<R>> {
    return this.#drafts.values()
  }
}
