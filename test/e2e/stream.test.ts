import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { newApiKey } from '../../src/cli/keys.ts'
import { Memory } from '../../src/contracts/memory.ts'
import { openStore } from '../../src/store/store.ts'
import type { Client } from '../support/client.ts'
import { startServer, temporaryFolder } from '../support/server.ts'
import { type EventReader, openEvents, type ReceivedEvent } from '../support/sse.ts'
import { within } from '../support/waiting.ts'

const sessionNames = 'session-started,session-paused,session-completed'

async function open(
  t: TestContext,
  client: Client,
  query: string,
  lastEventId?: string,
): Promise<EventReader> {
  const url = `${client.url}/api/v1/stream?${query}`
  const reader = await openEvents(url, client.headers, lastEventId)
  t.after(() => reader.cut())
  return reader
}

async function remember(client: Client, content: string, metadata: object = {}): Promise<string> {
  const json = { content, metadata }
  const reply = await client.raw('POST', '/api/v1/memories', { json })
  return reply.as(Memory, 201).id
}

const stored = (events: readonly ReceivedEvent[]) =>
  events.filter(({ id }) => id.startsWith('event_'))

const contents = (reader: EventReader) =>
  stored(reader.events.items).map(({ data }) => data.content)

function content(reader: EventReader, text: string): Promise<ReceivedEvent> {
  return reader.events.waitFor(({ data }) => data.content === text, `the event of ${text}`)
}

test('a client goes on across restarts from the id of an event, a heartbeat and an error', async (t) => {
  const dataDir = await temporaryFolder(t)
  const query = 'events=memory.created&filters[kind]=kept'
  let server = await startServer(t, { dataDir })
  let reader = await open(t, server.client, query)
  const seen: unknown[] = []
  const expected: string[] = []
  let lastEventId = ''
  for (const kind of ['event', 'heartbeat', 'error'] as const) {
    const live = `live before ${kind}`
    await remember(server.client, live, { kind: 'kept' })
    await content(reader, live)
    await remember(server.client, 'passed over', { kind: 'dropped' })
    if (kind === 'heartbeat') {
      // Opened once more, a stream tells its place by a heartbeat at once.
      await reader.cut()
      seen.push(...contents(reader))
      reader = await open(t, server.client, query)
      lastEventId = (await reader.event('heartbeat')).id
    } else if (kind === 'error') {
      // What a stop tells last is an error whose id is the place.
      await server.stop()
      await within(reader.ended, 'the end of the stream')
      const last = reader.events.items.at(-1)
      assert.deepEqual([last?.name, last?.data.code], ['error', 'CONNECTION_ERROR'])
      lastEventId = last?.id ?? ''
    } else {
      lastEventId = stored(reader.events.items).at(-1)?.id ?? ''
    }
    assert.match(lastEventId, new RegExp(`^${kind}_[1-9]`))
    await reader.cut()
    seen.push(...contents(reader))
    expected.push(live)
    if (server.running) {
      const missed = `missed after ${kind}`
      await remember(server.client, missed, { kind: 'kept' })
      expected.push(missed)
      await server.kill('SIGKILL')
    }
    server = await startServer(t, { dataDir })
    reader = await open(t, server.client, query, lastEventId)
  }
  await remember(server.client, 'last', { kind: 'kept' })
  await content(reader, 'last')
  seen.push(...contents(reader))
  assert.deepEqual(seen, [...expected, 'last'])
})

test('events of sessions and of memories come over one connection, in the order of the log', async (t) => {
  const { client } = await startServer(t)
  const query = `events=${sessionNames}&events=memory.created,memory.deleted`
  const reader = await open(t, client, query)
  const session = await client.start({ sessionType: 'telemetry' })
  const id = await remember(client, 'between')
  await client.end(session.sessionId)
  assert.equal((await client.raw('DELETE', `/api/v1/memories/${id}`)).status, 204)
  await reader.event('memory.deleted')
  const events = stored(reader.events.items)
  assert.deepEqual(
    events.map(({ name }) => name),
    ['session-started', 'memory.created', 'session-completed', 'memory.deleted'],
  )
  assert.equal(events[0]?.data.sessionId, session.sessionId)
  const replayed = await open(t, client, query, 'event_0')
  await replayed.event('memory.deleted')
  assert.deepEqual(stored(replayed.events.items), events)
})

test('no filter, name or id reaches the events of another tenant', async (t) => {
  const dataDir = await temporaryFolder(t)
  const own = newApiKey({ tenant: 1, user: 'reader', scopes: ['events:read', 'memories:write'] })
  const store = openStore({ path: `${dataDir}/store`, durability: 'flush', maxBytes: 1 << 30 })
  await store.commit((transaction) => transaction.putApiKey(own.row))
  await store.close()
  const server = await startServer(t, { dataDir })
  const stranger = server.clientWith(own.key)
  await remember(server.client, 'a secret', { kind: 'secret', tenant: 0 })
  const readers = await Promise.all(
    ['', 'filters[kind]=secret', 'filters[tenant]=0', `events=${sessionNames},memory.created`].map(
      (query) => open(t, stranger, query, 'event_0'),
    ),
  )
  const session = await server.client.start({ sessionType: 'telemetry' })
  await server.client.end(session.sessionId)
  await remember(server.client, 'another secret', { kind: 'secret', tenant: 0 })
  await remember(stranger, 'its own', { kind: 'secret', tenant: 0 })
  for (const reader of readers) {
    await content(reader, 'its own')
    const text = JSON.stringify(reader.events.items)
    assert.doesNotMatch(text, /a secret|another secret|stream-session-/)
  }
})
