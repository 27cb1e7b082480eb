import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { test } from 'node:test'
import { pack } from 'msgpackr'
import {
  borrowBuffer,
  borrowCopy,
  dropIdleLarge,
  keepLarge,
  largeBuffer,
  returnBuffer,
} from '../../src/contracts/body-buffers.ts'
import { ownBuffer } from '../../src/contracts/buffers.ts'
import { limits } from '../../src/limits.ts'
import { tester } from '../support/actors.ts'
import { wavBuffer } from '../support/media.ts'
import { bearer, openDoor } from './door.ts'

const step = limits.largeBufferStepBytes

test('no more buffers are made than are kept, and each serves again', () => {
  for (const { bytes, count } of limits.bodyBufferClasses) {
    const buffers = Array.from({ length: count }, () => borrowBuffer(bytes))
    assert.ok(buffers.every((buffer) => buffer?.byteLength === bytes))
    assert.equal(borrowBuffer(bytes), null)
    for (const buffer of buffers) returnBuffer(buffer as SharedArrayBuffer)
    assert.equal(borrowBuffer(bytes - 1), buffers.at(-1))
    returnBuffer(buffers.at(-1) as SharedArrayBuffer)
  }
  const largest = limits.bodyBufferClasses.at(-1)?.bytes ?? 0
  assert.equal(borrowBuffer(largest + 1), null)
})

test('a copy of a borrowed buffer bears its bytes and is taken again with it', () => {
  const buffer = borrowBuffer(1_000)
  assert.ok(buffer)
  new Uint8Array(buffer).fill(7, 0, 1_000)
  const copy = borrowCopy(buffer, 1_000)
  assert.deepEqual(new Uint8Array(copy, 0, 1_000), new Uint8Array(1_000).fill(7))
  new Uint8Array(buffer).fill(8, 0, 1_000)
  assert.equal(new Uint8Array(copy)[0], 7)
  assert.equal(borrowCopy(buffer, 500), copy)
  assert.deepEqual([...new Uint8Array(copy, 498, 4)], [8, 8, 7, 7])
  returnBuffer(buffer)
})

test('a large buffer that was kept serves the next body of about its size and no other', () => {
  const buffer = largeBuffer(2 * step - 10)
  assert.equal(buffer.byteLength, 2 * step)
  keepLarge(buffer)
  assert.notEqual(largeBuffer(step), buffer)
  assert.equal(largeBuffer(step + 1), buffer)
  assert.notEqual(largeBuffer(step + 1), buffer)
})

test('a buffer that was not made as a large one is not kept', () => {
  const plain = new ArrayBuffer(step)
  keepLarge(plain)
  assert.notEqual(largeBuffer(step), plain)
  const odd = ownBuffer(step + 1)
  keepLarge(odd)
  assert.equal(odd.byteLength, step + 1)
})

test('what is kept past its bound gives its memory back at once', () => {
  const count = limits.largeBuffersKeptBytesMax / step
  const buffers = Array.from({ length: count + 1 }, () => largeBuffer(step))
  for (const buffer of buffers) keepLarge(buffer)
  assert.equal(buffers.filter(({ byteLength }) => byteLength === 0).length, 1)
  dropIdleLarge()
  for (let taken = 0; taken < count; taken++) assert.ok(buffers.includes(largeBuffer(step)))
})

test('buffers that came in memory that is used again are stored as each was sent', async (t) => {
  const door = await openDoor(t)
  const session = await door.sessions.start(tester, { sessionType: 'audio', batchSize: 1 })
  const shape = { sampleRate: 16_000, channels: 1 }
  // Bodies of 64 KB, which are shared, and of 5 MB, which go through the threads and come back.
  for (const durationMs of [2_000, 160_000]) {
    const sent: Buffer[] = []
    const upload = async (number: number) => {
      const wav = Buffer.from(wavBuffer({ ...shape, durationMs }))
      wav.writeUInt32LE(number, wav.length - 4)
      sent.push(wav)
      const timestamp = new Date(number).toISOString()
      const item = { bufferNumber: number, timestamp, format: 'wav', bitDepth: 16, ...shape }
      const reply = await fetch(`${door.url}/api/streaming/sessions/${session.id}/upload`, {
        method: 'POST',
        headers: { ...bearer(), 'Content-Type': 'application/msgpack' },
        body: pack({ buffers: [{ ...item, audioData: wav }] }),
      })
      assert.equal(reply.status, 200, await reply.text())
    }
    for (let round = 0; round < 4; round++) {
      await Promise.all([0, 1, 2].map((at) => upload(durationMs + 3 * round + at)))
    }
    for (const wav of sent) {
      const stored = door.store.blobs.get(session.tenant, createHash('sha256').update(wav).digest())
      assert.ok(stored !== null && wav.equals(stored))
    }
  }
})
