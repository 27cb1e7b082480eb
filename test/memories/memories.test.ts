import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { setImmediate as nextTurn } from 'node:timers/promises'
import type { Actor } from '../../src/contracts/actor.ts'
import { Refusal } from '../../src/contracts/errors.ts'
import type { MemoryList, MemoryMatches, SearchMemories } from '../../src/contracts/memory.ts'
import { limits } from '../../src/limits.ts'
import { createLogger } from '../../src/log.ts'
import { type ListOptions, MemoryService } from '../../src/memories/memories.ts'
import { MemorySearch } from '../../src/memories/memory-search.ts'
import type { Store } from '../../src/store/interfaces.ts'
import { openStore } from '../../src/store/store.ts'
import { temporaryFolder } from '../store/fixtures.ts'
import { assertSound } from '../support/soundness.ts'
import { eventually } from '../support/waiting.ts'

const ada = { tenant: 1, user: 'ada' }
const bob = { tenant: 1, user: 'bob' }
const stranger = { tenant: 2, user: 'eve' }

/** The service over a real store, and where asked for with its real search thread. */
async function openMemories(
  t: TestContext,
  { path = '', maxBytes = 1 << 30, searches = false, nowMs = Date.UTC(2026, 0, 1) } = {},
) {
  const folder = path === '' ? await temporaryFolder(t) : path
  const clock = { nowMs }
  const now = () => clock.nowMs
  const store = openStore({ path: `${folder}/store`, durability: 'flush', maxBytes, now })
  const lines: string[] = []
  const log = createLogger('debug', { write: (line: string) => void lines.push(line) })
  const search = new MemorySearch({ store, folder: `${folder}/search`, log })
  const close = async () => {
    await search.close()
    await store.close()
  }
  t.after(close)
  if (searches) {
    search.start()
    await eventually(async () => search.state === 'ready' || undefined, 'the index')
  }
  const memories = new MemoryService({ store, search, log })
  return { folder, store, memories, clock, lines, close }
}

async function list(memories: MemoryService, tenant: number, options: ListOptions) {
  return parse<MemoryList>(await memories.list(tenant, options))
}

async function search(memories: MemoryService, actor: Actor, request: SearchMemories) {
  return parse<MemoryMatches>(await memories.search(actor, request))
}

function parse<T>(json: Uint8Array): T {
  return JSON.parse(Buffer.from(json).toString()) as T
}

/** Until events of one character find no room. */
async function fillUp(store: Store): Promise<void> {
  for (const chars of [50_000, 500, 1]) {
    const data = { title: 'x'.repeat(chars) }
    const fill = async () => {
      for (;;) await store.commit((transaction) => transaction.appendEvent(1, null, 'e', data))
    }
    await assert.rejects(fill(), { code: 'STORE_FULL' })
  }
}

/** Turns of the event loop that `work` leaves to others. */
async function turnsDuring(work: () => Promise<void>): Promise<number> {
  let turns = 0
  let isDone = false
  const counting = (async () => {
    while (!isDone) {
      await nextTurn()
      turns += 1
    }
  })()
  await work()
  isDone = true
  await counting
  return turns
}

/** Name and data of each event of a tenant. */
function eventsOf(store: Store, tenant: number): [string, Record<string, unknown>][] {
  return store.events
    .ofTenant(tenant, 0, 1_000)
    .map(({ name, data }) => [name, JSON.parse(data) as Record<string, unknown>])
}

const unknownIds = ['', 'mem_', 'mem_1', `mem_${'0'.repeat(16)}`, `mem_${'f'.repeat(16)}`, 'x\0']

test('a created memory is read back, and its events are stored with it', async (t) => {
  const { store, memories } = await openMemories(t)
  const created = await memories.create(ada, {
    content: 'Users log in by magic link',
    type: 'note',
    tags: ['auth', 'ux'],
    metadata: { user_id: 'user123' },
  })
  const at = '2026-01-01T00:00:00.000Z'
  const shared = {
    id: 'mem_0000000000000001',
    content: 'Users log in by magic link',
    title: null,
    type: 'note',
    tags: ['auth', 'ux'],
    metadata: { user_id: 'user123' },
    created_at: at,
    created_by: 'ada',
  }
  assert.deepEqual(created, { ...shared, updated_at: at, updated_by: 'ada' })
  assert.deepEqual(memories.get(1, created.id), created)
  assert.deepEqual(eventsOf(store, 1), [
    ['memory.created', shared],
    [
      'user.activity',
      {
        user_id: 'ada',
        action: 'create',
        resource_type: 'memory',
        resource_id: created.id,
        metadata: { type: 'note' },
        timestamp: at,
      },
    ],
  ])
  const plain = await memories.create(ada, { content: 'x' })
  assert.deepEqual([plain.title, plain.type, plain.tags, plain.metadata], [null, null, [], {}])
  assert.deepEqual(store.counts(1), { memories: 2, searches: 0, operations: 2 })
})

test('an update changes what it names and tells what has really changed', async (t) => {
  const { store, memories, clock } = await openMemories(t)
  const { id } = await memories.create(ada, {
    content: 'text',
    title: 'a title',
    type: 'note',
    tags: ['a'],
    metadata: { keep: 1, gone: 2, deep: { x: 1 } },
  })
  clock.nowMs += 60_000
  const updated = await memories.update(bob, id, {
    title: null,
    tags: ['b', 'a'],
    type: 'note',
    metadata: { gone: null, deep: { y: 2 }, added: [1] },
  })
  assert.deepEqual(updated, {
    id,
    content: 'text',
    title: null,
    type: 'note',
    tags: ['b', 'a'],
    metadata: { keep: 1, deep: { y: 2 }, added: [1] },
    created_at: '2026-01-01T00:00:00.000Z',
    created_by: 'ada',
    updated_at: '2026-01-01T00:01:00.000Z',
    updated_by: 'bob',
  })
  const [name, data] = eventsOf(store, 1)[2] ?? []
  assert.equal(name, 'memory.updated')
  const { created_at, created_by, ...rest } = updated
  const changes = { content: false, title: true, type: false, metadata: true, tags: true }
  assert.deepEqual(data, { ...rest, changes })
  await memories.update(bob, id, { content: 'text', metadata: { added: [1] } })
  const [, same] = eventsOf(store, 1)[4] ?? []
  const none = { content: false, title: false, type: false, metadata: false, tags: false }
  assert.deepEqual(same?.changes, none)
})

test('members of metadata that every object has are stored and removed like others', async (t) => {
  const { memories } = await openMemories(t)
  const metadata = { constructor: 'x', toString: 'y' }
  const { id } = await memories.create(ada, { content: 'x', metadata })
  const updated = await memories.update(ada, id, { metadata: { constructor: null, valueOf: 1 } })
  assert.deepEqual(updated.metadata, { toString: 'y', valueOf: 1 })
})

test('metadata that is too large, also by a merge, is refused and changes nothing', async (t) => {
  const { store, memories } = await openMemories(t)
  const more = '1234567890'.repeat(4)
  const half = 'ü'.repeat(limits.memoryMetadataBytesMax / 4 - 10)
  const refused = { code: 'INVALID_BODY', message: /^metadata: / }
  const request = { content: 'x', metadata: { a: half, b: half } }
  const { id } = await memories.create(ada, request)
  await assert.rejects(
    memories.create(ada, { content: 'x', metadata: { ...request.metadata, c: more } }),
    refused,
  )
  await assert.rejects(memories.update(ada, id, { content: 'y', metadata: { c: more } }), refused)
  assert.equal(memories.get(1, id).content, 'x')
  assert.equal(eventsOf(store, 1).length, 2)
  await memories.update(ada, id, { metadata: { c: more, a: null } })
})

test('a deleted memory is gone, and its event bears its metadata and the reason', async (t) => {
  const { store, memories } = await openMemories(t)
  const { id } = await memories.create(ada, { content: 'x', metadata: { user_id: 'u' } })
  await memories.remove(bob, id, 'user_request')
  assert.throws(() => memories.get(1, id), { code: 'MEMORY_NOT_FOUND' })
  await assert.rejects(memories.remove(bob, id, 'again'), { code: 'MEMORY_NOT_FOUND' })
  const [deleted, activity] = eventsOf(store, 1).slice(2)
  assert.deepEqual(deleted, [
    'memory.deleted',
    {
      id,
      metadata: { user_id: 'u' },
      deleted_at: '2026-01-01T00:00:00.000Z',
      deleted_by: 'bob',
      reason: 'user_request',
    },
  ])
  assert.deepEqual([activity?.[0], activity?.[1].action], ['user.activity', 'delete'])
  assert.deepEqual(store.counts(1), { memories: 0, searches: 0, operations: 2 })
})

test('of two deletions at once one is done and the other finds nothing', async (t) => {
  const { store, memories } = await openMemories(t)
  const { id } = await memories.create(ada, { content: 'x' })
  const settled = await Promise.allSettled([
    memories.remove(ada, id, 'one'),
    memories.remove(ada, id, 'two'),
    memories.update(ada, id, { content: 'late' }),
  ])
  assert.deepEqual(
    settled.map(({ status }) => status),
    ['fulfilled', 'rejected', 'rejected'],
  )
  const names = eventsOf(store, 1).map(([name]) => name)
  assert.equal(names.filter((name) => name === 'memory.deleted').length, 1)
  assert.ok(!names.includes('memory.updated'))
})

test('unknown, malformed and foreign ids are refused alike', async (t) => {
  const { memories } = await openMemories(t)
  const { id } = await memories.create(ada, { content: 'x' })
  for (const wrong of [...unknownIds, id.toUpperCase(), id]) {
    const refused = { code: 'MEMORY_NOT_FOUND', detail: { fields: { memoryId: wrong } } }
    assert.throws(() => memories.get(2, wrong), refused)
    await assert.rejects(memories.update(stranger, wrong, { content: 'y' }), refused)
    await assert.rejects(memories.remove(stranger, wrong, 'x'), refused)
  }
  assert.equal(memories.get(1, id).content, 'x')
})

test('pages are cut out of what a filter selects, newest first, and the total is exact', async (t) => {
  const { memories } = await openMemories(t)
  const create = (index: number) =>
    memories.create(ada, {
      content: `${index}`,
      type: index % 2 === 0 ? 'even' : 'odd',
      tags: index % 3 === 0 ? ['all', 'three'] : ['all'],
    })
  await Promise.all(Array.from({ length: 30 }, (_, index) => create(index + 1)))
  const all = Array.from({ length: 30 }, (_, index) => 30 - index)
  for (const [filter, selects] of [
    [{}, () => true],
    [{ type: 'odd' }, (index: number) => index % 2 === 1],
    [{ type: 'even', tags: ['three'] }, (index: number) => index % 6 === 0],
    [{ tags: ['three', 'all', 'all'] }, (index: number) => index % 3 === 0],
    [{ type: 'none', tags: ['all'] }, () => false],
  ] as const) {
    const expected = all.filter(selects)
    for (const [limit, offset] of [
      [4, 0],
      [4, 3],
      [100, 0],
      [10, 29],
      [10, 1_000],
    ] as const) {
      const page = await list(memories, 1, { ...filter, limit, offset })
      const contents = expected.slice(offset, offset + limit).map(String)
      assert.deepEqual(
        page.data.map(({ content }) => content),
        contents,
      )
      assert.deepEqual([page.total, page.limit, page.offset], [expected.length, limit, offset])
    }
  }
  const first = await list(memories, 1, {})
  assert.deepEqual([first.data.length, first.limit], [20, limits.memoriesPageLimitDefault])
  assert.deepEqual(await list(memories, 2, {}), { data: [], total: 0, limit: 20, offset: 0 })
})

test('a list that has to count many leaves the event loop to others meanwhile', async (t) => {
  const { store, memories } = await openMemories(t)
  const count = 3 * limits.memoryScanKeysPerTurn
  const stamps = { createdAtMs: 0, createdBy: 'ada', updatedAtMs: 0, updatedBy: 'ada' }
  await store.commit((transaction) => {
    for (let index = 0; index < count; index += 1) {
      transaction.createMemory({
        ...{ tenant: 1, content: `${index}`, title: null, metadata: {}, ...stamps },
        ...{ type: 'note', tags: ['a'] },
      })
    }
  })
  const turns = await turnsDuring(async () => {
    const filter = { type: 'note', tags: ['a'] }
    const lists = [0, 1].map(() => list(memories, 1, { ...filter, offset: count - 1 }))
    for (const { data, total } of await Promise.all(lists)) {
      assert.deepEqual([data.map(({ content }) => content), total], [['0'], count])
    }
  })
  assert.ok(turns >= 6, `${turns} turns`)
  const left = new AbortController()
  const unwanted = list(memories, 1, { type: 'note', tags: ['a'], signal: left.signal })
  left.abort()
  assert.ok((await unwanted).total < count)
})

test('a page of large memories is made in turns, and its bytes are told', async (t) => {
  const { memories } = await openMemories(t, { searches: true })
  const content = `giraffe ${'\u0001'.repeat(10_000)}`
  const count = 40
  for (let index = 0; index < count; index += 1) await memories.create(ada, { content })
  const pageBytes = (await memories.list(1, { limit: count })).byteLength
  const turnsMin = Math.floor(pageBytes / (2 * limits.memoryPageTurnBytes))
  const held: number[] = []
  const options = { limit: count, hold: (bytes: number) => void held.push(bytes) }
  const pages = 5
  const turns = await turnsDuring(async () => {
    const lists = Array.from({ length: pages }, () => memories.list(1, options))
    for (const page of await Promise.all(lists)) {
      const { data, ...rest } = parse<MemoryList>(page)
      assert.deepEqual(rest, { total: count, limit: count, offset: 0 })
      assert.ok(data.length === count && data.every((memory) => memory.content === content))
    }
  })
  assert.ok(turnsMin >= 4 && turns >= pages * turnsMin, `${turns} turns, ${turnsMin} a page`)
  const heldBytes = held.reduce((sum, bytes) => sum + bytes, 0)
  assert.equal(heldBytes, pages * pageBytes)
  const full = {
    hold: () => {
      throw new Refusal('SATURATED')
    },
  }
  await assert.rejects(memories.list(1, full), { code: 'SATURATED' })
  const request = { query: 'giraffe', limit: count }
  await assert.rejects(memories.search(ada, request, full), { code: 'SATURATED' })
  const { results } = await search(memories, ada, request)
  assert.equal(results.length, count)
  const left = new AbortController()
  const unwanted = memories.list(1, { limit: count, signal: left.signal })
  left.abort()
  assert.ok(parse<MemoryList>(await unwanted).data.length < count)
})

test('a search that stays untold is not counted', async (t) => {
  const { store, memories } = await openMemories(t, { searches: true })
  await memories.create(ada, { content: 'giraffe' })
  const reply = await memories.search(ada, { query: 'giraffe' }, { untold: true })
  assert.equal(parse<MemoryMatches>(reply).total, 1)
  assert.equal(store.counts(1).searches, 0)
  assert.ok(eventsOf(store, 1).every(([name]) => name !== 'search.performed'))
})

test('content is bounded by its bytes as JSON, also in an update', async (t) => {
  const { memories } = await openMemories(t)
  const bytesMax = limits.memoryContentBytesMax
  for (const [char, bytes] of [
    ['a', 1],
    ['\n', 2],
    ['ж', 2],
    ['\u0001', 6],
  ] as const) {
    const fitting = char.repeat(Math.floor(bytesMax / bytes))
    const { id } = await memories.create(ada, { content: fitting })
    const tooLong = { content: fitting + char }
    const refused = { code: 'INVALID_BODY', message: /^content: .*65536 bytes/ }
    await assert.rejects(memories.create(ada, tooLong), refused)
    await assert.rejects(memories.update(ada, id, tooLong), refused)
    assert.equal(memories.get(1, id).content, fitting)
  }
})

test('a restart keeps memories, numbers and counters, and the store is sound', async (t) => {
  const first = await openMemories(t)
  const { id } = await first.memories.create(ada, { content: 'one', type: 'note', tags: ['a'] })
  const second = await first.memories.create(ada, { content: 'two', tags: ['a', 'b'] })
  await first.memories.update(bob, id, { tags: ['b'] })
  await first.memories.remove(bob, second.id, 'user_request')
  const expected = first.memories.get(1, id)
  await first.close()
  await assertSound(`${first.folder}/store`)
  const again = await openMemories(t, { path: first.folder })
  assert.deepEqual(again.memories.get(1, id), expected)
  assert.deepEqual((await list(again.memories, 1, { tags: ['b'] })).data, [expected])
  assert.equal((await again.memories.create(ada, { content: 'x' })).id, 'mem_0000000000000003')
  assert.deepEqual(again.store.counts(1), { memories: 2, searches: 0, operations: 5 })
})

test('a store without room refuses memories whole and lets them go', async (t) => {
  const { store, memories } = await openMemories(t, { maxBytes: 3 << 20 })
  const content = 'x'.repeat(limits.memoryContentCharsMax)
  const ids: string[] = []
  const fill = async () => {
    for (;;) ids.push((await memories.create(ada, { content, tags: ['a'] })).id)
  }
  await assert.rejects(fill(), { code: 'STORE_FULL' })
  const created = eventsOf(store, 1).filter(([name]) => name === 'memory.created')
  assert.equal(created.length, ids.length)
  assert.equal((await list(memories, 1, { tags: ['a'] })).total, ids.length)
  await fillUp(store)
  for (const id of ids) await memories.remove(bob, id, 'user_request')
  const told = eventsOf(store, 1).slice(-2 * ids.length)
  const names = ids.flatMap(() => ['memory.deleted', 'user.activity'])
  assert.deepEqual(
    told.map(([name]) => name),
    names,
  )
  assert.equal((await list(memories, 1, {})).total, 0)
})

test('small memories go from a full store too, though their events take more than they did', async (t) => {
  const { store, memories } = await openMemories(t, { maxBytes: 3 << 20 })
  const ids: string[] = []
  for (let index = 0; index < 20; index += 1) {
    ids.push((await memories.create(ada, { content: 'x' })).id)
  }
  await fillUp(store)
  await assert.rejects(memories.create(ada, { content: 'x' }), { code: 'STORE_FULL' })
  for (const id of ids) await memories.remove(bob, id, 'user_request')
  const deleted = eventsOf(store, 1).filter(([name]) => name === 'memory.deleted')
  assert.deepEqual(
    deleted.map(([, { id }]) => id),
    ids,
  )
  // What is kept for removals is no room for anything else.
  await assert.rejects(memories.create(ada, { content: 'x' }), { code: 'STORE_FULL' })
  assert.ok(store.isFull)
})

test('a search gives the memories that match and is told of with its filters', async (t) => {
  const { store, memories } = await openMemories(t, { searches: true })
  const kept = await memories.create(ada, {
    content: 'user authentication by magic link',
    type: 'note',
    tags: ['auth'],
    metadata: { category: 'documentation' },
  })
  await memories.create(ada, { content: 'authentication of machines', tags: ['auth'] })
  await memories.create(stranger, { content: 'user authentication', tags: ['auth'] })
  const filters = { type: 'note', tags: ['auth'], metadata: { category: 'documentation' } }
  const found = await search(memories, bob, { query: 'authentication', limit: 1, ...filters })
  const [best] = found.results
  assert.ok(best)
  const { score, ...memory } = best
  assert.deepEqual([memory, found.results.length, found.total], [kept, 1, 1])
  assert.ok(score > 0 && found.execution_time >= 0)
  const [name, data] = eventsOf(store, 1).at(-1) ?? []
  assert.equal(name, 'search.performed')
  assert.deepEqual(data, {
    query: 'authentication',
    results_count: 1,
    execution_time: found.execution_time,
    user_id: 'bob',
    timestamp: '2026-01-01T00:00:00.000Z',
    filters: { type: 'note', tags: ['auth'], category: 'documentation' },
  })
  const limited = await search(memories, ada, { query: 'authentication', limit: 1 })
  assert.deepEqual([limited.results.length, limited.total], [1, 2])
  assert.deepEqual(eventsOf(store, 1).at(-1)?.[1].filters, {})
  assert.deepEqual(store.counts(1), { memories: 2, searches: 2, operations: 4 })
  assert.equal(store.counts(2).searches, 0)
})

test('a search sees each change before it', async (t) => {
  const { memories } = await openMemories(t, { searches: true })
  const totalOf = async (query: string) => (await search(memories, ada, { query })).total
  const { id } = await memories.create(ada, { content: 'giraffe' })
  assert.equal(await totalOf('giraffe'), 1)
  await memories.update(ada, id, { content: 'elephant' })
  assert.deepEqual([await totalOf('giraffe'), await totalOf('elephant')], [0, 1])
  await memories.remove(ada, id, 'user_request')
  assert.equal(await totalOf('elephant'), 0)
})

test('a search before the index is built is refused, and not counted', async (t) => {
  const { store, memories } = await openMemories(t)
  await assert.rejects(memories.search(ada, { query: 'x' }), { code: 'SEARCH_NOT_READY' })
  assert.deepEqual(eventsOf(store, 1), [])
  assert.equal(store.counts(1).searches, 0)
})

test('a search in a store without room is answered all the same, with a warning', async (t) => {
  const { store, memories, lines } = await openMemories(t, { searches: true, maxBytes: 3 << 20 })
  const { id } = await memories.create(ada, { content: 'giraffe' })
  await fillUp(store)
  const found = await search(memories, ada, { query: 'giraffe' })
  assert.deepEqual([found.results[0]?.id, found.total], [id, 1])
  assert.equal(store.counts(1).searches, 0)
  assert.ok(lines.some((line) => line.includes('a search was answered without an event')))
})
