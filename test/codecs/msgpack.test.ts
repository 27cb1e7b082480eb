import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { Packr, Unpackr } from 'msgpackr'
import { parseMsgpack } from '../../src/codecs/msgpack.ts'
import { PreciseDate } from '../../src/codecs/telemetry/timestamp.ts'
import { Refusal } from '../../src/contracts/errors.ts'
import { limits } from '../../src/limits.ts'
import { refusalOf } from '../support/refusal.ts'

const packr = new Packr({ useRecords: false })
const unpackr = new Unpackr({ useRecords: false, int64AsType: 'number' })
const bytesOf = (...bytes: number[]) => Uint8Array.from(bytes)

const name = fc.string({ maxLength: 6 }).filter((given) => given !== '__proto__')
const { value: anyValue } = fc.letrec((tie) => ({
  value: fc.oneof(
    { maxDepth: 5 },
    fc.integer(),
    fc.double(),
    fc.maxSafeInteger(),
    fc.boolean(),
    fc.constant(null),
    fc.string({ unit: 'grapheme', maxLength: 80 }),
    fc.uint8Array({ maxLength: 40 }),
    fc.array(tie('value'), { maxLength: 20 }),
    fc.dictionary(name, tie('value'), { maxKeys: 20, noNullPrototype: true }),
  ),
}))

test('what msgpackr packs is taken and means the same', () => {
  fc.assert(
    fc.property(anyValue, (value) => {
      const bytes = packr.pack(value)
      assert.deepStrictEqual(parseMsgpack(bytes), unpackr.unpack(bytes))
    }),
    { numRuns: 500 },
  )
})

test('random bytes give a value or a Refusal', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => {
      takeOrRefuse(bytes)
    }),
    { numRuns: 1_000 },
  )
})

test('a valid body with bytes changed, cut or added gives a value or a Refusal', () => {
  const change = fc.record({
    at: fc.nat(),
    put: fc.oneof(
      fc.uint8Array({ maxLength: 4 }),
      fc.constantFrom(
        bytesOf(0xdd, 0xff, 0xff, 0xff, 0xff),
        bytesOf(0xdf, 0x7f, 0xff, 0xff, 0xff),
        bytesOf(0xc6, 0xff, 0xff, 0xff, 0xff),
        bytesOf(0xdb, 0x80, 0, 0, 0),
        bytesOf(0xd4, 0x72, 0x40),
        bytesOf(0xc1),
      ),
    ),
    drop: fc.nat({ max: 4 }),
  })
  fc.assert(
    fc.property(anyValue, change, (value, { at, put, drop }) => {
      const good = packr.pack(value)
      const start = at % (good.length + 1)
      takeOrRefuse(Buffer.concat([good.subarray(0, start), put, good.subarray(start + drop)]))
    }),
    { numRuns: 1_000 },
  )
})

test('every body cut short is refused', () => {
  const good = packr.pack({
    records: [{ timestamp: 1.5, values: { a: 'text', b: null, c: [1, 2] } }],
  })
  for (let end = 0; end < good.length; end += 1) {
    refusalOf(() => parseMsgpack(good.subarray(0, end)), 'MALFORMED_MSGPACK')
  }
})

test('declared lengths beyond the bytes are refused before anything is made of them', () => {
  for (const head of [0xc6, 0xdb, 0xdd, 0xdf]) {
    refusalOf(() => parseMsgpack(bytesOf(head, 0xff, 0xff, 0xff, 0xff, 1)), 'MALFORMED_MSGPACK')
  }
  for (const head of [0xc5, 0xda, 0xdc, 0xde]) {
    refusalOf(() => parseMsgpack(bytesOf(head, 0xff, 0xff, 1)), 'MALFORMED_MSGPACK')
  }
})

test('bytes after the value are refused', () => {
  refusalOf(() => parseMsgpack(bytesOf(0x80, 0x80)), 'MALFORMED_MSGPACK')
  refusalOf(() => parseMsgpack(bytesOf(0x80, 0x00)), 'MALFORMED_MSGPACK')
})

test('keys must be text', () => {
  for (const key of [
    [0x01],
    [0xc0],
    [0xc3],
    [0xc4, 1, 0x61],
    [0x80],
    [0x90],
    [0xcb, 0, 0, 0, 0, 0, 0, 0, 0],
  ]) {
    const { message } = refusalOf(() => parseMsgpack(bytesOf(0x81, ...key, 1)), 'MALFORMED_MSGPACK')
    assert.match(message, /A key is not text at 1/)
  }
})

test('text that is not UTF-8 is refused, as key and as value, short and long', () => {
  for (const length of [1, 30, 100]) {
    const text = [0xd9, length, ...Array<number>(length - 1).fill(0x61), 0xff]
    refusalOf(() => parseMsgpack(bytesOf(0x91, ...text)), 'INVALID_UTF8')
    refusalOf(() => parseMsgpack(bytesOf(0x81, ...text, 1)), 'INVALID_UTF8')
  }
  refusalOf(() => parseMsgpack(bytesOf(0xa3, 0xed, 0xa0, 0x80)), 'INVALID_UTF8')
})

test('a key __proto__ is refused at every depth and in every length of head', () => {
  const name = [...Buffer.from('__proto__')]
  for (const head of [[0xa9], [0xd9, 9], [0xda, 0, 9], [0xdb, 0, 0, 0, 9]]) {
    for (const around of [[], [0x91], [0x81, 0xa1, 0x61]]) {
      const bytes = bytesOf(...around, 0x81, ...head, ...name, 0x80)
      const { detail } = refusalOf(() => parseMsgpack(bytes), 'INVALID_BODY')
      assert.equal(detail.fields?.field, '__proto__')
    }
  }
  assert.equal(parseMsgpack(bytesOf(0xa9, ...name)), '__proto__')
})

test('extension types are refused, but for timestamps', () => {
  const extensions = [
    [0xd4, 0x00, 0x00],
    [0xd4, 0x72, 0x40],
    [0xd5, 0xff, 0, 0],
    [0xd6, 0x01, 0, 0, 0, 0],
    [0xd8, 0xff, ...Array<number>(16).fill(0)],
    [0xc7, 0x00, 0xff],
    [0xc7, 0x05, 0xff, 0, 0, 0, 0, 0],
    [0xc8, 0x00, 0x04, 0xff, 0, 0, 0, 0],
    [0xc1],
  ]
  for (const extension of extensions) {
    refusalOf(() => parseMsgpack(bytesOf(...extension)), 'MALFORMED_MSGPACK')
  }
})

test('timestamps of all three sizes are kept to the microsecond', () => {
  const seconds = 1_737_369_000
  const short = Buffer.from([0xd6, 0xff, 0, 0, 0, 0])
  short.writeUInt32BE(seconds, 2)
  const middle = Buffer.from([0xd7, 0xff, ...Array<number>(8).fill(0)])
  middle.writeBigUInt64BE((123_456_789n << 34n) | BigInt(seconds), 2)
  const long = Buffer.from([0xc7, 12, 0xff, ...Array<number>(12).fill(0)])
  long.writeUInt32BE(999_999_999, 3)
  long.writeBigInt64BE(-1n, 7)
  for (const [bytes, ms, us] of [
    [short, seconds * 1000, 0],
    [middle, seconds * 1000 + 123, 456],
    [long, -1, 999],
  ] as const) {
    const date = parseMsgpack(bytes)
    assert.ok(date instanceof PreciseDate)
    assert.deepEqual([date.getTime(), date.us], [ms, us])
  }
  long.writeUInt32BE(1_000_000_000, 3)
  assert.ok(Number.isNaN((parseMsgpack(long) as Date).getTime()), 'nanoseconds past a second')
})

test('binary values are views into the body', () => {
  const body = new Uint8Array(packr.pack({ a: Uint8Array.of(1, 2, 3), b: [new Uint8Array(0)] }))
  const { a, b } = parseMsgpack(body) as { a: Uint8Array; b: Uint8Array[] }
  assert.deepEqual([a.buffer === body.buffer, b[0]?.buffer === body.buffer], [true, true])
  assert.deepEqual([...a], [1, 2, 3])
})

test('64-bit integers become the nearest double', () => {
  assert.equal(parseMsgpack(bytesOf(0xcf, ...Array<number>(8).fill(0xff))), 2 ** 64)
  assert.equal(parseMsgpack(bytesOf(0xd3, 0x80, 0, 0, 0, 0, 0, 0, 0)), -(2 ** 63))
})

test('nesting is taken up to the bound and refused past it', () => {
  const max = limits.nestingDepthMax
  for (const open of [[0x91], [0x81, 0xa1, 0x61]]) {
    const nested = (depth: number) =>
      bytesOf(...Array.from({ length: depth - 1 }, () => open).flat(), 0x90)
    assert.deepEqual(parseMsgpack(nested(max)), unpackr.unpack(nested(max)))
    for (const depth of [max + 1, 10_000]) {
      refusalOf(() => parseMsgpack(nested(depth)), 'NESTING_TOO_DEEP')
    }
  }
})

test('more values than a worker can hold are refused', () => {
  const body = Buffer.alloc(limits.uploadValuesMax + 6)
  body.writeUInt8(0xdd, 0)
  body.writeUInt32BE(limits.uploadValuesMax + 1, 1)
  refusalOf(() => parseMsgpack(body), 'INVALID_BODY')
})

function takeOrRefuse(bytes: Uint8Array): void {
  try {
    parseMsgpack(bytes)
  } catch (error) {
    assert.ok(error instanceof Refusal, String(error))
    assert.ok(error.message.length < 200, error.message)
  }
}
