import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import {
  formatTimestamp,
  PreciseDate,
  parseTimestamp,
  TimestampReader,
} from '../../src/codecs/telemetry/timestamp.ts'

const firstMs = Date.parse('0000-01-01T00:00:00Z')
const lastMs = Date.parse('9999-12-31T23:59:59.999Z')
const instant = fc.integer({ min: firstMs, max: lastMs })
const pad = (value: number, digits = 2) => String(value).padStart(digits, '0')

function fault(value: unknown): string {
  return new TimestampReader().read(value) ?? 'well'
}

test('text means what Date.parse takes it for, in every zone', () => {
  const zone = fc.tuple(
    fc.constantFrom('+', '-'),
    fc.integer({ min: 0, max: 23 }),
    fc.integer({ min: 0, max: 59 }),
  )
  const reader = new TimestampReader()
  fc.assert(
    fc.property(
      fc.integer({ min: firstMs + 86_400_000, max: lastMs - 86_400_000 }),
      fc.option(zone),
      fc.integer({ min: 0, max: 3 }),
      (ms, offset, digits) => {
        const local = new Date(ms).toISOString()
        const fraction = digits === 0 ? '' : local.slice(19, 20 + digits)
        const end = offset === null ? 'Z' : `${offset[0]}${pad(offset[1])}:${pad(offset[2])}`
        const text = `${local.slice(0, 19)}${fraction}${end}`
        assert.equal(reader.read(text), null, text)
        assert.deepEqual([reader.ms, reader.us], [Date.parse(text), 0], text)
      },
    ),
    { numRuns: 1_000 },
  )
})

test('what is formatted is read back to the microsecond', () => {
  fc.assert(
    fc.property(instant, fc.integer({ min: 0, max: 999 }), (ms, us) => {
      const text = formatTimestamp({ ms, us })
      assert.match(text, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}(?:\d{3})?Z$/)
      assert.deepStrictEqual(parseTimestamp(text), { ms: ms + 0, us })
    }),
    { numRuns: 1_000 },
  )
})

test('fractions are kept to the microsecond and cut there', () => {
  const base = Date.parse('2025-01-20T10:30:00Z')
  for (const [fraction, ms, us] of [
    ['.1', 100, 0],
    ['.000001', 0, 1],
    ['.1234567', 123, 456],
    ['.999999999999999999', 999, 999],
    [`.${'0'.repeat(400)}`, 0, 0],
  ] as const) {
    assert.deepEqual(parseTimestamp(`2025-01-20T10:30:00${fraction}Z`), { ms: base + ms, us })
  }
})

test('before the epoch microseconds still count upwards', () => {
  assert.deepEqual(parseTimestamp('1969-12-31T23:59:59.999999Z'), { ms: -1, us: 999 })
  assert.deepEqual(parseTimestamp(-0.001), { ms: -1, us: 999 })
})

test('numbers are milliseconds, rounded to the microsecond', () => {
  for (const [given, ms, us] of [
    [0, 0, 0],
    [1_737_369_000_000, 1_737_369_000_000, 0],
    [1_737_369_000_000.25, 1_737_369_000_000, 250],
    [1.9996, 2, 0],
    [-1.5, -2, 500],
    [-0.0001, 0, 0],
  ] as const) {
    assert.deepStrictEqual(parseTimestamp(given), { ms, us })
  }
})

test('the epoch has one zero, so that the same instant gives the same bytes', () => {
  for (const given of [-0, 0, '1970-01-01T00:00:00Z', '1970-01-01T00:00:00-00:00']) {
    assert.ok(Object.is(parseTimestamp(given)?.ms, 0), String(given))
  }
})

test('the years 0000 to 9999 are taken, in UTC', () => {
  assert.deepEqual(parseTimestamp('0000-01-01T00:00:00Z'), { ms: firstMs, us: 0 })
  assert.deepEqual(parseTimestamp('9999-12-31T23:59:59.999999Z'), { ms: lastMs, us: 999 })
  for (const given of [
    '0000-01-01T00:00:00+00:01',
    '9999-12-31T23:59:59-00:01',
    lastMs + 1,
    firstMs - 1,
    Number.MAX_VALUE,
    new PreciseDate(Number.NaN, 0),
  ]) {
    assert.equal(fault(given), 'lies outside the years 0000 to 9999')
  }
})

test('a day that its month lacks is refused, a leap day where there is one is not', () => {
  for (const day of ['2025-02-29', '2025-02-30', '1900-02-29', '2025-04-31', '2025-01-32']) {
    assert.equal(fault(`${day}T00:00:00Z`), 'names a day that its month does not have', day)
  }
  for (const day of ['2024-02-29', '2000-02-29', '0000-02-29', '2025-12-31']) {
    const text = `${day}T00:00:00Z`
    assert.equal(parseTimestamp(text)?.ms, Date.parse(text))
  }
})

test('a leap second is refused by name', () => {
  assert.equal(fault('2016-12-31T23:59:60Z'), 'is a leap second, which has no epoch time')
})

test('every malformed text is refused', () => {
  const good = '2025-01-20T10:30:00.000Z'
  const malformed = [
    '',
    'now',
    '2025-01-20',
    '2025-01-20T10:30Z',
    '20250120T103000Z',
    '2025-00-20T10:30:00Z',
    '2025-13-20T10:30:00Z',
    '2025-01-00T10:30:00Z',
    '2025-01-20T24:00:00Z',
    '2025-01-20T10:60:00Z',
    '2025-01-20T10:30:61Z',
    '2025-01-20T10:30:00.Z',
    '2025-01-20\u000010:30:00Z',
    '2025-01-20_10:30:00Z',
    '+002025-01-20T10:30:00Z',
    '２025-01-20T10:30:00Z',
    ` ${good}`,
  ]
  for (const text of malformed) assert.equal(fault(text), 'is not an RFC 3339 timestamp', text)
  for (const end of [
    '',
    ' ',
    ',5Z',
    '+01',
    '+0100',
    '+1:00',
    '+24:00',
    '+01:60',
    '+01:00 ',
    'ZZ',
    'Z ',
    '01:00',
  ]) {
    assert.match(fault(`2025-01-20T10:30:00.5${end}`), /lacks a time zone/, end)
  }
})

test('a text with one character changed is refused or is another right timestamp', () => {
  fc.assert(
    fc.property(instant, fc.nat({ max: 23 }), fc.string({ maxLength: 2 }), (ms, at, put) => {
      const good = new Date(ms).toISOString()
      fc.pre(good.length === 24)
      const text = good.slice(0, at) + put + good.slice(at + 1)
      const timestamp = parseTimestamp(text)
      if (timestamp === null) return
      const known = text.toUpperCase().replace(' ', 'T')
      assert.equal(timestamp.ms, Date.parse(known), text)
    }),
    { numRuns: 1_000 },
  )
})

test('what is neither text nor number nor a date of msgpack is no timestamp', () => {
  for (const value of [null, undefined, true, {}, [], { toString: 1 }]) {
    assert.match(fault(value), /neither RFC 3339 text nor a number/)
  }
  for (const value of [Number.NaN, Infinity, -Infinity]) {
    assert.equal(fault(value), 'is not a finite number')
  }
})

test('a reader that has met a bad date still reads the next one', () => {
  const reader = new TimestampReader()
  for (const text of ['2025-01-20T10:30:00Z', '2025-02-30T10:30:00Z', '2025-01-21T10:30:00Z']) {
    const known = Date.parse(text)
    if (reader.read(text) === null) assert.equal(reader.ms, known)
    else assert.ok(text.includes('02-30'))
  }
})
