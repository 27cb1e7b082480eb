import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type TObject, Type } from '@sinclair/typebox'
import { TypeCompiler } from '@sinclair/typebox/compiler'
import { limits } from '../../src/limits.ts'
import { dropMember, parseQuery, readQuery } from '../../src/transport/input.ts'
import { refusalOf } from '../support/refusal.ts'

const schema = Type.Object({
  name: Type.Optional(Type.String({ maxLength: 10 })),
  limit: Type.Optional(Type.Integer({ minimum: 1 })),
  tags: Type.Optional(Type.Array(Type.String({ minLength: 1 }), { maxItems: 3 })),
  sizes: Type.Optional(Type.Array(Type.Integer())),
  filters: Type.Optional(
    Type.Record(Type.String(), Type.Union([Type.String(), Type.Number()]), { maxProperties: 2 }),
  ),
})

function read(raw: string, of: TObject = schema): Record<string, unknown> {
  return readQuery(parseQuery(raw), of, TypeCompiler.Compile(of))
}

const cases: readonly [string, Record<string, unknown>][] = [
  ['', {}],
  ['&&', {}],
  ['name=a%20b+c&limit=5', { name: 'a b c', limit: 5 }],
  ['name', { name: '' }],
  ['name=a=b', { name: 'a=b' }],
  ['tags=a', { tags: ['a'] }],
  ['tags=a,b&tags=c', { tags: ['a', 'b', 'c'] }],
  ['tags=a%2Cb', { tags: ['a', 'b'] }],
  ['sizes=1,2&sizes=-3', { sizes: [1, 2, -3] }],
  ['filters[a]=x&filters[b]=5', { filters: { a: 'x', b: '5' } }],
  ['filters%5Ba%5D=%C3%BC', { filters: { a: 'ü' } }],
  ['filters={"a][b]":"x"}', { filters: { 'a][b]': 'x' } }],
  ['filters={"a":"x","b":5}', { filters: { a: 'x', b: 5 } }],
  ['filters=%7B%22a%22%3A1%7D&filters[b]=2', { filters: { a: 1, b: '2' } }],
]
for (const [raw, expected] of cases) {
  test(`the query ${raw} is read by its schema`, () => assert.deepEqual(read(raw), expected))
}

const wrong: readonly [string, string][] = [
  ['name=a&name=b', 'name'],
  ['name=12345678901', 'name'],
  ['other=1', 'other'],
  ['name[a]=1', 'name[a]'],
  ['tags[a]=1', 'tags[a]'],
  ['filters[]=1', 'filters[]'],
  ['filters[a=1', 'filters[a'],
  ['filters[a][b]=1', 'filters[a][b]'],
  ['filters[a]]=1', 'filters[a]]'],
  ['constructor[a]=1', 'constructor[a]'],
  ['limit=0', 'limit'],
  ['limit=1.5', 'limit'],
  ['sizes=1,x', 'sizes'],
  ['tags=', 'tags.0'],
  ['tags=a,,b', 'tags.1'],
  ['tags=a,b&tags=c,d', 'tags'],
  ['filters=x', 'filters'],
  ['filters=[1]', 'filters'],
  ['filters=null', 'filters'],
  ['filters={"a":{}}', 'filters.a'],
  ['filters={"__proto__":1}', 'filters'],
  ['filters={"a":1}&filters={"b":1}', 'filters'],
  ['filters={"a":1}&filters[a]=1', 'filters'],
  ['filters[a]=1&filters[a]=2', 'filters[a]'],
  ['filters[a]=1&filters[b]=2&filters[c]=3', 'filters'],
  ['name=%ff', 'name'],
  [`${'a'.repeat(40)}=1`, 'query'],
  [`filters={"${'a'.repeat(40)}":[]}`, 'filters'],
]
for (const [raw, field] of wrong) {
  test(`the query ${raw} is refused for ${field}`, () => {
    const { detail } = refusalOf(() => read(raw), 'INVALID_PARAMETER')
    assert.equal(detail.fields?.field, field)
  })
}

test('a member named __proto__ is one like any other', () => {
  const { filters } = read('filters[__proto__]=x') as { filters: object }
  assert.deepEqual(Object.entries(filters), [['__proto__', 'x']])
  assert.equal(Object.getPrototypeOf(filters), Object.prototype)
})

test('a query of more members than a request may have is refused', () => {
  const most = Array.from({ length: limits.queryMembersMax }, () => 'sizes=1').join('&')
  assert.equal((read(most).sizes as unknown[]).length, limits.queryMembersMax)
  assert.throws(() => read(`${most}&sizes=1`), { code: 'INVALID_PARAMETER' })
})

test('what has been read already is taken out, and may not stand twice', () => {
  const members = parseQuery('ticket=a&name=b')
  dropMember(members, 'ticket')
  dropMember(members, 'ticket')
  assert.deepEqual([...members.keys()], ['name'])
  assert.throws(() => dropMember(parseQuery('ticket=a&ticket=b'), 'ticket'), {
    code: 'INVALID_PARAMETER',
  })
})
