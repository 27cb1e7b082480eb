import type { InvalidRecord } from '../../src/contracts/errors.ts'
import { limits } from '../../src/limits.ts'
import { type BadCase, record, time, valuesText } from './bad-case.ts'

/** All records of the upload are refused; the first of them for this reason. */
function refused(name: string, json: unknown, invalid: Partial<InvalidRecord>): BadCase {
  return { name, json, status: 422, code: 'INVALID_RECORDS', invalid }
}

function badBody(name: string, json: unknown, field?: string): BadCase {
  const fields = field === undefined ? {} : { fields: { field } }
  return { name, json, status: 422, code: 'INVALID_BODY', ...fields }
}

const times: readonly (readonly [string, unknown])[] = [
  ['a time without zone', '2025-01-20T10:30:00'],
  ['30 February', '2025-02-30T10:30:00Z'],
  ['29 February of a common year', '2025-02-29T00:00:00Z'],
  ['a thirteenth month', '2025-13-01T00:00:00Z'],
  ['the hour 25', '2025-01-20T25:00:00Z'],
  ['a minute of 60', '2025-01-20T10:60:00Z'],
  ['a date alone', '2025-01-20'],
  ['a zone of 24 hours', '2025-01-20T10:30:00+24:00'],
  ['an empty time', ''],
  ['a word as time', 'yesterday'],
  ['white space around a time', ` ${time} `],
  ['null as time', null],
  ['true as time', true],
  ['an object as time', {}],
  ['a number past every date', 9e15],
]
const badTimes = times.map(([name, timestamp]) =>
  refused(
    name,
    { records: [{ timestamp, values: { a: 1 } }] },
    { recordIndex: 0, field: 'timestamp', expectedType: 'datetime' },
  ),
)

const shapes: readonly (readonly [string, unknown])[] = [
  ['a number in place of a record', 42],
  ['null in place of a record', null],
  ['an array in place of a record', [time, 1]],
  ['a record without timestamp', { values: { a: 1 } }],
  ['a record without values', { timestamp: time }],
  ['null as values', { timestamp: time, values: null }],
  ['an array as values', { timestamp: time, values: [1] }],
  ['a text as values', { timestamp: time, values: 'a=1' }],
  ['an unknown member of a record', { ...record, value: 1 }],
]
const badShapes = shapes.map(([name, one]) => refused(name, { records: [one] }, { recordIndex: 0 }))

const longName = 'n'.repeat(limits.fieldNameBytesMax + 1)
const badValues: BadCase[] = [
  refused('an array as value', { records: [{ ...record, values: { a: [1] } }] }, { field: 'a' }),
  refused('an object as value', { records: [{ ...record, values: { a: {} } }] }, { field: 'a' }),
  refused(
    'a field name that is too long',
    { records: [{ ...record, values: { [longName]: 1 } }] },
    {},
  ),
  refused(
    'a text value that is too long',
    { records: [{ ...record, values: { a: 'x'.repeat(limits.stringValueBytesMax + 1) } }] },
    { field: 'a' },
  ),
  ...[Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY].map(
    (a): BadCase => ({
      name: `${a} as a value of msgpack`,
      msgpack: { records: [{ timestamp: time, values: { a } }] },
      status: 422,
      code: 'INVALID_RECORDS',
      invalid: { recordIndex: 0, field: 'a' },
    }),
  ),
  ...[Number.NaN, Number.POSITIVE_INFINITY].map(
    (timestamp): BadCase => ({
      name: `${timestamp} as a time of msgpack`,
      msgpack: { records: [{ timestamp, values: { a: 1 } }] },
      status: 422,
      code: 'INVALID_RECORDS',
      invalid: { recordIndex: 0, field: 'timestamp' },
    }),
  ),
  ...['1e999', '-1e999'].map(
    (number): BadCase => ({
      name: `${number}, which no double holds`,
      body: valuesText(`{"a":${number}}`),
      status: 422,
      code: 'INVALID_RECORDS',
      invalid: { recordIndex: 0, field: 'a' },
    }),
  ),
]

const proto = '__proto__'
/** JSON.stringify drops nothing here: the member is the object's own. */
function withProto(members: Record<string, unknown>): Record<string, unknown> {
  return Object.defineProperty({ ...members }, proto, { value: { a: 1 }, enumerable: true })
}
const prototypes: BadCase[] = [
  badBody('__proto__ in the body', withProto({ records: [record] })),
  refused('__proto__ in a record', { records: [withProto({ ...record })] }, { recordIndex: 0 }),
  refused(
    '__proto__ among the values',
    { records: [{ timestamp: time, values: withProto({ b: 1 }) }] },
    { recordIndex: 0, field: proto },
  ),
  {
    name: '__proto__ in escapes',
    body: valuesText('{"\\u005f\\u005fproto\\u005f\\u005f":1}'),
    status: 422,
    code: 'INVALID_RECORDS',
    invalid: { recordIndex: 0, field: proto },
  },
  {
    name: '__proto__ among the values of msgpack',
    headers: { 'content-type': 'application/msgpack' },
    // {records: [{timestamp: 0, values: {__proto__: 1}}]}
    body: Buffer.from(
      '81a77265636f7264739182a974696d657374616d7000a676616c75657381a95f5f70726f746f5f5f01',
      'hex',
    ),
    status: 422,
    code: 'INVALID_BODY',
    fields: { field: proto },
  },
  {
    name: '__proto__ in the metadata of a session',
    path: '/api/streaming/sessions/start',
    body: '{"sessionType":"telemetry","metadata":{"__proto__":{"a":1}}}',
    status: 422,
    code: 'INVALID_BODY',
  },
]

const bodies: BadCase[] = [
  badBody('an array in place of the body', [record]),
  badBody('null in place of the body', null),
  badBody('a number in place of the body', 1),
  badBody('a text in place of the body', 'records'),
  badBody('a body without records', {}, 'records'),
  badBody('records that are an object', { records: { 0: record } }, 'records'),
  badBody('records that are a text', { records: 'all' }, 'records'),
  badBody('no records at all', { records: [] }, 'records'),
  badBody('an unknown member of the body', { records: [record], more: true }),
  badBody('frames for a telemetry session', { frames: [] }),
]

const strictRecord = { timestamp: time, values: { temperature: 72.5 } }
const documentedBody = {
  error: 'Invalid data format',
  suggestion: 'Fix invalid records and resubmit batch',
  batchId: 'batch-002',
} as const
const strict: BadCase[] = (
  [
    ['a text where the schema wants a number', { temperature: 'invalid' }, 'temperature', 'float'],
    ['null where the schema wants a number', { temperature: null }, 'temperature', 'float'],
    ['a boolean where the schema wants a number', { temperature: true }, 'temperature', 'float'],
    ['a value below the minimum of the schema', { temperature: -51 }, 'temperature', 'float'],
    ['a value above the maximum of the schema', { temperature: 151 }, 'temperature', 'float'],
    ['a record without a required field', { humidity: 1 }, 'temperature', 'float'],
    ['a fraction for an integer', { temperature: 1, count: 1.5 }, 'count', 'integer'],
    ['a text that the pattern refuses', { temperature: 1, unit: 'F!' }, 'unit', 'string'],
    ['a text that is too long for the schema', { temperature: 1, unit: 'FFFF' }, 'unit', 'string'],
    ['a value outside of the enum', { temperature: 1, mode: 'c' }, 'mode', 'string'],
    ['a word for a boolean', { temperature: 1, on: 'true' }, 'on', 'boolean'],
    ['a date that is none', { temperature: 1, at: '2025-02-30T00:00:00Z' }, 'at', 'datetime'],
    ['a field that the schema lacks', { temperature: 1, other: 1 }, 'other', undefined],
  ] as const
).map(([name, values, field, expectedType]) => ({
  ...refused(
    name,
    { records: [{ timestamp: time, values }] },
    { recordIndex: 0, field, ...(expectedType === undefined ? {} : { expectedType }) },
  ),
  target: 'strict',
  fields: documentedBody,
}))

const whole: BadCase[] = [
  {
    ...refused(
      'one bad record of three where the batch goes as a whole',
      {
        records: [
          strictRecord,
          { timestamp: time, values: { temperature: 'invalid' } },
          strictRecord,
        ],
      },
      {
        recordIndex: 1,
        field: 'temperature',
        value: 'invalid',
        expectedType: 'float',
        message: "Cannot parse 'invalid' as float",
      },
    ),
    target: 'whole',
    fields: documentedBody,
  },
]

/** Bodies that parse but hold what no record may hold. */
export const badRecords: readonly BadCase[] = [
  ...badTimes,
  ...badShapes,
  ...badValues,
  ...prototypes,
  ...bodies,
  ...strict,
  ...whole,
]
