import fc from 'fast-check'
import { PageBuilder } from '../../src/codecs/telemetry/page-builder.ts'
import type { PageValue } from '../../src/codecs/telemetry/page-format.ts'
import type { EncodedPage } from '../../src/contracts/tasks.ts'

/** A record as the page holds it. */
export interface PageRecord {
  readonly ms: number
  readonly us: number
  readonly values: ReadonlyMap<string, PageValue>
}

export function buildPage(records: readonly PageRecord[]): EncodedPage {
  const builder = new PageBuilder(records.length)
  for (const { ms, us, values } of records) {
    builder.beginRecord(ms, us)
    for (const [name, value] of values) builder.addField(name, value)
  }
  return builder.encode()
}

const text = fc.oneof(
  fc.string({ unit: 'grapheme', maxLength: 12 }),
  fc.constantFrom(
    'ok',
    '',
    ',',
    '"',
    '\r\n',
    '"quoted", and more\n',
    '\u2028',
    '=1+1',
    'null',
    ' a ',
  ),
)
const number = fc.oneof(
  fc.double({ noNaN: true, noDefaultInfinity: true }),
  fc.integer(),
  fc
    .tuple(fc.oneof(fc.integer({ min: -5_000, max: 5_000 }), fc.integer()), fc.nat({ max: 9 }))
    .map(([whole, decimals]) => whole / 10 ** decimals),
  fc.constantFrom(-0, 0, 5e-324, -5e-324, Number.MAX_VALUE, 2 ** 53 + 2, 0.1 + 0.2, 1e21, 1e-7),
)
/** All numbers, so that columns are dense as often as not. */
const anyValue: fc.Arbitrary<PageValue> = fc.oneof(
  { weight: 6, arbitrary: number },
  { weight: 2, arbitrary: text },
  { weight: 1, arbitrary: fc.boolean() },
  { weight: 1, arbitrary: fc.constant(null) },
)
const name = fc
  .oneof(
    { weight: 8, arbitrary: fc.constantFrom('a', 'b', 'c') },
    {
      weight: 1,
      arbitrary: fc.constantFrom('toString', 'constructor', '0', '7', 'é"\n', '🌡️', 'a,b'),
    },
    { weight: 1, arbitrary: fc.string({ unit: 'grapheme', minLength: 1, maxLength: 6 }) },
  )
  .filter((given) => given !== '__proto__')

const values = fc.oneof(
  // The same fields in every record: dense columns.
  fc.tuple(number, number).map(
    ([a, b]) =>
      new Map<string, PageValue>([
        ['a', a],
        ['b', b],
      ]),
  ),
  fc.integer({ min: -99_999, max: 99_999 }).map(
    (whole) =>
      new Map<string, PageValue>([
        ['c', whole / 1_000],
        ['a', 21.5],
      ]),
  ),
  fc.array(fc.tuple(name, anyValue), { maxLength: 5 }).map((pairs) => new Map(pairs)),
)

const record: fc.Arbitrary<PageRecord> = fc.record(
  {
    ms: fc.oneof(
      fc.integer({ min: 1_737_369_000_000, max: 1_737_369_900_000 }),
      fc.integer({ min: -62_167_219_200_000, max: 253_402_300_799_999 }),
    ),
    us: fc.oneof({ weight: 3, arbitrary: fc.constant(0) }, fc.integer({ min: 0, max: 999 })),
    values,
  },
  { noNullPrototype: true },
)

export const pageRecords = fc.array(record, { minLength: 1, maxLength: 40, size: 'max' })
