import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { parseJson } from '../../src/codecs/json.ts'
import { limits } from '../../src/limits.ts'
import { refusalOf } from '../support/refusal.ts'

const utf8 = (text: string) => Buffer.from(text)
const parse = (text: string) => parseJson(utf8(text))

test('a valid text gives what JSON.parse gives', () => {
  const spacing = fc.constantFrom(undefined, 1, '\t')
  fc.assert(
    fc.property(fc.jsonValue({ maxDepth: 8, stringUnit: 'binary' }), spacing, (value, space) => {
      const text = JSON.stringify(value, null, space)
      fc.pre(!text.includes('__proto__'))
      assert.deepStrictEqual(parse(text), JSON.parse(text))
    }),
    { numRuns: 500 },
  )
})

test('a text that JSON.parse refuses is refused with a place, and quotes at most 12 characters', () => {
  const secret = 'x'.repeat(500)
  const change = fc.record({
    at: fc.nat(),
    drop: fc.nat({ max: 2 }),
    put: fc.string({ maxLength: 2 }),
  })
  const document = fc.jsonValue({ maxDepth: 4, stringUnit: 'binary' })
  fc.assert(
    fc.property(document, change, (value, { at, drop, put }) => {
      const good = JSON.stringify([value, secret, { a: [1.5e3, true, null] }])
      const start = at % good.length
      const text = (good.slice(0, start) + put + good.slice(start + drop)).toWellFormed()
      fc.pre(!text.includes('__proto__'))
      let expected: unknown
      try {
        expected = JSON.parse(text)
      } catch {
        const { message } = refusalOf(() => parse(text), 'MALFORMED_JSON')
        assert.match(message, /^The body is not valid JSON: (at character \d+ |a byte order mark)/)
        assert.doesNotMatch(message, /expected the end, found the end/)
        assert.ok(message.length < 160, message)
        return
      }
      assert.deepStrictEqual(parse(text), expected)
    }),
    { numRuns: 1_000 },
  )
})

test('a malformed text is told where it went wrong and what was due', () => {
  for (const [text, why] of [
    ['', 'at character 0 expected value, found the end'],
    ['{"a" 1}', 'at character 5 expected \':\', found "1}"'],
    ['[1 2]', "at character 3 expected ',' or ']', found \"2]\""],
    ['{"a":1,}', 'at character 7 expected name, found "}"'],
    ['[1,]', 'at character 3 expected value, found "]"'],
    ['{"records":[', 'at character 12 expected value or ], found the end'],
    ['[1]x', 'at character 3 expected the end, found "x"'],
    ['[NaN]', 'at character 1 expected value or ], found "NaN]"'],
    ['[01]', "at character 2 expected ',' or ']', found \"1]\""],
    ['["a', 'at character 3 a string lacks its closing quote'],
    ['["a\nb"]', 'at character 3 a string holds an unescaped control character'],
    ['["\\x"]', 'at character 2 a string holds an escape that JSON lacks'],
    ['\ufeff{}', 'a byte order mark stands before it'],
  ] as const) {
    const { message } = refusalOf(() => parse(text), 'MALFORMED_JSON')
    assert.equal(message, `The body is not valid JSON: ${why}`)
  }
})

test('bytes that are not UTF-8 are refused wherever they stand', () => {
  for (const bytes of [
    [0xff],
    [0xc0, 0xaf],
    [0xed, 0xa0, 0x80],
    [0xf4, 0x90, 0x80, 0x80],
    [0xe2, 0x82],
    [0x80],
  ]) {
    for (const [before, after] of [
      ['"', '"'],
      ['{"', '":1}'],
      ['', ''],
    ]) {
      const body = Buffer.concat([utf8(before ?? ''), Buffer.from(bytes), utf8(after ?? '')])
      refusalOf(() => parseJson(body), 'INVALID_UTF8')
    }
  }
  assert.equal(parse('"é🌡️\u0000"'.replace('\u0000', '\\u0000')), 'é🌡️\0')
})

test('UTF-16 is refused', () => {
  refusalOf(() => parseJson(Buffer.from('{"a":1}', 'utf16le')), 'MALFORMED_JSON')
  refusalOf(() => parseJson(Buffer.from([0xff, 0xfe, 0x7b, 0, 0x7d, 0])), 'INVALID_UTF8')
})

test('nesting is taken up to the bound and refused past it, however deep', () => {
  const array = (depth: number) => '['.repeat(depth) + ']'.repeat(depth)
  const object = (depth: number) => `${'{"a":'.repeat(depth - 1)}{}${'}'.repeat(depth - 1)}`
  for (const nested of [array, object]) {
    const max = limits.nestingDepthMax
    assert.deepEqual(parse(nested(max)), JSON.parse(nested(max)))
    for (const depth of [max + 1, 1_000, 10_000, 200_000]) {
      const { detail } = refusalOf(() => parse(nested(depth)), 'NESTING_TOO_DEEP')
      assert.deepEqual(detail.fields, { maxDepth: max })
    }
  }
  refusalOf(() => parse('['.repeat(10_000)), 'NESTING_TOO_DEEP')
  refusalOf(() => parse('{"a":'.repeat(10_000)), 'NESTING_TOO_DEEP')
})

test('deep nesting does not hide among many flat records', () => {
  const flat = Array.from({ length: 2_000 }, (_, at) => `{"timestamp":${at},"values":{"a":1}}`)
  const deep = `${'['.repeat(65)}${']'.repeat(65)}`
  for (const hidden of [
    `{"timestamp":0,"values":{"a":${deep}}}`,
    `{"timestamp":${deep},"values":{}}`,
    `{"values":{"a":"]]]]]]","b":${deep}}}`,
    deep,
  ]) {
    const records = [...flat, hidden, ...flat].join(',')
    refusalOf(() => parse(`{"records":[${records}]}`), 'NESTING_TOO_DEEP')
  }
  refusalOf(() => parse(`{"records":${deep},"records":[${flat}]}`), 'NESTING_TOO_DEEP')
})

test('brackets inside strings are no nesting', () => {
  const brackets = '[{'.repeat(500)
  const value = { a: brackets, [`${brackets}\\"`]: [brackets, '\\', '"'] }
  assert.deepEqual(parse(JSON.stringify(value)), value)
})

test('a member named __proto__ is refused in every spelling and at every depth', () => {
  for (const name of [
    '__proto__',
    '\\u005f_proto__',
    '__prot\\u006F__',
    '\\u005F\\u005F\\u0070roto__',
  ]) {
    for (const text of [
      `{"${name}":1}`,
      `{"${name}":{"polluted":true}}`,
      `[[{"a":{"${name}":null}}]]`,
      `{"records":[{"values":{"a":1,"${name}":2}}]}`,
    ]) {
      const { detail } = refusalOf(() => parse(text), 'INVALID_BODY')
      assert.equal(detail.fields?.field, '__proto__')
      const kept = parseJson(utf8(text), 'keep') as object
      assert.ok(Object.getPrototypeOf(kept) === Object.prototype || Array.isArray(kept))
    }
  }
  const kept = parseJson(utf8('{"__proto__":{"polluted":true}}'), 'keep') as object
  assert.ok(Object.hasOwn(kept, '__proto__') && !('polluted' in kept))
  assert.equal(parse('"__proto__"'), '__proto__')
  assert.deepEqual(parse('["\\u005f_proto__"]'), ['__proto__'])
})

test('a body of more values than a worker can hold is refused', () => {
  const many = `[${'1,'.repeat(limits.uploadValuesMax)}1]`
  const { message } = refusalOf(() => parse(many), 'INVALID_BODY')
  assert.match(message, /at most 2097152 values/)
  refusalOf(() => parse(`[${'{},'.repeat(limits.uploadValuesMax)}1]`), 'INVALID_BODY')
})
