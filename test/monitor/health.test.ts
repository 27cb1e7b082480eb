import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { tenantEvents } from '../../src/contracts/events.ts'
import { limits } from '../../src/limits.ts'
import { MemoryGauge } from '../../src/memory.ts'
import { Health, overall } from '../../src/monitor/health.ts'
import { conforming } from '../support/client.ts'
import { openMonitor } from './monitor.ts'

test('readings are of this process and of its replies', async (t) => {
  const { health, traffic, memory } = await openMonitor(t)
  memory.sample()
  traffic.answered(0, 'ada', 200, 10)
  traffic.answered(0, 'ada', 404, 20)
  traffic.answered(1, 'bob', 503, 60)
  const data = conforming(tenantEvents['system.health'], health.read())
  assert.equal(data.status, 'healthy')
  assert.deepEqual(data.services, { api: 'healthy', database: 'healthy', search: 'healthy' })
  assert.equal(data.metrics.response_time, 30)
  assert.equal(data.metrics.error_rate, 33.3)
  const { memory_usage: percent } = data.metrics
  const expected = (100 * memory.usedBytes) / memory.bytesMax
  assert.ok(memory.usedBytes > 0)
  assert.ok(Math.abs(percent - expected) <= 0.1, `${percent} of ${expected}`)
})

test('the processor is busier while this process computes than while it waits', async (t) => {
  const { health } = await openMonitor(t)
  const read = () => health.read().metrics.cpu_usage
  await delay(limits.healthCheckIntervalMs + 100)
  read()
  const idleFromMs = process.cpuUsage()
  await delay(limits.healthCheckIntervalMs + 100)
  const idle = read()
  const { user, system } = process.cpuUsage(idleFromMs)
  const until = performance.now() + limits.healthCheckIntervalMs + 100
  while (performance.now() < until) Math.random()
  const busy = read()
  assert.ok(busy > idle + 2, `${busy} while it computes, ${idle} in ${user + system} µs of work`)
  assert.equal(read(), busy, 'a moment later it is what it was')
})

test('short memory degrades the API, a full store the database, an index without use the search', async (t) => {
  const parts = await openMonitor(t)
  let usedBytes = 0
  const memory = new MemoryGauge({ bytesMax: 1_000, measure: () => usedBytes })
  t.after(() => memory.close())
  const health = new Health({ ...parts, memory })
  assert.equal(overall(health.services()), 'healthy')
  usedBytes = 990
  memory.sample()
  assert.equal(health.services().api, 'degraded')
  assert.equal(health.read().metrics.memory_usage, 99)
  usedBytes = 0
  memory.sample()
  assert.equal(health.services().api, 'healthy')
  parts.setSearch('building')
  assert.equal(health.services().search, 'degraded')
  assert.equal(health.read().status, 'degraded')
  parts.setSearch('failed')
  assert.equal(health.services().search, 'unavailable')
  assert.equal(health.read().status, 'degraded', 'the rest serves')
})

test('a full store is a degraded database', async (t) => {
  const { store, health, fill } = await openMonitor(t, { maxBytes: limits.storeBytesMaxMin })
  assert.equal(health.services().database, 'healthy')
  await fill()
  assert.ok(store.isFull)
  assert.equal(health.services().database, 'degraded')
  assert.equal(health.read().status, 'degraded')
})
