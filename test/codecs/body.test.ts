import assert from 'node:assert/strict'
import { test } from 'node:test'
import { gzipSync } from 'node:zlib'
import { MessageRefusal, openUpload } from '../../src/codecs/body.ts'
import { inflate as inflateWithin } from '../../src/codecs/gzip.ts'
import type { DecodeUpload, SessionType } from '../../src/contracts/tasks.ts'
import { limits } from '../../src/limits.ts'
import { refusalOf } from '../support/refusal.ts'
import { type UploadOptions, uploadOf } from '../support/uploads.ts'

const records = [{ timestamp: 0, values: { a: 1 } }]

/** An upload of bytes as they are, whatever they claim to be. */
function rawUpload(bytes: Uint8Array, claim: Partial<DecodeUpload> = {}): DecodeUpload {
  const body = new ArrayBuffer(bytes.length)
  new Uint8Array(body).set(bytes)
  return { ...uploadOf('telemetry', null), body, byteLength: bytes.length, ...claim }
}

function message(document: object, options: UploadOptions = {}): DecodeUpload {
  return uploadOf('telemetry', document, { ...options, envelope: 'message' })
}

/** The member that an INVALID_BODY names. */
function wrongMember(upload: DecodeUpload): unknown {
  return refusalOf(() => openUpload(upload), 'INVALID_BODY').detail.fields?.field
}

function inflate(bytes: Uint8Array): Uint8Array {
  return inflateWithin(bytes, limits.inflatedBodyBytesMax)
}

test('an upload opens alike in either format, compressed or not', () => {
  for (const format of ['json', 'msgpack'] as const) {
    for (const gzip of [false, true]) {
      const opened = openUpload(uploadOf('telemetry', { records }, { format, gzip, spareBytes: 9 }))
      assert.deepStrictEqual({ ...opened.document }, { records })
      assert.equal(opened.type, 'telemetry')
      assert.equal(opened.id, null)
      assert.equal(opened.idempotencyKey, null)
    }
  }
})

test('binary values of a msgpack upload lie in the bytes that were parsed', () => {
  for (const gzip of [false, true]) {
    const frames = [{ imageData: Buffer.alloc(300, 7) }]
    const { document, bytes } = openUpload(
      uploadOf('video', { frames }, { format: 'msgpack', gzip }),
    )
    const [frame] = document.frames as { imageData: Uint8Array }[]
    assert.equal(frame?.imageData.buffer, bytes.buffer)
  }
})

test('a body that is not an object is refused', () => {
  for (const format of ['json', 'msgpack'] as const) {
    for (const body of [records, null, 1, 'records', true]) {
      assert.equal(wrongMember(uploadOf('telemetry', body, { format })), 'body')
    }
  }
  const binary = uploadOf('telemetry', Buffer.from('abc'), { format: 'msgpack' })
  assert.equal(wrongMember(binary), 'body')
  const date = uploadOf('telemetry', new Date(0), { format: 'msgpack' })
  assert.equal(wrongMember(date), 'body')
})

test('a body may hold the list of its session type and nothing else', () => {
  const lists = { telemetry: 'records', video: 'frames', audio: 'buffers' } as const
  for (const [type, list] of Object.entries(lists) as [SessionType, string][]) {
    assert.ok(openUpload(uploadOf(type, { [list]: [] })))
    assert.equal(wrongMember(uploadOf(type, { [list]: [], extra: 1 })), 'extra')
    for (const other of Object.values(lists)) {
      if (other !== list) assert.equal(wrongMember(uploadOf(type, { [other]: [] })), other)
    }
  }
  assert.equal(wrongMember(uploadOf('telemetry', { records, type: 'telemetry' })), 'type')
  assert.equal(wrongMember(uploadOf('telemetry', { records, toString: 1 })), 'toString')
})

test('a body in another format than it claims is refused', () => {
  const json = Buffer.from(JSON.stringify({ records }))
  const packed = new Uint8Array(uploadOf('telemetry', { records }, { format: 'msgpack' }).body)
  refusalOf(() => openUpload(rawUpload(json, { format: 'msgpack' })), 'MALFORMED_MSGPACK')
  refusalOf(() => openUpload(rawUpload(packed, { format: 'json' })), 'INVALID_UTF8')
  refusalOf(() => openUpload(rawUpload(json, { gzip: true })), 'MALFORMED_ENCODING')
  refusalOf(() => openUpload(rawUpload(gzipSync(json))), 'INVALID_UTF8')
  refusalOf(() => openUpload(rawUpload(new Uint8Array())), 'MALFORMED_JSON')
  const empty = rawUpload(new Uint8Array(), { format: 'msgpack' })
  refusalOf(() => openUpload(empty), 'MALFORMED_MSGPACK')
})

test('__proto__ is refused in a body and its frames, and left to the records of telemetry', () => {
  const json = (text: string, type: SessionType = 'telemetry') => ({
    ...rawUpload(Buffer.from(text)),
    settings: uploadOf(type, null).settings,
  })
  assert.equal(wrongMember(json('{"records":[],"__proto__":{"a":1}}')), '__proto__')
  assert.equal(wrongMember(json('{"frames":[{"__proto__":1}]}', 'video')), '__proto__')
  assert.equal(wrongMember(json('{"buffers":[],"__proto__":[]}', 'audio')), '__proto__')
  const { document } = openUpload(json('{"records":[{"values":{"__proto__":1}}]}'))
  const [record] = document.records as { values: object }[]
  assert.ok(Object.hasOwn(record?.values ?? {}, '__proto__'))
})

test('gzip that is broken, cut short or followed by anything is refused', () => {
  const whole = gzipSync(Buffer.from(JSON.stringify({ records })))
  const flipped = Buffer.from(whole)
  flipped[flipped.length - 6] = (flipped[flipped.length - 6] ?? 0) ^ 0xff
  const broken: [string, Uint8Array][] = [
    ['empty', new Uint8Array()],
    ['plain text', Buffer.from('hello')],
    ['a header alone', whole.subarray(0, 10)],
    ['without its last byte', whole.subarray(0, whole.length - 1)],
    ['a wrong checksum', flipped],
    ['followed by text', Buffer.concat([whole, Buffer.from('tail')])],
    ['followed by half a member', Buffer.concat([whole, whole.subarray(0, 12)])],
  ]
  for (const [name, bytes] of broken) {
    assert.ok(
      refusalOf(() => inflate(bytes), 'MALFORMED_ENCODING'),
      name,
    )
  }
})

test('a body that inflates to more than it declares is refused, as further members make it', () => {
  const members = Buffer.concat([gzipSync('{"records"'), gzipSync(':[]}')])
  refusalOf(() => inflate(members), 'MALFORMED_ENCODING')
})

test('a gzip bomb is refused with the bound', () => {
  const bomb = gzipSync(Buffer.alloc(limits.inflatedBodyBytesMax + 1), { level: 9 })
  assert.ok(bomb.length < limits.uploadBodyBytesMax / 100)
  const { detail, status } = refusalOf(() => inflate(bomb), 'BODY_TOO_LARGE')
  assert.equal(status, 413)
  assert.deepStrictEqual(detail.fields, { maxBytes: limits.inflatedBodyBytesMax })
})

test("a message gives its session's type, id and idempotency key", () => {
  for (const id of ['a', 7, -0.5, 'x'.repeat(limits.messageIdCharsMax)]) {
    const opened = openUpload(message({ type: 'telemetry', id, idempotencyKey: 'k-1', records }))
    assert.equal(opened.id, id)
    assert.equal(opened.idempotencyKey, 'k-1')
    assert.equal(opened.type, 'telemetry')
    assert.deepStrictEqual(opened.document.records, records)
  }
  const bare = openUpload(message({ type: 'telemetry', records }))
  assert.equal(bare.id, null)
  assert.equal(bare.idempotencyKey, null)
})

test('a message with a wrong envelope is refused, naming the member', () => {
  const wrong: [string, object][] = [
    ['type', { records }],
    ['type', { type: 1, records }],
    ['id', { type: 'telemetry', id: {}, records }],
    ['id', { type: 'telemetry', id: true, records }],
    ['id', { type: 'telemetry', id: 'x'.repeat(limits.messageIdCharsMax + 1), records }],
    ['idempotencyKey', { type: 'telemetry', idempotencyKey: '', records }],
    ['idempotencyKey', { type: 'telemetry', idempotencyKey: 'a b', records }],
    ['idempotencyKey', { type: 'telemetry', idempotencyKey: 'é', records }],
    ['idempotencyKey', { type: 'telemetry', idempotencyKey: 5, records }],
    [
      'idempotencyKey',
      {
        type: 'telemetry',
        idempotencyKey: 'x'.repeat(limits.idempotencyKeyCharsMax + 1),
        records,
      },
    ],
    ['extra', { type: 'telemetry', records, extra: 1 }],
  ]
  for (const [member, document] of wrong) assert.equal(wrongMember(message(document)), member)
  const nan = message({ type: 'telemetry', id: Number.NaN, records }, { format: 'msgpack' })
  assert.equal(wrongMember(nan), 'id')
})

test('a message refused for its envelope tells its id', () => {
  const upload = message({ type: 'telemetry', id: 'm-9', records, extra: 1 })
  const refusal = refusalOf(() => openUpload(upload), 'INVALID_BODY')
  assert.ok(refusal instanceof MessageRefusal)
  assert.equal(refusal.id, 'm-9')
})

test('ping and end are opened in a session of any type', () => {
  for (const type of ['ping', 'end']) {
    const upload = uploadOf('audio', { type, id: 3, timeoutMs: 5 }, { envelope: 'message' })
    const opened = openUpload(upload)
    assert.equal(opened.type, type)
    assert.equal(opened.id, 3)
    assert.equal(opened.document.timeoutMs, 5)
  }
})
