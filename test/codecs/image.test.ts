import assert from 'node:assert/strict'
import { test } from 'node:test'
import { verifyPixels } from '../../src/codecs/image.ts'
import { readJpegStructure } from '../../src/codecs/jpeg.ts'
import { MediaFault } from '../../src/codecs/media-fault.ts'
import { jpegFrame } from '../support/media.ts'

const frame = await jpegFrame({ width: 320, height: 240 })
const structure = readJpegStructure(frame)

test('baseline and progressive frames decode', async () => {
  await verifyPixels(frame, structure)
  const progressive = await jpegFrame({ width: 320, height: 240, progressive: true })
  await verifyPixels(progressive, readJpegStructure(progressive))
})

test('a frame whose structure is whole but whose data is corrupt is refused', async () => {
  const corrupt = frame.slice()
  for (let at = 2_000; at < 2_400; at += 2) corrupt.set([0xff, 0], at)
  assert.deepEqual(readJpegStructure(corrupt), structure)
  await assert.rejects(verifyPixels(corrupt, structure), (error) => {
    assert.ok(error instanceof MediaFault)
    assert.match(error.message, /cannot be decoded/)
    return true
  })
})

test('a frame that was cut and closed again is refused', async () => {
  const half = frame.slice(0, frame.length >> 1)
  half.set([0xff, 0xd9], half.length - 2)
  assert.deepEqual(readJpegStructure(half), structure)
  await assert.rejects(verifyPixels(half, structure), MediaFault)
})

test('a size that differs from what the decoder sees is refused', async () => {
  const sizes = [
    [321, 240],
    [319, 240],
    [320, 241],
    [320, 239],
    [240, 320],
    [640, 120],
  ] as const
  for (const [width, height] of sizes) {
    await assert.rejects(verifyPixels(frame, { ...structure, width, height }), MediaFault)
  }
})

test('corruption in the last rows of a frame alone is refused', async () => {
  const corrupt = frame.slice()
  for (let at = frame.length - 60; at < frame.length - 20; at += 2) corrupt.set([0xff, 0], at)
  assert.deepEqual(readJpegStructure(corrupt), structure)
  await assert.rejects(verifyPixels(corrupt, structure), MediaFault)
})

test('no loader but that for JPEG is left', async () => {
  const svg = Buffer.from('<svg xmlns="http://www.w3.org/2000/svg" width="320" height="240"/>')
  await assert.rejects(verifyPixels(svg, structure), MediaFault)
  const ppm = Buffer.concat([Buffer.from('P5 2 2 255\n'), Buffer.alloc(4)])
  await assert.rejects(verifyPixels(ppm, { ...structure, width: 2, height: 2 }), MediaFault)
})
