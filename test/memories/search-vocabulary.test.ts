import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { limits } from '../../src/limits.ts'
import { editDistance as distanceOf } from '../../src/memories/search/edit-distance.ts'
import { Vocabulary } from '../../src/memories/search/vocabulary.ts'

const shortWords = fc.string({ unit: fc.constantFrom('a', 'b', 'c'), maxLength: 7 })

const budget = () => ({ chars: limits.memoryQueryComparedCharsMax })

/** With the other word in the midst of others. */
function editDistance(one: string, other: string, most: number): number {
  const codes = (word: string) =>
    Uint16Array.from({ length: word.length }, (_, at) => word.charCodeAt(at))
  return distanceOf(codes(one), codes(`ab${other}cab`), 2, other.length, most)
}

/** All that one insertion, deletion, substitution or transposition makes of a word. */
function oneSlip(word: string, letters: readonly string[]): Set<string> {
  const made = new Set<string>([word])
  for (let at = 0; at <= word.length; at += 1) {
    const [head, tail] = [word.slice(0, at), word.slice(at)]
    if (tail !== '') made.add(head + tail.slice(1))
    if (tail.length > 1) made.add(head + tail[1] + tail[0] + tail.slice(2))
    for (const letter of letters) {
      made.add(head + letter + tail)
      if (tail !== '') made.add(head + letter + tail.slice(1))
    }
  }
  return made
}

test('a distance of one is what one slip makes, transpositions included', () => {
  fc.assert(
    fc.property(shortWords, shortWords, (one, other) => {
      const isNear = oneSlip(one, ['a', 'b', 'c']).has(other)
      assert.equal(editDistance(one, other, 1) <= 1, isNear)
    }),
    { numRuns: 2_000 },
  )
})

test('the bound cuts a distance and changes none below it', () => {
  fc.assert(
    fc.property(shortWords, shortWords, (one, other) => {
      const distance = editDistance(one, other, 7)
      assert.equal(editDistance(other, one, 7), distance)
      assert.equal(editDistance(one, other, 2), Math.min(distance, 3))
    }),
    { numRuns: 2_000 },
  )
  assert.equal(editDistance('ca', 'abc', 3), 3)
})

test('spellings are the nearest and commonest, found past the filter of characters', () => {
  const vocabulary = new Vocabulary()
  const word = fc.string({ unit: fc.constantFrom('a', 'é', '語', 'z'), minLength: 3, maxLength: 9 })
  fc.assert(
    fc.property(fc.array(word, { maxLength: 50 }), word, (words, asked) => {
      const ids = vocabulary.add(new Set(words))
      const slips = asked.length >= 8 ? 2 : asked.length >= 4 ? 1 : 0
      const expected = [...new Set(words)].filter(
        (other) => !other.startsWith(asked) && editDistance(asked, other, slips) <= slips,
      )
      const found = vocabulary.spellings(asked, 1_000, budget()).map((spelling) => spelling.word)
      assert.deepEqual(found.sort(), slips === 0 ? [] : expected.sort())
      vocabulary.release(ids)
      assert.deepEqual(vocabulary.spellings(asked, 1_000, budget()), [])
    }),
  )
  vocabulary.add(new Set(['stone', 'stove']))
  vocabulary.add(new Set(['stove']))
  assert.deepEqual(vocabulary.spellings('stobe', 1, budget()), [
    { word: 'stove', distance: 1, memories: 2 },
  ])
})

test('a vocabulary that was put aside comes back with its counts and its gaps', () => {
  const vocabulary = new Vocabulary()
  const gone = vocabulary.add(new Set(['kettle']))
  const kept = vocabulary.add(new Set(['kitten', 'mitten']))
  vocabulary.release(gone)
  const back = Vocabulary.unpack(vocabulary.pack())
  assert.deepEqual(back.spellings('kittne', 9, budget()), [
    { word: 'kitten', distance: 1, memories: 1 },
  ])
  assert.deepEqual(back.add(new Set(['kettle'])), gone)
  back.release(kept)
  assert.deepEqual(back.spellings('kittne', 9, budget()), [])
  assert.deepEqual(Vocabulary.unpack(new Vocabulary().pack()).spellings('kitten', 9, budget()), [])
})
