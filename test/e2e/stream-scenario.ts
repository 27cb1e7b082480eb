import assert from 'node:assert/strict'
import { type TenantEventName, tenantEvents } from '../../src/contracts/events.ts'
import { Memory } from '../../src/contracts/memory.ts'
import type { Follower } from '../support/browser.ts'
import { type Client, conforming } from '../support/client.ts'
import { freePort } from '../support/free-port.ts'
import { type Scope, startServer, type TestServer } from '../support/server.ts'
import { eventNumber, type ReceivedEvent } from '../support/sse.ts'
import { TcpProxy } from '../support/tcp-proxy.ts'
import { eventually } from '../support/waiting.ts'

export const memoriesPath = '/api/v1/memories'
export const streamPath = '/api/v1/stream'
export const followedNames = [
  'memory.created',
  'memory.updated',
  'memory.deleted',
  'search.performed',
] as const satisfies readonly TenantEventName[]

/** A client waits two seconds between its attempts, and the server may take some to be back. */
const backTimeoutMs = 30_000

export async function createMemory(client: Client, content: string): Promise<Memory> {
  const reply = await client.raw('POST', memoriesPath, { json: { content } })
  return reply.as(Memory, 201)
}

async function createMemories(client: Client, contents: readonly string[]): Promise<void> {
  for (const content of contents) await createMemory(client, content)
}

/** The index may still be built: nobody is told of a search that was refused. */
export async function searchMemories(client: Client, query: string): Promise<void> {
  await eventually(async () => {
    const reply = await client.raw('POST', `${memoriesPath}/search`, { json: { query } })
    if (reply.status === 503) return undefined
    assert.equal(reply.status, 200, reply.text)
    return true
  }, 'an answer to a search')
}

function createdContents(events: readonly ReceivedEvent[]): unknown[] {
  return events.filter(({ name }) => name === 'memory.created').map(({ data }) => data.content)
}

/** The follower's turn has come when it has the event of this memory. */
function hasContent(follower: Follower, content: string): Promise<ReceivedEvent> {
  return follower.events.waitFor(
    ({ name, data }) => name === 'memory.created' && data.content === content,
    `the event of ${content}`,
    { timeoutMs: backTimeoutMs },
  )
}

async function tellsOfEachChange(client: Client, follower: Follower): Promise<void> {
  const { id } = await createMemory(client, 'A heron stands in the reeds')
  const path = `${memoriesPath}/${id}`
  const update = await client.raw('PUT', path, { json: { tags: ['bird'] } })
  assert.equal(update.status, 200, update.text)
  await searchMemories(client, 'heron')
  assert.equal((await client.raw('DELETE', path)).status, 204)
  await follower.events.waitFor(({ name }) => name === 'memory.deleted', 'the last of four events')
  const events = [...follower.events.items]
  assert.deepEqual(
    events.map(({ name }) => name),
    ['memory.created', 'memory.updated', 'search.performed', 'memory.deleted'],
  )
  for (const { name, data } of events) conforming(tenantEvents[name as TenantEventName], data)
  const [created, updated, searched, deleted] = events
  assert.deepEqual([created?.data.id, updated?.data.id, deleted?.data.id], [id, id, id])
  assert.equal(created?.data.content, 'A heron stands in the reeds')
  assert.deepEqual(updated?.data.tags, ['bird'])
  assert.deepEqual([searched?.data.query, searched?.data.results_count], ['heron', 1])
}

/**
 * A follower behind a proxy hears of every change, loses its connection, then its server to a
 * SIGKILL, comes back by itself both times and has each memory once, in order. `follow` opens it at
 * a server's base URL, with the client that can make its ticket.
 */
export async function followThroughCuts(
  t: Scope,
  env: Readonly<Record<string, string>>,
  follow: (baseUrl: string, client: Client) => Promise<Follower>,
): Promise<void> {
  const port = await freePort()
  const settings = { ...env, ATOMSTREAM_PORT: `${port}` }
  let server: TestServer = await startServer(t, { env: settings })
  const proxy = await TcpProxy.start(t, port)
  const { client } = server
  const follower = await follow(proxy.url, client)
  await follower.openings.waitFor(() => true, 'the connection')
  await tellsOfEachChange(client, follower)

  proxy.goDown()
  await createMemories(client, ['cut 1', 'cut 2', 'cut 3'])
  proxy.comeBack()
  await hasContent(follower, 'cut 3')
  await createMemories(client, ['live 1', 'live 2'])
  await hasContent(follower, 'live 2')

  proxy.goDown()
  await createMemories(client, ['unread 1', 'unread 2'])
  await server.kill('SIGKILL')
  const again = { ...settings, ATOMSTREAM_API_KEY: server.key }
  server = await startServer(t, { dataDir: server.dataDir, env: again })
  await createMemories(client, ['restarted 1', 'restarted 2'])
  proxy.comeBack()
  await hasContent(follower, 'restarted 2')
  await createMemory(client, 'last')
  await hasContent(follower, 'last')

  const events = follower.events.items
  assert.deepEqual(createdContents(events).slice(1), [
    ...['cut 1', 'cut 2', 'cut 3', 'live 1', 'live 2', 'unread 1', 'unread 2'],
    ...['restarted 1', 'restarted 2', 'last'],
  ])
  const numbers = events.map(eventNumber)
  assert.deepEqual(
    numbers,
    numbers.toSorted((a, b) => a - b),
  )
  assert.equal(new Set(numbers).size, numbers.length)
  assert.ok(follower.openings.items.length >= 3, 'it came back twice')
}

/**
 * A follower that was cut before it had any event has nothing to resume from but what the stream
 * told it at its opening.
 */
export async function followFromTheOpening(
  t: Scope,
  env: Readonly<Record<string, string>>,
  follow: (baseUrl: string, client: Client) => Promise<Follower>,
): Promise<void> {
  const server = await startServer(t, { env })
  const proxy = await TcpProxy.start(t, Number(new URL(server.url).port))
  await createMemory(server.client, 'before')
  const follower = await follow(proxy.url, server.client)
  await follower.openings.waitFor(() => true, 'the connection')
  proxy.goDown()
  await createMemories(server.client, ['away 1', 'away 2'])
  proxy.comeBack()
  await hasContent(follower, 'away 2')
  assert.deepEqual(createdContents(follower.events.items), ['away 1', 'away 2'])
}
