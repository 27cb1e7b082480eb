import { seededRandom } from '../support/data.ts'

/** Choices that the seed alone decides. */
export class Random {
  readonly #next: () => number

  constructor(seed: number) {
    this.#next = seededRandom(seed)
  }

  /** At least `min`, less than `max`. */
  float(min: number, max: number): number {
    return min + this.#next() * (max - min)
  }

  /** From `min` to `max`, both included. */
  int(min: number, max: number): number {
    return min + Math.floor(this.#next() * (max - min + 1))
  }

  chance(probability: number): boolean {
    return this.#next() < probability
  }

  pick<T>(items: readonly T[]): T {
    if (items.length === 0) throw new Error('there is nothing to pick from')
    return items[this.int(0, items.length - 1)] as T
  }

  /** A source of its own, so that what one user draws does not shift what another gets. */
  fork(): Random {
    return new Random(this.int(0, 0xffffffff))
  }
}

/** The seed of part `part` of a run, so that the part can be had again without those before it. */
export function partSeed(seed: number, part: number): number {
  return (Math.imul(seed + 1, 0x9e3779b1) ^ Math.imul(part + 1, 0x85ebca6b)) >>> 0
}
