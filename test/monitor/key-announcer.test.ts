import assert from 'node:assert/strict'
import { test } from 'node:test'
import { newApiKey } from '../../src/cli/keys.ts'
import { limits } from '../../src/limits.ts'
import { KeyAnnouncer } from '../../src/monitor/key-announcer.ts'
import { openStore } from '../../src/store/store.ts'
import { actionsOf, activitiesOf } from '../support/activities.ts'
import { eventually } from '../support/waiting.ts'
import { openMonitor } from './monitor.ts'

const newKey = (tenant = 4) => newApiKey({ tenant, user: 'ada', scopes: ['ingest', 'dlq'] }).row

test('a key is told of when it is made and when it is revoked, each once', async (t) => {
  const parts = await openMonitor(t)
  const { store, clock } = parts
  const row = newKey()
  await store.commit((transaction) => transaction.putApiKey(row))
  const announcer = new KeyAnnouncer(parts)
  t.after(() => announcer.close())
  await announcer.start()
  const [made] = activitiesOf(store, 4)
  assert.deepEqual(made, {
    user_id: 'operator',
    action: 'create',
    resource_type: 'key',
    resource_id: row.id,
    metadata: { user: 'ada', scopes: ['ingest', 'dlq'] },
    timestamp: new Date(clock.now()).toISOString(),
  })
  assert.deepEqual(store.apiKeys.untold(), [])
  await store.commit((transaction) => transaction.putApiKey({ ...row, revokedAtMs: 1 }))
  await eventually(async () => {
    clock.advance(limits.keyRefreshMs)
    return actionsOf(store, 4).length === 2 ? true : undefined
  }, 'the second telling')
  announcer.close()
  const next = new KeyAnnouncer(parts)
  t.after(() => next.close())
  await next.start()
  assert.deepEqual(actionsOf(store, 4), ['create key', 'revoke key'])
  assert.equal(activitiesOf(store, 4)[1]?.resource_id, row.id)
})

test('a key that was made and revoked while nobody looked is told of twice, thousands of them too', async (t) => {
  const parts = await openMonitor(t)
  const { store } = parts
  const count = 2 * limits.announcedKeysMax + 1
  const rows = Array.from({ length: count }, () => ({ ...newKey(), revokedAtMs: 1 }))
  await store.commit((transaction) => {
    for (const row of rows) transaction.putApiKey(row)
  })
  const announcer = new KeyAnnouncer(parts)
  t.after(() => announcer.close())
  await announcer.start()
  const told = actionsOf(store, 4)
  assert.equal(told.length, 2 * count)
  assert.deepEqual(told.slice(0, 2), ['create key', 'revoke key'])
  assert.deepEqual(store.apiKeys.untold(), [])
})

test('what another process does to the keys is told within a second', async (t) => {
  const parts = await openMonitor(t)
  const { store, clock, path } = parts
  const announcer = new KeyAnnouncer(parts)
  t.after(() => announcer.close())
  await announcer.start()
  const tool = openStore({ path, durability: 'flush', maxBytes: 1 << 30, exclusive: false })
  const row = newKey(7)
  await tool.commit((transaction) => transaction.putApiKey(row))
  await tool.close()
  await eventually(async () => {
    clock.advance(limits.keyRefreshMs)
    return actionsOf(store, 7).length === 1 ? true : undefined
  }, 'the telling')
  assert.deepEqual(actionsOf(store, 7), ['create key'])
})

test('what a full store refuses is told of once there is room', async (t) => {
  const parts = await openMonitor(t, { maxBytes: limits.storeBytesMaxMin })
  const { store, clock, fill, lines } = parts
  await store.commit((transaction) => transaction.putApiKey(newKey()))
  const hashes = await fill()
  const announcer = new KeyAnnouncer(parts)
  t.after(() => announcer.close())
  await announcer.start()
  assert.deepEqual(actionsOf(store, 4), [])
  assert.ok(lines.some((line) => line.includes('not told of yet')))
  await assert.rejects(store.commit((transaction) => transaction.putApiKey(newKey(5))))
  // A key that has leaked must be revoked, however full the store is.
  const leaked = { ...newKey(5), revokedAtMs: 1 }
  await store.commit((transaction) => transaction.putApiKey(leaked), { removes: true })
  await store.commit((transaction) => {
    for (const hash of hashes.slice(0, 4)) transaction.releaseBlob(9, hash)
  })
  await eventually(async () => {
    clock.advance(limits.storeRetryDelayMsMax)
    return actionsOf(store, 4).length === 1 ? true : undefined
  }, 'the telling')
})
