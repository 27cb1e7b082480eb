import assert from 'node:assert/strict'
import { spawn, spawnSync } from 'node:child_process'
import { test } from 'node:test'
import { type Scope, startServer } from '../support/server.ts'
import { EventParser, openEvents, type ReceivedEvent } from '../support/sse.ts'
import { Inbox, within } from '../support/waiting.ts'
import { createMemory, memoriesPath, searchMemories, streamPath } from './stream-scenario.ts'

const curlMissing = spawnSync('curl', ['--version']).error !== undefined && 'there is no curl'

/** As the document has it. */
const documentedHost = 'https://api.lanonasis.com'
const documentedCommand = `curl -X GET "https://api.lanonasis.com/api/v1/stream?events=memory.created,memory.updated,search.performed" \\
  -H "Authorization: Bearer your-api-key" \\
  -H "Accept: text/event-stream" \\
  -H "Cache-Control: no-cache" \\
  -H "Connection: keep-alive"`

/**
 * A shell that runs the command as a reader would paste it, up to the end of the test. In a terminal
 * every line leaves curl at once; through a pipe that is stdbuf's doing.
 */
function paste(t: Scope, command: string): Inbox<ReceivedEvent> {
  // With exec it is curl that the test ends, and no child of the shell.
  const child = spawn('sh', ['-c', `exec stdbuf -oL ${command}`], {
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const events = new Inbox<ReceivedEvent>()
  const parser = new EventParser()
  let told = ''
  child.stderr.on('data', (chunk: Buffer) => {
    told += chunk.toString()
  })
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    for (const event of parser.push(text)) events.push(event)
  })
  const closed = new Promise<void>((resolve) => {
    child.once('close', () => {
      events.end(`curl ended: ${told}`)
      resolve()
    })
  })
  t.after(async () => {
    child.kill('SIGKILL')
    await within(closed, 'the end of curl')
  })
  return events
}

test('the documented curl line works with host and key replaced', {
  skip: curlMissing,
}, async (t) => {
  const { url, client, key } = await startServer(t)
  const command = documentedCommand.replace(documentedHost, url).replace('your-api-key', key)
  const events = paste(t, command)
  await events.waitFor(({ name }) => name === 'heartbeat', 'the first heartbeat')
  const { id } = await createMemory(client, 'A kingfisher')
  await client.raw('PUT', `${memoriesPath}/${id}`, { json: { title: 'Bird' } })
  await client.raw('DELETE', `${memoriesPath}/${id}`)
  await searchMemories(client, 'kingfisher')
  await events.waitFor(({ name }) => name === 'search.performed', 'the event of the search')
  assert.deepEqual(
    withoutHeartbeats(events).map(({ name }) => name),
    ['memory.created', 'memory.updated', 'search.performed'],
  )
})

/** The stream begins with one, which tells a reader from where on it hears all. */
function withoutHeartbeats(events: Inbox<ReceivedEvent>): ReceivedEvent[] {
  return events.items.filter(({ name }) => name !== 'heartbeat')
}

/** As `connect` of the documented LanOnasisStream makes it. */
function documentedUrl(
  baseUrl: string,
  events: readonly string[],
  filters: Readonly<Record<string, string>>,
): string {
  const params = new URLSearchParams()
  for (const event of events) params.append('events', event)
  for (const [key, value] of Object.entries(filters)) params.append(`filters[${key}]`, value)
  return `${baseUrl}${streamPath}?${params.toString()}`
}

test('the URL of the documented JavaScript client selects events and filters them', async (t) => {
  const { url, client } = await startServer(t)
  const filters = { user_id: 'user123', category: 'note' }
  const stream = documentedUrl(url, ['memory.created', 'memory.updated'], filters)
  const reader = await openEvents(stream, client.headers)
  t.after(() => reader.cut())
  const make = (content: string, metadata: Readonly<Record<string, string>>) =>
    client.raw('POST', memoriesPath, { json: { content, metadata } })
  await make('of nobody', {})
  await make('of another', { ...filters, user_id: 'user456' })
  await make('of one filter', { user_id: 'user123' })
  const both = (await make('of both', filters)).json as { id: string }
  await client.raw('PUT', `${memoriesPath}/${both.id}`, { json: { content: 'of both still' } })
  await client.raw('DELETE', `${memoriesPath}/${both.id}`)
  await make('of both at last', { ...filters, more: 'yes' })
  await reader.events.waitFor(({ data }) => data.content === 'of both at last', 'the last event')
  const named = withoutHeartbeats(reader.events).map(({ name, data }) => [name, data.content])
  assert.deepEqual(named, [
    ['memory.created', 'of both'],
    ['memory.updated', 'of both still'],
    ['memory.created', 'of both at last'],
  ])
})

test('a documented client that names no events and no filters gets what there is', async (t) => {
  const { url, client } = await startServer(t)
  const reader = await openEvents(documentedUrl(url, [], {}), client.headers)
  t.after(() => reader.cut())
  await createMemory(client, 'A wren')
  const created = await reader.event('memory.created')
  assert.equal(created.data.content, 'A wren')
  const activity = await reader.event('user.activity')
  assert.equal(activity.data.resource_id, created.data.id)
})
