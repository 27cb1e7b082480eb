import type { IntervalPart } from '../../contracts/tasks.ts'
import { limits } from '../../limits.ts'

/** A cell is so many numbers: a count, and at these positions what follows it. */
const cellWidth = 7
const min = 1
const max = 2
const sum = 3
const hugeSum = 5

/**
 * A sum of fewer than 2^63 numbers below this one is finite. Larger ones are summed apart, times
 * `hugeScale`, which is exact for them.
 */
const hugeMin = 2 ** 960
const hugeScale = 2 ** -64

/** Thrown where a table would get more intervals and cells than `limits.downsampleCellsMax`. */
export class TableFull extends Error {}

interface Field {
  readonly position: number
  /** By position of the interval. */
  readonly cells: Map<number, number>
}

/** What the numbers of one field in one interval come to. */
export interface CellSummary {
  readonly min: number
  readonly max: number
  readonly mean: number
  readonly count: number
}

export interface IntervalRow {
  readonly number: number
  /** By the name of the field. */
  readonly cells: readonly (readonly [string, CellSummary])[]
}

/**
 * Aggregates by interval and field. A cell has count, minimum, maximum, then twice a sum and what rounding
 * took from it: of ordinary numbers and of huge ones. Each addition's rounding error is exact (two-sum:
 * Knuth, The Art of Computer Programming 2, 4.2.2, theorem B), and the errors are summed beside it, as
 * Neumaier does. So a mean is as good as if it were summed in twice the digits and rounded at the end, and
 * no finite numbers overflow. It costs no more than a plain sum: both wait for the addition before.
 */
export class IntervalTable {
  readonly #intervals = new Map<number, number>()
  readonly #fields = new Map<string, Field>()
  #cells = 0
  /** Two of each cell: positions of its interval and of its field. */
  #places = new Uint32Array(2 * 64)
  #values = new Float64Array(cellWidth * 64)

  /** Position of the interval of this number, which is there from now on. Throws TableFull. */
  interval(number: number): number {
    const known = this.#intervals.get(number)
    if (known !== undefined) return known
    if (!Number.isSafeInteger(number)) throw new Error('a block has times that are none')
    this.#requireRoom()
    const position = this.#intervals.size
    this.#intervals.set(number, position)
    return position
  }

  /** Adds `numbers` from `start` to before `end`, one at least. Throws TableFull. */
  addRun(field: string, interval: number, numbers: Float64Array, start: number, end: number): void {
    const at = this.#cell(field, interval)
    const values = this.#values
    let smallest = values[at + min] as number
    let largest = values[at + max] as number
    let total = values[at + sum] as number
    let rest = values[at + sum + 1] as number
    for (let index = start; index < end; index += 1) {
      const value = numbers[index] as number
      if (value < smallest) smallest = value
      if (value > largest) largest = value
      const next = total + value
      const added = next - total
      rest += total - (next - added) + (value - added)
      total = next
    }
    if (smallest <= -hugeMin || largest >= hugeMin) {
      for (let index = start; index < end; index += 1) addNumber(values, at, numbers[index] ?? 0)
      return
    }
    values[at] = (values[at] as number) + end - start
    values[at + min] = smallest
    values[at + max] = largest
    values[at + sum] = total
    values[at + sum + 1] = rest
  }

  /** Adds one number. Throws TableFull. */
  add(field: string, interval: number, value: number): void {
    const at = this.#cell(field, interval)
    addNumber(this.#values, at, value)
  }

  /** Adds what another table gave. Throws TableFull. */
  addPart({ intervals, fields, places, values }: IntervalPart): void {
    const positions = Array.from(intervals, (number) => this.interval(number))
    for (let cell = 0; 2 * cell < places.length; cell += 1) {
      const interval = positions[places[2 * cell] ?? 0] ?? 0
      const field = fields[places[2 * cell + 1] ?? 0] ?? ''
      const at = this.#cell(field, interval)
      addCell(this.#values, at, values, cell * cellWidth)
    }
  }

  /** All of it, in buffers of their own. */
  part(): IntervalPart {
    return {
      intervals: Float64Array.from(this.#intervals.keys()),
      fields: [...this.#fields.keys()],
      places: this.#places.slice(0, 2 * this.#cells),
      values: this.#values.slice(0, cellWidth * this.#cells),
    }
  }

  /** Visits the intervals from the earliest on, each with its fields in the order of their first coming. */
  *rows(): Iterable<IntervalRow> {
    const numbers = Float64Array.from(this.#intervals.keys()).sort()
    const names = [...this.#fields.keys()]
    const ofInterval: number[][] = Array.from(numbers, () => [])
    for (let cell = 0; cell < this.#cells; cell += 1) {
      ofInterval[this.#places[2 * cell] ?? 0]?.push(cell)
    }
    const fieldOf = (cell: number): number => this.#places[2 * cell + 1] ?? 0
    for (const number of numbers) {
      const cells = ofInterval[this.#intervals.get(number) ?? 0] ?? []
      cells.sort((one, other) => fieldOf(one) - fieldOf(other))
      yield {
        number,
        cells: cells.map((cell) => [
          names[fieldOf(cell)] ?? '',
          summary(this.#values, cell * cellWidth),
        ]),
      }
    }
  }

  /** Where the cell of a field and an interval's position begins. Throws TableFull. */
  #cell(name: string, interval: number): number {
    let field = this.#fields.get(name)
    const known = field?.cells.get(interval)
    if (known !== undefined) return known
    this.#requireRoom()
    if (field === undefined) {
      field = { position: this.#fields.size, cells: new Map() }
      this.#fields.set(name, field)
    }
    if (2 * this.#cells === this.#places.length) this.#grow()
    this.#places[2 * this.#cells] = interval
    this.#places[2 * this.#cells + 1] = field.position
    const at = this.#cells * cellWidth
    this.#values[at + min] = Number.POSITIVE_INFINITY
    this.#values[at + max] = Number.NEGATIVE_INFINITY
    field.cells.set(interval, at)
    this.#cells += 1
    return at
  }

  #requireRoom(): void {
    if (this.#intervals.size + this.#cells >= limits.downsampleCellsMax) throw new TableFull()
  }

  #grow(): void {
    const places = new Uint32Array(2 * this.#places.length)
    places.set(this.#places)
    this.#places = places
    const values = new Float64Array(2 * this.#values.length)
    values.set(this.#values)
    this.#values = values
  }
}

function addNumber(values: Float64Array, at: number, value: number): void {
  values[at] = (values[at] as number) + 1
  if (value < (values[at + min] as number)) values[at + min] = value
  if (value > (values[at + max] as number)) values[at + max] = value
  if (Math.abs(value) < hugeMin) addTo(values, at + sum, value, 0)
  else addTo(values, at + hugeSum, value * hugeScale, 0)
}

function addCell(values: Float64Array, at: number, given: Float64Array, from: number): void {
  const number = (offset: number): number => given[from + offset] as number
  values[at] = (values[at] as number) + number(0)
  values[at + min] = Math.min(values[at + min] as number, number(min))
  values[at + max] = Math.max(values[at + max] as number, number(max))
  addTo(values, at + sum, number(sum), number(sum + 1))
  addTo(values, at + hugeSum, number(hugeSum), number(hugeSum + 1))
}

/** Adds to the sum at `at`, whose errors stand behind it, a value with its own. */
function addTo(values: Float64Array, at: number, value: number, rest: number): void {
  const total = values[at] as number
  const next = total + value
  const added = next - total
  const error = total - (next - added) + (value - added)
  values[at] = next
  values[at + 1] = (values[at + 1] as number) + error + rest
}

/** Throws an Error where numbers were none, as only damaged blocks have them. */
function summary(values: Float64Array, at: number): CellSummary {
  const number = (offset: number): number => values[at + offset] as number
  const count = number(0)
  const ordinary = number(sum) + number(sum + 1)
  const huge = number(hugeSum) + number(hugeSum + 1)
  const mean = huge === 0 ? ordinary / count : (huge + ordinary * hugeScale) / count / hugeScale
  if (Number.isNaN(mean)) throw new Error('a block has numbers that are none')
  const least = number(min)
  const most = number(max)
  // Rounding may take it a digit past them, and past the largest number there is.
  return { min: least, max: most, mean: Math.min(most, Math.max(least, mean)), count }
}
