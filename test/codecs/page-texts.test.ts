import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { choicesMax } from '../../src/codecs/telemetry/page-format.ts'
import {
  PackedTexts,
  sizeOf,
  type TextsForm,
  textsOf,
} from '../../src/codecs/telemetry/page-texts.ts'

const key = fc.tuple(fc.nat(0xffff_ffff), fc.nat(0xffff_ffff)).map((pair) => Uint32Array.from(pair))
const anyKeys = fc.array(key, { minLength: 1, maxLength: 4 })
/** Alike in length and in both ends, as texts that a page's own hash once took for one. */
const alike = fc.nat(300).map((number) => `same${String(number).padStart(4, '0')}ends`)
const anyStrings = fc.array(
  fc.oneof(
    alike,
    fc.string({ unit: 'grapheme', maxLength: 9 }),
    fc.constantFrom('', 'a', 'ok', 'éé', 'a state of many more than eight bytes'),
  ),
  { maxLength: 600, size: 'max' },
)

function pack(strings: readonly string[]): [lengths: Uint32Array, text: Uint8Array] {
  const texts = strings.map((string) => Buffer.from(string))
  return [Uint32Array.from(texts, (text) => text.length), new Uint8Array(Buffer.concat(texts))]
}

/** The same by a map of strings: what repeats is told once where that is smaller. */
function expected(strings: readonly string[]): TextsForm {
  const [lengths, text] = pack(strings)
  const lengthBytes = Math.max(...lengths, 0) < 0x100 ? 1 : 2
  const plain = { choices: null, lengths, lengthBytes, text }
  const known = new Map([...new Set(strings)].map((string, index) => [string, index]))
  if (known.size > choicesMax) return plain
  const [sizes, joined] = pack([...known.keys()])
  const choices = Uint8Array.from(strings, (string) => known.get(string) ?? 0)
  const chosen = { choices, lengths: sizes, lengthBytes, text: joined }
  return sizeOf(chosen) < sizeOf(plain) ? chosen : plain
}

test('which form strings have follows from them alone, whatever the key of their hashes', () => {
  fc.assert(
    fc.property(anyStrings, anyKeys, (strings, keys) => {
      const form = textsOf(...pack(strings))
      assert.deepEqual(form, expected(strings))
      for (const one of keys) assert.deepEqual(textsOf(...pack(strings), one), form)
      const packed = new PackedTexts(form.choices, form.lengths, form.text)
      for (const [index, string] of strings.entries()) assert.equal(packed.string(index), string)
    }),
    { numRuns: 300 },
  )
})

test('so many texts as there are choices stand once, one more and all stand as they are', () => {
  for (const texts of [choicesMax, choicesMax + 1]) {
    const strings = Array.from({ length: 10 * texts }, (_, index) => `state ${index % texts}`)
    const form = textsOf(...pack(strings))
    assert.equal(form.lengths.length, texts === choicesMax ? texts : strings.length)
    assert.deepEqual(form, expected(strings))
  }
})

test('long texts that differ only in their middle are told apart without comparing them all', () => {
  const filler = 'x'.repeat(8_000)
  const strings = Array.from(
    { length: 1_000 },
    (_, index) => `${filler}${String(index % choicesMax).padStart(3, '0')}${filler}`,
  )
  const packed = pack(strings)
  const startMs = performance.now()
  for (let column = 0; column < 10; column += 1) {
    assert.equal(textsOf(...packed).lengths.length, choicesMax)
  }
  const tookMs = performance.now() - startMs
  // Of 16 MB each: 150 ms, and 3,900 ms where each text is compared with all before it.
  assert.ok(tookMs < 1_500, `${tookMs} ms`)
})
