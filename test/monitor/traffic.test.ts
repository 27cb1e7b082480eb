import assert from 'node:assert/strict'
import { test } from 'node:test'
import { limits } from '../../src/limits.ts'
import { TrafficMeter } from '../../src/monitor/traffic.ts'
import { FakeClock } from '../support/fake-clock.ts'

const silence = { activeUsers: 0, meanMs: 0, successPercent: 100 }

test('each tenant has its own users, times and failures', () => {
  const traffic = new TrafficMeter(new FakeClock())
  traffic.answered(1, 'ada', 200, 10)
  traffic.answered(1, 'ada', 204, 20)
  traffic.answered(1, 'bob', 404, 30)
  traffic.answered(1, 'bob', 503, 60)
  traffic.answered(2, 'ada', 101, 4)
  assert.deepEqual(traffic.ofTenant(1), { activeUsers: 2, meanMs: 30, successPercent: 50 })
  assert.deepEqual(traffic.ofTenant(2), { activeUsers: 1, meanMs: 4, successPercent: 100 })
  assert.deepEqual(traffic.ofTenant(3), silence)
})

test('of the process only what it fails at itself counts as a failure', () => {
  const traffic = new TrafficMeter(new FakeClock())
  for (const status of [200, 400, 429, 500, 503]) traffic.answered(0, 'ada', status, 2)
  assert.deepEqual(traffic.lastMinute(), { replies: 5, failures: 2, meanMs: 2 })
})

test('what is older than its window is counted no more', () => {
  const clock = new FakeClock()
  const traffic = new TrafficMeter(clock)
  traffic.answered(0, 'ada', 500, 10)
  clock.advance(limits.trafficWindowMs - 2 * limits.trafficBucketMs)
  traffic.answered(0, 'bob', 200, 30)
  assert.deepEqual(traffic.ofTenant(0), { activeUsers: 2, meanMs: 20, successPercent: 50 })
  assert.deepEqual(traffic.lastMinute(), { replies: 1, failures: 0, meanMs: 30 })
  clock.advance(3 * limits.trafficBucketMs)
  assert.deepEqual(traffic.ofTenant(0), { activeUsers: 1, meanMs: 30, successPercent: 100 })
  assert.deepEqual(traffic.lastMinute(), { replies: 0, failures: 0, meanMs: 0 })
  clock.advance(limits.trafficWindowMs)
  assert.deepEqual(traffic.ofTenant(0), silence)
})

test('a place in the ring is emptied before it is used again', () => {
  const clock = new FakeClock()
  const traffic = new TrafficMeter(clock)
  traffic.answered(0, 'ada', 500, 10)
  clock.advance(limits.trafficWindowMs)
  traffic.answered(0, 'ada', 200, 30)
  assert.deepEqual(traffic.ofTenant(0), { activeUsers: 1, meanMs: 30, successPercent: 100 })
})

test('tenants past the bound are not counted until others have been silent for long', () => {
  const clock = new FakeClock()
  const traffic = new TrafficMeter(clock)
  const { trafficTenantsMax: most } = limits
  for (let tenant = 0; tenant <= most; tenant += 1) traffic.answered(tenant, 'ada', 200, 1)
  assert.equal(traffic.ofTenant(most - 1).activeUsers, 1)
  assert.deepEqual(traffic.ofTenant(most), silence)
  clock.advance(limits.trafficWindowMs)
  traffic.answered(most, 'ada', 200, 1)
  assert.equal(traffic.ofTenant(most).activeUsers, 1)
  assert.deepEqual(traffic.ofTenant(0), silence)
})

test('users past the bound are counted once others have been silent for long', () => {
  const clock = new FakeClock()
  const traffic = new TrafficMeter(clock)
  const { trafficUsersMax: most } = limits
  for (let user = 0; user <= most; user += 1) traffic.answered(0, `user ${user}`, 200, 1)
  traffic.answered(1, 'ada', 200, 1)
  assert.equal(traffic.ofTenant(0).activeUsers, most)
  assert.deepEqual(traffic.ofTenant(1), { activeUsers: 0, meanMs: 1, successPercent: 100 })
  clock.advance(limits.trafficWindowMs)
  traffic.answered(1, 'ada', 200, 1)
  assert.equal(traffic.ofTenant(1).activeUsers, 1)
  assert.equal(traffic.ofTenant(0).activeUsers, 0)
})
