import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { aggregateRecords } from '../../src/codecs/telemetry/aggregate.ts'
import { combineParts } from '../../src/codecs/telemetry/combine.ts'
import { formatTimestamp } from '../../src/codecs/telemetry/timestamp.ts'
import type { CombineResult, IntervalPart, ReadFormat } from '../../src/contracts/tasks.ts'
import { limits } from '../../src/limits.ts'
import { exactMean, isMean } from './exact-mean.ts'
import { buildPage, type PageRecord, pageRecords } from './telemetry-records.ts'

type Blocks = readonly (readonly PageRecord[])[]

interface Options {
  readonly intervalMs: number
  readonly fromMs?: number | null
  readonly toMs?: number | null
  readonly fields?: readonly string[] | null
}

interface Summary {
  readonly min: number
  readonly max: number
  readonly mean: number
  readonly count: number
}
interface Interval {
  readonly start: string
  readonly fields: Readonly<Record<string, Summary>>
}

/** One task of these blocks, laid out as the main thread does it. */
function aggregate(blocks: Blocks, options: Options): IntervalPart | null {
  const pages = blocks.map((records) => buildPage(records))
  const places: number[] = []
  let bytes = 0
  for (const { bytes: page, fromMs, toMs } of pages) {
    places.push(bytes, page.byteLength, fromMs, toMs)
    bytes += (page.byteLength + 7) & ~7
  }
  const buffer = new ArrayBuffer(bytes)
  for (const [index, { bytes: page }] of pages.entries()) {
    new Uint8Array(buffer, places[4 * index]).set(page)
  }
  const given = { fromMs: null, toMs: null, fields: null, ...options }
  const blocksOfTask = Float64Array.from(places)
  const result = aggregateRecords({ kind: 'aggregate', buffer, blocks: blocksOfTask, ...given })
  assert.equal(result.buffer, buffer)
  return result.part
}

function combine(
  parts: readonly IntervalPart[],
  intervalMs: number,
  format: ReadFormat | null,
): CombineResult {
  return combineParts({ kind: 'combine', parts, intervalMs, format })
}

/** Each block in a task of its own, then all of them put together. */
function textOf(blocks: Blocks, options: Options, format: ReadFormat = 'json'): string {
  const parts = blocks.map((block) => aggregate([block], options))
  assert.ok(parts.every((part) => part !== null))
  const result = combine(parts, options.intervalMs, format)
  assert.ok(result.kind === 'text')
  return Buffer.from(result.bytes).toString()
}

function intervalsOf(blocks: Blocks, options: Options): Interval[] {
  return JSON.parse(`[${textOf(blocks, options)}]`) as Interval[]
}

/** What every record comes to, one after the other: the numbers by start and field. */
function numbersOf(blocks: Blocks, options: Options): Map<number, Map<string, number[]>> {
  const { intervalMs, fromMs = null, toMs = null, fields = null } = options
  const found = new Map<number, Map<string, number[]>>()
  for (const { ms, us, values } of blocks.flat()) {
    const at = ms + us / 1000
    if ((fromMs !== null && at < fromMs) || (toMs !== null && at >= toMs)) continue
    // The remainder has the sign of the time, so this is another way to the start than a quotient.
    const start = ms - (((ms % intervalMs) + intervalMs) % intervalMs)
    const interval = found.get(start) ?? new Map<string, number[]>()
    found.set(start, interval)
    for (const [name, value] of values) {
      if (typeof value !== 'number' || !(fields?.includes(name) ?? true)) continue
      interval.set(name, [...(interval.get(name) ?? []), value])
    }
  }
  return found
}

function assertRight(actual: readonly Interval[], blocks: Blocks, options: Options): void {
  const expected = [...numbersOf(blocks, options)].sort(([one], [other]) => one - other)
  assert.deepEqual(
    actual.map(({ start }) => start),
    expected.map(([start]) => formatTimestamp({ ms: Math.max(start, firstMs), us: 0 })),
  )
  for (const [index, [, fields]] of expected.entries()) {
    const found = actual[index]?.fields ?? {}
    assert.deepEqual(Object.keys(found).sort(), [...fields.keys()].sort())
    for (const [name, numbers] of fields) {
      const { min, max, mean, count } = found[name] as Summary
      assert.equal(count, numbers.length)
      // JSON.stringify loses the sign of -0.
      assert.ok(min === Math.min(...numbers) && max === Math.max(...numbers))
      assert.ok(isMean(mean, numbers), `${mean} of ${numbers}, exactly ${exactMean(numbers)}`)
    }
  }
}

const firstMs = Date.parse('0000-01-01T00:00:00Z')
const blocks = fc.array(pageRecords, { minLength: 1, maxLength: 4 })
const intervalMs = fc.oneof(
  fc.constantFrom(1, 7, 1_000, 60_000, 3_600_000, 86_400_000, limits.downsampleMsMax),
  fc.integer({ min: 1, max: limits.downsampleMsMax }),
)
const bound = fc.option(
  fc.oneof(
    fc.integer({ min: 1_737_369_000_000, max: 1_737_369_900_000 }),
    fc.integer({ min: 0, max: 999_999 }).map((us) => 1_737_369_000_000 + us / 1_000),
    fc.integer({ min: firstMs, max: 253_402_300_799_999 }),
  ),
)
const fields = fc.option(fc.uniqueArray(fc.constantFrom('a', 'b', 'toString', 'none')))

test('intervals hold what a walk over all records finds, wherever the blocks are divided', () => {
  fc.assert(
    fc.property(blocks, intervalMs, bound, bound, fields, (given, length, fromMs, toMs, names) => {
      const options = { intervalMs: length, fromMs, toMs, fields: names }
      const apart = intervalsOf(given, options)
      assertRight(apart, given, options)
      const part = aggregate(given, options)
      assert.ok(part !== null)
      const whole = combine([part], length, 'json')
      assert.ok(whole.kind === 'text')
      const text = `[${Buffer.from(whole.bytes).toString()}]`
      assertRight(JSON.parse(text) as Interval[], given, options)
    }),
    { numRuns: 400 },
  )
})

test('parts that are combined step by step come to the same', () => {
  fc.assert(
    fc.property(blocks, intervalMs, (given, length) => {
      const options = { intervalMs: length }
      let held: IntervalPart[] = []
      for (const block of given) {
        const part = aggregate([block], options)
        assert.ok(part !== null)
        const result = combine([...held, part], length, null)
        assert.ok(result.kind === 'part')
        held = [result.part]
      }
      const result = combine(held, length, 'json')
      assert.ok(result.kind === 'text')
      const text = `[${Buffer.from(result.bytes).toString()}]`
      assertRight(JSON.parse(text) as Interval[], given, options)
    }),
    { numRuns: 200 },
  )
})

function series(times: readonly number[], numberOf: (index: number) => number): PageRecord[] {
  return times.map((at, index) => {
    const ms = Math.floor(at)
    const us = Math.round((at - ms) * 1_000)
    return { ms, us, values: new Map([['n', numberOf(index)]]) }
  })
}

test('a microsecond before a border belongs to the interval before it, on both sides of 1970', () => {
  const times = [-60_000.001, -60_000, -0.001, 0, 59_999.999, 60_000]
  const found = intervalsOf([series(times, (index) => index)], { intervalMs: 60_000 })
  assert.deepEqual(
    found.map(({ start, fields: { n } }) => [start, n?.min, n?.max]),
    [
      ['1969-12-31T23:58:00.000Z', 0, 0],
      ['1969-12-31T23:59:00.000Z', 1, 2],
      ['1970-01-01T00:00:00.000Z', 3, 4],
      ['1970-01-01T00:01:00.000Z', 5, 5],
    ],
  )
})

test('a range includes its beginning and not its end, also where a block lies in one interval', () => {
  const times = [1_000, 1_000.001, 1_999.999]
  const countOf = (fromMs: number | null, toMs: number | null) => {
    const [interval] = intervalsOf([series(times, () => 1)], { intervalMs: 1_000, fromMs, toMs })
    return interval?.fields.n?.count ?? 0
  }
  assert.deepEqual(
    [countOf(1_000, null), countOf(1_000.001, null), countOf(1_000.002, null)],
    [3, 2, 1],
  )
  assert.deepEqual(
    [countOf(null, 2_000), countOf(null, 1_999.999), countOf(null, 1_000), countOf(1_500, 1_500)],
    [3, 2, 0, 0],
  )
})

test('fields stand in the order in which the session brought them first', () => {
  const at = (ms: number, ...names: string[]) => [
    { ms, us: 0, values: new Map(names.map((name) => [name, 1])) },
  ]
  const found = intervalsOf([at(0, 'b'), at(1, 'c'), at(1, 'a', 'b')], { intervalMs: 1 })
  assert.deepEqual(
    found.map(({ fields: names }) => Object.keys(names)),
    [['b'], ['b', 'c', 'a']],
  )
})

test('the first and the last millisecond of RFC 3339 lie in intervals that it can name', () => {
  const times = [firstMs, 253_402_300_799_999]
  const records = series(times, () => 1).map((record) => ({ ...record, us: 999 }))
  const week = intervalsOf([records, records], { intervalMs: 7 * 86_400_000 })
  assert.deepEqual(
    week.map(({ start, fields: { n } }) => [start, n?.count]),
    [
      ['0000-01-01T00:00:00.000Z', 2],
      ['9999-12-30T00:00:00.000Z', 2],
    ],
  )
  for (const ms of times) {
    const block = records.filter((record) => record.ms === ms)
    const [second] = intervalsOf([block], { intervalMs: 1_000 })
    assert.equal(second?.start, formatTimestamp({ ms: Math.floor(ms / 1_000) * 1_000, us: 0 }))
  }
})

test('a mean keeps what a plain sum would lose', () => {
  const start = Date.parse('2025-01-20T10:30:00Z')
  const cases: readonly (readonly number[])[] = [
    [1e16, 1, -1e16],
    Array.from({ length: 10_000 }, () => 0.1),
    Array.from({ length: 10_000 }, (_, index) => 1e9 + index / 10),
    [Number.MAX_VALUE, Number.MAX_VALUE, Number.MAX_VALUE],
    [-Number.MAX_VALUE, -Number.MAX_VALUE],
    [Number.MAX_VALUE, 3, -Number.MAX_VALUE],
    [Number.MAX_VALUE, Number.MAX_VALUE / 2, 1],
    [2 ** 960, -(2 ** 960), 2 ** 959],
    [5e-324, 5e-324],
  ]
  for (const numbers of cases) {
    const times = numbers.map((_, index) => start + index)
    const records = series(times, (index) => numbers[index] as number)
    for (const given of [[records], records.slice(0, 10).map((record) => [record])]) {
      const [interval] = intervalsOf(given, { intervalMs: 60_000 })
      const mean = interval?.fields.n?.mean ?? Number.NaN
      const summed = given.length === 1 ? numbers : numbers.slice(0, 10)
      assert.ok(isMean(mean, summed), `${mean} of ${summed.slice(0, 5)}: ${exactMean(summed)}`)
    }
  }
})

test('only numbers are aggregated, and an interval without any still tells of its records', () => {
  const at = (ms: number, values: Record<string, string | number | boolean | null>) => ({
    ms,
    us: 0,
    values: new Map(Object.entries(values)),
  })
  const records = [
    at(0, { a: 'text', b: true }),
    at(1, { a: null }),
    at(1_000, { a: 3, b: 'x' }),
    at(1_001, { b: 5, a: '3' }),
  ]
  assert.deepEqual(intervalsOf([records], { intervalMs: 1_000 }), [
    { start: '1970-01-01T00:00:00.000Z', fields: {} },
    {
      start: '1970-01-01T00:00:01.000Z',
      fields: {
        a: { min: 3, max: 3, mean: 3, count: 1 },
        b: { min: 5, max: 5, mean: 5, count: 1 },
      },
    },
  ])
})

test('NDJSON is an interval a line and CSV a field of an interval, names quoted where they must be', () => {
  const values = new Map([
    ['a,"b"', 2],
    ['c', 4],
  ])
  const records = [
    { ms: 1_000, us: 0, values },
    { ms: 0, us: 0, values: new Map([['c', 1]]) },
    { ms: 2_000, us: 0, values: new Map([['c', 'none']]) },
  ]
  const options = { intervalMs: 1_000 }
  const lines = textOf([records], options, 'ndjson').trimEnd().split('\n')
  assert.deepEqual(
    lines.map((line) => JSON.parse(line) as Interval),
    intervalsOf([records], options),
  )
  assert.equal(
    textOf([records], options, 'csv'),
    '1970-01-01T00:00:00.000Z,c,1,1,1,1\r\n' +
      '1970-01-01T00:00:01.000Z,"a,""b""",2,2,2,1\r\n' +
      '1970-01-01T00:00:01.000Z,c,4,4,4,1\r\n',
  )
})

test('as many intervals and fields as there may be come back, one more is too large', () => {
  const half = limits.downsampleCellsMax / 2
  const times = Array.from({ length: half + 1 }, (_, index) => index)
  const perBlock = 8_192
  const blocksUpTo = (count: number) =>
    Array.from({ length: Math.ceil(count / perBlock) }, (_, block) =>
      series(times.slice(block * perBlock, Math.min(count, (block + 1) * perBlock)), () => 1),
    )
  assert.equal(intervalsOf(blocksUpTo(half), { intervalMs: 1 }).length, half)
  assert.equal(aggregate(blocksUpTo(half + 1), { intervalMs: 1 }), null)
  const parts = blocksUpTo(half + 1).map((block) => aggregate([block], { intervalMs: 1 }))
  assert.ok(parts.every((part) => part !== null))
  assert.deepEqual(combine(parts, 1, 'json'), { kind: 'too-large' })
  assert.deepEqual(combine(parts, 1, null), { kind: 'too-large' })
})

test('text that names make too long is too large', () => {
  const name = '\u0000'.repeat(limits.fieldNameBytesMax)
  const lines = Math.ceil(limits.downsampleTextBytesMax / (6 * name.length))
  const records = Array.from({ length: 10_000 }, (_, ms) => ({
    ms,
    us: 0,
    values: new Map([[name, 1]]),
  }))
  const part = aggregate([records], { intervalMs: 1 })
  assert.ok(part !== null)
  assert.equal(combine([part], 1, 'csv').kind, 'text')
  const later = aggregate([records.map((record) => ({ ...record, ms: record.ms + 10_000 }))], {
    intervalMs: 1,
  })
  assert.ok(later !== null && 2 * records.length > lines)
  assert.deepEqual(combine([part, later], 1, 'json'), { kind: 'too-large' })
})

test('nothing comes to nothing, and any damage ends with an Error or something to show', () => {
  assert.equal(textOf([], { intervalMs: 1 }), '')
  const hit = fc.record({ at: fc.nat(), bits: fc.integer({ min: 1, max: 255 }) })
  const hits = fc.array(hit, { minLength: 1, maxLength: 3 })
  fc.assert(
    fc.property(pageRecords, intervalMs, hits, (records, length, damage) => {
      const { bytes, fromMs, toMs } = buildPage(records)
      const buffer = Uint8Array.from(bytes).buffer
      const view = new Uint8Array(buffer)
      for (const { at, bits } of damage)
        view[at % view.length] = (view[at % view.length] ?? 0) ^ bits
      try {
        const place = Float64Array.of(0, bytes.byteLength, fromMs, toMs)
        const range = { fromMs: null, toMs: fromMs + 1, fields: null, intervalMs: length }
        const result = aggregateRecords({ kind: 'aggregate', buffer, blocks: place, ...range })
        if (result.part === null) return
        const text = combine([result.part], length, 'json')
        assert.ok(text.kind === 'text')
        assert.doesNotMatch(Buffer.from(text.bytes).toString(), /null|NaN|Infinity/)
      } catch (error) {
        assert.ok(error instanceof Error && !(error instanceof assert.AssertionError))
      }
    }),
    { numRuns: 500 },
  )
})
