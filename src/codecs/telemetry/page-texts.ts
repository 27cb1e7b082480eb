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

/**
 * The form of strings, of which `lengths` tells the bytes and which stand in `text` one after the
 * other. What repeats is told once, in order of first appearance, where that takes fewer bytes.
 */
export function textsOf(lengths: Uint32Array, text: Uint8Array): TextsForm {
  if (lengths.length === 0) return noTexts
  const plain = { choices: null, lengths, lengthBytes: lengthBytesOf(lengths), text }
  if (lengths.length === 1) return plain
  const chosen = choose(lengths, text)
  return chosen !== null && sizeOf(chosen) < sizeOf(plain) ? chosen : plain
}

export function sizeOf({ choices, lengths, lengthBytes, text }: TextsForm): number {
  const choiceBytes = choices === null ? 0 : padded(choices.length)
  return choiceBytes + padded(lengths.length * lengthBytes) + padded(text.length)
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
const starts = new Uint32Array(choicesMax)
const sizes = new Uint32Array(choicesMax)

/**
 * The texts that differ and which of them each string is; null where they are more than
 * `choicesMax`.
 */
function choose(lengths: Uint32Array, text: Uint8Array): TextsForm | null {
  const choices = new Uint8Array(lengths.length)
  slots.fill(0)
  let texts = 0
  let bytes = 0
  let start = 0
  for (let index = 0; index < lengths.length; index += 1) {
    const length = lengths[index] as number
    let slot = hashOf(text, start, length)
    let known = slots[slot] as number
    while (known !== 0 && !isText(text, start, length, known - 1)) {
      slot = (slot + 1) & (slots.length - 1)
      known = slots[slot] as number
    }
    if (known === 0) {
      if (texts === choicesMax) return null
      starts[texts] = start
      sizes[texts] = length
      texts += 1
      bytes += length
      known = texts
      slots[slot] = known
    }
    choices[index] = known - 1
    start += length
  }
  if (texts === lengths.length) return null
  const joined = new Uint8Array(bytes)
  let at = 0
  for (let index = 0; index < texts; index += 1) {
    const from = starts[index] as number
    joined.set(text.subarray(from, from + (sizes[index] as number)), at)
    at += sizes[index] as number
  }
  const kept = sizes.slice(0, texts)
  return { choices, lengths: kept, lengthBytes: lengthBytesOf(kept), text: joined }
}

/** Of the length, the first and the last four bytes: names of states differ there. */
function hashOf(text: Uint8Array, start: number, length: number): number {
  let hash = length
  const head = Math.min(4, length)
  for (let at = start; at < start + head; at += 1) {
    hash = Math.imul(hash, 31) + (text[at] as number)
  }
  for (let at = start + Math.max(head, length - 4); at < start + length; at += 1) {
    hash = Math.imul(hash, 31) + (text[at] as number)
  }
  return Math.imul(hash, 0x9e37_79b1) >>> (32 - slotBits)
}

function isText(text: Uint8Array, start: number, length: number, known: number): boolean {
  if (sizes[known] !== length) return false
  const from = starts[known] as number
  for (let at = 0; at < length; at += 1) {
    if (text[from + at] !== text[start + at]) return false
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
