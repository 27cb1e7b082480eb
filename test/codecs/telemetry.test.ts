import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { pack } from 'msgpackr'
import { parseJson } from '../../src/codecs/json.ts'
import { parseMsgpack } from '../../src/codecs/msgpack.ts'
import { type DecodedTelemetry, decodeTelemetry } from '../../src/codecs/telemetry/decode.ts'
import { readRecords } from '../../src/codecs/telemetry/read.ts'
import { formatTimestamp } from '../../src/codecs/telemetry/timestamp.ts'
import type { InlineSchema } from '../../src/contracts/schema.ts'
import type { DecodeSettings, RejectedRecord } from '../../src/contracts/tasks.ts'
import { limits } from '../../src/limits.ts'
import { refusalOf } from '../support/refusal.ts'
import { rejectedIn } from '../support/rejected.ts'
import { pageRecords } from './telemetry-records.ts'

const timestamp = '2025-01-20T10:30:00.000Z'
const good = { timestamp, values: { temperature: 72.5 } }

function settingsOf(changes: Partial<DecodeSettings> = {}): DecodeSettings {
  const defaults = {
    sessionType: 'telemetry',
    onInvalid: 'reject-records',
    verify: 'structure',
  } as const
  return { ...defaults, schema: null, ...changes }
}

function decode(records: unknown, changes: Partial<DecodeSettings> = {}): DecodedTelemetry {
  return decodeTelemetry({ records }, settingsOf(changes))
}

function withSchema(definition: InlineSchema): Partial<DecodeSettings> {
  return { schema: JSON.stringify(definition) }
}

/** The kept records as they are read back, addresses left out. */
function kept({ content }: DecodedTelemetry): { timestamp: string; values: object }[] {
  assert.ok(content.kind === 'page')
  const block = { bytes: content.page.bytes, hash: 'ab', firstIndex: 0 }
  const range = { fromMs: null, toMs: null, fields: null, limit: limits.pageLimitMax }
  const { bytes } = readRecords({ kind: 'read', blocks: [block], ...range, format: 'json' })
  const rows = JSON.parse(`[${Buffer.from(bytes)}]`) as { timestamp: string; values: object }[]
  return rows.map((row) => ({ timestamp: row.timestamp, values: row.values }))
}

/** What is told of one record that stands between two good ones. */
function rejectionOf(record: unknown, changes: Partial<DecodeSettings> = {}): RejectedRecord {
  const decoded = decode([good, record, good], changes)
  assert.deepEqual(kept(decoded), [good, good])
  assert.equal(decoded.received, 3)
  assert.equal(decoded.rejected.count, 1)
  const [rejected] = rejectedIn(decoded.rejected)
  assert.equal(rejected?.recordIndex, 1)
  return rejected as RejectedRecord
}

test('what JSON and msgpack carry is read back as it was sent', () => {
  fc.assert(
    fc.property(pageRecords, (records) => {
      const sent = records.map(({ ms, us, values }) => ({
        timestamp: formatTimestamp({ ms, us }),
        values: Object.fromEntries(values),
      }))
      const json = parseJson(Buffer.from(JSON.stringify({ records: sent })), 'keep')
      const msgpack = parseMsgpack(pack({ records: sent }))
      for (const document of [json, msgpack] as Record<string, unknown>[]) {
        const decoded = decodeTelemetry(document, settingsOf())
        assert.deepEqual([decoded.received, decoded.rejected.count], [sent.length, 0])
        assert.deepEqual(kept(decoded), JSON.parse(JSON.stringify(sent)))
      }
    }),
    { numRuns: 200 },
  )
})

test('the documented rejection stands in the reply and keeps the record', () => {
  const schema = withSchema({
    fields: [
      { name: 'timestamp', type: 'datetime', required: true },
      { name: 'temperature', type: 'float', required: true },
    ],
  })
  const record = { timestamp, values: { temperature: 'invalid' } }
  assert.deepEqual(rejectionOf(record, schema), {
    recordIndex: 1,
    field: 'temperature',
    value: 'invalid',
    expectedType: 'float',
    message: "Cannot parse 'invalid' as float",
    record: JSON.stringify(record),
  })
})

test('a record that is not an object, or lacks a part, is told as what it is', () => {
  const cases: [unknown, string, string, string][] = [
    [null, 'record', 'object', "Cannot parse 'null' as object"],
    [[1, 2], 'record', 'object', "Cannot parse '[1,2]' as object"],
    [7, 'record', 'object', "Cannot parse '7' as object"],
    [new Uint8Array(3), 'record', 'object', "Cannot parse '3 bytes' as object"],
    [{ values: {} }, 'timestamp', 'datetime', "Field 'timestamp' is required"],
    [{ timestamp: null, values: {} }, 'timestamp', 'datetime', "Field 'timestamp' is required"],
    [{ timestamp }, 'values', 'object', "Field 'values' is required"],
    [{ timestamp, values: null }, 'values', 'object', "Cannot parse 'null' as object"],
    [{ timestamp, values: [1] }, 'values', 'object', "Cannot parse '[1]' as object"],
    [{ ...good, extra: 1 }, 'extra', 'none', "A record has no member 'extra'"],
  ]
  for (const [record, field, expectedType, message] of cases) {
    const rejected = rejectionOf(record)
    assert.deepEqual(
      [rejected.field, rejected.expectedType, rejected.message],
      [field, expectedType, message],
    )
  }
})

test('a timestamp that cannot be taken is told with the reason', () => {
  for (const [given, reason] of [
    ['yesterday', "Cannot parse 'yesterday' as datetime: it is not an RFC 3339 timestamp"],
    [Number.NaN, "Cannot parse 'NaN' as datetime: it is not a finite number"],
    [Infinity, "Cannot parse 'Infinity' as datetime: it is not a finite number"],
    [1e300, "Cannot parse '1e+300' as datetime: it lies outside the years 0000 to 9999"],
    [
      { toString: 1 },
      `Cannot parse '{"toString":1}' as datetime: it is neither RFC 3339 text nor a number of milliseconds`,
    ],
  ] as const) {
    assert.equal(rejectionOf({ timestamp: given, values: {} }).message, reason)
  }
})

test('values that no page can hold are refused, from JSON and from msgpack', () => {
  const huge = parseJson(Buffer.from('{"timestamp":0,"values":{"a":1e999}}'))
  assert.equal(rejectionOf(huge).message, "Cannot parse 'Infinity' as float")
  for (const value of [Number.NaN, Infinity, -Infinity]) {
    const record = parseMsgpack(pack({ timestamp, values: { a: value } }))
    const { value: shown, record: text } = rejectionOf(record)
    assert.equal(shown, String(value))
    assert.equal(text, `{"timestamp":"${timestamp}","values":{"a":"${value}"}}`)
  }
  const any = 'float, string, boolean or null'
  for (const value of [{}, [], { toString: 1, valueOf: 1 }, new Uint8Array(2), new Date(0)]) {
    assert.equal(rejectionOf({ timestamp, values: { a: value } }).expectedType, any)
  }
})

test('unpaired surrogates are refused in values and names', () => {
  const value = parseJson(Buffer.from(`{"timestamp":0,"values":{"a":"\\ud800"}}`))
  assert.equal(rejectionOf(value).message, 'A string has an unpaired surrogate')
  const name = parseJson(Buffer.from(`{"timestamp":0,"values":{"\\udc00a":1}}`))
  assert.match(rejectionOf(name).message, /it has an unpaired surrogate$/)
})

test('names that a record may not bear cost the record alone', () => {
  for (const name of ['__proto__', '', 'é'.repeat(129)]) {
    const text = `{"timestamp":0,"values":{"a":1,${JSON.stringify(name)}:2}}`
    const rejected = rejectionOf(parseJson(Buffer.from(text), 'keep'))
    assert.equal(rejected.expectedType, 'field name')
    assert.ok(rejected.field === name)
  }
  const record = parseJson(
    Buffer.from('{"timestamp":0,"values":{},"__proto__":{"values":1}}'),
    'keep',
  )
  assert.equal(rejectionOf(record).field, '__proto__')
  for (const name of ['constructor', 'toString', 'é'.repeat(128), '0', ' ']) {
    const record = { timestamp, values: { [name]: 1 } }
    assert.deepEqual(kept(decode([record])), [record])
  }
})

test('strings are bounded in bytes', () => {
  const max = limits.stringValueBytesMax
  const record = { timestamp, values: { a: 'x'.repeat(max), b: 'é'.repeat(max / 2) } }
  assert.deepEqual(kept(decode([record])), [record])
  for (const text of ['x'.repeat(max + 1), 'é'.repeat(max / 2 + 1)]) {
    const rejected = rejectionOf({ timestamp, values: { a: text } })
    assert.equal(rejected.message, `A string has at most ${max} bytes`)
    assert.equal(String(rejected.value).length, limits.shownValueCharsMax)
  }
})

test('what is shown and kept of a huge record is bounded', () => {
  const name = '\u0001'.repeat(5_000_000)
  const values = Object.fromEntries(
    Array.from({ length: 5_000 }, (_, at) => [`f${at}`, 'x'.repeat(500)]),
  )
  for (const record of [
    { ...good, [name]: 1 },
    { timestamp, values: { [name]: name } },
    { timestamp: values, values },
    { timestamp, values: { a: [values, values, new Uint8Array(1_000_000)] } },
  ]) {
    const rejected = rejectionOf(record)
    assert.ok(Buffer.byteLength(rejected.record) <= limits.rejectedRecordBytesMax)
    assert.ok(rejected.field.length <= limits.shownValueCharsMax)
    assert.ok(rejected.message.length < 300)
    assert.ok(String(rejected.value).length <= limits.shownValueCharsMax)
  }
})

test('reject-batch and an upload of nothing valid are refused with every fault up to the bound', () => {
  const bad = { timestamp: 'no', values: {} }
  const refusal = refusalOf(
    () => decode([good, bad], { onInvalid: 'reject-batch' }),
    'INVALID_RECORDS',
  )
  assert.deepEqual(refusal.detail.fields?.invalidRecords, [
    {
      recordIndex: 1,
      field: 'timestamp',
      value: 'no',
      expectedType: 'datetime',
      message: "Cannot parse 'no' as datetime: it is not an RFC 3339 timestamp",
    },
  ])
  const many = Array.from({ length: 150 }, () => bad)
  const all = refusalOf(() => decode(many), 'INVALID_RECORDS').detail.fields?.invalidRecords
  assert.equal((all as unknown[]).length, limits.invalidRecordsShownMax)
  assert.equal(decode([good, ...many]).rejected.count, 150)
})

test('rejected records come as text in chunks of bounded bytes, the first ones shown beside', () => {
  const long = 'ü'.repeat(limits.rejectedRecordBytesMax)
  const records = Array.from({ length: 300 }, (_, at) => ({
    timestamp: 'no',
    values: at % 2 === 0 ? { text: long } : {},
  }))
  const { rejected } = decode([good, ...records])
  const all = rejectedIn(rejected)
  assert.deepEqual(
    all.map(({ recordIndex }) => recordIndex),
    records.map((_, index) => index + 1),
  )
  const shown = all.map(({ record: _record, ...rest }) => rest)
  assert.deepEqual(rejected.shown, shown.slice(0, limits.invalidRecordsShownMax))
  assert.equal(rejected.count, 300)
  assert.equal(
    rejected.chunks.reduce((sum, chunk) => sum + chunk.records, 0),
    300,
  )
  const bytes = rejected.chunks.map((chunk) => chunk.bytes.byteLength)
  assert.ok(bytes.every((size) => size <= limits.rejectedChunkBytesMax + 1))
  assert.ok(bytes.slice(0, -1).every((size) => size > limits.rejectedChunkBytesMax * 0.9))
})

test('a list that is missing, empty or too long is refused', () => {
  for (const records of [undefined, null, {}, 'records', new Uint8Array(3), []]) {
    const { detail } = refusalOf(() => decode(records), 'INVALID_BODY')
    assert.equal(detail.fields?.field, 'records')
  }
  const { detail, status } = refusalOf(
    () => decode(Array(15_000).fill(good)),
    'BATCH_SIZE_EXCEEDED',
  )
  assert.equal(status, 413)
  assert.deepEqual(detail.fields, { maxBatchSize: 10_000, receivedBatchSize: 15_000 })
  assert.equal(decode(Array(10_000).fill(good)).received, 10_000)
})

test('fields are bounded a record and an upload', () => {
  const wide = (count: number, from = 0) => ({
    timestamp,
    values: Object.fromEntries(Array.from({ length: count }, (_, at) => [`f${from + at}`, at])),
  })
  assert.equal(decode([wide(limits.recordFieldsMax)]).rejected.count, 0)
  assert.match(rejectionOf(wide(limits.recordFieldsMax + 1)).message, /at most 1024 fields/)
  const full = [0, 1, 2, 3].map((part) => wide(1_024, part * 1_024))
  assert.equal(decode(full).received, 4)
  const { detail } = refusalOf(() => decode([...full, wide(1, 4_096)]), 'INVALID_BODY')
  assert.match(String(detail.fields?.expected), /at most 4096 different fields/)
})

test('a schema decides what is required, what else may come and which fault is told first', () => {
  const fields = [
    { name: 'a', type: 'float' as const, required: true },
    { name: 'toString', type: 'string' as const, required: true },
    { name: 'at', type: 'datetime' as const },
  ]
  const open = withSchema({ fields })
  const closed = withSchema({ fields, additionalFields: false })
  const whole = { timestamp, values: { a: 1, toString: 'x', at: '2025-01-20T10:30:00Z' } }
  const decoded = decode([whole, { ...whole, values: { ...whole.values, more: null } }], open)
  assert.equal(decoded.rejected.count, 0)
  const faultOf = (values: object, changes: Partial<DecodeSettings>) =>
    decode([whole, { timestamp, values }], changes).rejected.shown[0]?.message
  assert.equal(faultOf({ a: 1 }, open), "Field 'toString' is required")
  assert.equal(faultOf({ a: null, toString: 'x' }, open), "Field 'a' is required")
  assert.equal(faultOf({ ...whole.values, at: 'no' }, open), "Cannot parse 'no' as datetime")
  assert.equal(faultOf({ at: null, a: 'b', toString: 1 }, open), "Cannot parse 'b' as float")
  for (const more of ['more', 'timestamp']) {
    const message = `The schema has no field '${more}' and takes no others`
    assert.equal(faultOf({ ...whole.values, [more]: 1 }, closed), message)
  }
})
