import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { readRecords } from '../../src/codecs/telemetry/read.ts'
import { TextWriter } from '../../src/codecs/telemetry/text-writer.ts'
import type { ReadFormat } from '../../src/contracts/tasks.ts'
import { limits } from '../../src/limits.ts'
import { buildPage, type PageRecord } from './telemetry-records.ts'

function written(write: (out: TextWriter) => void): string {
  const out = new TextWriter()
  write(out)
  return Buffer.from(out.finish()).toString()
}

function decimalText(whole: number, decimals: number): string {
  return written((out) => out.decimal(whole, decimals, 10 ** decimals))
}

function readPage(bytes: Uint8Array, format: ReadFormat): Uint8Array {
  const blocks = [{ bytes, hash: 'ab', firstIndex: 0 }]
  const range = { fromMs: null, toMs: null, fields: null, limit: limits.pageLimitMax }
  return readRecords({ kind: 'read', blocks, ...range, format }).bytes
}

const textOf = (bytes: Uint8Array) => Buffer.from(bytes).toString()

test('an integer over a power of ten is written as JSON.stringify writes the number', () => {
  const whole = fc.oneof(
    fc.integer({ min: -1_000, max: 1_000 }),
    fc.integer({ min: -2_000_000, max: 2_000_000 }),
    fc.integer(),
    fc.integer({ min: -(2 ** 50), max: 2 ** 50 }),
  )
  fc.assert(
    fc.property(whole, fc.nat({ max: 9 }), (given, decimals) => {
      assert.equal(decimalText(given, decimals), JSON.stringify(given / 10 ** decimals))
    }),
    { numRuns: 20_000 },
  )
})

test('numbers at the edges of an exponent and of 32 bits are written as JSON.stringify does', () => {
  for (const edge of [0, 1, 9, 10, 99, 100, 999, 1_000, 2 ** 31 - 1, 2 ** 31, 2 ** 32, 2 ** 50]) {
    for (const whole of [edge - 1, edge, edge + 1, -edge, 1 - edge]) {
      for (let decimals = 0; decimals <= 9; decimals += 1) {
        const number = (whole + 0) / 10 ** decimals
        assert.equal(decimalText(whole + 0, decimals), JSON.stringify(number), `${number}`)
      }
    }
  }
  for (let power = 0; power < 10; power += 1) {
    for (const whole of [10 ** power, 10 ** (power + 1) - 1, 10 ** power + 1]) {
      assert.equal(decimalText(whole, 0), JSON.stringify(whole))
      assert.equal(decimalText(-whole, 9), JSON.stringify(-whole / 1e9))
    }
  }
})

test('any double is written as JSON.stringify writes it, but for the sign of -0', () => {
  const number = fc.double({ noNaN: true, noDefaultInfinity: true })
  fc.assert(
    fc.property(fc.oneof(number, fc.integer()), (given) => {
      const expected = Object.is(given, -0) ? '-0' : JSON.stringify(given)
      assert.equal(
        written((out) => out.number(given)),
        expected,
      )
    }),
    { numRuns: 5_000 },
  )
})

test('a text stays as it is when the thread makes the next one', () => {
  const one = new TextWriter()
  one.raw(Buffer.from('one'))
  const two = new TextWriter()
  two.raw(Buffer.from('two'))
  const first = one.finish()
  const second = two.finish()
  const third = new TextWriter()
  third.raw(Buffer.from('three'))
  third.finish()
  assert.deepEqual([textOf(first), textOf(second)], ['one', 'two'])
  assert.equal(first.buffer.byteLength, 3)
})

test('fields that few rows have stand where their columns do', () => {
  const records = Array.from({ length: 100 }, (_, index): PageRecord => {
    const values = new Map<string, number>()
    // Before, between and after those that every row has; several in one row.
    if (index % 10 === 0) values.set('first', index)
    values.set('wide', index * 0.5)
    if (index % 20 === 0) values.set('second', index)
    values.set('other', 1_000 - index)
    if (index % 30 === 0) values.set('third', index)
    return { ms: index, us: 0, values }
  })
  const lines = textOf(readPage(buildPage(records).bytes, 'ndjson'))
    .trimEnd()
    .split('\n')
  for (const [index, line] of lines.entries()) {
    const { values } = JSON.parse(line) as { values: object }
    assert.deepEqual(Object.entries(values), [...(records[index]?.values ?? [])])
  }
})

test('ten thousand records of as many different fields are read in time', () => {
  const records = Array.from({ length: 10_000 }, (_, index) => ({
    ms: index,
    us: 0,
    values: new Map([[`field-${index}`, index]]),
  }))
  const { bytes } = buildPage(records)
  const start = performance.now()
  const lines = textOf(readPage(bytes, 'ndjson')).trimEnd().split('\n')
  assert.ok(performance.now() - start < 5_000)
  assert.equal(lines.length, 10_000)
  assert.ok(lines[9_999]?.includes('"values":{"field-9999":9999},"address":"ab/9999"'))
})

test('a text ends once it is full, and the next one goes on behind it', () => {
  // A page of 70 KB whose rows are 60 MB of text.
  const values = new Map([['s', 'x'.repeat(60_000)]])
  const { bytes } = buildPage(Array.from({ length: 1_000 }, (_, ms) => ({ ms, us: 0, values })))
  assert.ok(bytes.length < 100_000, `${bytes.length} bytes`)
  for (const format of ['json', 'ndjson', 'csv'] as const) {
    let [block, index, rows] = [0, 0, 0]
    for (;;) {
      const blocks = [bytes, bytes].slice(block).map((page, position) => {
        return { bytes: page, hash: 'ab', firstIndex: position === 0 ? index : 0 }
      })
      const range = { fromMs: null, toMs: null, fields: null, limit: limits.pageLimitMax }
      const result = readRecords({ kind: 'read', blocks, ...range, format })
      assert.ok(result.records > 0 && result.bytes.length < limits.pageTextBytesMax + 70_000)
      rows += result.records
      if (result.next === null) break
      block += result.next.block
      index = result.next.index
      assert.equal(rows, block * 1_000 + index)
    }
    assert.equal(rows, 2_000)
  }
})

test('a text that is no UTF-8 is damage', () => {
  const { bytes } = buildPage([{ ms: 0, us: 0, values: new Map([['s', 'text']]) }])
  bytes[bytes.lastIndexOf('x'.charCodeAt(0))] = 0xff
  for (const format of ['ndjson', 'csv'] as const) {
    assert.throws(() => readPage(bytes, format), /damaged page: column s is no UTF-8/)
  }
})
