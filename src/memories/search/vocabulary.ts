import { randomBytes } from 'node:crypto'
import { limits } from '../../limits.ts'
import { editDistance } from './edit-distance.ts'

export interface Spelling {
  readonly word: string
  /** 1 or 2. */
  readonly distance: number
  /** Memories that have it. */
  readonly memories: number
}

/**
 * A vocabulary as it is put aside: how long the words are, by their ids and 0 where there is none,
 * how many memories have each, and their letters one after the other.
 */
export interface PackedVocabulary {
  readonly lengths: Uint8Array
  readonly counts: Uint8Array
  readonly letters: Uint8Array
}

/** What a query may still spend on comparing its words with others, in characters of the others. */
export interface SpellingBudget {
  chars: number
}

const firstCapacity = 64
const slotChars = limits.memorySpelledCharsMax

/** Words of eight characters and more may hold two slips, those of four and more one. */
export function slipsAllowed(word: string): number {
  if (word.length > limits.memorySpelledCharsMax) return 0
  return word.length >= 8 ? 2 : word.length >= 4 ? 1 : 0
}

/**
 * The words of a tenant that another spelling may lead to, counted by the memories that have them.
 * Beside each stands which characters occur in it as 32 bits: a slip changes one character on
 * either side at most, so nearly all of a hundred thousand words are passed by in half a
 * millisecond. All of it lies in plain buffers, `limits.memoryVocabularyWordBytes` a word, so that
 * what it takes is known, and is none of the thread's heap.
 */
export class Vocabulary {
  #capacity = firstCapacity
  /** Words that there have been at a time: ids are below it. */
  #size = 0
  readonly #free: number[] = []
  #letters = new Uint16Array(firstCapacity * slotChars)
  #lengths = new Uint8Array(firstCapacity)
  #counts = new Uint32Array(firstCapacity)
  #masks = new Int32Array(firstCapacity)
  #hashes = new Uint32Array(firstCapacity)
  /** Ids + 1 by hash, the next free place after it where that is taken; half of it stays empty. */
  #table = new Int32Array(firstCapacity * 2)
  /** Nobody is to choose words that all go to one place. */
  readonly #seed = randomBytes(4).readInt32LE()
  readonly #asked = new Uint16Array(slotChars)
  /** It has changed since it was made. */
  isChanged = false

  static unpack({ lengths, counts, letters }: PackedVocabulary): Vocabulary {
    const vocabulary = new Vocabulary()
    vocabulary.#fill(lengths, copied(counts, Uint32Array), copied(letters, Uint16Array))
    return vocabulary
  }

  /** What it takes of memory. */
  get bytes(): number {
    return this.#capacity * limits.memoryVocabularyWordBytes
  }

  pack(): PackedVocabulary {
    const lengths = this.#lengths.slice(0, this.#size)
    const letters = new Uint16Array(lengths.reduce((sum, length) => sum + length, 0))
    let end = 0
    lengths.forEach((length, id) => {
      letters.set(this.#letters.subarray(id * slotChars, id * slotChars + length), end)
      end += length
    })
    const counts = this.#counts.slice(0, this.#size)
    return { lengths, counts: bytesOf(counts), letters: bytesOf(letters) }
  }

  /** Counts each of the words once more and gives the ids of those that are kept. */
  add(words: ReadonlySet<string>): Uint32Array {
    const ids: number[] = []
    for (const word of words) {
      const { length } = word
      if (length < limits.memorySpelledCharsMin || length > limits.memorySpelledCharsMax) continue
      const id = this.#idOf(word)
      if (id === null) continue
      this.#counts[id] = (this.#counts[id] as number) + 1
      ids.push(id)
    }
    this.isChanged = true
    return Uint32Array.from(ids)
  }

  /** Takes back what `add` gave these ids for. */
  release(ids: Uint32Array): void {
    for (const id of ids) {
      const count = (this.#counts[id] as number) - 1
      this.#counts[id] = count
      if (count > 0) continue
      this.#unlist(id)
      this.#lengths[id] = 0
      this.#free.push(id)
    }
    this.isChanged = true
  }

  /**
   * Words that slips make of `word`, itself and what begins with it apart: nearest and then
   * commonest first, of those that `budget` allows to look at.
   */
  spellings(word: string, most: number, budget: SpellingBudget): Spelling[] {
    const slips = slipsAllowed(word)
    if (slips === 0 || most === 0) return []
    const { length } = word
    const codes = this.#asked.subarray(0, length)
    for (let at = 0; at < length; at += 1) codes[at] = word.charCodeAt(at)
    const mask = maskOf(codes, 0, length)
    const [letters, lengths, masks] = [this.#letters, this.#lengths, this.#masks]
    const found: { readonly id: number; readonly distance: number }[] = []
    for (let id = 0; id < this.#size; id += 1) {
      const otherLength = lengths[id] as number
      if (otherLength - length > slips || length - otherLength > slips || otherLength === 0)
        continue
      const other = masks[id] as number
      if (mask !== other && (bitCount(mask & ~other) > slips || bitCount(other & ~mask) > slips)) {
        continue
      }
      budget.chars -= otherLength
      if (budget.chars < 0) break
      const start = id * slotChars
      const distance = editDistance(codes, letters, start, otherLength, slips)
      if (distance > slips || this.#beginsWith(id, codes)) continue
      found.push({ id, distance })
    }
    const counts = this.#counts
    return found
      .sort(
        (one, two) =>
          one.distance - two.distance || (counts[two.id] as number) - (counts[one.id] as number),
      )
      .slice(0, most)
      .map(({ id, distance }) => ({
        word: this.#word(id),
        distance,
        memories: counts[id] as number,
      }))
  }

  #word(id: number): string {
    const start = id * slotChars
    return String.fromCharCode(
      ...this.#letters.subarray(start, start + (this.#lengths[id] as number)),
    )
  }

  #beginsWith(id: number, codes: Uint16Array): boolean {
    if ((this.#lengths[id] as number) < codes.length) return false
    const start = id * slotChars
    return codes.every((code, at) => code === this.#letters[start + at])
  }

  /** Of a word that is there, or for which there is room. */
  #idOf(word: string): number | null {
    const hash = this.#hash(word)
    let place = hash & (this.#table.length - 1)
    for (;;) {
      const id = (this.#table[place] as number) - 1
      if (id < 0) break
      if (this.#hashes[id] === hash && this.#equals(id, word)) return id
      place = (place + 1) & (this.#table.length - 1)
    }
    if (this.#free.length === 0 && this.#size >= limits.memoryVocabularyMax) return null
    if (this.#free.length === 0 && this.#size === this.#capacity) this.#resize(this.#capacity * 2)
    const id = this.#free.pop() ?? this.#size++
    const start = id * slotChars
    for (let at = 0; at < word.length; at += 1) this.#letters[start + at] = word.charCodeAt(at)
    this.#lengths[id] = word.length
    this.#describe(id, hash)
    this.#list(id)
    return id
  }

  #equals(id: number, word: string): boolean {
    if (this.#lengths[id] !== word.length) return false
    const start = id * slotChars
    for (let at = 0; at < word.length; at += 1) {
      if (this.#letters[start + at] !== word.charCodeAt(at)) return false
    }
    return true
  }

  #describe(id: number, hash: number): void {
    this.#counts[id] = 0
    this.#hashes[id] = hash
    this.#masks[id] = maskOf(this.#letters, id * slotChars, this.#lengths[id] as number)
  }

  #hash(word: string): number {
    let hash = this.#seed
    for (let at = 0; at < word.length; at += 1) {
      hash = Math.imul(hash ^ word.charCodeAt(at), 0x85ebca6b)
      hash ^= hash >>> 13
    }
    return hash >>> 0
  }

  #list(id: number): void {
    const last = this.#table.length - 1
    let place = (this.#hashes[id] as number) & last
    while (this.#table[place] !== 0) place = (place + 1) & last
    this.#table[place] = id + 1
  }

  /** What stands behind it moves up where it may, so that no search ends before it (Knuth, 6.4 R). */
  #unlist(id: number): void {
    const table = this.#table
    const last = table.length - 1
    let gap = (this.#hashes[id] as number) & last
    while (table[gap] !== id + 1) gap = (gap + 1) & last
    for (let place = (gap + 1) & last; table[place] !== 0; place = (place + 1) & last) {
      const home = (this.#hashes[(table[place] as number) - 1] as number) & last
      if (((place - home) & last) < ((place - gap) & last)) continue
      table[gap] = table[place] as number
      gap = place
    }
    table[gap] = 0
  }

  #fill(lengths: Uint8Array, counts: Uint32Array, letters: Uint16Array): void {
    let capacity = firstCapacity
    while (capacity < lengths.length) capacity *= 2
    this.#resize(capacity)
    this.#size = lengths.length
    this.#lengths.set(lengths)
    let end = 0
    for (let id = 0; id < lengths.length; id += 1) {
      const length = lengths[id] as number
      if (length === 0) {
        this.#free.push(id)
        continue
      }
      this.#letters.set(letters.subarray(end, end + length), id * slotChars)
      end += length
      this.#describe(id, this.#hash(this.#word(id)))
      this.#counts[id] = counts[id] as number
      this.#list(id)
    }
  }

  #resize(capacity: number): void {
    this.#letters = grown(this.#letters, new Uint16Array(capacity * slotChars))
    this.#lengths = grown(this.#lengths, new Uint8Array(capacity))
    this.#counts = grown(this.#counts, new Uint32Array(capacity))
    this.#masks = grown(this.#masks, new Int32Array(capacity))
    this.#hashes = grown(this.#hashes, new Uint32Array(capacity))
    this.#table = new Int32Array(capacity * 2)
    this.#capacity = capacity
    for (let id = 0; id < this.#size; id += 1) if (this.#lengths[id] !== 0) this.#list(id)
  }
}

function grown<Numbers extends Uint8Array | Uint16Array | Uint32Array | Int32Array>(
  from: Numbers,
  to: Numbers,
): Numbers {
  to.set(from)
  return to
}

function bytesOf({ buffer, byteOffset, byteLength }: Uint16Array | Uint32Array): Uint8Array {
  return new Uint8Array(buffer, byteOffset, byteLength)
}

/** Bytes that a database gave need not begin where numbers may. */
function copied<Numbers>(bytes: Uint8Array, make: new (buffer: ArrayBuffer) => Numbers): Numbers {
  return new make(new Uint8Array(bytes).buffer)
}

function maskOf(codes: Uint16Array, start: number, length: number): number {
  let mask = 0
  for (let at = start; at < start + length; at += 1) mask |= 1 << ((codes[at] as number) & 31)
  return mask
}

/** Hacker's Delight, figure 5-2. */
function bitCount(bits: number): number {
  let count = bits - ((bits >>> 1) & 0x55555555)
  count = (count & 0x33333333) + ((count >>> 2) & 0x33333333)
  return Math.imul((count + (count >>> 4)) & 0x0f0f0f0f, 0x01010101) >>> 24
}
