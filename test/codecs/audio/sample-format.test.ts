import assert from 'node:assert/strict'
import { test } from 'node:test'
import wavefile from 'wavefile'
import { decoderOf, type SampleFormat } from '../../../src/codecs/audio/sample-format.ts'
import { encoded, noise, pcm16, sampleKinds } from './audio.ts'

function decoded(kind: Pick<SampleFormat, 'format' | 'bitDepth'>, bytes: Uint8Array): number[] {
  const count = (bytes.length * 8) / kind.bitDepth
  const values = new Float64Array(count)
  decoderOf({ ...pcm16, ...kind })(bytes, 0, count, values)
  return [...values]
}

test('every byte of A-law and µ-law means what another implementation of G.711 says', () => {
  const bytes = Uint8Array.from({ length: 256 }, (_, byte) => byte)
  for (const [format, code] of [
    ['a-law', '8a'],
    ['mu-law', '8m'],
  ] as const) {
    const file = new wavefile.WaveFile()
    file.fromScratch(1, 8_000, code, [...bytes])
    if (format === 'a-law') file.fromALaw()
    else file.fromMuLaw()
    const expected = [...file.getSamples(false, Int16Array as never)].map((value) => value / 32_768)
    assert.deepEqual(
      decoded({ format, bitDepth: 8 }, bytes).map((value) => value + 0),
      expected.map((value) => value + 0),
    )
  }
})

test('the ends of each integer format are −1 and a step below 1', () => {
  const cases = [
    [8, '0080ff', [-1, 0, 127 / 128]],
    [16, '00800000ff7f', [-1, 0, 32_767 / 32_768]],
    [24, '000080000000ffff7f', [-1, 0, 8_388_607 / 8_388_608]],
    [32, '0000008000000000ffffff7f', [-1, 0, 2_147_483_647 / 2_147_483_648]],
  ] as const
  for (const [bitDepth, hex, expected] of cases) {
    assert.deepEqual(decoded({ format: 'pcm', bitDepth }, Buffer.from(hex, 'hex')), [...expected])
  }
})

test('floats are taken as they are, but for what no level can be computed of', () => {
  const values = [0.25, -1.5, Number.NaN, Number.POSITIVE_INFINITY, -1e30, 1e-30]
  const expected = [0.25, -1.5, 0, 1e6, -1e6]
  for (const bitDepth of [32, 64] as const) {
    const kind = { ...pcm16, format: 'ieee-float', bitDepth } as const
    const found = decoded(kind, encoded(kind, Float64Array.from(values)))
    assert.deepEqual(found.slice(0, 5), expected)
    assert.ok(Math.abs(Number(found[5]) - 1e-30) < 1e-36)
  }
})

test('samples are read from any address on', () => {
  for (const { format, bitDepth } of sampleKinds) {
    const bytes = encoded({ ...pcm16, format, bitDepth }, noise(50, 0.9, 3))
    const shifted = new Uint8Array(bytes.length + 3).subarray(3)
    shifted.set(bytes)
    assert.deepEqual(decoded({ format, bitDepth }, shifted), decoded({ format, bitDepth }, bytes))
    const step = format === 'pcm' || format === 'ieee-float' ? 2 ** (1 - bitDepth) : 1 / 25
    for (const [i, value] of decoded({ format, bitDepth }, bytes).entries()) {
      assert.ok(Math.abs(value - Number(noise(50, 0.9, 3)[i])) <= Math.max(step, 1e-7))
    }
  }
})
