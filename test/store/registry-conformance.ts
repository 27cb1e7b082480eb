import assert from 'node:assert/strict'
import test from 'node:test'
import { Refusal } from '../../src/contracts/errors.ts'
import type { SchemaDefinition } from '../../src/contracts/schema.ts'
import type { ApiKeyRow } from '../../src/store/interfaces.ts'
import type { OpenStore } from './conformance.ts'
import { sha256, temporaryFolder } from './fixtures.ts'

/** Schemas, API keys and the store's secret. */
export function registryConformance(name: string, open: OpenStore): void {
  const schema = (schemaName: string, schemaVersion: string, min = 0): SchemaDefinition => ({
    schemaName,
    schemaVersion,
    fields: [{ name: 'temperature', type: 'float', required: true, validation: { min } }],
  })

  test(`${name}: schemas are registered per tenant under name and version`, async (t) => {
    const path = await temporaryFolder(t)
    const store = await open(path)
    await store.commit((tx) => {
      tx.putSchema(1, schema('iot', '1.0.0'))
      tx.putSchema(1, schema('iot', '1.0.1'))
      tx.putSchema(2, schema('iot', '2.0.0'))
    })
    await store.close()
    const again = await open(path)
    assert.deepEqual(again.schemas.get(1, 'iot', '1.0.1'), schema('iot', '1.0.1'))
    assert.equal(again.schemas.get(1, 'iot', '2.0.0'), null)
    assert.equal(again.schemas.get(1, 'x'.repeat(100_000), ''), null)
    assert.deepEqual(
      [...again.schemas.list(1, null)],
      [schema('iot', '1.0.0'), schema('iot', '1.0.1')],
    )
    assert.deepEqual([...again.schemas.list(2, null)], [schema('iot', '2.0.0')])
    assert.deepEqual([...again.schemas.list(0, null)], [])
    await again.close()
  })

  test(`${name}: a registered schema never changes, not even within a group`, async (t) => {
    const store = await open(await temporaryFolder(t))
    const put = (min: number) => store.commit((tx) => tx.putSchema(1, schema('iot', '1', min)))
    const isTaken = (error: unknown) => error instanceof Refusal && error.code === 'SCHEMA_EXISTS'
    const first = put(0)
    await assert.rejects(put(5), isTaken)
    await first
    await put(0)
    await assert.rejects(put(6), isTaken)
    assert.deepEqual(store.schemas.get(1, 'iot', '1'), schema('iot', '1'))
    await store.close()
  })

  test(`${name}: an API key is found by its digest, and each change shows in the version`, async (t) => {
    const path = await temporaryFolder(t)
    const store = await open(path)
    const key: ApiKeyRow = {
      id: 'key_1',
      digest: sha256('secret key'),
      tenant: 4,
      user: 'operator',
      scopes: ['ingest', 'sessions:read'],
      createdAtMs: 1_750_000_000_000,
      revokedAtMs: null,
    }
    assert.deepEqual(store.apiKeys.list(), [])
    const versions = new Set([store.apiKeys.version()])
    await store.commit((tx) => tx.putApiKey(key))
    versions.add(store.apiKeys.version())
    assert.deepEqual(store.apiKeys.byDigest(key.digest), key)
    assert.equal(store.apiKeys.byDigest(sha256('another')), null)
    await store.commit((tx) => tx.putApiKey({ ...key, revokedAtMs: 1_760_000_000_000 }))
    versions.add(store.apiKeys.version())
    assert.equal(versions.size, 3)
    const second = { ...key, id: 'key_2', digest: new Uint8Array(32).fill(255) }
    const third = { ...key, id: 'key_3', digest: new Uint8Array(32) }
    await store.commit((tx) => {
      tx.putApiKey(second)
      tx.putApiKey(third)
    })
    await store.close()

    const again = await open(path)
    assert.equal(again.apiKeys.byDigest(key.digest)?.revokedAtMs, 1_760_000_000_000)
    assert.deepEqual(again.apiKeys.list(), [
      third,
      { ...key, revokedAtMs: 1_760_000_000_000 },
      second,
    ])
    await again.close()
  })

  test(`${name}: the secret is random and stays for the life of the store`, async (t) => {
    const path = await temporaryFolder(t)
    const store = await open(path)
    const secret = new Uint8Array(store.secret)
    assert.equal(secret.byteLength, 32)
    await store.close()
    const again = await open(path)
    assert.deepEqual(new Uint8Array(again.secret), secret)
    await again.close()
    const other = await open(await temporaryFolder(t))
    assert.notDeepEqual(new Uint8Array(other.secret), secret)
    await other.close()
  })
}
