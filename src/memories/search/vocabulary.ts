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
 * A vocabulary as it is put aside: words by their ids, one a line, and how many memories have
 * each.
 */
export interface PackedVocabulary {
  readonly words: string
  readonly counts: Uint8Array
}

const firstCapacity = 1_024

/** Words of eight characters and more may hold two slips, those of four and more one. */
export function slipsAllowed(word: string): number {
  if (word.length > limits.memorySpelledCharsMax) return 0
  return word.length >= 8 ? 2 : word.length >= 4 ? 1 : 0
}

/**
 * The words of a tenant that another spelling may lead to, counted by the memories that have them.
 * Beside each stands which characters occur in it as 32 bits: a slip changes one character on
 * either side at most, so nearly all of a hundred thousand words are passed by in half a
 * millisecond.
 */
export class Vocabulary {
  readonly #ids = new Map<string, number>()
  readonly #words: string[] = []
  readonly #free: number[] = []
  #counts = new Uint32Array(firstCapacity)
  #masks = new Int32Array(firstCapacity)
  #lengths = new Uint8Array(firstCapacity)
  /** It has changed since it was made. */
  isChanged = false

  static unpack(packed: PackedVocabulary): Vocabulary {
    const vocabulary = new Vocabulary()
    const counts = new Uint32Array(new Uint8Array(packed.counts).buffer)
    if (counts.length > 0) {
      packed.words.split('\n').forEach((word, id) => {
        vocabulary.#set(id, word, counts[id] ?? 0)
      })
    }
    return vocabulary
  }

  pack(): PackedVocabulary {
    const counts = this.#counts.slice(0, this.#words.length)
    return { words: this.#words.join('\n'), counts: new Uint8Array(counts.buffer) }
  }

  /** Counts each of the words once more and gives the ids of those that are kept. */
  add(words: ReadonlySet<string>): Uint32Array {
    const ids: number[] = []
    for (const word of words) {
      const { length } = word
      if (length < limits.memorySpelledCharsMin || length > limits.memorySpelledCharsMax) continue
      let id = this.#ids.get(word)
      if (id === undefined) {
        if (this.#ids.size >= limits.memoryVocabularyMax) continue
        id = this.#free.pop() ?? this.#words.length
        this.#set(id, own(word), 0)
      }
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
      this.#ids.delete(this.#words[id] as string)
      this.#words[id] = ''
      this.#lengths[id] = 0
      this.#free.push(id)
    }
    this.isChanged = true
  }

  /**
   * Words that slips make of `word`, itself and what begins with it apart: nearest and then
   * commonest first.
   */
  spellings(word: string, most: number): Spelling[] {
    const slips = slipsAllowed(word)
    if (slips === 0 || most === 0) return []
    const mask = maskOf(word)
    const found: Spelling[] = []
    for (let id = 0; id < this.#words.length; id += 1) {
      const other = this.#masks[id] as number
      if (Math.abs((this.#lengths[id] as number) - word.length) > slips) continue
      if (mask !== other && (bitCount(mask & ~other) > slips || bitCount(other & ~mask) > slips)) {
        continue
      }
      const candidate = this.#words[id] as string
      if (candidate === '' || candidate.startsWith(word)) continue
      const distance = editDistance(word, candidate, slips)
      if (distance > slips) continue
      found.push({ word: candidate, distance, memories: this.#counts[id] as number })
    }
    return found
      .sort((one, two) => one.distance - two.distance || two.memories - one.memories)
      .slice(0, most)
  }

  #set(id: number, word: string, count: number): void {
    if (id >= this.#counts.length) this.#grow()
    this.#words[id] = word
    this.#counts[id] = count
    this.#masks[id] = maskOf(word)
    this.#lengths[id] = word.length
    if (word === '') this.#free.push(id)
    else this.#ids.set(word, id)
  }

  #grow(): void {
    const capacity = this.#counts.length * 2
    const counts = new Uint32Array(capacity)
    counts.set(this.#counts)
    this.#counts = counts
    const masks = new Int32Array(capacity)
    masks.set(this.#masks)
    this.#masks = masks
    const lengths = new Uint8Array(capacity)
    lengths.set(this.#lengths)
    this.#lengths = lengths
  }
}

/** A part of a text would keep the whole of it in memory. */
function own(word: string): string {
  return Buffer.from(word, 'utf16le').toString('utf16le')
}

function maskOf(word: string): number {
  let mask = 0
  for (let index = 0; index < word.length; index += 1) mask |= 1 << (word.charCodeAt(index) & 31)
  return mask
}

/** Hacker's Delight, figure 5-2. */
function bitCount(bits: number): number {
  let count = bits - ((bits >>> 1) & 0x55555555)
  count = (count & 0x33333333) + ((count >>> 2) & 0x33333333)
  return Math.imul((count + (count >>> 4)) & 0x0f0f0f0f, 0x01010101) >>> 24
}
