import assert from 'node:assert/strict'
import { test } from 'node:test'
import { patternInputCharsMax } from '../../src/codecs/telemetry/pattern.ts'
import { checkDefinition, compileSchema } from '../../src/codecs/telemetry/schema.ts'
import type { InlineSchema, SchemaField } from '../../src/contracts/schema.ts'
import { limits } from '../../src/limits.ts'
import { refusalOf } from '../support/refusal.ts'

type Validation = NonNullable<SchemaField['validation']>

/** The message about a value of a field, null where it passes. */
function verdict(
  type: SchemaField['type'],
  value: unknown,
  validation?: Validation,
  required = false,
): string | null {
  const field = { name: 'f', type, required, ...(validation === undefined ? {} : { validation }) }
  checkDefinition({ fields: [field] })
  const fault = compileSchema(JSON.stringify({ fields: [field] })).fields.get('f')?.(value) ?? null
  if (fault !== null) assert.deepEqual([fault.field, fault.expectedType], ['f', type])
  return fault?.message ?? null
}

test('each type takes its own values and names the type it cannot parse as', () => {
  const values = {
    datetime: ['2025-01-20T10:30:00Z', 1_737_369_000_000, -1.5],
    float: [1, -0, 1.5, Number.MAX_VALUE],
    integer: [1, -5, 2 ** 60],
    string: ['', 'x', 'é'],
    boolean: [true, false],
  } as const
  const strangers: Record<SchemaField['type'], readonly unknown[]> = {
    datetime: ['yesterday', '2025-02-30T00:00:00Z', true, {}, Number.NaN],
    float: ['1', true, Number.NaN, Infinity, [], {}],
    integer: [1.5, '1', Number.NaN, Infinity, false],
    string: [1, true, [], {}],
    boolean: [0, 1, 'true', {}],
  }
  for (const type of Object.keys(values) as SchemaField['type'][]) {
    for (const value of values[type]) assert.equal(verdict(type, value), null)
    for (const value of strangers[type]) {
      assert.match(String(verdict(type, value)), new RegExp(`^Cannot parse '.*' as ${type}$`))
    }
  }
})

test('the message of a text where a number should be is the documented one', () => {
  assert.equal(verdict('float', 'invalid'), "Cannot parse 'invalid' as float")
})

test('a message about a long or strange value stays short', () => {
  const strange = { toString: 1, valueOf: 2, a: 'x'.repeat(10_000) }
  for (const value of ['x'.repeat(10_000), strange, [strange], new Uint8Array(1e6)]) {
    const message = String(verdict('float', value))
    assert.ok(message.length < 300, message)
  }
  assert.equal(verdict('float', { a: [1, null] }), `Cannot parse '{"a":[1,null]}' as float`)
})

test('null passes as an absent value does, unless the field is required', () => {
  assert.equal(verdict('float', null), null)
  assert.equal(verdict('string', null, { enum: ['a'] }), null)
  assert.equal(verdict('float', null, undefined, true), "Field 'f' is required")
})

test('each rule is kept to its bound and tells what it found', () => {
  const cases: [SchemaField['type'], Validation, unknown[], unknown, string][] = [
    ['float', { min: -50 }, [-50, 0], -50.5, '-50.5 is below the minimum -50'],
    ['float', { max: 150 }, [150], 150.1, '150.1 is above the maximum 150'],
    ['integer', { min: 0, max: 0 }, [0, -0], 1, '1 is above the maximum 0'],
    ['float', { enum: [1, 2] }, [1, 2], 3, "'3' is not one of the allowed values"],
    ['string', { enum: ['a'] }, ['a'], 'b', "'b' is not one of the allowed values"],
    ['boolean', { enum: [true] }, [true], false, "'false' is not one of the allowed values"],
    ['string', { minLength: 2 }, ['ab', '🌡️'], '🌡', "'🌡' is shorter than 2 characters"],
    ['string', { maxLength: 2 }, ['', 'ab', '🌡🌡'], 'abc', "'abc' is longer than 2 characters"],
    ['string', { pattern: '^[a-f]+$' }, ['abc'], 'xyz', "'xyz' does not match ^[a-f]+$"],
    ['string', { pattern: '^.$' }, ['🌡'], '🌡🌡', "'🌡🌡' does not match ^.$"],
  ]
  for (const [type, validation, right, wrong, message] of cases) {
    for (const value of right) assert.equal(verdict(type, value, validation), null)
    assert.equal(verdict(type, wrong, validation), message)
  }
})

test('a text too long for its pattern is refused, whether it matches or not', () => {
  const max = limits.schemaPatternInputCharsMax
  assert.equal(verdict('string', 'a'.repeat(max), { pattern: '^a+$' }), null)
  const message = String(verdict('string', 'a'.repeat(max + 1), { pattern: '^a+$' }))
  assert.match(message, /is too long for its pattern: at most 256 characters$/)
})

test('what is wrong with a definition is told with the path of its field', () => {
  const at = (name: string, type: SchemaField['type'], validation?: Validation): SchemaField => ({
    name,
    type,
    ...(validation === undefined ? {} : { validation }),
  })
  const first = at('first', 'float')
  const cases: [SchemaField, string][] = [
    [first, 'fields/1/name'],
    [at('__proto__', 'float'), 'fields/1/name'],
    [at('\ud800', 'float'), 'fields/1/name'],
    [at('é'.repeat(limits.fieldNameBytesMax), 'float'), 'fields/1/name'],
    [at('timestamp', 'string'), 'fields/1/type'],
    [at('f', 'float', { minLength: 1 }), 'fields/1/validation/minLength'],
    [at('f', 'integer', { pattern: 'a' }), 'fields/1/validation/pattern'],
    [at('f', 'string', { min: 1 }), 'fields/1/validation/min'],
    [at('f', 'boolean', { max: 1 }), 'fields/1/validation/max'],
    [at('f', 'datetime', { enum: ['x'] }), 'fields/1/validation/enum'],
    [at('f', 'float', { min: 2, max: 1 }), 'fields/1/validation/min'],
    [at('f', 'string', { minLength: 2, maxLength: 1 }), 'fields/1/validation/minLength'],
    [at('f', 'float', { enum: [1, 'a'] }), 'fields/1/validation/enum'],
    [at('f', 'integer', { enum: [1.5] }), 'fields/1/validation/enum'],
    [at('f', 'string', { pattern: '[' }), 'fields/1/validation/pattern'],
    [at('f', 'string', { pattern: '(a+)+' }), 'fields/1/validation/pattern'],
  ]
  for (const [field, path] of cases) {
    const act = () => checkDefinition({ fields: [first, field] })
    assert.equal(refusalOf(act, 'INVALID_BODY').detail.fields?.field, path)
  }
})

test('the documented schema is taken', () => {
  const documented: InlineSchema = {
    schemaName: 'iot-sensors-v1',
    schemaVersion: '1.0.0',
    fields: [
      { name: 'timestamp', type: 'datetime', required: true },
      { name: 'temperature', type: 'float', required: true, validation: { min: -50, max: 150 } },
      { name: 'humidity', type: 'float', required: true, validation: { min: 0, max: 100 } },
    ],
  }
  checkDefinition(documented)
  const schema = compileSchema(JSON.stringify(documented))
  assert.deepEqual([...schema.fields.keys()], ['temperature', 'humidity'])
  assert.deepEqual(
    schema.required.map(({ name }) => name),
    ['temperature', 'humidity'],
  )
  assert.equal(compileSchema(JSON.stringify(documented)), schema, 'compiled once')
})

test('more schemas than are remembered are compiled anew, and right', () => {
  const definition = (max: number) =>
    JSON.stringify({ fields: [{ name: 'f', type: 'float', validation: { max } }] })
  const first = compileSchema(definition(0))
  for (let max = 1; max <= limits.schemaCacheMax; max += 1) compileSchema(definition(max))
  const again = compileSchema(definition(0))
  assert.notEqual(again, first)
  assert.notEqual(again.fields.get('f')?.(1), null)
})

const tame = [
  '',
  '^sensor-\\d+$',
  '^[A-Z]{2,4}-\\d{3,}$',
  '^[^@\\s]+@[^@\\s]+\\.[^@\\s]+$',
  '^\\d+\\.\\d+\\.\\d+$',
  '^(?:ok|warn|error)$',
  '^([0-9A-F]{2}:){5}[0-9A-F]{2}$',
  '^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$',
  '^(?:25[0-5]|2[0-4]\\d|1?\\d?\\d)(?:\\.(?:25[0-5]|2[0-4]\\d|1?\\d?\\d)){3}$',
  '[)(*+|]+\\(\\*\\|',
  '^(?=.*\\d)(?<word>\\p{L}+)$',
  '\\u{1F321}+',
]

const wild = [
  '(a+)+$',
  '(a*)*b',
  '(?:a+b?)*c',
  '([a-z]+)*$',
  '(a|a)*$',
  '(?:a|ab)+$',
  '(?:(?:a|b)c)+',
  '(?:a?)+b',
  '(?:a{0,9})*b',
  '((((a+))))+',
  '[)](a+[(])+',
  'a?'.repeat(30),
  '(a|a)'.repeat(30),
  '(?:a|a){30}',
  'a*'.repeat(8),
  '(?:a*){9}',
  '(?:a{0,200}){6}',
  '(?:(?:(?:a{99}){99}){99}){99}',
  '(?:(?:(?:a*){9999}){9999}){9999}',
  '(a)\\1',
  '(?<x>a)\\k<x>',
  '(?:(?=a*b)a)*',
]

test('useful patterns are taken, patterns that could run away are refused', () => {
  const define = (pattern: string) => () =>
    checkDefinition({ fields: [{ name: 'f', type: 'string', validation: { pattern } }] })
  for (const pattern of tame) assert.doesNotThrow(define(pattern), pattern)
  for (const pattern of wild) refusalOf(define(pattern), 'INVALID_BODY')
})

test('a pattern that is taken ends soon on the worst text it may be tried on', () => {
  const worst: [string, (chars: number) => string][] = [
    ['a+b', (chars) => 'a'.repeat(chars)],
    ['a*a*b', (chars) => 'a'.repeat(chars)],
    ['^a*a*a*$', (chars) => `${'a'.repeat(chars - 1)}b`],
    ['^a*a*a*a*$', (chars) => `${'a'.repeat(chars - 1)}b`],
    ['^a{0,200}a{0,200}a{0,200}b', (chars) => 'a'.repeat(chars)],
    ['a*a{50}b', (chars) => 'a'.repeat(chars)],
    [`^${'a?'.repeat(14)}b`, (chars) => 'a'.repeat(chars)],
    [`^${'(a|a)'.repeat(14)}b`, (chars) => 'a'.repeat(chars)],
    ['(?<=ca*a*)b', (chars) => `${'a'.repeat(chars - 1)}b`],
  ]
  for (const [pattern, textOf] of worst) {
    const chars = patternInputCharsMax(pattern)
    assert.ok(chars >= limits.schemaPatternInputCharsMin, `${pattern}: ${chars}`)
    assert.equal(new RegExp(pattern, 'u').test(textOf(chars)), false)
  }
})
