import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import type { StoredEvent } from '../../src/contracts/events.ts'
import { EventHub } from '../../src/events/hub.ts'
import { Candidate, Selection } from '../../src/events/selection.ts'
import { limits } from '../../src/limits.ts'
import type { Store } from '../../src/store/interfaces.ts'
import { openStore } from '../../src/store/store.ts'
import { eventually } from '../support/waiting.ts'

const tenant = 4

async function open(t: TestContext) {
  const path = await mkdtemp(join(tmpdir(), 'atomstream-hub-'))
  const store = openStore({ path, durability: 'commit', maxBytes: 1 << 30, exclusive: true })
  const hub = new EventHub(store)
  t.after(async () => {
    hub.close()
    await store.close()
    await rm(path, { recursive: true, force: true })
  })
  return { store, hub }
}

/** One event for each of these, in one transaction. */
function append(
  store: Store,
  all: readonly (readonly [name: string, data: object])[],
  of = tenant,
) {
  return store.commit((transaction) => {
    for (const [name, data] of all) transaction.appendEvent(of, null, name, { ...data })
  })
}

interface Behaviour {
  readonly selection?: Selection
  readonly after?: number
  /** Whether the socket takes more after these. */
  readonly takes?: (events: readonly StoredEvent[]) => boolean
  readonly room?: () => number
  readonly onFull?: () => void
}

function subscribe(hub: EventHub, behaviour: Behaviour = {}) {
  const events: StoredEvent[] = []
  const batches: (readonly StoredEvent[])[] = []
  let end = ''
  const subscription = hub.subscribe({
    tenant,
    session: null,
    selection: behaviour.selection ?? new Selection(['a', 'b']),
    after: behaviour.after ?? 0,
    deliver: (more) => {
      events.push(...more)
      batches.push(more)
      return behaviour.takes?.(more) ?? true
    },
    onEnd: (reason) => {
      end = reason
    },
    ...(behaviour.room === undefined ? {} : { room: behaviour.room }),
    ...(behaviour.onFull === undefined ? {} : { onFull: behaviour.onFull }),
  })
  return { events, batches, subscription, ended: () => end }
}

const numbersOf = (events: readonly StoredEvent[]) => events.map(({ number }) => number)

/** A generator with a fixed seed (mulberry32). */
function randomNumbers(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296
  }
}

test('whoever comes, stalls, is cut and comes back gets what the filter takes once and in order', async (t) => {
  const { store, hub } = await open(t)
  const random = randomNumbers(5)
  const selection = () => new Selection(['a'], { user: '1' })
  let publishing = true
  const readers = Array.from({ length: 12 }, async (_, reader) => {
    const seen: StoredEvent[] = []
    let after = 0
    while (publishing) {
      const open = subscribe(hub, {
        selection: selection(),
        after,
        takes: () => {
          if (random() < 0.6) return true
          setTimeout(() => open.subscription.resume(), random() * 5)
          return false
        },
        // A few have room for so many at a time, and get some more a little later.
        ...(reader % 3 === 0
          ? {
              room: () => Math.floor(random() * 4),
              onFull: () => setTimeout(() => open.subscription.resume(), 1),
            }
          : {}),
      })
      await delay(random() * 40)
      after = open.subscription.position
      open.subscription.close()
      assert.ok(after >= (open.events.at(-1)?.number ?? 0), 'no event is behind the position')
      seen.push(...open.events)
    }
    const rest = subscribe(hub, { selection: selection(), after })
    await eventually(
      async () => rest.subscription.position >= store.events.last(tenant) || undefined,
      'the end',
    )
    rest.subscription.close()
    return [...seen, ...rest.events]
  })
  const published: number[] = []
  for (let round = 0; round < 250; round += 1) {
    const all = Array.from({ length: Math.ceil(random() * 12) }, () => {
      return [random() < 0.7 ? 'a' : 'b', { user: random() < 0.4 ? 1 : 2 }] as const
    })
    const first = store.events.last(tenant) + 1
    await append(store, all)
    all.forEach(([name, { user }], index) => {
      if (name === 'a' && user === 1) published.push(first + index)
    })
    if (random() < 0.3) await delay(random() * 6)
  }
  publishing = false
  for (const seen of await Promise.all(readers)) assert.deepEqual(numbersOf(seen), published)
  assert.ok(published.length > 200)
})

test('a position counts what was passed over, in the log and live', async (t) => {
  const { store, hub } = await open(t)
  const many = Array.from({ length: 1_500 }, () => ['b', {}] as const)
  await append(store, many)
  const reader = subscribe(hub, { selection: new Selection(['a']) })
  assert.equal(reader.subscription.position, 0)
  const reach = (number: number) =>
    eventually(async () => reader.subscription.position === number || undefined, `${number}`)
  await reach(1_500)
  await append(store, [
    ['b', {}],
    ['b', {}],
  ])
  await reach(1_502)
  await append(store, [
    ['b', {}],
    ['a', {}],
    ['b', {}],
  ])
  await reach(1_505)
  assert.deepEqual(numbersOf(reader.events), [1_504])
  assert.equal(reader.batches.length, 1)
})

test('a batch is cut where the room ends, and the others still share it whole', async (t) => {
  const { store, hub } = await open(t)
  let room = 3
  let fulls = 0
  const paced = subscribe(hub, {
    room: () => room,
    takes: (events) => {
      room -= events.length
      return true
    },
    onFull: () => {
      fulls += 1
    },
  })
  const [one, other] = [subscribe(hub), subscribe(hub)]
  await delay(20)
  await append(
    store,
    Array.from({ length: 5 }, (_, n) => ['a', { n }] as const),
  )
  await eventually(async () => other.events.length === 5 || undefined, 'the batch')
  assert.deepEqual(numbersOf(paced.events), [1, 2, 3])
  assert.equal(paced.subscription.position, 3)
  assert.equal(one.batches[0], other.batches[0])
  await append(store, [['a', {}]])
  await eventually(async () => other.events.length === 6 || undefined, 'a further event')
  assert.deepEqual([fulls, paced.events.length], [1, 3])
  room = 2
  paced.subscription.resume()
  await eventually(async () => fulls === 2 || undefined, 'the room to be used up again')
  assert.deepEqual(numbersOf(paced.events), [1, 2, 3, 4, 5])
  room = 10
  paced.subscription.resume()
  await eventually(async () => paced.events.length === 6 || undefined, 'the rest')
  assert.deepEqual(numbersOf(paced.events), [1, 2, 3, 4, 5, 6])
  assert.equal(fulls, 2)
})

test('with its room used up exactly, a subscriber is told nothing until there is more', async (t) => {
  const { store, hub } = await open(t)
  let room = 2
  let fulls = 0
  const selection = new Selection(['a'])
  const onFull = () => {
    fulls += 1
  }
  const takes = (events: readonly StoredEvent[]) => {
    room -= events.length
    return true
  }
  const paced = subscribe(hub, { selection, room: () => room, takes, onFull })
  await append(store, [
    ['a', {}],
    ['a', {}],
  ])
  await eventually(async () => paced.events.length === 2 || undefined, 'both events')
  await append(store, [['b', {}]])
  await eventually(async () => paced.subscription.position === 3 || undefined, 'the third')
  assert.equal(fulls, 0)
  await append(store, [['a', {}]])
  await eventually(async () => fulls === 1 || undefined, 'that there is more')
  assert.equal(paced.subscription.position, 3)
})

test('of what retention dropped a gap tells, whatever is selected, and the log goes on', async (t) => {
  const { store, hub } = await open(t)
  await append(
    store,
    Array.from({ length: 6 }, (_, n) => [n === 5 ? 'a' : 'b', { n }] as const),
  )
  await store.commit((transaction) => {
    for (const event of store.events.ofTenant(tenant, 0, 4)) transaction.dropEvent(event)
  })
  const reader = subscribe(hub, { selection: new Selection(['a']), after: 1 })
  await eventually(async () => reader.events.length === 2 || undefined, 'gap and event')
  const [gap, event] = reader.events
  assert.deepEqual([gap?.name, gap?.number, event?.number], ['gap', 4, 6])
  const { timestamp, ...range } = JSON.parse(gap?.data ?? '') as Record<string, unknown>
  assert.deepEqual(range, { fromEventId: 'event_2', toEventId: 'event_4' })
  assert.ok(Math.abs(Date.parse(`${timestamp}`) - Date.now()) < 60_000)
  const past = subscribe(hub, { selection: new Selection(['a']), after: 4 })
  await eventually(async () => past.events.length === 1 || undefined, 'the event alone')
})

test('subscribers that ask for the same in other words share what is made for them', async (t) => {
  const { store, hub } = await open(t)
  const one = subscribe(hub, {
    selection: new Selection(['a', 'b'], { x: { p: 1, q: [2] }, y: 'z' }),
  })
  const same = subscribe(hub, {
    selection: new Selection(['b', 'a', 'b'], { y: 'z', x: { q: [2], p: 1 } }),
  })
  const other = subscribe(hub, { selection: new Selection(['a', 'b'], { y: 'z' }) })
  await delay(20)
  await append(store, [['a', { x: { q: [2], p: 1 }, y: ['w', 'z'] }]])
  await eventually(async () => other.events.length === 1 || undefined, 'the event')
  assert.equal(one.batches[0], same.batches[0])
  assert.notEqual(one.batches[0], other.batches[0])
})

test('a stop gives the rest and ends, and what another tenant stores never comes', async (t) => {
  const { store, hub } = await open(t)
  const reader = subscribe(hub)
  await append(store, [['a', { of: 'another' }]], tenant + 1)
  await append(store, [['a', { of: 'this' }]])
  hub.close()
  assert.equal(reader.ended(), 'stopping')
  assert.deepEqual(
    reader.events.map(({ data }) => data),
    ['{"of":"this"}'],
  )
})

test('a log of long events is read in pages that one write carries', async (t) => {
  const { store, hub } = await open(t)
  const filler = 'x'.repeat(60_000)
  for (let part = 0; part < 4; part += 1) {
    await append(
      store,
      Array.from({ length: 30 }, () => ['a', { filler }] as const),
    )
  }
  const reader = subscribe(hub)
  await eventually(async () => reader.events.length === 120 || undefined, 'all events')
  assert.equal(reader.batches.length, 120)
  assert.ok(2 * filler.length > limits.eventWriteBytesMax)
})

test('a filter compares values as JSON or as text, in data and metadata, own members alone', () => {
  const takes = (data: object, filters: Record<string, unknown>): boolean => {
    const event = { tenant, number: 1, session: null, name: 'a', data: JSON.stringify(data) }
    return new Selection(['a'], filters).takes(new Candidate(event))
  }
  const yes: [object, string][] = [
    [{ n: 5 }, '{"n":"5"}'],
    [{ n: '5' }, '{"n":5}'],
    [{ n: null }, '{"n":null}'],
    [{ ok: true }, '{"ok":"true"}'],
    [{ tags: ['a', 'b'] }, '{"tags":"b"}'],
    [{ tags: ['a', 'b'] }, '{"tags":["a","b"]}'],
    [{ user: 1, metadata: { user: 2 } }, '{"user":2}'],
    [{ metadata: { user: 2 }, x: 3 }, '{"user":2,"x":3}'],
    [{ filters: { a: { b: 1 } } }, '{"filters":{"a":{"b":1}}}'],
    [{ metadata: { deep: [{ a: 1 }] } }, '{"deep":{"a":1}}'],
  ]
  const no: [object, string][] = [
    [{ n: 5 }, '{"n":"6"}'],
    [{ n: 5 }, '{"n":5,"m":5}'],
    [{}, '{"n":null}'],
    [{ a: { b: 1 } }, '{"a":{"b":1,"c":2}}'],
    [{ a: { b: 1 } }, '{"a":"[object Object]"}'],
    [{ tags: ['a', 'b'] }, '{"tags":["b"]}'],
    [{ tags: ['a,b'] }, '{"tags":"a"}'],
    [{}, '{"constructor":"x"}'],
    [{}, '{"__proto__":{}}'],
    [{ metadata: [7] }, '{"length":1}'],
    [{ metadata: 'text' }, '{"length":4}'],
  ]
  for (const [data, filters] of yes) {
    assert.equal(takes(data, JSON.parse(filters) as Record<string, unknown>), true, filters)
  }
  for (const [data, filters] of no) {
    assert.equal(takes(data, JSON.parse(filters) as Record<string, unknown>), false, filters)
  }
})

test('more selections than one turn looks at read what was published from the log', async (t) => {
  const { store, hub } = await open(t)
  const selection = (n: number) => new Selection(['a'], { n })
  const readers = Array.from({ length: 200 }, (_, n) => subscribe(hub, { selection: selection(n) }))
  const count = 1 + Math.ceil(limits.topicOffersPerTurnMax / readers.length)
  const settled = (number: number) =>
    eventually(async () => {
      return readers.every(({ subscription }) => subscription.position === number) || undefined
    }, `everybody at ${number}`)
  await append(store, [['b', {}]])
  await settled(1)
  await append(
    store,
    Array.from({ length: count }, (_, index) => ['a', { n: index % 201 }] as const),
  )
  await settled(count + 1)
  for (const [n, { events }] of readers.entries()) {
    const own = Array.from({ length: count }, (_, index) => index).filter(
      (index) => index % 201 === n,
    )
    assert.deepEqual(
      numbersOf(events),
      own.map((index) => index + 2),
    )
  }
})
