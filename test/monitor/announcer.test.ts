import assert from 'node:assert/strict'
import { test } from 'node:test'
import { limits } from '../../src/limits.ts'
import { openMonitor } from './monitor.ts'

const activity = {
  user: 'ada',
  action: 'create',
  resourceType: 'session',
  resourceId: 'x',
} as const

test('the first connection of a tenant is told its counts at once, a second is not', async (t) => {
  const { monitor, traffic, clock, store, told, toldTimes } = await openMonitor(t)
  await store.commit((transaction) => {
    transaction.appendActivity(5, activity)
    transaction.countSearch(5)
  })
  traffic.answered(5, 'ada', 200, 10)
  traffic.answered(5, 'bob', 404, 15)
  monitor.joined(5)
  monitor.joined(5)
  const [data, ...others] = await toldTimes('analytics.update', 5, 1)
  assert.deepEqual(data, {
    total_memories: 0,
    total_searches: 1,
    total_operations: 2,
    active_users: 2,
    avg_response_time: 12.5,
    success_rate: 50,
    generated_at: new Date(clock.now()).toISOString(),
  })
  await store.commit(() => {})
  assert.deepEqual([others.length, told('analytics.update', 5).length], [0, 1])
  assert.equal(store.counts(5).operations, 2, 'what tells is no operation')
  monitor.left(5)
  monitor.left(5)
  monitor.joined(5)
  await toldTimes('analytics.update', 5, 2)
})

test('a tenant without traffic has no failures', async (t) => {
  const { monitor, toldTimes } = await openMonitor(t)
  monitor.joined(1)
  const [data] = await toldTimes('analytics.update', 1, 1)
  assert.equal(data?.success_rate, 100)
  assert.equal(data?.active_users, 0)
})

test('health comes every 30 s and analytics every 60, to those that are followed alone', async (t) => {
  const { monitor, clock, told, toldTimes } = await openMonitor(t)
  monitor.start()
  monitor.joined(1)
  await toldTimes('analytics.update', 1, 1)
  clock.advance(limits.healthIntervalMs - limits.healthCheckIntervalMs)
  assert.deepEqual(told('system.health', 1), [])
  for (let times = 1; times <= 4; times += 1) {
    clock.advance(times === 1 ? limits.healthCheckIntervalMs : limits.healthIntervalMs)
    const readings = await toldTimes('system.health', 1, times)
    assert.equal(readings.at(-1)?.status, 'healthy')
  }
  const analytics = await toldTimes('analytics.update', 1, 3)
  const [first, second, third] = analytics.map((data) => Date.parse(data.generated_at))
  assert.deepEqual([second, third], [(first ?? 0) + 60_000, (first ?? 0) + 120_000])
  const times = told('system.health', 1).map(({ timestamp }) => Date.parse(timestamp))
  assert.deepEqual(
    times.map((ms) => ms - (first ?? 0)),
    [30_000, 60_000, 90_000, 120_000],
  )
  assert.deepEqual(told('system.health', 2), [])
})

test('a change of a service is told within a second, and of the status with it', async (t) => {
  const { monitor, clock, setSearch, told, toldTimes } = await openMonitor(t)
  monitor.start()
  monitor.joined(1)
  assert.equal(monitor.status, 'healthy')
  setSearch('building')
  clock.advance(limits.healthCheckIntervalMs)
  assert.equal(monitor.status, 'degraded')
  const [data] = await toldTimes('system.health', 1, 1)
  assert.deepEqual([data?.status, data?.services.search], ['degraded', 'degraded'])
  clock.advance(5 * limits.healthCheckIntervalMs)
  assert.equal(told('system.health', 1).length, 1, 'once')
  setSearch('ready')
  clock.advance(limits.healthCheckIntervalMs)
  const [, healed] = await toldTimes('system.health', 1, 2)
  assert.equal(healed?.status, 'healthy')
})

test('a change while the last one is being stored is told after it', async (t) => {
  const { monitor, clock, setSearch, toldTimes } = await openMonitor(t)
  monitor.start()
  monitor.joined(1)
  setSearch('building')
  clock.advance(limits.healthCheckIntervalMs)
  setSearch('failed')
  clock.advance(limits.healthCheckIntervalMs)
  await toldTimes('system.health', 1, 1)
  clock.advance(limits.healthCheckIntervalMs)
  const readings = await toldTimes('system.health', 1, 2)
  assert.deepEqual(
    readings.map(({ services }) => services.search),
    ['degraded', 'unavailable'],
  )
})

test('a tenant that was left is told for ten minutes, then no more', async (t) => {
  const { monitor, clock, told, toldTimes } = await openMonitor(t)
  monitor.start()
  monitor.joined(1)
  monitor.joined(2)
  monitor.left(1)
  clock.advance(limits.healthIntervalMs)
  await toldTimes('system.health', 1, 1)
  clock.advance(limits.followedTenantTtlMs)
  await toldTimes('system.health', 2, 2)
  await toldTimes('analytics.update', 2, 2)
  const before = told('system.health', 1).length + told('analytics.update', 1).length
  assert.ok(before > 2, 'within the ten minutes')
  clock.advance(limits.analyticsIntervalMs)
  await toldTimes('system.health', 2, 3)
  await toldTimes('analytics.update', 2, 3)
  assert.equal(told('system.health', 1).length + told('analytics.update', 1).length, before)
})

test('thousands of tenants are told in a few transactions, and in time', async (t) => {
  const { monitor, clock, store, told, toldTimes } = await openMonitor(t)
  monitor.start()
  const tenants = 2_000
  for (let tenant = 0; tenant < tenants; tenant += 1) monitor.joined(tenant)
  await toldTimes('analytics.update', tenants - 1, 1)
  const before = store.statistics().commits
  clock.advance(limits.healthIntervalMs)
  await toldTimes('system.health', tenants - 1, 1)
  const commits = store.statistics().commits - before
  assert.equal(commits, Math.ceil(tenants / limits.announcedTenantsMax))
  for (const tenant of [0, 500, 1_500]) assert.equal(told('system.health', tenant).length, 1)
})

test('what a full store refuses is left out and said at debug level', async (t) => {
  const { monitor, clock, fill, lines, told } = await openMonitor(t, {
    maxBytes: limits.storeBytesMaxMin,
  })
  monitor.start()
  await fill()
  monitor.joined(1)
  clock.advance(limits.healthCheckIntervalMs)
  assert.equal(monitor.status, 'degraded')
  const until = performance.now() + 10_000
  while (lines.length < 2 && performance.now() < until) await new Promise(setImmediate)
  const facts = lines.map((line) => JSON.parse(line) as Record<string, unknown>)
  assert.deepEqual(
    facts.map(({ level, code, event }) => [level, code, event]),
    [
      ['debug', 'STORE_FULL', 'analytics.update'],
      ['debug', 'STORE_FULL', 'system.health'],
    ],
  )
  assert.deepEqual(told('analytics.update', 1), [])
})

test('after close nothing is told, also not after the store is closed', async (t) => {
  const { monitor, clock, store, told, toldTimes, lines } = await openMonitor(t)
  monitor.start()
  monitor.joined(1)
  await toldTimes('analytics.update', 1, 1)
  monitor.close()
  monitor.close()
  monitor.joined(2)
  monitor.left(1)
  clock.advance(10 * limits.analyticsIntervalMs)
  assert.equal(clock.nextMs, null)
  await store.commit(() => {})
  assert.equal(store.events.last(1), 1)
  assert.deepEqual(told('analytics.update', 2), [])
  assert.deepEqual(lines, [])
})

test('a store that closes first is no fault', async (t) => {
  const { monitor, clock, store, lines } = await openMonitor(t)
  monitor.start()
  monitor.joined(1)
  await store.close()
  monitor.joined(2)
  await new Promise(setImmediate)
  const facts = lines.map((line) => JSON.parse(line) as Record<string, unknown>)
  assert.deepEqual(
    facts.map(({ level, code }) => [level, code]),
    [['debug', 'SHUTTING_DOWN']],
  )
  assert.ok(clock.nextMs !== null)
})
