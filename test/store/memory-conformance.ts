import assert from 'node:assert/strict'
import test from 'node:test'
import type { StoredEvent } from '../../src/contracts/events.ts'
import type {
  ApiKeyRow,
  MemoryChange,
  MemoryFilter,
  MemoryRow,
  Store,
} from '../../src/store/interfaces.ts'
import type { OpenStore } from './conformance.ts'
import { sha256, temporaryFolder } from './fixtures.ts'

const failure = new Error('the unit fails')

function newMemory(
  content: string,
  changes: Partial<Omit<MemoryRow, 'number'>> = {},
): Omit<MemoryRow, 'number'> {
  return {
    tenant: 1,
    content,
    title: null,
    type: null,
    tags: [],
    metadata: {},
    createdAtMs: 1_750_000_000_000.5,
    createdBy: 'ada',
    updatedAtMs: 1_750_000_000_001,
    updatedBy: 'ada',
    ...changes,
  }
}

/** All numbers, walked a few keys at a time. */
function walk(store: Store, tenant: number, filter: MemoryFilter, keysMax = 3): number[] {
  const numbers: number[] = []
  let before: number | null = null
  for (let step = 0; step < 1_000; step += 1) {
    const page = store.memories.numbers(tenant, filter, keysMax, before)
    assert.ok(page.rows.length <= keysMax)
    numbers.push(...page.rows)
    if (page.next === null) return numbers
    before = page.next
  }
  throw new Error('the walk does not end')
}

/** Memories, what is counted of a tenant, activities, and what events tell of API keys. */
export function memoryConformance(name: string, open: OpenStore): void {
  test(`${name}: every field of a memory survives changes and reopening`, async (t) => {
    const path = await temporaryFolder(t)
    const store = await open(path)
    const full = newMemory('text \ud800 with half a pair', {
      title: '',
      type: 'note',
      tags: ['a', 'ü', '\udfff'],
      metadata: JSON.parse('{"__proto__":{"x":1},"deep":{"list":[null,1.5]},"\\ud800":"é"}'),
    })
    const created = await store.commit((tx) => tx.createMemory(full))
    assert.deepEqual(created, { ...full, number: 1 })
    assert.deepEqual(store.memories.get(1, 1), created)
    assert.equal(store.memories.get(2, 1), null)
    assert.equal(store.memories.get(1, 2), null)
    const changed = { ...created, title: null, type: null, tags: ['b'], updatedBy: 'bob' }
    await store.commit((tx) => tx.putMemory(changed))
    await store.close()
    const again = await open(path)
    assert.deepEqual(again.memories.get(1, 1), changed)
    await again.close()
  })

  test(`${name}: a memory's number never comes again, and is its tenant's own`, async (t) => {
    const path = await temporaryFolder(t)
    const store = await open(path)
    const create = (tenant: number) =>
      store.commit((tx) => tx.createMemory(newMemory('text', { tenant })))
    const [one, two, other] = await Promise.all([create(1), create(1), create(2)])
    assert.deepEqual([one.number, two.number, other.number], [1, 2, 1])
    await store.commit((tx) => tx.deleteMemory(1, 2))
    assert.equal(store.memories.get(1, 2), null)
    await store.close()
    const again = await open(path)
    const next = await again.commit((tx) => tx.createMemory(newMemory('text')))
    assert.equal(next.number, 3)
    assert.equal(again.counts(1).memories, 2)
    await again.close()
  })

  test(`${name}: a list is walked newest first by type and tags, however it is cut`, async (t) => {
    const store = await open(await temporaryFolder(t))
    const create = (index: number) => {
      const type = index % 2 === 0 ? 'even' : 'odd'
      const tags = ['all', ...(index % 3 === 0 ? ['three'] : []), ...(index > 18 ? ['late'] : [])]
      return store.commit((tx) => tx.createMemory(newMemory(`text ${index}`, { type, tags })))
    }
    await Promise.all(Array.from({ length: 20 }, (_, index) => create(index + 1)))
    await store.commit((tx) => tx.createMemory(newMemory('other', { tenant: 2, tags: ['all'] })))
    const numbers = Array.from({ length: 20 }, (_, index) => 20 - index)
    const cases: readonly [MemoryFilter, (number: number) => boolean][] = [
      [{}, () => true],
      [{ type: 'even' }, (number) => number % 2 === 0],
      [{ tags: ['three'] }, (number) => number % 3 === 0],
      [{ type: 'odd', tags: ['three', 'all'] }, (number) => number % 6 === 3],
      [{ tags: ['late', 'three'] }, () => false],
      [{ type: 'all' }, () => false],
      [{ tags: ['odd'] }, () => false],
    ]
    for (const [filter, selects] of cases) {
      for (const keysMax of [1, 3, 1_000]) {
        assert.deepEqual(walk(store, 1, filter, keysMax), numbers.filter(selects))
      }
    }
    assert.deepEqual(walk(store, 2, { tags: ['all'] }), [1])
    assert.deepEqual(walk(store, 3, {}), [])
    await store.close()
  })

  test(`${name}: no filter and one type or tag are counted with each change`, async (t) => {
    const path = await temporaryFolder(t)
    const store = await open(path)
    const filters: MemoryFilter[] = [{}, { type: 'x' }, { tags: ['x'] }, { tags: ['y', 'y'] }]
    const counts = () => filters.map((filter) => store.memories.count(1, filter))
    assert.deepEqual(counts(), [0, 0, 0, 0])
    const create = (changes: Partial<MemoryRow>) =>
      store.commit((tx) => tx.createMemory(newMemory('text', changes)))
    const [first] = await Promise.all([
      create({ type: 'x', tags: ['x', 'y'] }),
      create({ type: 'x', tags: ['y'] }),
      create({ tenant: 2, type: 'x' }),
    ])
    assert.deepEqual(counts(), [2, 2, 1, 2])
    assert.equal(store.memories.count(1, { type: 'x', tags: ['x'] }), null)
    await store.commit((tx) => tx.putMemory({ ...first, type: null, tags: ['z', 'x'] }))
    assert.deepEqual(counts(), [2, 1, 1, 1])
    await store.commit((tx) => {
      tx.deleteMemory(1, 1)
      tx.deleteMemory(1, 2)
    })
    assert.deepEqual(counts(), [0, 0, 0, 0])
    for (const filter of filters) assert.deepEqual(walk(store, 1, filter), [])
    assert.equal(store.memories.count(2, { type: 'x' }), 1)
    await store.close()
  })

  test(`${name}: a unit sees memories as those before it left them, and is undone whole`, async (t) => {
    const store = await open(await temporaryFolder(t))
    const { number } = await store.commit((tx) => tx.createMemory(newMemory('0', { type: 'x' })))
    const append = (text: string, fails = false) =>
      store.commit((tx) => {
        const row = tx.memory(1, number)
        assert.ok(row)
        row.content += text
        row.type = fails ? 'lost' : 'kept'
        tx.putMemory(row)
        tx.createMemory(newMemory(text, { type: row.type }))
        if (fails) throw failure
      })
    await Promise.allSettled([append('a'), append('b', true), append('c')])
    assert.equal(store.memories.get(1, number)?.content, '0ac')
    assert.deepEqual(walk(store, 1, { type: 'kept' }), [3, 2, 1])
    assert.equal(store.memories.count(1, { type: 'lost' }), 0)
    assert.equal(store.memories.count(1, { type: 'x' }), 0)
    assert.equal(store.counts(1).memories, 3)
    const copy = store.memories.get(1, number)
    assert.ok(copy)
    copy.content = 'changed outside'
    assert.equal(store.memories.get(1, number)?.content, '0ac')
    await assert.rejects(store.commit((tx) => tx.putMemory({ ...copy, number: 99 })))
    await assert.rejects(store.commit((tx) => tx.deleteMemory(1, 99)))
    assert.equal(await store.commit((tx) => tx.memory(1, 99)), null)
    await store.close()
  })

  test(`${name}: all memories are read in order of tenant and number, from any place on`, async (t) => {
    const store = await open(await temporaryFolder(t))
    for (const tenant of [7, 0, 7, 3]) {
      await store.commit((tx) => tx.createMemory(newMemory(`of ${tenant}`, { tenant })))
    }
    const places = (after: { tenant: number; number: number } | null) =>
      Array.from(store.memories.scan(after), ({ tenant, number }) => [tenant, number])
    const all = [
      [0, 1],
      [3, 1],
      [7, 1],
      [7, 2],
    ]
    assert.deepEqual(places(null), all)
    assert.deepEqual(places({ tenant: 3, number: 1 }), all.slice(2))
    assert.deepEqual(places({ tenant: 7, number: 2 }), [])
    await store.close()
  })

  test(`${name}: changed memories are told after the flush, before their units resolve`, async (t) => {
    const store = await open(await temporaryFolder(t))
    const told: MemoryChange[] = []
    store.onMemories((changes) => told.push(...changes))
    const first = store.commit((tx) => tx.createMemory(newMemory('one')))
    const failing = store.commit((tx) => {
      tx.createMemory(newMemory('lost'))
      throw failure
    })
    const second = store.commit((tx) => {
      const row = tx.memory(1, 1)
      assert.ok(row)
      tx.putMemory({ ...row, content: 'changed' })
      const { number } = tx.createMemory(newMemory('two'))
      tx.deleteMemory(1, number)
    })
    await first
    assert.deepEqual(
      told.map(({ tenant, number, row }) => [tenant, number, row?.content ?? null]),
      [
        [1, 1, 'changed'],
        [1, 2, null],
      ],
    )
    await assert.rejects(failing, failure)
    await second
    const [{ row }] = told as [MemoryChange]
    assert.ok(row)
    row.content = 'mine'
    assert.equal(store.memories.get(1, 1)?.content, 'changed')
    await store.commit((tx) => tx.appendEvent(1, null, 'other', {}))
    assert.equal(told.length, 2)
    await store.close()
  })

  test(`${name}: activities are events of the tenant, and counted with searches`, async (t) => {
    const path = await temporaryFolder(t)
    const store = await open(path, { now: () => Date.parse('2026-01-02T03:04:05Z') })
    const told: StoredEvent[] = []
    store.onEvents((events) => told.push(...events))
    const activity = {
      user: 'ada',
      action: 'pause',
      resourceType: 'session',
      resourceId: 's-1',
    } as const
    const metadata = { type: 'video' }
    await store.commit((tx) => {
      tx.appendActivity(1, activity)
      tx.appendActivity(1, { ...activity, metadata })
      tx.countSearch(1)
    })
    const lost = store.commit((tx) => {
      tx.appendActivity(1, activity)
      tx.countSearch(1)
      throw failure
    })
    await assert.rejects(lost, failure)
    assert.deepEqual(store.events.ofTenant(1, 0, 10), told)
    const data = {
      user_id: 'ada',
      action: 'pause',
      resource_type: 'session',
      resource_id: 's-1',
      timestamp: '2026-01-02T03:04:05.000Z',
    }
    assert.deepEqual(
      told.map((event) => [event.number, event.session, event.name, JSON.parse(event.data)]),
      [
        [1, null, 'user.activity', { ...data, metadata: {} }],
        [2, null, 'user.activity', { ...data, metadata }],
      ],
    )
    await store.close()
    const again = await open(path)
    assert.deepEqual(again.counts(1), { memories: 0, searches: 1, operations: 3 })
    assert.deepEqual(again.counts(2), { memories: 0, searches: 0, operations: 0 })
    await again.close()
  })

  test(`${name}: a key is untold until an event tells of it, and again once it is revoked`, async (t) => {
    const path = await temporaryFolder(t)
    const store = await open(path)
    const keyOf = (id: string): ApiKeyRow => ({
      id,
      digest: sha256(id),
      tenant: 4,
      user: 'operator',
      scopes: ['admin'],
      createdAtMs: 1_750_000_000_000,
      revokedAtMs: null,
    })
    const [one, two] = [keyOf('key_1'), keyOf('key_2')]
    const untold = (of: Store) => of.apiKeys.untold().map(({ key }) => key.id)
    await store.commit((tx) => {
      tx.putApiKey(one)
      tx.putApiKey(two)
    })
    assert.deepEqual(untold(store).sort(), ['key_1', 'key_2'])
    await store.commit((tx) => tx.tellApiKey(one))
    assert.deepEqual(untold(store), ['key_2'])
    const version = store.apiKeys.version()
    await store.commit((tx) => tx.tellApiKey(two))
    assert.equal(store.apiKeys.version(), version)
    const revoked = { ...one, revokedAtMs: 1_760_000_000_000 }
    await store.commit((tx) => tx.putApiKey(revoked))
    await store.close()
    const again = await open(path)
    assert.deepEqual(again.apiKeys.untold(), [{ key: revoked, isNew: false }])
    await again.commit((tx) => tx.tellApiKey(revoked))
    assert.deepEqual(untold(again), [])
    await again.close()
  })
}
