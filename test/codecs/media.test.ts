import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { test } from 'node:test'
import { decodeBuffers, decodeFrames } from '../../src/codecs/media.ts'
import { Refusal } from '../../src/contracts/errors.ts'
import type { DecodeSettings, MediaItem } from '../../src/contracts/tasks.ts'
import { limits } from '../../src/limits.ts'
import { jpegFrame, wavBuffer } from '../support/media.ts'
import { rejectedIn } from '../support/rejected.ts'

const video: DecodeSettings = {
  sessionType: 'video',
  onInvalid: 'reject-records',
  verify: 'structure',
  schema: null,
}
const audio: DecodeSettings = { ...video, sessionType: 'audio' }
const images = await Promise.all(
  [1, 2, 3].map((seed) => jpegFrame({ width: 64, height: 48, seed })),
)
const waves = [1, 2, 3].map((seed) => wavBuffer({ seed, durationMs: 20 }))
const noBody = { bytes: new Uint8Array(0), body: new ArrayBuffer(0) }

type Members = Record<string, unknown>

function frameMembers(index: number, changes: Members = {}): Members {
  return {
    frameNumber: index,
    timestamp: '2025-01-20T10:30:00.033+01:00',
    imageData: Buffer.from(images[index % 3] ?? []).toString('base64'),
    format: 'jpeg',
    width: 64,
    height: 48,
    ...changes,
  }
}

function bufferMembers(index: number, changes: Members = {}): Members {
  return {
    bufferNumber: index,
    timestamp: '2025-01-20T10:30:00Z',
    audioData: Buffer.from(waves[index % 3] ?? []).toString('base64'),
    format: 'wav',
    sampleRate: 44_100,
    channels: 2,
    bitDepth: 16,
    ...changes,
  }
}

const frames = (...list: unknown[]) =>
  decodeFrames({ frames: list }, { format: 'json', ...noBody }, video)
const buffers = (...list: unknown[]) =>
  decodeBuffers({ buffers: list }, { format: 'json', ...noBody }, audio)

/**
 * Lays the images into one body and gives the frames as views into it, as the msgpack reader does.
 */
function binaryBody(capacity: number, at: number): { body: ArrayBuffer; list: Members[] } {
  const body = new ArrayBuffer(capacity)
  let end = at
  const list = images.map((image, index) => {
    const view = new Uint8Array(body, end, image.length)
    view.set(image)
    end += image.length + 5
    return frameMembers(index, { imageData: view })
  })
  return { body, list }
}

function checkItems(
  buffer: ArrayBufferLike,
  items: readonly MediaItem[],
  sent: Uint8Array[],
): void {
  assert.equal(items.length, sent.length)
  for (const [index, { byteOffset, byteLength, hash }] of items.entries()) {
    const bytes = new Uint8Array(buffer, byteOffset, byteLength)
    assert.deepEqual(bytes, sent[index])
    assert.equal(
      Buffer.from(hash).toString('hex'),
      createHash('sha256').update(bytes).digest('hex'),
    )
  }
}

async function refusal(promise: Promise<unknown>): Promise<Refusal> {
  try {
    await promise
  } catch (error) {
    assert.ok(error instanceof Refusal, String(error))
    return error
  }
  assert.fail('the upload was accepted')
}

test('frames in JSON come out byte for byte, hashed, in order, in one buffer', async () => {
  const { received, rejected, content } = await frames(...[0, 1, 2].map((i) => frameMembers(i)))
  assert.equal(received, 3)
  assert.equal(rejected.count, 0)
  checkItems(content.buffer, content.items, images)
  assert.deepEqual(content.items[1]?.metadata, {
    frameNumber: 1,
    timestamp: '2025-01-20T09:30:00.033Z',
    format: 'jpeg',
    width: 64,
    height: 48,
    encoding: 'baseline',
  })
})

test('buffers tell their samples and duration', async () => {
  const { content } = await buffers(...[0, 1, 2].map((i) => bufferMembers(i)))
  checkItems(content.buffer, content.items, waves)
  assert.deepEqual(content.items[2]?.metadata, {
    bufferNumber: 2,
    timestamp: '2025-01-20T10:30:00.000Z',
    format: 'wav',
    sampleRate: 44_100,
    channels: 2,
    bitDepth: 16,
    encoding: 'pcm',
    frames: 882,
    durationMs: 20,
  })
})

test('frames in msgpack stay where they lie in the body', async () => {
  const { body, list } = binaryBody(100_000, 33)
  const bytes = new Uint8Array(body, 0, 90_000)
  const decoded = await decodeFrames({ frames: list }, { format: 'msgpack', bytes, body }, video)
  assert.equal(decoded.content.buffer, body)
  checkItems(body, decoded.content.items, images)
})

test('frames that were inflated into a shared buffer are copied out of it', async () => {
  const { body, list } = binaryBody(100_000, 1_033)
  const bytes = new Uint8Array(body, 1_000, 90_000)
  const upload = new ArrayBuffer(10)
  const source = { format: 'msgpack' as const, bytes, body: upload }
  const { content } = await decodeFrames({ frames: list }, source, video)
  assert.notEqual(content.buffer, body)
  assert.equal(content.buffer.byteLength, 90_000)
  checkItems(content.buffer, content.items, images)
})

test('a wrong member refuses its record alone and says what was expected', async () => {
  const cases: [Members, string, string, RegExp][] = [
    [{ frameNumber: -1 }, 'frameNumber', 'integer', /Cannot parse '-1' as integer/],
    [{ frameNumber: 1.5 }, 'frameNumber', 'integer', /1\.5/],
    [{ frameNumber: '1' }, 'frameNumber', 'integer', /as integer/],
    [{ timestamp: 'noon' }, 'timestamp', 'datetime', /Cannot parse 'noon' as datetime/],
    [{ timestamp: '2025-02-30T00:00:00Z' }, 'timestamp', 'datetime', /datetime/],
    [{ timestamp: undefined }, 'timestamp', 'datetime', /timestamp is missing/],
    [{ format: 'jpg' }, 'format', "'jpeg'", /must be 'jpeg'/],
    [{ width: 65 }, 'width', 'integer', /width is 65, but the JPEG has 64/],
    [{ height: 47 }, 'height', 'integer', /height is 47, but the JPEG has 48/],
    [{ width: Number.NaN }, 'width', 'integer', /NaN/],
    [{ width: undefined }, 'width', 'integer', /width is missing/],
    [{ imageData: undefined }, 'imageData', 'JPEG', /imageData is missing/],
    [{ imageData: 7 }, 'imageData', 'base64 JPEG', /must be a base64 string/],
    [{ imageData: '_9j_' }, 'imageData', 'base64 JPEG', /not base64/],
    [{ imageData: '' }, 'imageData', 'JPEG', /empty/],
    [{ imageData: 'iVBORw0KGgo=' }, 'imageData', 'JPEG', /this is a PNG image/],
    [{ camera: 'left' }, 'camera', 'no such member', /camera is not a member of frames/],
  ]
  for (const [changes, field, expectedType, message] of cases) {
    const { received, rejected, content } = await frames(
      frameMembers(0),
      frameMembers(1, changes),
      frameMembers(2),
    )
    assert.equal(received, 3)
    assert.deepEqual(
      content.items.map(({ metadata }) => metadata.frameNumber),
      [0, 2],
    )
    checkItems(content.buffer, content.items, [images[0], images[2]] as Uint8Array[])
    const [fault] = rejectedIn(rejected)
    assert.ok(fault)
    assert.deepEqual([fault.recordIndex, fault.field, fault.expectedType], [1, field, expectedType])
    assert.match(fault.message, message)
    assert.ok(!('imageData' in JSON.parse(fault.record)))
  }
})

test('a record that is no object is refused', async () => {
  for (const record of [null, 7, 'x', [], [frameMembers(1)]]) {
    const { rejected } = await frames(frameMembers(0), record)
    assert.equal(rejected.shown[0]?.expectedType, 'object')
  }
})

test('a WAV whose header differs from the members is refused', async () => {
  const cases: [Members, string][] = [
    [{ sampleRate: 48_000 }, 'sampleRate'],
    [{ channels: 1 }, 'channels'],
    [{ bitDepth: 24 }, 'bitDepth'],
    [{ audioData: 'UklGRg==' }, 'audioData'],
    [{ format: 'pcm' }, 'format'],
  ]
  for (const [changes, field] of cases) {
    const { rejected } = await buffers(bufferMembers(0), bufferMembers(1, changes))
    assert.equal(rejected.shown[0]?.field, field)
  }
})

test('text in msgpack and bytes in JSON are the wrong carrier', async () => {
  const { body, list } = binaryBody(100_000, 0)
  const source = { format: 'msgpack' as const, bytes: new Uint8Array(body), body }
  const mixed = await decodeFrames({ frames: [list[0], frameMembers(1)] }, source, video)
  assert.equal(mixed.rejected.shown[0]?.expectedType, 'binary')
  const json = await frames(frameMembers(0), list[1])
  assert.equal(json.rejected.shown[0]?.expectedType, 'base64 JPEG')
  assert.match(String(json.rejected.shown[0]?.value), /^\d+ bytes$/)
})

test('what is kept of a rejected record is bounded', async () => {
  const long = 'é'.repeat(100_000)
  const many = Object.fromEntries(Array.from({ length: 2_000 }, (_, i) => [`m${i}`, long]))
  const { rejected } = await frames(frameMembers(0), frameMembers(1, { note: long }), many)
  const [note, members] = rejectedIn(rejected)
  assert.equal(String(note?.value).length, limits.shownValueCharsMax)
  assert.ok(Buffer.byteLength(note?.record ?? '') < limits.rejectedRecordBytesMax)
  assert.ok(Buffer.byteLength(members?.record ?? '') <= limits.rejectedRecordBytesMax)
})

test('an upload without a single valid record is refused and shows the first faults', async () => {
  const list = Array.from({ length: 150 }, (_, i) => frameMembers(i, { width: 1 }))
  const { code, detail } = await refusal(frames(...list))
  assert.equal(code, 'INVALID_RECORDS')
  const shown = detail.fields?.invalidRecords as Members[]
  assert.equal(shown.length, limits.invalidRecordsShownMax)
  assert.deepEqual(Object.keys(shown[99] ?? {}), [
    'recordIndex',
    'field',
    'value',
    'expectedType',
    'message',
  ])
})

test('under reject-batch one invalid record refuses the upload', async () => {
  const document = { frames: [frameMembers(0), frameMembers(1, { width: 1 })] }
  const settings: DecodeSettings = { ...video, onInvalid: 'reject-batch' }
  const promise = decodeFrames(document, { format: 'json', ...noBody }, settings)
  assert.equal((await refusal(promise)).code, 'INVALID_RECORDS')
})

test('a list that is missing, empty or no array is refused', async () => {
  for (const document of [{}, { frames: [] }, { frames: {} }, { frames: null }, { records: [1] }]) {
    const { code, detail } = await refusal(
      decodeFrames(document, { format: 'json', ...noBody }, video),
    )
    assert.equal(code, 'INVALID_BODY')
    assert.equal(detail.fields?.field, 'frames')
  }
})

test('more records than an upload may hold are refused by their number', async () => {
  const list = Array.from({ length: limits.uploadRecordsMax + 1 }, () => null)
  const { code, detail } = await refusal(frames(...list))
  assert.equal(code, 'BATCH_SIZE_EXCEEDED')
  assert.deepEqual(detail.fields, { maxBatchSize: 10_000, receivedBatchSize: 10_001 })
})

test('pixels are decoded only where the session asks for it', async () => {
  const corrupt = Buffer.from(images[0] ?? [])
  for (let at = 700; at < 900; at += 2) corrupt.writeUInt16BE(0xff00, at)
  const list = [frameMembers(0), frameMembers(1, { imageData: corrupt.toString('base64') })]
  assert.equal((await frames(...list)).rejected.count, 0)
  const settings: DecodeSettings = { ...video, verify: 'pixels' }
  const { rejected } = await decodeFrames({ frames: list }, { format: 'json', ...noBody }, settings)
  assert.equal(rejected.count, 1)
  assert.match(rejected.shown[0]?.message ?? '', /cannot be decoded/)
})
