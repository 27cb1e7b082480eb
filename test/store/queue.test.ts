import assert from 'node:assert/strict'
import { test } from 'node:test'
import { openStore } from '../../src/store/store.ts'
import { temporaryFolder } from '../support/server.ts'

test('units that wait are bounded by bytes, and those without bytes get through', async (t) => {
  const path = await temporaryFolder(t)
  const store = openStore({
    path,
    durability: 'flush',
    maxBytes: 1024 ** 3,
    queueBytesMax: 1_000,
  })
  const put = (bytes: number) => store.commit(() => bytes, { bytes })
  // All in one turn, so that they wait together.
  const outcomes = await Promise.allSettled([put(5_000), put(1), put(0), put(0)])
  assert.deepEqual(
    outcomes.map(({ status }) => status),
    ['fulfilled', 'rejected', 'fulfilled', 'fulfilled'],
  )
  const [, refused] = outcomes
  assert.equal(refused.status === 'rejected' && refused.reason.code, 'SATURATED')
  const again = await Promise.allSettled([put(600), put(400), put(1)])
  assert.deepEqual(
    again.map(({ status }) => status),
    ['fulfilled', 'fulfilled', 'rejected'],
  )
  assert.equal(await put(1_000), 1_000)
  await store.close()
})
