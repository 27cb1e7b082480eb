import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { test } from 'node:test'
import fc from 'fast-check'
import { mergePages, PageBuilder } from '../../src/codecs/telemetry/page-builder.ts'
import { type PageValue, valuesOf } from '../../src/codecs/telemetry/page-format.ts'
import { countRows, openPage } from '../../src/codecs/telemetry/page-reader.ts'
import { readRecords } from '../../src/codecs/telemetry/read.ts'
import type { EncodedPage } from '../../src/contracts/tasks.ts'

interface Row {
  readonly ms: number
  readonly us: number
  readonly values: Readonly<Record<string, PageValue>>
}

function encode(rows: readonly Row[]): EncodedPage {
  const builder = new PageBuilder(rows.length)
  for (const { ms, us, values } of rows) {
    builder.beginRecord(ms, us)
    for (const name in values) builder.addField(name, values[name] as PageValue)
  }
  return builder.encode()
}

/** Rows as a page gives them back; the order of a row's fields is the page's. */
function decode(bytes: Uint8Array): Row[] {
  const page = openPage(bytes)
  const rows = Array.from(page.ms, (ms, row) => ({
    ms,
    us: page.us?.[row] ?? 0,
    values: {} as Record<string, PageValue>,
  }))
  for (const column of page.columns) {
    column.each((row, value) => {
      const found = rows[row]
      assert.ok(found !== undefined && !Object.hasOwn(found.values, column.name))
      found.values[column.name] = value
    })
  }
  return rows
}

const anyDouble = fc.double({ noNaN: true, noDefaultInfinity: true })
/** Integers over a power of ten, from one byte's range to beyond what a page keeps so. */
const decimal = fc
  .tuple(
    fc.oneof(fc.integer({ min: -300, max: 300 }), fc.integer(), fc.maxSafeInteger()),
    fc.nat({ max: 12 }),
  )
  .map(([whole, decimals]) => whole / 10 ** decimals)
const number = fc.oneof(anyDouble, decimal)
const value = fc.oneof(
  number,
  fc.constantFrom(-0, Number.MIN_VALUE, Number.MAX_VALUE, -Number.MAX_VALUE),
  fc.string({ unit: 'grapheme', maxLength: 20 }),
  fc.constantFrom('', 'ok', 'warning', 'wärning', 'a state of many more than eight bytes'),
  fc.boolean(),
  fc.constant(null),
)
/** Few names, so that columns of every encoding come about, and some that objects inherit. */
const name = fc.constantFrom('a', 'b', 'temperature', 'é', '10', '2', 'toString', '💧', 'long name')
const row: fc.Arbitrary<Row> = fc.record(
  {
    ms: fc.integer({ min: -62_167_219_200_000, max: 253_402_300_799_999 }),
    us: fc.oneof({ weight: 5, arbitrary: fc.constant(0) }, fc.integer({ min: 0, max: 999 })),
    values: fc.oneof(
      fc.record({ a: number }, { noNullPrototype: true }),
      fc.dictionary(name, value, { noNullPrototype: true }),
    ),
  },
  { noNullPrototype: true },
)
const anyRows = fc.array(row, { minLength: 1, maxLength: 60 })

test('any records come back as they were, bit for bit', () => {
  fc.assert(
    fc.property(anyRows, (rows) => {
      assert.deepStrictEqual(decode(encode(rows).bytes), rows)
    }),
    { numRuns: 500 },
  )
})

test('merged pages are the page of all their records, byte for byte', () => {
  const cut = fc.array(anyRows, { minLength: 1, maxLength: 8 })
  fc.assert(
    fc.property(cut, (groups) => {
      const merged = mergePages(groups.map((rows) => encode(rows).bytes))
      assert.deepStrictEqual(merged, encode(groups.flat()))
    }),
    { numRuns: 500 },
  )
})

test('merging is the same in one step and in several', () => {
  const three = fc.tuple(anyRows, anyRows, anyRows)
  fc.assert(
    fc.property(three, (groups) => {
      const [first, second, third] = groups.map((rows) => encode(rows).bytes)
      assert.ok(first && second && third)
      const left = mergePages([mergePages([first, second]).bytes, third])
      const right = mergePages([first, mergePages([second, third]).bytes])
      assert.deepStrictEqual(left, right)
    }),
  )
})

test('a page tells its hash, its number of records and its time range', () => {
  const rows: Row[] = [
    { ms: 5_000, us: 250, values: { a: 1 } },
    { ms: -3, us: 999, values: {} },
    { ms: 5_000, us: 251, values: { b: 'x' } },
  ]
  const page = encode(rows)
  assert.deepStrictEqual(Buffer.from(page.hash), createHash('sha256').update(page.bytes).digest())
  assert.equal(page.records, 3)
  assert.equal(page.fromMs, -3 + 0.999)
  assert.equal(page.toMs, 5_000.251)
})

test('a page tells what its values take once it is opened', () => {
  const values = { a: 1, s: 'four' }
  const rows = Array.from({ length: 1_000 }, (_, ms) => ({ ms, us: 0, values }))
  const { bytes, openBytes } = encode(rows)
  // Time and number as doubles, the string, and a byte a row that tells what it is, of either column.
  assert.equal(openBytes, 1_000 * (8 + 8 + 4 + 2))
  assert.ok(bytes.length < 3_000, `${bytes.length} bytes`)
})

test('a head tells how many values its page has, and nothing of what is too short for one', () => {
  const rows = Array.from({ length: 1_000 }, (_, ms) => ({ ms, us: 0, values: { a: 1, b: 2 } }))
  const { bytes } = encode(rows)
  assert.equal(valuesOf(bytes), 1_000 * 3)
  assert.equal(valuesOf(Buffer.concat([Buffer.alloc(3), bytes]).subarray(3)), 1_000 * 3)
  for (let length = 0; length < 16; length += 1) assert.equal(valuesOf(bytes.slice(0, length)), 0)
})

test('bytes and hash of a page own their buffers, as a transfer needs', () => {
  const { bytes, hash } = encode([{ ms: 0, us: 0, values: { a: 1 } }])
  assert.equal(bytes.buffer.byteLength, bytes.byteLength)
  assert.equal(hash.buffer.byteLength, 32)
})

test('a column of any doubles lies in the page as doubles that need no copy', () => {
  const rows = Array.from({ length: 1_000 }, (_, index) => ({
    ms: index,
    us: 0,
    values: { odd: 'text', a: Math.sqrt(index) },
  }))
  const { bytes } = encode(rows)
  const column = openPage(bytes).columns[1]
  assert.ok(column?.isDense)
  assert.equal(column.numbers.buffer, bytes.buffer)
  assert.deepStrictEqual(
    column.numbers,
    Float64Array.from(rows, ({ values }) => values.a),
  )
})

test('a page that lies anywhere in a larger buffer is read alike', () => {
  const rows = [{ ms: 1, us: 1, values: { a: 1.5, b: 'é', c: null } }]
  const { bytes } = encode(rows)
  for (let offset = 0; offset < 9; offset += 1) {
    const larger = new Uint8Array(bytes.length + 32)
    larger.set(bytes, offset)
    assert.deepStrictEqual(decode(larger.subarray(offset, offset + bytes.length)), rows)
  }
})

test('ten thousand records of as many different fields stay small', () => {
  const rows = Array.from({ length: 10_000 }, (_, index) => ({
    ms: index,
    us: 0,
    values: { [`field-${index}`]: index },
  }))
  const { bytes } = encode(rows)
  assert.ok(bytes.length < 1_000_000, `${bytes.length} bytes`)
  assert.deepStrictEqual(decode(bytes), rows)
})

test('columns stand in the order in which their names first appear', () => {
  const rows: Row[] = [
    { ms: 0, us: 0, values: { b: 1 } },
    { ms: 0, us: 0, values: { a: 1, b: 2 } },
    { ms: 0, us: 0, values: { c: 1, a: 2 } },
  ]
  const names = openPage(encode(rows).bytes).columns.map((column) => column.name)
  assert.deepStrictEqual(names, ['b', 'a', 'c'])
})

test('a damaged page is an error or another page, never a read out of its range', () => {
  const rows: Row[] = Array.from(
    { length: 12 },
    (_, index): Row => ({
      ms: index,
      us: index % 2,
      values: {
        a: index,
        s: `é${index}`,
        ...(index === 7 ? { sparse: true } : {}),
      } as Row['values'],
    }),
  )
  const { bytes } = encode(rows)
  const readAll = (damaged: Uint8Array) => {
    try {
      decode(damaged)
    } catch (error) {
      assert.ok(error instanceof Error && !(error instanceof RangeError), String(error))
      assert.match(error.message, /damaged page/)
    }
  }
  for (let at = 0; at < bytes.length; at += 1) {
    for (const byte of [0, 1, 0x7f, 0x80, 0xff, (bytes[at] ?? 0) ^ 1]) {
      const damaged = bytes.slice()
      damaged[at] = byte
      readAll(damaged)
    }
  }
  for (let length = 0; length < bytes.length; length += 1) {
    assert.throws(() => openPage(bytes.subarray(0, length)), /damaged page/)
  }
  assert.throws(() => openPage(Buffer.concat([bytes, Buffer.alloc(8)])), /damaged page/)
})

test('random bytes are not taken for a page', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
      assert.throws(() => openPage(bytes), /damaged page/)
    }),
  )
})

test('which encoding a column has follows from how many rows hold it', () => {
  const rows: Row[] = Array.from({ length: 100 }, (_, index) => ({
    ms: index,
    us: 0,
    values: {
      every: index,
      ...(index % 5 === 0 ? { fifth: index } : {}),
      ...(index % 6 === 0 ? { sixth: index } : {}),
    },
  }))
  const shapes = openPage(encode(rows).bytes).columns.map((column) => [
    column.name,
    column.tags?.length ?? null,
    column.rows?.length ?? null,
  ])
  assert.deepStrictEqual(shapes, [
    ['every', null, null],
    ['fifth', 100, null],
    ['sixth', 17, 17],
  ])
})

test('any damage lets merging and reading end with an Error or something to show', () => {
  const hit = fc.record({ at: fc.nat(), bits: fc.integer({ min: 1, max: 255 }) })
  const hits = fc.array(hit, { minLength: 1, maxLength: 3 })
  const task = { kind: 'read', fromMs: null, toMs: null, fields: null, limit: 50 } as const
  fc.assert(
    fc.property(anyRows, hits, (rows, damage) => {
      const bytes = encode(rows).bytes.slice()
      for (const { at, bits } of damage) {
        bytes[at % bytes.length] = (bytes[at % bytes.length] ?? 0) ^ bits
      }
      try {
        for (const format of ['ndjson', 'csv'] as const) {
          readRecords({ ...task, blocks: [{ bytes, hash: 'ab', firstIndex: 0 }], format })
        }
        mergePages([bytes, bytes])
      } catch (error) {
        assert.ok(error instanceof Error)
      }
    }),
    { numRuns: 500 },
  )
})

test('counts and forms that cannot be are refused before anything is made of them', () => {
  const { bytes } = encode([
    { ms: 0, us: 0, values: { a: 1, s: 'ok' } },
    { ms: 1, us: 0, values: { a: 2, s: 'ok' } },
    { ms: 5, us: 0, values: { a: 9, s: 'other' } },
  ])
  // Rows and columns, the form of the times and, after them, the head and form of the first column.
  for (const at of [4, 8, 16, 40, 44, 48, 52, 56]) {
    for (const lie of [0xffff_ffff, 0x8000_0000, 0x2000_0000, 1_000]) {
      const lying = bytes.slice()
      new DataView(lying.buffer).setUint32(at, lie, true)
      assert.throws(() => openPage(lying), /damaged page/, `${lie} at ${at}`)
    }
  }
  for (const least of [Number.NaN, Number.POSITIVE_INFINITY, 0.5, 2 ** 53]) {
    const lying = bytes.slice()
    new DataView(lying.buffer).setFloat64(24, least, true)
    assert.throws(() => openPage(lying), /damaged page: its time has numbers from/)
  }
})

test('rows that take no bytes are refused where they are more than any batch has', () => {
  const { bytes } = encode([
    { ms: 0, us: 0, values: {} },
    { ms: 1, us: 0, values: {} },
  ])
  new DataView(bytes.buffer).setUint32(4, 2 ** 31, true)
  assert.throws(() => openPage(bytes), /damaged page: it has 2147483648 rows/)
  assert.throws(() => countRows(bytes), /damaged page: it has 2147483648 rows/)
})

test('a column that stands twice is damage', () => {
  const { bytes } = encode([{ ms: 0, us: 0, values: { a: 1, b: 2 } }])
  bytes[bytes.lastIndexOf(0x62)] = 0x61
  assert.throws(() => openPage(bytes), /column a stands twice/)
})
