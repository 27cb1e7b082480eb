import { nastyBytes, nastyMsgpack, nastyTexts } from './corpus.ts'
import type { Random } from './random.ts'

const mutationsMax = 4
const pieceBytesMax = 64
const structural = Buffer.from('{}[]",:\\0-.eE \u0000\u007f')

type Mutation = (bytes: Buffer, random: Random, other: Buffer) => Buffer

/** One to four small damages to a body; `other` is where foreign pieces come from. */
export function mutate(bytes: Buffer, random: Random, other: Buffer): Buffer {
  let mutated = bytes
  for (let left = random.int(1, mutationsMax); left > 0; left -= 1) {
    mutated = random.pick(mutations)(mutated, random, other)
  }
  return mutated
}

const mutations: readonly Mutation[] = [
  function flipBit(bytes, random) {
    if (bytes.length === 0) return bytes
    const flipped = Buffer.from(bytes)
    const at = random.int(0, bytes.length - 1)
    flipped[at] = (flipped[at] ?? 0) ^ (1 << random.int(0, 7))
    return flipped
  },
  function setByte(bytes, random) {
    if (bytes.length === 0) return bytes
    const set = Buffer.from(bytes)
    set[random.int(0, bytes.length - 1)] = random.chance(0.5)
      ? random.int(0, 255)
      : (structural[random.int(0, structural.length - 1)] ?? 0)
    return set
  },
  function cutTail(bytes, random) {
    return bytes.subarray(0, random.int(0, bytes.length))
  },
  function cutOut(bytes, random) {
    const from = random.int(0, bytes.length)
    return replaced(bytes, from, from + random.int(0, pieceBytesMax), Buffer.alloc(0))
  },
  function repeatPiece(bytes, random) {
    const from = random.int(0, bytes.length)
    const piece = bytes.subarray(from, from + random.int(0, pieceBytesMax))
    return replaced(bytes, from, from, piece)
  },
  function splice(bytes, random, other) {
    const from = random.int(0, other.length)
    const piece = other.subarray(from, from + random.int(0, pieceBytesMax))
    const at = random.int(0, bytes.length)
    return replaced(bytes, at, at + (random.chance(0.5) ? piece.length : 0), piece)
  },
  function insertNasty(bytes, random) {
    const source = random.int(0, 2)
    const texts = source === 0 ? Buffer.from(random.pick(nastyTexts)) : null
    const piece = texts ?? random.pick(source === 1 ? nastyBytes : nastyMsgpack)
    const at = random.int(0, bytes.length)
    return replaced(bytes, at, at + random.int(0, piece.length), piece)
  },
  /** Numbers, strings and words are where a reader decides most. */
  function replaceToken(bytes, random) {
    const text = bytes.toString('latin1')
    const tokens = [...text.slice(0, 4_096).matchAll(/"[^"\\]*"|-?\d[\d.eE+-]*|true|false|null/g)]
    if (tokens.length === 0) return bytes
    const token = random.pick(tokens)
    const nasty = Buffer.from(random.pick(nastyTexts))
    return replaced(bytes, token.index, token.index + token[0].length, nasty)
  },
]

function replaced(bytes: Buffer, from: number, to: number, piece: Buffer): Buffer {
  return Buffer.concat([bytes.subarray(0, from), piece, bytes.subarray(to)])
}
