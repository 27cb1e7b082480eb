import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { type SessionEventName, sessionEvents } from '../../src/contracts/events.ts'
import { type Client, conforming } from '../support/client.ts'
import { startServer, temporaryFolder } from '../support/server.ts'
import {
  browserEvents,
  type EventReader,
  eventNumber,
  openEvents,
  type ReceivedEvent,
} from '../support/sse.ts'

const hourMs = 3_600_000

function record(n: number): unknown {
  return { timestamp: new Date(Date.UTC(2025, 0, 20) + n).toISOString(), values: { n } }
}

async function feed(client: Client, sessionId: string, from: number, to: number): Promise<void> {
  for (let n = from; n < to; n += 1) await client.upload(sessionId, { records: [record(n)] })
}

/** Numbers rise, names are known and data is as the contract says. */
function assertDocumented(events: readonly ReceivedEvent[], sessionId: string): void {
  let last = 0
  for (const event of events) {
    assert.ok(eventNumber(event) > last, `${event.id} follows event_${last}`)
    last = eventNumber(event)
    const schema = sessionEvents[event.name as SessionEventName]
    assert.ok(schema !== undefined, `${event.name} is a documented event`)
    conforming(schema, event.data)
    assert.equal(event.data.sessionId, sessionId)
  }
}

test('the events of a session come in order, with the documented data', async (t) => {
  const { client } = await startServer(t)
  const session = await client.start({
    sessionType: 'telemetry',
    batchSize: 2,
    schema: { fields: [{ name: 'n', type: 'integer' }] },
  })
  const live = await openEvents(session.sseUrl, client.headers)
  await live.event('session-started')
  const bad = { timestamp: '2025-01-20T00:00:00Z', values: { n: 'x' } }
  const first = await client.upload(session.sessionId, { records: [record(0), record(1)] })
  await client.upload(session.sessionId, { records: [record(2), bad] })
  await client.end(session.sessionId)
  const events = await live.whole()
  assertDocumented(events, session.sessionId)

  const of = (name: string): ReceivedEvent[] => events.filter((event) => event.name === name)
  const place = (name: string): number => events.findIndex((event) => event.name === name)
  assert.equal(events[0]?.name, 'session-started')
  assert.equal(events.at(-1)?.name, 'session-completed')
  assert.ok(place('batch-received') < place('batch-processed'))
  const received = of('batch-received')
  assert.equal(received[0]?.data.batchId, first.batchId)
  const counted = received.reduce((sum, { data }) => sum + Number(data.recordCount), 0)
  assert.equal(counted, 3)
  const created = of('batch-processed').reduce(
    (sum, { data }) => sum + Number(data.atomsCreated),
    0,
  )
  assert.equal(created, 3)
  assert.equal(of('records-rejected').length, 1)
  assert.equal(of('records-rejected')[0]?.data.rejectedCount, 1)
  assert.equal(events.at(-1)?.data.totalRecords, 4)
  assert.equal(events.at(-1)?.data.totalAtoms, 3)

  await t.test('a late subscriber gets the whole log, and so does a browser', async () => {
    const late = await openEvents(session.sseUrl, client.headers)
    assert.deepEqual(await late.whole(), events)
    const names = Object.keys(sessionEvents)
    assert.deepEqual(await browserEvents(session.sseUrl, names, client.headers), events)
    const ticket = await client.ticket(new URL(session.sseUrl).pathname)
    assert.deepEqual(await browserEvents(`${session.sseUrl}?ticket=${ticket}`, names), events)
  })

  await t.test('a reconnect at or past the terminal event gets 204', async () => {
    const last = eventNumber(events.at(-1) ?? { id: '' })
    for (const id of [`event_${last}`, `event_${last + 1_000}`]) {
      const byHeader = await client.get(session.sseUrl, {}, { 'last-event-id': id })
      assert.equal(byHeader.status, 204)
      assert.equal(byHeader.bytes.length, 0)
      const byQuery = await client.get(`${session.sseUrl}?lastEventId=${id}`)
      assert.equal(byQuery.status, 204)
    }
  })

  await t.test('the id that was seen last may also stand in the query', async () => {
    const reader = await openEvents(
      `${session.sseUrl}?lastEventId=${events[1]?.id}`,
      client.headers,
    )
    assert.deepEqual(await reader.whole(), events.slice(2))
  })
})

/** Reads on from where the reader was cut. */
async function resume(reader: EventReader, url: string, client: Client): Promise<EventReader> {
  await reader.cut()
  return openEvents(url, client.headers, reader.ids.at(-1))
}

test('readers that are cut and resume miss nothing and get nothing twice', async (t) => {
  const { client } = await startServer(t)
  const session = await client.start({ sessionType: 'telemetry', batchSize: 1 })
  const steady = await openEvents(session.sseUrl, client.headers)
  let reader = await openEvents(session.sseUrl, client.headers)
  const seen: ReceivedEvent[] = []
  const feeding = feed(client, session.sessionId, 0, 60)
  for (const cutAfter of [1, 7, 3, 20]) {
    await reader.count(cutAfter)
    const next = await resume(reader, session.sseUrl, client)
    seen.push(...reader.events.items)
    reader = next
  }
  await feeding
  await client.end(session.sessionId)
  seen.push(...(await reader.whole()))
  const events = await steady.whole()
  assertDocumented(events, session.sessionId)
  assert.deepEqual(seen, events)
  assert.deepEqual(
    await (await openEvents(session.sseUrl, client.headers)).whole(),
    events,
    'two subscribers see the same',
  )
})

test('a reader resumes across a restart of the server', async (t) => {
  const dataDir = await temporaryFolder(t)
  const first = await startServer(t, { dataDir })
  const session = await first.client.start({ sessionType: 'telemetry', batchSize: 1 })
  const path = new URL(session.sseUrl).pathname
  const before = await openEvents(session.sseUrl, first.client.headers)
  await feed(first.client, session.sessionId, 0, 5)
  await before.count(6)
  const seen = before.events.items.slice(0, 6)
  await first.kill('SIGKILL')
  await before.ended

  const { client, url } = await startServer(t, { dataDir })
  const after = await openEvents(`${url}${path}`, client.headers, seen.at(-1)?.id)
  await feed(client, session.sessionId, 5, 10)
  await client.end(session.sessionId)
  const rest = await after.whole()
  const all = await (await openEvents(`${url}${path}`, client.headers)).whole()
  assert.deepEqual([...seen, ...rest], all)
  assertDocumented(all, session.sessionId)
  assert.equal(all.at(-1)?.data.totalAtoms, 10)
})

test('progress comes while a session is fed, at most once a second', async (t) => {
  const { client } = await startServer(t)
  const session = await client.start({ sessionType: 'telemetry', batchSize: 1 })
  const reader = await openEvents(session.sseUrl, client.headers)
  const startedMs = performance.now()
  let n = 0
  for (; performance.now() - startedMs < 2_600; n += 1) {
    await client.upload(session.sessionId, { records: [record(n)] })
    await delay(50)
  }
  await client.end(session.sessionId)
  const progress = (await reader.whole()).filter(({ name }) => name === 'progress')
  assert.ok(progress.length >= 1, 'there is progress')
  for (const [index, { data }] of progress.entries()) {
    const previous = progress[index - 1]?.data
    assert.ok(Number(data.totalRecordsReceived) <= n)
    if (previous === undefined) continue
    const gapMs = Date.parse(`${data.timestamp}`) - Date.parse(`${previous.timestamp}`)
    assert.ok(gapMs >= 1_000, `${gapMs} ms between two progress events`)
    assert.ok(Number(data.totalAtomsCreated) >= Number(previous.totalAtomsCreated))
  }
})

test('ids are counted per tenant and sessions see only their own events', async (t) => {
  const { client } = await startServer(t)
  const sessions = await Promise.all(
    [1, 2, 3].map(() =>
      client.start({ sessionType: 'telemetry', batchSize: 1, maxBatchDelayMs: hourMs }),
    ),
  )
  await Promise.all(sessions.map(({ sessionId }) => feed(client, sessionId, 0, 5)))
  const ids: string[] = []
  for (const { sessionId, sseUrl } of sessions) {
    await client.end(sessionId)
    const events = await (await openEvents(sseUrl, client.headers)).whole()
    assertDocumented(events, sessionId)
    ids.push(...events.map(({ id }) => id))
  }
  assert.equal(new Set(ids).size, ids.length)
})
