import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { StoredEvent } from '../../src/contracts/events.ts'
import type { EndReason } from '../../src/events/hub.ts'
import { limits } from '../../src/limits.ts'
import type { SessionRow } from '../../src/store/interfaces.ts'
import { tester } from '../support/actors.ts'
import { openIngest, testRecords } from '../support/ingest.ts'
import { eventually } from '../support/waiting.ts'

type Ingest = Awaited<ReturnType<typeof openIngest>>

/** Feeds a session with one batch an upload, which makes two events each. */
async function feed(ingest: Ingest, session: Awaited<ReturnType<Ingest['sessions']['start']>>) {
  for (let upload = 0; upload < 40; upload += 1) {
    await ingest.upload(session, { records: testRecords(1, upload) })
  }
}

function assertContinuous(events: readonly StoredEvent[], all: readonly StoredEvent[]) {
  assert.deepEqual(
    events.map(({ number }) => number),
    all.map(({ number }) => number),
  )
}

test('subscribers that come before, amid and after the events all get each one once, in order', async (t) => {
  const ingest = await openIngest(t)
  const session = await ingest.sessions.start(tester, { sessionType: 'telemetry', batchSize: 1 })
  const received: StoredEvent[][] = []
  const ends: Promise<string>[] = []
  const join = () => {
    const events: StoredEvent[] = []
    received.push(events)
    ends.push(
      new Promise((resolve) => {
        ingest.hub.subscribe({
          tenant: 0,
          session: session.number,
          after: 0,
          deliver: (more) => {
            events.push(...more)
            return true
          },
          onEnd: resolve,
        })
      }),
    )
  }
  join()
  const feeding = feed(ingest, session)
  await new Promise((resolve) => setTimeout(resolve, 20))
  join()
  await feeding
  join()
  await ingest.sessions.end(tester, session.id, {})
  assert.deepEqual(await Promise.all(ends), ['terminal', 'terminal', 'terminal'])
  const all = ingest.store.events.ofSession(0, session.number, 0, 1_000)
  assert.ok(all.length >= 82)
  assert.equal(all.at(-1)?.name, 'session-completed')
  for (const events of received) assertContinuous(events, all)
  assert.equal(ingest.hub.subscribers, 0)
})

test('a subscriber whose socket is full holds no events and goes on from its cursor', async (t) => {
  const ingest = await openIngest(t)
  const session = await ingest.sessions.start(tester, { sessionType: 'telemetry', batchSize: 1 })
  const events: StoredEvent[] = []
  let calls = 0
  const ended = new Promise<string>((resolve) => {
    const subscription = ingest.hub.subscribe({
      tenant: 0,
      session: session.number,
      after: 0,
      deliver: (more) => {
        calls += 1
        events.push(...more)
        setTimeout(() => subscription.resume(), 5)
        return false
      },
      onEnd: resolve,
    })
  })
  await feed(ingest, session)
  await ingest.sessions.end(tester, session.id, {})
  assert.equal(await ended, 'terminal')
  assert.ok(calls > 1)
  assertContinuous(events, ingest.store.events.ofSession(0, session.number, 0, 1_000))
})

test('closing the hub gives what is stored and tells every subscriber', async (t) => {
  const ingest = await openIngest(t)
  const session = await ingest.sessions.start(tester, { sessionType: 'telemetry', batchSize: 1 })
  await feed(ingest, session)
  const events: StoredEvent[] = []
  const ended = new Promise<string>((resolve) => {
    ingest.hub.subscribe({
      tenant: 0,
      session: session.number,
      after: 0,
      deliver: (more) => events.push(...more) > 0,
      onEnd: resolve,
    })
  })
  ingest.hub.close()
  assert.equal(await ended, 'stopping')
  assertContinuous(events, ingest.store.events.ofSession(0, session.number, 0, 1_000))
})

/** Everything a subscriber is given, and how it ends. */
function collect(ingest: Ingest, session: SessionRow, after = 0) {
  const events: StoredEvent[] = []
  const batches: (readonly StoredEvent[])[] = []
  let blocked = false
  let end!: (reason: EndReason) => void
  const ended = new Promise<EndReason>((resolve) => {
    end = resolve
  })
  const subscription = ingest.hub.subscribe({
    tenant: session.tenant,
    session: session.number,
    after,
    deliver: (more) => {
      events.push(...more)
      batches.push(more)
      return !blocked
    },
    onEnd: (reason) => end(reason),
  })
  const block = (isBlocked: boolean) => {
    blocked = isBlocked
    if (!blocked) subscription.resume()
  }
  return { events, batches, ended, block, subscription }
}

/** Drops the tenant's oldest events, as retention does. */
function drop(ingest: Ingest, count: number): Promise<void> {
  return ingest.store.commit((transaction) => {
    for (const event of ingest.store.events.ofTenant(0, 0, count)) transaction.dropEvent(event)
  })
}

function append(ingest: Ingest, session: SessionRow, count: number, chars = 10): Promise<void> {
  return ingest.store.commit((transaction) => {
    for (let index = 0; index < count; index += 1) {
      const filler = 'x'.repeat(chars)
      transaction.appendEvent(0, session.number, 'progress', { index, filler })
    }
  })
}

function numbersOf(events: readonly StoredEvent[]): number[] {
  return events.map(({ number }) => number)
}

test('of what retention dropped a gap event tells, whose own id is where a reader goes on', async (t) => {
  const ingest = await openIngest(t)
  const session = await ingest.sessions.start(tester, { sessionType: 'telemetry' })
  await append(ingest, session, 8)
  await drop(ingest, 5)
  for (const after of [0, 2, 4]) {
    const reader = collect(ingest, session, after)
    await eventually(async () => reader.events.length === 6 || undefined, 'the rest of the log')
    assert.deepEqual(numbersOf(reader.events), [5, 6, 7, 8, 9, 10])
    const [gap] = reader.events
    assert.equal(gap?.name, 'gap')
    const { timestamp, ...data } = JSON.parse(gap?.data ?? '') as Record<string, unknown>
    const expected = { sessionId: session.id, fromEventId: `event_${after + 1}` }
    assert.deepEqual(data, { ...expected, toEventId: 'event_5' })
    assert.ok(Math.abs(Date.parse(String(timestamp)) - Date.now()) < 60_000)
    reader.subscription.close()
  }
  const resumed = collect(ingest, session, 5)
  await eventually(async () => resumed.events.length === 5 || undefined, 'what was not dropped')
  assert.deepEqual(numbersOf(resumed.events), [6, 7, 8, 9, 10])
})

test('a reader that retention overtakes is told, and one that has ended is not waited for', async (t) => {
  const ingest = await openIngest(t)
  const session = await ingest.sessions.start(tester, { sessionType: 'telemetry' })
  const reader = collect(ingest, session)
  reader.block(true)
  await eventually(async () => reader.events.length === 1 || undefined, 'the first event')
  await append(ingest, session, 5)
  await drop(ingest, 4)
  reader.block(false)
  await eventually(async () => reader.events.length === 5 || undefined, 'gap and rest')
  assert.deepEqual(
    reader.events.map(({ name, number }) => `${name} ${number}`),
    ['session-started 1', 'gap 4', 'progress 5', 'progress 6', 'progress 7'],
  )
  reader.block(true)
  await append(ingest, session, 1)
  await eventually(async () => reader.events.length === 6 || undefined, 'the event that blocks')
  await ingest.sessions.end(tester, session.id, {})
  await drop(ingest, 100)
  assert.equal(ingest.hub.isPastEnd(ingest.row(session), 8), false)
  reader.block(false)
  assert.equal(await reader.ended, 'terminal')
  assert.deepEqual(numbersOf(reader.events.slice(6)), [9])
  assert.equal(reader.events[6]?.name, 'gap')
  assert.equal(ingest.hub.isPastEnd(ingest.row(session), 9), true)
})

test('the stream of a session that retention takes ends', async (t) => {
  const ingest = await openIngest(t)
  const session = await ingest.sessions.start(tester, { sessionType: 'telemetry' })
  const reader = collect(ingest, session)
  reader.block(true)
  await eventually(async () => reader.events.length === 1 || undefined, 'the first event')
  await ingest.sessions.end(tester, session.id, {})
  await drop(ingest, 100)
  await ingest.store.commit((transaction) =>
    transaction.dropSession(transaction.session(session.number), 1_000),
  )
  reader.block(false)
  assert.equal(await reader.ended, 'gone')
})

test('subscribers that are live get the same array, and one write carries no more than it may', async (t) => {
  const ingest = await openIngest(t)
  const session = await ingest.sessions.start(tester, { sessionType: 'telemetry' })
  const [one, other] = [collect(ingest, session), collect(ingest, session)]
  await eventually(async () => other.events.length === 1 || undefined, 'the first event')
  await append(ingest, session, 20, 10_000)
  await eventually(async () => other.events.length === 21 || undefined, 'all events')
  assert.deepEqual(numbersOf(one.events), numbersOf(other.events))
  assert.ok(one.batches.length >= 5)
  for (const [index, batch] of one.batches.entries()) {
    assert.equal(batch, other.batches[index])
    assert.ok(batch.length <= limits.eventWriteBytesMax / 10_000)
  }
})

test('more than may wait for its turn is read from the log, and nothing is missed', async (t) => {
  const ingest = await openIngest(t)
  const session = await ingest.sessions.start(tester, { sessionType: 'telemetry' })
  const readers = Array.from({ length: 40 }, () => collect(ingest, session))
  await eventually(async () => readers[39]?.events.length === 1 || undefined, 'the first event')
  const count = Math.ceil((2 * limits.topicFreshBytesMax) / 50_000)
  await append(ingest, session, count, 50_000)
  await append(ingest, session, 3)
  await ingest.sessions.end(tester, session.id, {})
  for (const reader of readers) assert.equal(await reader.ended, 'terminal')
  const all = ingest.store.events.ofSession(0, session.number, 0, 1_000)
  for (const { events } of readers) assertContinuous(events, all)
})

test('after a long pass what is published gathers, and nothing of it is lost', async (t) => {
  const ingest = await openIngest(t)
  const session = await ingest.sessions.start(tester, { sessionType: 'telemetry', batchSize: 1 })
  const passMs = 2 * limits.fanOutRestMsMax
  const begins: number[] = []
  const names: string[] = []
  const subscription = ingest.hub.subscribe({
    tenant: 0,
    session: session.number,
    after: ingest.store.events.last(0),
    deliver: (events) => {
      begins.push(performance.now())
      names.push(...events.map(({ name }) => name))
      while (performance.now() < (begins.at(-1) ?? 0) + passMs);
      return true
    },
    onEnd: () => {},
  })
  // Its first turn finds nothing in the log, so that it is live.
  await new Promise((resolve) => setTimeout(resolve, 20))
  const published = Array.from({ length: 20 }, (_, index) => `event ${index}`)
  for (const name of published) {
    await ingest.store.commit((tx) => tx.appendEvent(0, session.number, name, {}))
  }
  const count = async () => (names.length < published.length ? undefined : names.length)
  await eventually(count, 'what was published')
  assert.deepEqual(names, published)
  subscription.close()
  assert.ok(begins.length > 1)
  for (const [index, beginMs] of begins.slice(1).entries()) {
    // A timer may be early by a millisecond.
    assert.ok(beginMs - (begins[index] ?? 0) >= passMs + limits.fanOutRestMsMax - 1)
  }
})
