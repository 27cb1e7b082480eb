import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type TenantEventData, tenantEvents } from '../../src/contracts/events.ts'
import { conforming } from '../support/client.ts'
import { createKey, runCommand, startServer, temporaryFolder } from '../support/server.ts'
import { type EventReader, openEvents } from '../support/sse.ts'
import { openSocket } from '../support/websocket.ts'

const streamPath = '/api/v1/stream'
const schema = { schemaName: 's', schemaVersion: '1', fields: [{ name: 'a', type: 'float' }] }

async function activity(
  reader: EventReader,
  action: string,
  type: string,
): Promise<TenantEventData<'user.activity'>> {
  const { data } = await reader.events.waitFor(
    ({ name, data }) =>
      name === 'user.activity' && data.action === action && data.resource_type === type,
    `the activity ${action} ${type}`,
  )
  return conforming(tenantEvents['user.activity'], data)
}

function actionsOf(reader: EventReader): string[] {
  return reader.events.items
    .filter(({ name }) => name === 'user.activity')
    .map(({ data }) => `${data.action} ${data.resource_type}`)
}

test('whoever follows a tenant is told its figures and what its users do', async (t) => {
  const server = await startServer(t)
  const { client } = server
  for (let index = 0; index < 3; index += 1) await client.get('/api/streaming/schemas')
  await client.get('/api/streaming/sessions/stream-session-none/status')
  const reader = await openEvents(`${server.url}${streamPath}`, client.headers)
  t.after(() => reader.cut())
  const { data } = await reader.event('analytics.update')
  const analytics = conforming(tenantEvents['analytics.update'], data)
  assert.equal(analytics.active_users, 1)
  assert.ok(analytics.avg_response_time >= 0 && analytics.avg_response_time < 1_000)
  // Of five requests, the opening of the stream included, one was for what is not there.
  assert.equal(analytics.success_rate, 80)
  assert.equal(analytics.total_operations, 0)

  const register = () => client.raw('POST', '/api/streaming/schemas', { json: schema })
  assert.deepEqual([(await register()).status, (await register()).status], [201, 200])
  const made = await activity(reader, 'create', 'schema')
  assert.equal(made.resource_id, 's/1')
  assert.equal(made.user_id, 'operator')
  const session = await client.start({ sessionType: 'telemetry' })
  assert.equal((await activity(reader, 'create', 'session')).resource_id, session.sessionId)
  const socket = await openSocket(session.websocketUrl, client.headers)
  socket.send({ type: 'end', id: 1 })
  assert.equal((await socket.answer(1)).status, 'completed')
  assert.equal((await activity(reader, 'end', 'session')).resource_id, session.sessionId)
  await client.end(session.sessionId)
  await client.raw('POST', '/api/streaming/schemas', { json: { ...schema, schemaVersion: '2' } })
  await reader.events.waitFor(({ data }) => data.resource_id === 's/2', 'the last activity')
  assert.deepEqual(actionsOf(reader), [
    'create schema',
    'create session',
    'end session',
    'create schema',
  ])
})

test('keys that the command line makes and revokes are told of, each once, across a restart', async (t) => {
  const dataDir = await temporaryFolder(t)
  const early = await createKey(dataDir, { tenant: 6, user: 'ada' })
  let server = await startServer(t, { dataDir })
  const events = 'events=user.activity&lastEventId=event_0'
  const reader = await openEvents(`${server.url}${streamPath}?${events}`, {
    'x-api-key': early.key,
  })
  assert.equal((await activity(reader, 'create', 'key')).resource_id, early.id)
  const late = await createKey(dataDir, { tenant: 6, user: 'bob' })
  const told = await reader.events.waitFor(
    ({ data }) => data.resource_id === late.id,
    'the second key',
  )
  const { metadata, user_id: user } = conforming(tenantEvents['user.activity'], told.data)
  assert.deepEqual([metadata.user, user], ['bob', 'operator'])
  await runCommand(dataDir, ['keys', 'revoke', late.id])
  assert.equal((await activity(reader, 'revoke', 'key')).resource_id, late.id)
  const before = reader.events.items.map(({ id }) => id)
  await reader.cut()
  await server.stop()

  server = await startServer(t, { dataDir })
  const third = await createKey(dataDir, { tenant: 6, user: 'eve' })
  const again = await openEvents(`${server.url}${streamPath}?${events}`, { 'x-api-key': early.key })
  t.after(() => again.cut())
  await again.events.waitFor(({ data }) => data.resource_id === third.id, 'the third key')
  assert.deepEqual(again.ids.slice(0, -1), before)
})
