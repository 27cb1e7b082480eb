import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { StoredEvent } from '../../src/contracts/events.ts'
import { jsonBody, openIngest, testRecords } from '../support/ingest.ts'

type Ingest = Awaited<ReturnType<typeof openIngest>>

/** Feeds a session with one batch an upload, which makes two events each. */
async function feed(ingest: Ingest, session: Awaited<ReturnType<Ingest['sessions']['start']>>) {
  for (let upload = 0; upload < 40; upload += 1) {
    await ingest.uploads.upload(session, jsonBody({ records: testRecords(1, upload) }))
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
  const session = await ingest.sessions.start(0, { sessionType: 'telemetry', batchSize: 1 })
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
  await ingest.sessions.end(0, session.id, {})
  assert.deepEqual(await Promise.all(ends), ['terminal', 'terminal', 'terminal'])
  const all = ingest.store.events.ofSession(0, session.number, 0, 1_000)
  assert.ok(all.length >= 82)
  assert.equal(all.at(-1)?.name, 'session-completed')
  for (const events of received) assertContinuous(events, all)
  assert.equal(ingest.hub.subscribers, 0)
})

test('a subscriber whose socket is full holds no events and goes on from its cursor', async (t) => {
  const ingest = await openIngest(t)
  const session = await ingest.sessions.start(0, { sessionType: 'telemetry', batchSize: 1 })
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
  await ingest.sessions.end(0, session.id, {})
  assert.equal(await ended, 'terminal')
  assert.ok(calls > 1)
  assertContinuous(events, ingest.store.events.ofSession(0, session.number, 0, 1_000))
})

test('closing the hub gives what is stored and tells every subscriber', async (t) => {
  const ingest = await openIngest(t)
  const session = await ingest.sessions.start(0, { sessionType: 'telemetry', batchSize: 1 })
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
