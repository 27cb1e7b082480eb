import { choicesMax, padded, widthOf } from './page-format.ts'

/** The strings of a column as they stand in a page. */
export interface TextsForm {
  /** Which text each string is; null: string i is text i. */
  readonly choices: Uint8Array | null
  /** Bytes of each text. */
  readonly lengths: Uint32Array
  readonly lengthBytes: number
  readonly text: Uint8Array
}

const noTexts: TextsForm = {
  choices: null,
  lengths: new Uint32Array(0),
  lengthBytes: 1,
  text: new Uint8Array(0),
}

/** A process has its own, which no client can know. Never does the form depend on it. */
const processKey = crypto.getRandomValues(new Uint32Array(2))

/**
 * The form of strings, of which `lengths` tells the bytes and which stand in `text` one after the
 * other. What repeats is told once, in order of first appearance, where that takes fewer bytes.
 * `key`: two numbers, with which strings are hashed.
 */
export function textsOf(lengths: Uint32Array, text: Uint8Array, key = processKey): TextsForm {
  if (lengths.length === 0) return noTexts
  const plain = { choices: null, lengths, lengthBytes: lengthBytesOf(lengths), text }
  if (lengths.length === 1) return plain
  return choose(plain, key) ?? plain
}

export function sizeOf({ choices, lengths, lengthBytes, text }: TextsForm): number {
  return partsSize(choices?.length ?? 0, lengths.length * lengthBytes, text.length)
}

function partsSize(choiceBytes: number, lengthsBytes: number, textBytes: number): number {
  return padded(choiceBytes) + padded(lengthsBytes) + padded(textBytes)
}

function lengthBytesOf(lengths: Uint32Array): number {
  let most = 0
  for (let index = 0; index < lengths.length; index += 1) {
    if ((lengths[index] as number) > most) most = lengths[index] as number
  }
  return widthOf(most)
}

const slotBits = 10
/** One more than the text that is in the slot; 0 is none. At most a quarter of them is taken. */
const slots = new Uint16Array(1 << slotBits)
const hashes = new Int32Array(choicesMax)
const starts = new Uint32Array(choicesMax)
const sizes = new Uint32Array(choicesMax)

/**
 * The texts that differ and which of them each string is; null where they are more than `choicesMax`
 * or take no fewer bytes than `plain`. The longest string is one of the texts, so lengths are as
 * wide as in `plain`, and each text only adds to the size: the first that makes it too large ends
 * the search.
 */
function choose(plain: TextsForm, key: Uint32Array): TextsForm | null {
  const { lengths, lengthBytes, text } = plain
  const plainSize = sizeOf(plain)
  const view = new DataView(text.buffer, text.byteOffset, text.length)
  const choices = new Uint8Array(lengths.length)
  slots.fill(0)
  let texts = 0
  let bytes = 0
  let start = 0
  for (let index = 0; index < lengths.length; index += 1) {
    const length = lengths[index] as number
    const hash = hashOf(view, start, length, key)
    let slot = hash >>> (32 - slotBits)
    let known = slots[slot] as number
    while (known !== 0 && !isText(view, start, length, hash, known - 1)) {
      slot = (slot + 1) & (slots.length - 1)
      known = slots[slot] as number
    }
    if (known === 0) {
      if (texts === choicesMax) return null
      hashes[texts] = hash
      starts[texts] = start
      sizes[texts] = length
      texts += 1
      bytes += length
      if (partsSize(lengths.length, texts * lengthBytes, bytes) >= plainSize) return null
      known = texts
      slots[slot] = known
    }
    choices[index] = known - 1
    start += length
  }
  const joined = new Uint8Array(bytes)
  let at = 0
  for (let index = 0; index < texts; index += 1) {
    const from = starts[index] as number
    joined.set(text.subarray(from, from + (sizes[index] as number)), at)
    at += sizes[index] as number
  }
  return { choices, lengths: sizes.slice(0, texts), lengthBytes, text: joined }
}

/**
 * HalfSipHash-1-3 (Aumasson and Bernstein, SipHash, 2012; Linux has its tables by it). Strings that
 * collide whatever the key, as they are easily made for hashes that only multiply, would have each
 * lookup compare them with all others.
 */
function hashOf(view: DataView, start: number, length: number, key: Uint32Array): number {
  const key0 = key[0] as number
  const key1 = key[1] as number
  let v0 = key0 | 0
  let v1 = key1 | 0
  let v2 = 0x6c79_6765 ^ key0
  let v3 = 0x7465_6462 ^ key1
  const end = start + length
  const wordsEnd = end - (length & 3)
  // The last word has the bytes that remain and the length; three rounds without a word follow.
  for (let at = start; at <= wordsEnd + 12; at += 4) {
    let word = 0
    if (at < wordsEnd) {
      word = view.getInt32(at, true)
    } else if (at === wordsEnd) {
      word = length << 24
      for (let rest = at; rest < end; rest += 1) word |= view.getUint8(rest) << (8 * (rest - at))
    } else if (at === wordsEnd + 4) {
      v2 ^= 0xff
    }
    v3 ^= word
    v0 = (v0 + v1) | 0
    v1 = ((v1 << 5) | (v1 >>> 27)) ^ v0
    v0 = (v0 << 16) | (v0 >>> 16)
    v2 = (v2 + v3) | 0
    v3 = ((v3 << 8) | (v3 >>> 24)) ^ v2
    v0 = (v0 + v3) | 0
    v3 = ((v3 << 7) | (v3 >>> 25)) ^ v0
    v2 = (v2 + v1) | 0
    v1 = ((v1 << 13) | (v1 >>> 19)) ^ v2
    v2 = (v2 << 16) | (v2 >>> 16)
    v0 ^= word
  }
  return v1 ^ v3
}

function isText(
  view: DataView,
  start: number,
  length: number,
  hash: number,
  known: number,
): boolean {
  if (hashes[known] !== hash || sizes[known] !== length) return false
  const from = starts[known] as number
  let at = 0
  for (; at + 4 <= length; at += 4) {
    if (view.getInt32(from + at, true) !== view.getInt32(start + at, true)) return false
  }
  for (; at < length; at += 1) {
    if (view.getUint8(from + at) !== view.getUint8(start + at)) return false
  }
  return true
}

/** Strings of a page as they lie there; they are decoded when they are first asked for. */
export class PackedTexts {
  #texts: readonly string[] | null = null

  constructor(
    readonly choices: Uint8Array | null,
    readonly lengths: Uint8Array | Uint16Array | Uint32Array,
    readonly text: Uint8Array,
  ) {}

  string(index: number): string {
    const text = this.choices === null ? index : (this.choices[index] as number)
    return this.texts[text] as string
  }

  /** The texts that differ, where there are choices; else every string. */
  get texts(): readonly string[] {
    if (this.#texts === null) {
      const text = Buffer.from(this.text.buffer, this.text.byteOffset, this.text.length)
      const texts: string[] = []
      let at = 0
      for (let index = 0; index < this.lengths.length; index += 1) {
        const end = at + (this.lengths[index] as number)
        texts.push(text.toString('utf8', at, end))
        at = end
      }
      this.#texts = texts
    }
    return this.#texts
  }
}
