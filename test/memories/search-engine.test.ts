import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import fc from 'fast-check'
import type { SearchDocument, SearchRequest } from '../../src/contracts/search.ts'
import { limits } from '../../src/limits.ts'
import { SearchEngine } from '../../src/memories/search/engine.ts'
import { document, request, searchFolder } from './search-documents.ts'

function open(t: TestContext, documents: readonly SearchDocument[] = []): SearchEngine {
  const engine = new SearchEngine(join(searchFolder(t), 'index'))
  t.after(() => engine.close())
  for (const one of documents) engine.put(one)
  return engine
}

/** Numbers of what is found, best first. */
function find(engine: SearchEngine, query: string, rest: Partial<SearchRequest> = {}): number[] {
  return engine.search(request(query, rest)).hits.map(({ number }) => number)
}

test('a memory is found by a word of its content, its title or its tags', (t) => {
  const engine = open(t, [
    document(1, 'the quick brown fox'),
    document(2, 'nothing', { title: 'Brown bread' }),
    document(3, 'nothing else', { tags: ['brown', 'dark-rye'] }),
  ])
  assert.deepEqual(find(engine, 'BROWN').sort(), [1, 2, 3])
  assert.deepEqual(find(engine, 'rye'), [3])
  assert.deepEqual(find(engine, 'green'), [])
})

test('a title weighs more than a tag, a tag more than the content', (t) => {
  const filler = 'some words that fill the text'
  const engine = open(t, [
    document(1, `harbour ${filler}`, { title: 'a b', tags: ['c'] }),
    document(2, `anchor ${filler}`, { title: 'a b', tags: ['harbour'] }),
    document(3, `anchor ${filler}`, { title: 'a harbour', tags: ['c'] }),
    ...Array.from({ length: 9 }, (_, index) => document(index + 4, filler)),
  ])
  assert.deepEqual(find(engine, 'harbour'), [3, 2, 1])
})

test('words as they stand come before beginnings, and beginnings before slips', (t) => {
  const engine = open(t, [
    document(1, 'modem'),
    document(2, 'modelling'),
    document(3, 'model and a much longer text around it than the others have'),
  ])
  const { hits, total } = engine.search(request('model'))
  assert.deepEqual(
    hits.map(({ number }) => number),
    [3, 2, 1],
  )
  assert.equal(total, 3)
  assert.ok(hits.every(({ score }, index) => score > (hits[index + 1]?.score ?? 0)))
  assert.ok(hits.every(({ score }) => score === Number(score.toFixed(6))))
})

test('of equals the newest comes first, and the limit cuts the rest but not the total', (t) => {
  const engine = open(
    t,
    [1, 2, 3, 4, 5].map((number) => document(number, 'one and the same')),
  )
  const found = engine.search(request('same', { limit: 2 }))
  assert.deepEqual(
    found.hits.map(({ number }) => number),
    [5, 4],
  )
  assert.equal(found.total, 5)
})

test('a slip is forgiven in a word of four letters, two in one of eight, none in one of three', (t) => {
  const engine = open(t, [document(1, 'cat lamp temperature')])
  for (const found of ['lmap', 'lam', 'lampe', 'kamp', 'tempreture', 'xtemperatur', 'emperatuer']) {
    assert.deepEqual(find(engine, found), [1], found)
  }
  for (const missed of ['cta', 'kat', 'pmal', 'lxmy', 'tmpratre']) {
    assert.deepEqual(find(engine, missed), [], missed)
  }
})

test('a word stands for what begins with it: from three letters, the last one from two', (t) => {
  const engine = open(t, [document(1, 'thermostat in building seven')])
  for (const found of ['the', 'th', 'thermo build', 'sev therm']) {
    assert.deepEqual(find(engine, found), [1], found)
  }
  assert.deepEqual(find(engine, 't'), [])
  assert.deepEqual(engine.search(request('zzz th')).total, 1)
  assert.deepEqual(engine.search(request('th zzz')).total, 0)
})

test('all words must match; where no memory has all, those that have any are found', (t) => {
  const engine = open(t, [
    document(1, 'red apple'),
    document(2, 'red pear'),
    document(3, 'green pear'),
  ])
  assert.deepEqual(find(engine, 'red pear'), [2])
  const any = engine.search(request('green apple'))
  assert.deepEqual(any.hits.map(({ number }) => number).sort(), [1, 3])
  assert.equal(any.total, 2)
})

test('case, diacritics and compatibility forms make no difference', (t) => {
  const engine = open(t, [
    document(1, 'Crème brûlée in Århus, Straße, Łódź'),
    document(2, 'ＦＵＬＬ width, ﬁne ligature, ΣΊΣΥΦΟΣ, İstanbul'),
  ])
  for (const query of ['creme BRULEE', 'crème', 'arhus', 'strasse', 'STRAẞE', 'lodz']) {
    assert.deepEqual(find(engine, query), [1], query)
  }
  for (const query of ['full', 'fine', 'σίσυφος', 'σισυφοσ', 'istanbul']) {
    assert.deepEqual(find(engine, query), [2], query)
  }
})

test('text without spaces between words is found by any run of it', (t) => {
  const engine = open(t, [
    document(1, '東京都の温度センサーは正常です。'),
    document(2, '北京温度传感器 sensor-7 正常'),
    document(3, 'อุณหภูมิห้องปกติ'),
    document(4, '서울의 온도는 정상입니다'),
  ])
  assert.deepEqual(find(engine, '温度センサー'), [1])
  assert.deepEqual(find(engine, '温度').sort(), [1, 2])
  assert.deepEqual(find(engine, '器'), [2])
  assert.deepEqual(find(engine, '都'), [1])
  assert.deepEqual(find(engine, '京東'), [])
  assert.deepEqual(find(engine, '传感器sensor'), [2])
  assert.deepEqual(find(engine, 'ภูมิ'), [3])
  assert.deepEqual(find(engine, '서울'), [4])
})

test('filters bind by type, all tags and metadata, each and together', (t) => {
  const engine = open(t, [
    document(1, 'valve', { type: 'note', tags: ['a', 'b c'], metadata: { room: 7, hot: true } }),
    document(2, 'valve', { type: 'Note', tags: ['a'], metadata: { room: '7', hot: false } }),
    document(3, 'valve', { type: null, tags: ['b', 'c'], metadata: { room: { n: 7 }, x: null } }),
  ])
  const found = (filter: SearchRequest['filter']) => find(engine, 'valve', { filter }).sort()
  assert.deepEqual(found({ type: 'note' }), [1])
  assert.deepEqual(found({ tags: ['a'] }), [1, 2])
  assert.deepEqual(found({ tags: ['b c', 'a'] }), [1])
  assert.deepEqual(found({ tags: ['b'] }), [3])
  assert.deepEqual(found({ metadata: { room: 7 } }), [1, 2])
  assert.deepEqual(found({ metadata: { room: '7', hot: false } }), [2])
  assert.deepEqual(found({ type: 'note', tags: ['a'], metadata: { hot: true } }), [1])
  assert.deepEqual(found({ type: 'note', metadata: { hot: false } }), [])
  assert.deepEqual(found({}), [1, 2, 3])
  assert.equal(engine.search(request('valve', { filter: { type: 'note' } })).total, 1)
})

test('what is replaced or removed is found no more, and no spelling leads to it', (t) => {
  const engine = open(t, [document(1, 'walrus'), document(2, 'penguin')])
  engine.put(document(1, 'dolphin', { type: 'animal' }))
  assert.deepEqual(find(engine, 'walrus'), [])
  assert.deepEqual(find(engine, 'wlarus'), [])
  assert.deepEqual(find(engine, 'dolphin', { filter: { type: 'animal' } }), [1])
  engine.remove(1, 1)
  engine.remove(1, 1)
  engine.remove(1, 99)
  engine.remove(7, 1)
  assert.deepEqual(find(engine, 'dolphin'), [])
  assert.deepEqual(find(engine, 'penguni'), [2])
  engine.put(document(1, 'walrus again'))
  assert.deepEqual(find(engine, 'wlarus'), [1])
})

test('more tenants than are attached at a time keep their texts and spellings apart', (t) => {
  const tenants = limits.memoryIndexesOpenMax * 3
  const word = (tenant: number) => `secret${String.fromCharCode(97 + tenant)}word`
  const engine = open(t)
  for (const round of [1, 2]) {
    for (let tenant = 1; tenant <= tenants; tenant += 1) {
      engine.put(document(round, `shared ${word(tenant)} ${round}`, { tenant }))
    }
  }
  engine.remove(3, 1)
  for (let tenant = 1; tenant <= tenants; tenant += 1) {
    const expected = tenant === 3 ? [2] : [2, 1]
    assert.deepEqual(find(engine, 'shared', { tenant }), expected)
    assert.deepEqual(find(engine, word(tenant).replace('secret', 'sceret'), { tenant }), expected)
    // Two slips from the words of all others, but those are not here.
    assert.equal(engine.search(request('secretword', { tenant })).total, expected.length)
  }
  assert.deepEqual(find(engine, 'shared', { tenant: 999 }), [])
})

test('what other tenants store does not move a score', (t) => {
  const engine = open(t, [
    document(1, 'alpha beta'),
    document(2, 'alpha'),
    document(3, 'gamma delta'),
  ])
  const before = engine.search(request('alpha'))
  for (let number = 1; number <= 200; number += 1) {
    engine.put(document(number, 'alpha alpha beta', { tenant: 2 }))
  }
  assert.deepEqual(engine.search(request('alpha')), before)
})

test('no query is syntax: operators, quotes and controls are words or nothing', (t) => {
  const engine = open(t, [document(1, 'near or and not title content'), document(2, 'plain text')])
  const hostile = [
    '"',
    '""',
    '" OR "',
    '*',
    '^plain',
    'NEAR(a b)',
    'plain NOT text',
    'title:plain',
    '{title content}:x',
    '-plain',
    '(plain',
    "plain' OR 1=1 --",
    'pl\0ain',
    '\ud800',
    'plain\udfff text',
    '§0123456789abcdef',
    'a'.repeat(1_024),
    '"('.repeat(512),
    '京'.repeat(1_024),
    Array.from({ length: 340 }, (_, index) => index % 97).join(' '),
  ]
  for (const query of hostile) assert.doesNotThrow(() => find(engine, query), query.slice(0, 30))
  assert.deepEqual(find(engine, 'plain NOT text'), [2, 1])
  assert.deepEqual(find(engine, 'NEAR OR'), [1])
  assert.deepEqual(find(engine, 'plain\udfff text'), [2])
  assert.deepEqual(engine.search(request('"*^(')), { hits: [], total: 0 })
})

test('no text, filter or query throws, nor finds what is another tenant’s', (t) => {
  const engine = open(t)
  const texts = fc.oneof(fc.string({ unit: 'binary', maxLength: 80 }), fc.string({ maxLength: 80 }))
  const scalars = fc.oneof(texts, fc.double(), fc.boolean())
  let number = 0
  fc.assert(
    fc.property(texts, texts, fc.dictionary(texts, scalars), (content, query, metadata) => {
      number += 1
      engine.put(document(number, content, { title: query, tags: [query], metadata }))
      engine.put(document(1_000_000 + number, query, { tenant: 2, metadata }))
      const { hits, total } = engine.search(request(query))
      assert.ok(hits.length <= total)
      assert.ok(hits.every((hit) => hit.number < 1_000_000 && hit.score > 0))
      const filtered = engine.search(request(query, { filter: { tags: [query], metadata } }))
      assert.ok(filtered.total <= total)
      const isFound = filtered.hits.some((hit) => hit.number === number)
      assert.ok(isFound || total === 0 || filtered.total > 20, 'a text is found by itself')
    }),
    { numRuns: 300 },
  )
})

test('the folder is emptied at the start and gone at the close', (t) => {
  const folder = join(searchFolder(t), 'index')
  const first = new SearchEngine(folder)
  first.put(document(1, 'before'))
  first.close()
  assert.equal(existsSync(folder), false)
  const second = new SearchEngine(folder)
  assert.deepEqual(find(second, 'before'), [])
  second.put(document(1, 'after'))
  const third = new SearchEngine(folder)
  assert.deepEqual(find(third, 'after'), [])
  third.close()
})
