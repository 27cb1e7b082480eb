import type { MemoryRow } from '../src/store/interfaces.ts'
import { seededRandom } from './random.ts'

const vocabularyWords = 25_000
const contentChars = 1_024
const typoShare = 0.01
const taggedWords = 200
const types = ['note', 'fact', 'event', 'task'] as const
const sources = 10
const createdAtMs = Date.UTC(2026, 0, 1)
const onsets = 'b c d f g h j k l m n p r s t v w z br ch cl dr fl gr pl sh st th tr'.split(' ')
const vowels = 'a e i o u ai ea ou'.split(' ')
const codas = ['', '', 'n', 'r', 's', 'l', 't']

export interface SearchQuery {
  readonly kind: 'word' | 'words' | 'prefix' | 'slip' | 'filter'
  readonly body: Readonly<Record<string, unknown>>
}

/**
 * Texts of about 1 KB out of 25,000 made-up words, as often as Zipf's law says, one in a hundred
 * misspelt; and queries for them. The seed alone decides.
 */
export class MemoryTexts {
  readonly #random: () => number
  readonly #words: readonly string[]
  /** Sums of 1 / rank. */
  readonly #sums = new Float64Array(vocabularyWords)

  constructor(seed: number) {
    this.#random = seededRandom(seed)
    const words = new Set<string>()
    while (words.size < vocabularyWords) {
      const syllables = 1 + this.#below(3)
      const word = Array.from({ length: syllables }, () => this.#syllable()).join('')
      if (word.length > 2) words.add(word)
    }
    this.#words = [...words]
    let sum = 0
    for (let rank = 0; rank < vocabularyWords; rank += 1) {
      sum += 1 / (rank + 1)
      this.#sums[rank] = sum
    }
  }

  memory(tenant: number): Omit<MemoryRow, 'number'> {
    let content = ''
    while (content.length < contentChars) content += `${this.#writtenWord()} `
    return {
      tenant,
      content,
      title: [1, 2, 3].map(() => this.#writtenWord()).join(' '),
      type: types[this.#below(types.length)] as string,
      tags: [this.#tag(), `${this.#tag()}-${this.#tag()}`],
      metadata: { source: `source-${this.#below(sources)}` },
      createdAtMs,
      createdBy: 'bench',
      updatedAtMs: createdAtMs,
      updatedBy: 'bench',
    }
  }

  /** Each kind comes equally often. */
  query(index: number): SearchQuery {
    switch (index % 5) {
      case 0:
        return { kind: 'word', body: { query: this.#word() } }
      case 1:
        return { kind: 'words', body: { query: `${this.#word()} ${this.#word()} ${this.#word()}` } }
      case 2: {
        const chars = 2 + this.#below(3)
        return { kind: 'prefix', body: { query: this.#longWord().slice(0, chars) } }
      }
      case 3:
        return {
          kind: 'slip',
          body: { query: `${this.#misspelt(this.#longWord())} ${this.#word()}` },
        }
      default: {
        const filter = { type: 'note', metadata: { source: `source-${this.#below(sources)}` } }
        return { kind: 'filter', body: { query: `${this.#word()} ${this.#word()}`, ...filter } }
      }
    }
  }

  #below(bound: number): number {
    return Math.floor(this.#random() * bound)
  }

  #syllable(): string {
    return [onsets, vowels, codas].map((of) => of[this.#below(of.length)] as string).join('')
  }

  #tag(): string {
    return this.#words[this.#below(taggedWords)] as string
  }

  #word(): string {
    const sum = this.#random() * (this.#sums.at(-1) as number)
    let low = 0
    let high = vocabularyWords - 1
    while (low < high) {
      const middle = (low + high) >> 1
      if ((this.#sums[middle] as number) < sum) low = middle + 1
      else high = middle
    }
    return this.#words[low] as string
  }

  #longWord(): string {
    for (;;) {
      const word = this.#word()
      if (word.length > 4) return word
    }
  }

  #writtenWord(): string {
    const word = this.#word()
    return this.#random() < typoShare ? this.#misspelt(word) : word
  }

  #misspelt(word: string): string {
    const at = this.#below(word.length)
    const letter = String.fromCharCode(97 + this.#below(26))
    const [head, tail] = [word.slice(0, at), word.slice(at)]
    switch (this.#below(4)) {
      case 0:
        return head + letter + tail
      case 1:
        return head + tail.slice(1)
      case 2:
        return head + letter + tail.slice(1)
      default:
        return tail.length < 2 ? word + letter : head + tail[1] + tail[0] + tail.slice(2)
    }
  }
}
