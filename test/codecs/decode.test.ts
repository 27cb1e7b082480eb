import assert from 'node:assert/strict'
import { test } from 'node:test'
import { gzipSync } from 'node:zlib'
import { decodeUpload } from '../../src/codecs/decode.ts'
import { runTask } from '../../src/codecs/task.ts'
import type { ErrorCode } from '../../src/contracts/errors.ts'
import type { DecodeUpload, DecodeVerdict } from '../../src/contracts/tasks.ts'
import { jpegFrame, wavBuffer } from '../support/media.ts'
import { telemetryDocument, type UploadOptions, uploadOf } from '../support/uploads.ts'

const image = await jpegFrame({ width: 64, height: 48 })
const wave = wavBuffer({ durationMs: 20 })
const timestamp = '2025-01-20T10:30:00Z'
const frame = { frameNumber: 1, timestamp, format: 'jpeg', width: 64, height: 48 }
const audioBuffer = {
  bufferNumber: 1,
  timestamp,
  format: 'wav',
  sampleRate: 44_100,
  channels: 2,
  bitDepth: 16,
}

async function accepted(
  upload: DecodeUpload,
): Promise<Extract<DecodeVerdict, { kind: 'accepted' }>> {
  const verdict = await decodeUpload(upload)
  assert.ok(verdict.kind === 'accepted', JSON.stringify(verdict))
  return verdict
}

async function refused(upload: DecodeUpload, code: ErrorCode) {
  const verdict = await decodeUpload(upload)
  assert.ok(verdict.kind === 'refused', 'the upload was accepted')
  assert.equal(verdict.code, code, verdict.message)
  return verdict
}

function message(document: object, options: UploadOptions = {}): DecodeUpload {
  return uploadOf('telemetry', document, { ...options, envelope: 'message' })
}

function raw(bytes: Uint8Array, changes: Partial<DecodeUpload> = {}): DecodeUpload {
  const body = new Uint8Array(bytes).buffer
  return { ...uploadOf('telemetry', {}), body, byteLength: bytes.length, ...changes }
}

test('each session type is decoded from JSON and msgpack, plain and gzip', async () => {
  for (const format of ['json', 'msgpack'] as const) {
    const carry = (bytes: Uint8Array) =>
      format === 'json' ? Buffer.from(bytes).toString('base64') : bytes
    for (const gzip of [false, true]) {
      const options = { format, gzip }
      const telemetry = await accepted(uploadOf('telemetry', telemetryDocument(10), options))
      assert.ok(telemetry.content.kind === 'page')
      assert.equal(telemetry.content.page.records, 10)
      const frames = { frames: [{ ...frame, imageData: carry(image) }] }
      const buffers = { buffers: [{ ...audioBuffer, audioData: carry(wave) }] }
      for (const [upload, sent] of [
        [uploadOf('video', frames, options), image],
        [uploadOf('audio', buffers, options), wave],
      ] as const) {
        const { content, received, rejected } = await accepted(upload)
        assert.ok(content.kind === 'media')
        assert.deepEqual([received, rejected.count], [1, 0])
        const { byteOffset, byteLength } = content.items[0] ?? { byteOffset: 0, byteLength: 0 }
        assert.deepEqual(new Uint8Array(content.buffer, byteOffset, byteLength), sent)
        assert.equal(content.buffer === upload.body, format === 'msgpack' && !gzip)
      }
    }
  }
})

test('a body that is not what it claims to be is refused by name', async () => {
  await refused(raw(Buffer.from('{"records":[')), 'MALFORMED_JSON')
  await refused(raw(Buffer.from([0x22, 0xff, 0x22])), 'INVALID_UTF8')
  await refused(raw(Buffer.from([0x81, 0xa1]), { format: 'msgpack' }), 'MALFORMED_MSGPACK')
  await refused(raw(Buffer.from('{}'), { gzip: true }), 'MALFORMED_ENCODING')
  await refused(raw(Buffer.from('['.repeat(10_000))), 'NESTING_TOO_DEEP')
  const bomb = gzipSync(Buffer.alloc(129 * 1024 * 1024, 0x20))
  await refused(raw(bomb, { gzip: true }), 'BODY_TOO_LARGE')
})

test('a body of another session type is refused and told what was expected', async () => {
  const sent = [
    [uploadOf('telemetry', { frames: [frame] }), 'frames', /records/],
    [uploadOf('audio', { frames: [frame] }), 'frames', /buffers/],
    [uploadOf('video', telemetryDocument(1)), 'records', /frames/],
  ] as const
  for (const [upload, field, text] of sent) {
    const verdict = await refused(upload, 'INVALID_BODY')
    assert.equal(verdict.fields.field, field)
    assert.match(verdict.message, text)
  }
})

test('a message bears its id and idempotencyKey into the verdict', async () => {
  const document = { type: 'telemetry', id: 7, idempotencyKey: 'k-1', ...telemetryDocument(2) }
  for (const format of ['json', 'msgpack'] as const) {
    const verdict = await accepted(message(document, { format }))
    assert.deepEqual([verdict.id, verdict.idempotencyKey, verdict.received], [7, 'k-1', 2])
  }
  const plain = await accepted(uploadOf('telemetry', telemetryDocument(2)))
  assert.deepEqual([plain.id, plain.idempotencyKey], [null, null])
})

test('ping and end are control messages, with what else they say', async () => {
  assert.deepEqual(await decodeUpload(message({ type: 'ping', id: 'p' })), {
    kind: 'control',
    id: 'p',
    type: 'ping',
    options: {},
  })
  const end = { type: 'end', waitForCompletion: false, timeoutMs: 5 }
  assert.deepEqual(await decodeUpload(message(end)), {
    kind: 'control',
    id: null,
    type: 'end',
    options: { waitForCompletion: false, timeoutMs: 5 },
  })
})

test('a message that is refused bears its id', async () => {
  const { id, fields } = await refused(message({ type: 'video', id: 'm-1' }), 'INVALID_BODY')
  assert.equal(id, 'm-1')
  assert.equal(fields.field, 'type')
  const invalid = await refused(
    message({ type: 'telemetry', id: 'm-2', records: [] }),
    'INVALID_BODY',
  )
  assert.equal(invalid.id, 'm-2')
  const wrongKey = { type: 'telemetry', id: 'm-3', idempotencyKey: ' ', ...telemetryDocument(1) }
  assert.equal((await refused(message(wrongKey), 'INVALID_BODY')).id, 'm-3')
  const extra = { type: 'telemetry', id: 4, colour: 'red', ...telemetryDocument(1) }
  assert.equal((await refused(message(extra), 'INVALID_BODY')).id, 4)
})

test('the buffers of a task that go back are those of its accepted uploads', async () => {
  const frames = { frames: [{ ...frame, imageData: image }] }
  const uploads = [
    uploadOf('telemetry', telemetryDocument(3)),
    raw(Buffer.from('no')),
    uploadOf('video', frames, { format: 'msgpack' }),
  ]
  const { result, transfer } = await runTask({ kind: 'decode', uploads })
  assert.ok('verdicts' in result)
  const [page, wrong, media] = result.verdicts
  assert.equal(wrong?.kind, 'refused')
  assert.ok(page?.kind === 'accepted' && page.content.kind === 'page')
  assert.ok(media?.kind === 'accepted' && media.content.kind === 'media')
  assert.deepEqual(transfer, [page.content.page.bytes.buffer, media.content.buffer])
  assert.equal(media.content.buffer, uploads[2]?.body)
  assert.equal(page.content.page.bytes.byteLength, transfer[0]?.byteLength)
})
