import assert from 'node:assert/strict'
import { test } from 'node:test'
import { gzipSync } from 'node:zlib'
import { declaredLength, inflate } from '../../src/codecs/gzip.ts'
import { limits } from '../../src/limits.ts'

test('a gzip body is believed how long it will be, as far as its bytes can become that long', () => {
  for (const length of [0, 1, 1_000, limits.inflatedBodyBytesMax]) {
    const zipped = gzipSync(Buffer.alloc(length), { level: 9 })
    assert.equal(declaredLength(zipped), length)
    assert.equal(inflate(zipped, limits.inflatedBodyBytesMax).byteLength, length)
  }
  const liar = Buffer.concat([gzipSync('{}').subarray(0, -4), Buffer.alloc(4, 0xff)])
  assert.equal(declaredLength(liar), liar.length * 1_032)
  assert.equal(declaredLength(new Uint8Array(3)), 0)
})
