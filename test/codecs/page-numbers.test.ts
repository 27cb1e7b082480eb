import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { openPage } from '../../src/codecs/telemetry/page-reader.ts'
import type { EncodedPage } from '../../src/contracts/tasks.ts'
import { buildPage } from './telemetry-records.ts'

function pageOf(numbers: readonly number[]): EncodedPage {
  return buildPage(numbers.map((n, ms) => ({ ms, us: 0, values: new Map([['n', n]]) })))
}

function columnOf(numbers: readonly number[]) {
  const column = openPage(pageOf(numbers).bytes).columns[0]
  assert.ok(column !== undefined)
  assert.deepStrictEqual([...column.numbers], [...numbers])
  return column
}

/** Width and decimals of the form that the numbers have in a page. */
function formOf(numbers: readonly number[]): [width: number, decimals: number] {
  const { width, decimals } = columnOf(numbers).packed.form
  return [width, decimals]
}

test('numbers take the fewest decimals and bytes that give them back', () => {
  assert.deepEqual(formOf([7]), [0, 0])
  assert.deepEqual(formOf([0.1 + 0.2, 0.1 + 0.2]), [0, 0])
  assert.deepEqual(formOf([1, 2, 3]), [0, 0])
  assert.deepEqual(formOf([0.5, 0.75, 1]), [0, 2])
  assert.deepEqual(formOf([3, 2, 1]), [1, 0])
  assert.deepEqual(formOf([-100, 155, 0]), [1, 0])
  assert.deepEqual(formOf([-100, 156, 0]), [2, 0])
  assert.deepEqual(formOf([23.4, -10, 89.9]), [2, 1])
  assert.deepEqual(formOf([1_000, 1_013.25, 1_099.99]), [2, 2])
  assert.deepEqual(formOf([0, 65_536, 5]), [4, 0])
  assert.deepEqual(formOf([52.123_456_7, 52.2, 13]), [4, 7])
  assert.deepEqual(formOf([0, 2 ** 32 - 1, 5]), [4, 0])
  assert.deepEqual(formOf([0, 2 ** 32, 5]), [8, 0])
  assert.deepEqual(formOf([2 ** 50, 2 ** 50 - 3, 2 ** 50 - 1]), [1, 0])
  assert.deepEqual(formOf([2 ** 50 + 1, 2 ** 50 - 3, 2 ** 50 - 1]), [8, 0])
  assert.deepEqual(formOf([1, 1.000_000_000_1, 3]), [8, 0])
  assert.deepEqual(formOf([1, Math.PI, 3]), [8, 0])
})

test('a zero keeps its sign', () => {
  assert.deepEqual(formOf([-0, -0]), [0, 0])
  assert.deepEqual(formOf([-0, 0]), [8, 0])
  assert.deepEqual(formOf([-2, -1, -0, 1]), [8, 0])
  assert.deepEqual(formOf([5, -0, 2]), [8, 0])
  assert.deepEqual(formOf([-0, 1, 2]), [8, 0])
  assert.deepEqual(formOf([-2, -1, 0, 1]), [0, 0])
})

const decimals = fc.nat({ max: 11 })
const wholes = fc.array(
  fc.oneof(
    fc.integer({ min: -40, max: 40 }),
    fc.integer({ min: -40_000, max: 40_000 }),
    fc.integer(),
    fc.maxSafeInteger(),
  ),
  { minLength: 1, maxLength: 40 },
)
/** Numbers of a few decimals each, among them now and then one of any kind. */
const mixed = fc
  .tuple(fc.array(fc.tuple(wholes, decimals), { minLength: 1, maxLength: 4 }), fc.nat())
  .chain(([groups, seed]) => {
    const numbers = groups.flatMap(([list, power]) => list.map((whole) => whole / 10 ** power))
    const other = fc.oneof(
      fc.constantFrom(...numbers, -0, 1e300, 5e-324),
      fc.double({ noNaN: true, noDefaultInfinity: true }),
    )
    return other.map((one) => numbers.toSpliced(seed % numbers.length, seed % 2, one))
  })

test('numbers of any mix of decimals come back bit for bit', () => {
  fc.assert(
    fc.property(mixed, (numbers) => {
      columnOf(numbers)
    }),
    { numRuns: 2_000 },
  )
})

test('the form of numbers does not depend on their order', () => {
  const shuffled = mixed.chain((numbers) =>
    fc.tuple(
      fc.constant(numbers),
      fc.shuffledSubarray(numbers, { minLength: numbers.length, maxLength: numbers.length }),
    ),
  )
  fc.assert(
    fc.property(shuffled, ([numbers, other]) => {
      const [one, two] = [columnOf(numbers), columnOf(other)]
      // But for numbers that rise by the same step in one of the orders.
      if (one.packed.form.width === 0 || two.packed.form.width === 0) return
      assert.deepEqual(one.packed.form, two.packed.form)
    }),
    { numRuns: 1_000 },
  )
})

test('numbers that rise by the same step take no bytes', () => {
  const rising = fc.tuple(
    fc.integer(),
    fc.integer({ min: 1, max: 2 ** 32 - 1 }),
    fc.nat({ max: 5 }),
    fc.integer({ min: 2, max: 300 }),
  )
  fc.assert(
    fc.property(rising, ([least, step, power, count]) => {
      const numbers = Array.from(
        { length: count },
        (_, index) => (least + index * step) / 10 ** power,
      )
      assert.equal(columnOf(numbers).packed.data.length, 0)
    }),
    { numRuns: 500 },
  )
})

test('a number out of step is told from those in step', () => {
  const numbers = Array.from({ length: 1_000 }, (_, index) => index * 3)
  assert.deepEqual(formOf(numbers), [0, 0])
  assert.deepEqual(formOf(numbers.with(997, 1)), [2, 0])
  assert.deepEqual(formOf(numbers.with(999, 2_997.5)), [2, 1])
  assert.deepEqual(formOf(numbers.with(500, 1_500 + 2 ** -30)), [8, 0])
})

test('ten thousand documented records take six bytes each', () => {
  const records = Array.from({ length: 10_000 }, (_, index) => ({
    ms: 1_737_331_200_000 + index * 100,
    us: 0,
    values: new Map([
      ['temperature', ((index * 31) % 400) / 10],
      ['humidity', ((index * 17) % 1_000) / 10],
      ['pressure', 1_000 + ((index * 7_919) % 10_000) / 100],
    ]),
  }))
  const { bytes } = buildPage(records)
  assert.ok(bytes.length < 60_300, `${bytes.length} bytes`)
})

test('strings that repeat are told once, in order of first appearance', () => {
  const states = ['idle', 'runs', 'fails', 'runs', 'idle', 'idle', 'runs', 'runs', 'idle']
  const records = Array.from({ length: 900 }, (_, index) => ({
    ms: index,
    us: 0,
    values: new Map([['state', states[index % states.length] as string]]),
  }))
  const { bytes } = buildPage(records)
  assert.ok(bytes.length < 2 * records.length + 200, `${bytes.length} bytes`)
  const column = openPage(bytes).columns[0]
  assert.deepEqual(column?.texts.texts, ['idle', 'runs', 'fails'])
  const found: unknown[] = []
  column?.each((_, value) => found.push(value))
  assert.deepEqual(
    found,
    records.map(({ values }) => values.get('state')),
  )
})

test('strings of which more than 256 differ stand one after the other', () => {
  for (const [texts, count] of [
    [256, 256],
    [257, 600],
  ] as const) {
    const given = Array.from({ length: 600 }, (_, index) => `text ${index % texts}`)
    const { bytes } = buildPage(
      given.map((text, ms) => ({ ms, us: 0, values: new Map([['s', text]]) })),
    )
    const column = openPage(bytes).columns[0]
    assert.equal(column?.texts.texts.length, count)
    const found: unknown[] = []
    column?.each((_, value) => found.push(value))
    assert.deepEqual(found, given)
  }
})

test('strings come back whatever they share with one another', () => {
  const text = fc.oneof(
    fc.constantFrom('', 'a', 'ab', 'abcdXefgh', 'abcdYefgh', 'abcdXXefgh', 'é', '💧'),
    fc.string({ unit: 'grapheme', maxLength: 300 }),
  )
  fc.assert(
    fc.property(fc.array(text, { minLength: 1, maxLength: 120, size: 'max' }), (given) => {
      const { bytes } = buildPage(
        given.map((one, ms) => ({ ms, us: 0, values: new Map([['s', one]]) })),
      )
      const found: unknown[] = []
      openPage(bytes).columns[0]?.each((_, value) => found.push(value))
      assert.deepEqual(found, given)
    }),
    { numRuns: 300 },
  )
})
