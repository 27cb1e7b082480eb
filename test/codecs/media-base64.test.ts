import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { base64ByteLength, decodeBase64 } from '../../src/codecs/base64.ts'

function decode(text: string): Buffer | null {
  const byteLength = base64ByteLength(text)
  if (byteLength === null) return null
  const target = Buffer.alloc(byteLength + 8, 0xaa)
  if (!decodeBase64(text, target, 4, byteLength)) return null
  assert.deepEqual([...target.subarray(0, 4), ...target.subarray(-4)], Array(8).fill(0xaa))
  return target.subarray(4, 4 + byteLength)
}

test('whatever was encoded comes back, padded or not', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 100 }), (bytes) => {
      const text = Buffer.from(bytes).toString('base64')
      assert.deepEqual(decode(text), Buffer.from(bytes))
      assert.deepEqual(decode(text.replace(/=+$/, '')), Buffer.from(bytes))
    }),
    { seed: 13 },
  )
})

test('what is not base64 is refused', () => {
  const refused = [
    'A',
    'AB=',
    'A===',
    '====',
    '=',
    'ABCDE===',
    'ABCD====',
    'AB==ABCD',
    'AB=C',
    'AB CDEF',
    'ABCD\nABCD',
    ' ABCD',
    'ABC-',
    'ABC_',
    'ABC*',
    'ABC\0',
    'ABC\u00e9',
    'ABC\u0141',
    'ABC\u{1f600}xyz',
    '\u0141'.repeat(8),
  ]
  for (const text of refused) assert.equal(decode(text), null, JSON.stringify(text))
})

test('one wrong character anywhere in a text is seen', () => {
  const text = Buffer.alloc(33, 7).toString('base64')
  for (let at = 0; at < text.length; at++) {
    for (const wrong of ['-', '_', ' ', '!', '\u0141', '\u00c1']) {
      assert.equal(decode(text.slice(0, at) + wrong + text.slice(at + 1)), null)
    }
  }
})
