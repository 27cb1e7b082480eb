import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { Memory, MemoryList, MemoryMatches } from '../../src/contracts/memory.ts'
import { limits } from '../../src/limits.ts'
import type { Client, RawReply } from '../support/client.ts'
import { createKey, startServer, temporaryFolder } from '../support/server.ts'
import { openEvents } from '../support/sse.ts'
import { eventually } from '../support/waiting.ts'

const path = '/api/v1/memories'

async function create(client: Client, body: object): Promise<Memory> {
  return (await client.raw('POST', path, { json: body })).as(Memory, 201)
}

/** Asked again for as long as the index is being built. */
async function search(client: Client, query: string): Promise<MemoryMatches> {
  const found = await eventually(async () => {
    const reply = await client.raw('GET', `${path}/search?${query}`)
    if (reply.status !== 503) return reply
    assert.match(reply.headers.get('retry-after') ?? '', /^\d+$/)
    reply.refused(503, 'SEARCH_NOT_READY')
    return undefined
  }, 'the index')
  return found.as(MemoryMatches)
}

async function serverWithTenants(t: TestContext) {
  const dataDir = await temporaryFolder(t)
  const [one, two] = [
    await createKey(dataDir, { tenant: 1, user: 'ada' }),
    await createKey(dataDir, { tenant: 2, user: 'eve' }),
  ]
  const start = async () => {
    const server = await startServer(t, { dataDir })
    return { server, ada: server.clientWith(one.key), eve: server.clientWith(two.key) }
  }
  return { dataDir, start }
}

test('memories are created, read, listed, changed and deleted over HTTP', async (t) => {
  const server = await startServer(t)
  const { client } = server
  const body = {
    content: 'New memory content',
    title: 'A note',
    type: 'note',
    tags: ['important', 'work'],
    metadata: { user_id: 'user123', category: 'note' },
  }
  const made = await client.raw('POST', path, { json: body })
  const memory = made.as(Memory, 201)
  assert.match(memory.id, /^mem_[0-9a-f]{16}$/)
  assert.equal(made.headers.get('location'), `${server.url}${path}/${memory.id}`)
  const { id, created_at, created_by, updated_at, updated_by, ...document } = memory
  assert.deepEqual(document, body)
  assert.deepEqual([created_by, updated_by, updated_at], ['operator', 'operator', created_at])
  assert.deepEqual((await client.get(`${path}/${id}`)).as(Memory), memory)
  const other = await create(client, { content: 'other', tags: ['work'] })
  const lists: [string, string[]][] = [
    ['', [other.id, id]],
    ['?limit=1&offset=1', [id]],
    ['?tags=work&tags=important', [id]],
    ['?tags=work%2Cimportant&type=note', [id]],
    ['?tags=nothing', []],
  ]
  for (const [query, ids] of lists) {
    const list = (await client.get(path + query)).as(MemoryList)
    assert.deepEqual(
      list.data.map((row) => row.id),
      ids,
    )
  }
  const put = await client.raw('PUT', `${path}/${id}`, {
    json: { title: null, tags: [], metadata: { category: null, updated: true } },
  })
  const changed = put.as(Memory)
  assert.deepEqual([changed.content, changed.title, changed.tags], [body.content, null, []])
  assert.deepEqual(changed.metadata, { user_id: 'user123', updated: true })
  const gone = await client.raw('DELETE', `${path}/${id}?reason=outdated`)
  assert.deepEqual([gone.status, gone.text], [204, ''])
  const refused = (await client.get(`${path}/${id}`)).refused(404, 'MEMORY_NOT_FOUND')
  assert.equal(refused.memoryId, id)
  const total = (await client.get(path)).as(MemoryList).total
  assert.equal(total, 1)
})

test('a body that names another tenant is refused, and one that names its own is not', async (t) => {
  const { start } = await serverWithTenants(t)
  const { ada } = await start()
  const { id } = await create(ada, { content: 'mine', tenantId: 1 })
  const refused: [string, string, object][] = [
    ['POST', path, { content: 'x', tenantId: 2 }],
    ['PUT', `${path}/${id}`, { content: 'x', tenantId: 2 }],
    ['POST', `${path}/search`, { query: 'mine', tenantId: 2 }],
  ]
  for (const [method, target, json] of refused) {
    const reply = await ada.raw(method, target, { json })
    reply.refused(403, 'TENANT_MISMATCH')
  }
  const kept = (await ada.get(`${path}/${id}`)).as(Memory)
  assert.deepEqual([kept.content, 'tenantId' in kept], ['mine', false])
})

test('what would not come back as it was sent is refused by its field', async (t) => {
  const { client } = await startServer(t)
  const send = (text: string) =>
    client.raw('POST', path, { body: text, headers: { 'Content-Type': 'application/json' } })
  const infinite = await send('{"content":"x","metadata":{"deep":[{"n":1e999}]}}')
  assert.equal(infinite.refused(422, 'INVALID_BODY').field, 'metadata')
  const twice = await send('{"content":"x","tags":["a","a"]}')
  assert.match(String(twice.refused(422, 'INVALID_BODY').message), /tags.*each once/)
})

test('a search takes its filters from the query as from a body', async (t) => {
  const { client } = await startServer(t)
  const { id } = await create(client, {
    content: 'user authentication',
    type: 'note',
    tags: ['a', 'b'],
    metadata: { category: 'docs', level: 3 },
  })
  await create(client, { content: 'authentication too' })
  const idsOf = ({ results }: MemoryMatches) => results.map((result) => result.id)
  assert.equal((await search(client, 'query=authentication')).total, 2)
  for (const filter of [
    'type=note',
    'tags=a,b',
    'tags=a&tags=b',
    'metadata[category]=docs',
    'metadata%5Bcategory%5D=docs&metadata%5Blevel%5D=3',
    `metadata=${encodeURIComponent('{"category":"docs","level":3}')}`,
  ]) {
    const found = await search(client, `query=authentication&limit=5&${filter}`)
    assert.deepEqual([idsOf(found), found.total], [[id], 1], filter)
  }
  const json = { query: 'authentication', metadata: { level: 3 }, tags: ['b'] }
  const posted = (await client.raw('POST', `${path}/search`, { json })).as(MemoryMatches)
  assert.deepEqual(idsOf(posted), [id])
  assert.equal((await search(client, 'query=authentication&metadata[level]=4')).total, 0)
})

test('HEAD on a search answers as GET does, and nothing is told of it', async (t) => {
  const { client } = await startServer(t)
  await create(client, { content: 'giraffe one two' })
  await search(client, 'query=one')
  const head = await client.raw('HEAD', `${path}/search?query=giraffe`)
  assert.deepEqual([head.status, head.bytes.byteLength], [200, 0])
  assert.ok(Number(head.headers.get('content-length')) > 100)
  await search(client, 'query=two')
  const url = `${client.url}/api/v1/stream?events=search.performed`
  const reader = await openEvents(url, client.headers, 'event_0')
  t.after(() => reader.cut())
  await reader.events.waitFor(({ data }) => data.query === 'two', 'the last search')
  const told = reader.events.items.filter(({ name }) => name === 'search.performed')
  assert.deepEqual(
    told.map(({ data }) => data.query),
    ['one', 'two'],
  )
})

test('tenants see nothing of each other, and a restart keeps everything', async (t) => {
  const { start } = await serverWithTenants(t)
  const { server, ada, eve } = await start()
  const memory = await create(ada, { content: 'secret giraffe', type: 'x', tags: ['t'] })
  assert.equal(memory.created_by, 'ada')
  const foreign = await create(eve, { content: 'own giraffe', type: 'x', tags: ['t'] })
  // The numbers are each tenant's own: the same id is another memory.
  assert.equal(foreign.id, memory.id)
  const second = await create(ada, { content: 'another', type: 'x' })
  const hidden = async (reply: Promise<RawReply>) => (await reply).refused(404, 'MEMORY_NOT_FOUND')
  const url = `${path}/${second.id}`
  await hidden(eve.get(url))
  await hidden(eve.raw('PUT', url, { json: { content: 'mine' } }))
  await hidden(eve.raw('DELETE', url))
  assert.equal((await eve.get(`${path}?type=x`)).as(MemoryList).total, 1)
  assert.deepEqual(
    (await search(eve, 'query=giraffe')).results.map(({ content }) => content),
    ['own giraffe'],
  )
  await server.kill('SIGKILL')
  const again = await start()
  assert.deepEqual((await again.ada.get(`${path}/${memory.id}`)).as(Memory), memory)
  const list = (await again.ada.get(path)).as(MemoryList)
  assert.deepEqual(list.data, [second, memory])
  assert.equal((await search(again.ada, 'query=giraffe')).results[0]?.id, memory.id)
})

test('a key needs the scope to read, and the one to write', async (t) => {
  const dataDir = await temporaryFolder(t)
  const reader = await createKey(dataDir, { scopes: 'memories:read' })
  const writer = await createKey(dataDir, { scopes: 'memories:write' })
  const server = await startServer(t, { dataDir })
  const [reading, writing] = [server.clientWith(reader.key), server.clientWith(writer.key)]
  const { id } = await create(writing, { content: 'x' })
  const refusals: [Client, string, string][] = [
    [reading, 'POST', path],
    [reading, 'PUT', `${path}/${id}`],
    [reading, 'DELETE', `${path}/${id}`],
    [writing, 'GET', path],
    [writing, 'GET', `${path}/${id}`],
    [writing, 'GET', `${path}/search?query=x`],
    [writing, 'POST', `${path}/search`],
  ]
  for (const [client, method, url] of refusals) {
    const reply = await client.raw(method, url, method === 'GET' ? {} : { json: { query: 'x' } })
    const { requiredScope } = reply.refused(403, 'SCOPE_MISSING')
    assert.equal(requiredScope, client === reading ? 'memories:write' : 'memories:read')
  }
  assert.equal((await reading.get(`${path}/${id}`)).status, 200)
})

test('bad bodies and bad queries are refused with the member that is wrong', async (t) => {
  const { client } = await startServer(t)
  const { id } = await create(client, { content: 'x' })
  const long = (chars: number) => 'x'.repeat(chars + 1)
  const bodies: [object, string][] = [
    [{}, 'content'],
    [{ content: '' }, 'content'],
    [{ content: 1 }, 'content'],
    [{ content: long(limits.memoryContentCharsMax) }, 'content'],
    [{ content: '\u0001'.repeat(11_000) }, 'content'],
    [{ content: 'x', title: 1 }, 'title'],
    [{ content: 'x', type: '' }, 'type'],
    [{ content: 'x', tags: 'a' }, 'tags'],
    [{ content: 'x', tags: ['a', 'a'] }, 'tags'],
    [{ content: 'x', tags: [''] }, 'tags.0'],
    [{ content: 'x', metadata: [] }, 'metadata'],
    [{ content: 'x', metadata: { a: long(limits.memoryMetadataBytesMax) } }, 'metadata'],
    [{ content: 'x', other: 1 }, 'other'],
  ]
  for (const [json, field] of bodies) {
    const reply = await client.raw('POST', path, { json })
    assert.equal(reply.refused(422, 'INVALID_BODY').field, field, JSON.stringify(json))
    if (field === 'content' && Object.keys(json).length === 0) continue
    const put = await client.raw('PUT', `${path}/${id}`, { json })
    assert.equal(put.refused(422, 'INVALID_BODY').field, field)
  }
  const empty = await client.raw('PUT', `${path}/${id}`, { json: {} })
  assert.equal(empty.refused(422, 'INVALID_BODY').field, 'body')
  const hostile = '{"content":"x","metadata":{"__proto__":{"a":1}}}'
  const headers = { 'content-type': 'application/json' }
  const reply = await client.raw('POST', path, { body: hostile, headers })
  assert.equal(reply.refused(422, 'INVALID_BODY').field, '__proto__')
  const queries: [string, string][] = [
    ['?limit=0', 'limit'],
    [`?limit=${limits.memoriesPageLimitMax + 1}`, 'limit'],
    ['?offset=-1', 'offset'],
    [`?offset=${limits.memoryOffsetMax + 1}`, 'offset'],
    ['?tags=', 'tags.0'],
    ['?type=a&type=b', 'type'],
    ['?other=1', 'other'],
    ['/search', 'query'],
    ['/search?query=', 'query'],
    ['/search?query=x&metadata=1', 'metadata'],
    ['/search?query=x&metadata={"a":{}}', 'metadata.a'],
    ['/search?query=x&metadata[a][b]=1', 'metadata[a][b]'],
    [`/search?query=x&metadata[${long(limits.memoryFilterNameCharsMax)}]=1`, 'metadata'],
    [`/search?query=x&metadata[a]=${long(limits.memoryFilterTextCharsMax)}`, 'metadata.a'],
  ]
  for (const [query, field] of queries) {
    const refused = (await client.get(path + query)).refused(400, 'INVALID_PARAMETER')
    assert.equal(refused.field, field, query)
  }
  const name = long(limits.memoryFilterNameCharsMax)
  for (const [metadata, field] of [
    [{ a: { b: 1 } }, 'metadata.a'],
    [{ a: long(limits.memoryFilterTextCharsMax) }, 'metadata.a'],
    [{ [name]: 1 }, `metadata.${name}`.slice(0, limits.shownValueCharsMax)],
  ] as const) {
    const post = await client.raw('POST', `${path}/search`, { json: { query: 'x', metadata } })
    const refused = post.refused(422, 'INVALID_BODY')
    assert.equal(refused.field, field)
    assert.match(`${refused.expected}`, /of at most 128 characters|0 to 512 characters/)
  }
  const reason = await client.raw('DELETE', `${path}/${id}?reason=${long(128)}`)
  assert.equal(reason.refused(400, 'INVALID_PARAMETER').field, 'reason')
  const method = await client.raw('DELETE', `${path}/search`)
  assert.deepEqual(method.refused(405, 'METHOD_NOT_ALLOWED').allowed, [
    ...['GET', 'POST', 'HEAD', 'OPTIONS'],
  ])
})
