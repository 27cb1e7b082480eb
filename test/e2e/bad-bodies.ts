import { gzipSync } from 'node:zlib'
import { pack } from 'msgpackr'
import { limits } from '../../src/limits.ts'
import { type BadCase, gzipEncoding, msgpackType, record, time, valuesText } from './bad-case.ts'

const good = JSON.stringify({ records: [record] })
const packedGood = pack({ records: [record] })
const gzippedGood = gzipSync(good)

/** A msgpack body with one record, whose one value is these bytes. */
function packedValue(hex: string): Uint8Array {
  const head = pack({ records: [{ timestamp: time, values: { a: null } }] })
  return Buffer.concat([head.subarray(0, -1), Buffer.from(hex.replaceAll(' ', ''), 'hex')])
}

function textWith(bytes: string): Uint8Array {
  const [before = '', after = ''] = valuesText('{"a":"#"}').split('#')
  return Buffer.concat([Buffer.from(before), Buffer.from(bytes, 'hex'), Buffer.from(after)])
}

function flippedGzip(position: number): Uint8Array {
  const bytes = Buffer.from(gzippedGood)
  const at = position < 0 ? bytes.length + position : position
  bytes[at] = (bytes[at] ?? 0) ^ 0xff
  return bytes
}

function recordsOf(count: number): unknown {
  return { records: Array.from({ length: count }, () => record) }
}

const tooMany = {
  status: 413,
  code: 'BATCH_SIZE_EXCEEDED',
  fields: {
    error: 'Batch size exceeded',
    maxBatchSize: 10_000,
    receivedBatchSize: 15_000,
    message: 'Batch exceeds maximum allowed size',
    suggestion: 'Split data into smaller batches',
  },
} as const

const notJson = (
  [
    ['a JSON text that is cut off', good.slice(0, -3)],
    ['a trailing comma', valuesText('{"a":1,}')],
    ['a byte order mark before the JSON', `\ufeff${good}`],
    ['an empty body', ''],
    ['only white space', ' \n'],
    ['text after the JSON value', `${good} x`],
    ['two JSON values', good + good],
    ['single quotes', "{'records':[]}"],
    ['a comment', valuesText('{"a":1/* one */}')],
    ['the word NaN', valuesText('{"a":NaN}')],
    ['the word Infinity', valuesText('{"a":-Infinity}')],
    ['a number with a leading zero', valuesText('{"a":01}')],
    ['a number with a plus sign', valuesText('{"a":+1}')],
    ['a raw control character in a string', valuesText('{"a":"\u0001"}')],
    ['an unknown escape', valuesText('{"a":"\\x41"}')],
    ['form data that claims to be JSON', 'records=1&values=2'],
  ] as const
).map(([name, body]): BadCase => ({ name, body, status: 400, code: 'MALFORMED_JSON' }))

const notUtf8 = (
  [
    ['a byte that UTF-8 lacks', 'ff'],
    ['a lone continuation byte', '80'],
    ['an overlong encoding', 'c0af'],
    ['a surrogate in UTF-8', 'eda080'],
    ['a character that is cut off', 'e282'],
    ['a code point past the last', 'f4908080'],
  ] as const
).map(
  ([name, hex]): BadCase => ({
    name: `${name} in JSON`,
    body: textWith(hex),
    status: 400,
    code: 'INVALID_UTF8',
  }),
)

const notMsgpack = (
  [
    ['a msgpack value that is cut off', packedGood.subarray(0, -4)],
    ['bytes after the msgpack value', Buffer.concat([packedGood, packedGood])],
    ['an empty msgpack body', new Uint8Array()],
    ['a msgpack array that claims four billion members', packedValue('dd ff ff ff ff')],
    ['a msgpack map that claims four billion members', packedValue('df ff ff ff ff')],
    ['a msgpack string that claims four billion bytes', packedValue('db ff ff ff ff')],
    ['msgpack bytes that claim four billion bytes', packedValue('c6 ff ff ff ff')],
    ['the byte that msgpack never uses', packedValue('c1')],
    ['JSON that claims to be msgpack', Buffer.from(good)],
  ] as const
).map(
  ([name, body]): BadCase => ({
    name,
    headers: msgpackType,
    body,
    status: 400,
    code: 'MALFORMED_MSGPACK',
  }),
)

const deep = 10_000
const tooDeep = { status: 400, code: 'NESTING_TOO_DEEP' } as const
const nested: BadCase[] = [
  { name: '10,000 arrays in JSON', body: '['.repeat(deep) + ']'.repeat(deep), ...tooDeep },
  {
    name: '10,000 objects in a JSON value',
    body: valuesText(`${'{"a":'.repeat(deep)}1${'}'.repeat(deep)}`),
    ...tooDeep,
  },
  {
    name: 'one array more than may be nested',
    body: valuesText(
      `{"a":${'['.repeat(limits.nestingDepthMax)}${']'.repeat(limits.nestingDepthMax)}}`,
    ),
    ...tooDeep,
  },
  {
    name: '10,000 arrays in msgpack',
    headers: msgpackType,
    body: Buffer.from(`${'91'.repeat(deep)}c0`, 'hex'),
    ...tooDeep,
  },
  {
    name: '10,000 maps in a msgpack value',
    headers: msgpackType,
    body: packedValue(`${'81a161'.repeat(deep)}c0`),
    ...tooDeep,
  },
  {
    name: '10,000 arrays in the metadata of a session',
    path: '/api/streaming/sessions/start',
    body: `{"sessionType":"telemetry","metadata":{"a":${'['.repeat(deep)}${']'.repeat(deep)}}}`,
    ...tooDeep,
  },
]

const encodings: BadCase[] = [
  {
    name: 'a body that is not gzip although it says so',
    headers: gzipEncoding,
    body: good,
    status: 400,
    code: 'MALFORMED_ENCODING',
  },
  {
    name: 'a gzip body that is cut off',
    headers: gzipEncoding,
    body: gzippedGood.subarray(0, -10),
    status: 400,
    code: 'MALFORMED_ENCODING',
  },
  {
    name: 'a gzip body with a wrong checksum',
    headers: gzipEncoding,
    body: flippedGzip(-6),
    status: 400,
    code: 'MALFORMED_ENCODING',
  },
  {
    name: 'gzip that claims to be plain',
    body: gzippedGood,
    status: 400,
    code: 'INVALID_UTF8',
  },
  {
    name: 'gzip of something that is not JSON',
    headers: gzipEncoding,
    body: gzipSync('nonsense'),
    status: 400,
    code: 'MALFORMED_JSON',
  },
  {
    name: 'a gzip bomb',
    headers: gzipEncoding,
    body: () => gzipSync(Buffer.alloc(limits.inflatedBodyBytesMax + 1, ' '), { level: 1 }),
    status: 413,
    code: 'BODY_TOO_LARGE',
    fields: { maxBytes: limits.inflatedBodyBytesMax },
  },
  {
    name: 'brotli',
    headers: { 'content-encoding': 'br' },
    body: good,
    status: 415,
    code: 'UNSUPPORTED_ENCODING',
  },
  {
    name: 'gzip twice',
    headers: { 'content-encoding': 'gzip, gzip' },
    body: gzipSync(gzippedGood),
    status: 415,
    code: 'UNSUPPORTED_ENCODING',
  },
  {
    name: 'plain text as content type',
    headers: { 'content-type': 'text/plain' },
    body: good,
    status: 415,
    code: 'UNSUPPORTED_MEDIA_TYPE',
  },
  {
    name: 'JSON in another charset',
    headers: { 'content-type': 'application/json; charset=iso-8859-1' },
    body: good,
    status: 415,
    code: 'UNSUPPORTED_MEDIA_TYPE',
  },
  {
    name: 'no content type',
    headers: { 'content-type': '' },
    body: Buffer.from(good),
    status: 415,
    code: 'UNSUPPORTED_MEDIA_TYPE',
  },
  {
    name: 'msgpack that claims to be JSON',
    body: packedGood,
    status: 400,
    code: 'INVALID_UTF8',
  },
  {
    name: 'invalid UTF-8 in msgpack',
    headers: msgpackType,
    body: packedValue('a2 c3 28'),
    status: 400,
    code: 'INVALID_UTF8',
  },
]

const counts: BadCase[] = [
  { name: '15,000 records', json: recordsOf(15_000), ...tooMany },
  { name: '15,000 records in msgpack', msgpack: recordsOf(15_000), ...tooMany },
  {
    name: 'one record too many',
    json: recordsOf(10_001),
    ...tooMany,
    fields: { ...tooMany.fields, receivedBatchSize: 10_001 },
  },
]

/** Everything about bodies as bytes: their encoding, depth and size. */
export const badBodies: readonly BadCase[] = [
  ...notJson,
  ...notUtf8,
  ...notMsgpack,
  ...nested,
  ...encodings,
  ...counts,
]
