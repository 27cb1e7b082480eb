import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { apiKeyDigest, newApiKey, runKeys } from '../../src/cli/keys.ts'
import { ConfigError, loadConfig, storeOptions } from '../../src/config.ts'
import { scopes } from '../../src/store/interfaces.ts'
import { openStore } from '../../src/store/store.ts'

interface CreatedKey {
  id: string
  key: string
  tenant: number
  user: string
  scopes: string[]
}
interface ListedKey {
  id: string
  tenant: number
  user: string
  scopes: string[]
  createdAt: string
  revokedAt: string | null
}

/** Runs `keys` commands on a data folder of their own. */
function makeKeys(t: TestContext) {
  const folder = mkdtempSync(join(tmpdir(), 'atomstream-keys-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  const env = { ATOMSTREAM_DATA_DIR: join(folder, 'data') }
  return {
    env,
    run: (...args: string[]) => runKeys(args, env),
    create: async (...args: string[]) =>
      JSON.parse(await runKeys(['create', ...args], env)) as CreatedKey,
    list: async () => JSON.parse(await runKeys(['list', '--json'], env)) as ListedKey[],
  }
}

test('a new key is as_ and 43 characters, its row holds the digest of the whole text', () => {
  const { key, row } = newApiKey({ tenant: 3, user: 'ada', scopes: ['ingest'] })
  assert.match(key, /^as_[A-Za-z0-9_-]{43}$/)
  assert.match(row.id, /^key_[A-Za-z0-9_-]{12}$/)
  assert.deepEqual(Buffer.from(row.digest), createHash('sha256').update(key).digest())
  assert.equal(row.revokedAtMs, null)
  assert.notEqual(newApiKey({ tenant: 3, user: 'ada', scopes: [] }).key, key)
})

test('create prints the key once and stores its digest alone', async (t) => {
  const keys = makeKeys(t)
  const created = await keys.create('--tenant=7', '--user', 'ada', '--scopes', 'ingest,jobs:read')
  assert.deepEqual(Object.keys(created), ['id', 'key', 'tenant', 'user', 'scopes'])
  assert.equal(created.tenant, 7)
  assert.deepEqual(created.scopes, ['ingest', 'jobs:read'])
  const store = await openStore({
    ...storeOptions(loadConfig([], keys.env)),
    exclusive: false,
  })
  t.after(() => store.close())
  const row = store.apiKeys.byDigest(apiKeyDigest(created.key))
  assert.equal(row?.id, created.id)
  assert(!JSON.stringify(store.apiKeys.list()).includes(created.key))
})

test('list shows every key without key text or digest', async (t) => {
  const keys = makeKeys(t)
  const first = await keys.create('--user', 'ada', '--scopes', 'all')
  const second = await keys.create('--user', 'bob', '--scopes', 'ingest', '--tenant', '1')
  const listed = await keys.list()
  assert.deepEqual(new Set(listed.map((row) => row.id)), new Set([first.id, second.id]))
  const row = listed.find((candidate) => candidate.id === first.id)
  assert.deepEqual(row?.scopes, [...scopes])
  assert.equal(row?.tenant, 0)
  const table = await keys.run('list')
  assert.match(table, /^ID +TENANT +USER +CREATED +REVOKED +SCOPES\n/)
  assert.match(table, new RegExp(`${second.id} +1 +bob +\\S+Z +- +ingest`))
  for (const text of [table, JSON.stringify(listed)]) {
    assert(!text.includes(first.key))
    assert(!text.includes('digest'))
  }
})

test('revoke marks the key, and again tells the same moment', async (t) => {
  const keys = makeKeys(t)
  const created = await keys.create('--user', 'ada', '--scopes', 'all')
  const first = await keys.run('revoke', created.id)
  assert.equal(await keys.run('revoke', created.id), first)
  const { revokedAt } = JSON.parse(first) as { revokedAt: string }
  assert.equal((await keys.list())[0]?.revokedAt, revokedAt)
})

test('keys are made and revoked while another process has the store open', async (t) => {
  const keys = makeKeys(t)
  const store = await openStore(storeOptions(loadConfig([], keys.env)))
  t.after(() => store.close())
  const before = store.apiKeys.version()
  const created = await keys.create('--user', 'ada', '--scopes', 'all')
  assert.equal(store.apiKeys.byDigest(apiKeyDigest(created.key))?.user, 'ada')
  const between = store.apiKeys.version()
  assert.notEqual(between, before)
  await keys.run('revoke', created.id)
  assert.notEqual(store.apiKeys.version(), between)
  assert.notEqual(store.apiKeys.byDigest(apiKeyDigest(created.key))?.revokedAtMs, null)
})

test('wrong arguments are refused with what was expected, and nothing is created', async (t) => {
  const keys = makeKeys(t)
  const cases: readonly [readonly string[], RegExp][] = [
    [['create', '--scopes', 'all'], /^--user: expected 1 to 128 characters .*, got nothing$/],
    [['create', '--user', 'a\nb', '--scopes', 'all'], /^--user: expected/],
    [['create', '--user', 'ada'], /^--scopes: expected all, or a comma list of .*, got nothing$/],
    [
      ['create', '--user', 'ada', '--scopes', 'ingest,session:read'],
      /got "session:read", did you mean sessions:read\?$/,
    ],
    [
      ['create', '--user', 'ada', '--scopes', 'all', '--tenant', '-1'],
      /^--tenant: expected an integer from 0 to 4294967295, got "-1"$/,
    ],
    [['create', 'ada'], /^unexpected argument "ada"$/],
    [['create', '--usr', 'ada'], /^unknown flag --usr, did you mean --user\?; see --help$/],
    [['list', '--port', 'x'], /^--port: expected an integer/],
    [['list'], /^--data-dir: no store in /],
    [['revoke'], /^keys revoke: expected the id of a key/],
    [['revoke', 'key_x'], /^--data-dir: no store in /],
  ]
  for (const [args, expected] of cases) {
    await assert.rejects(keys.run(...args), (error) => {
      assert(error instanceof ConfigError, String(error))
      assert.match(error.message, expected)
      return true
    })
  }
  assert(!existsSync(keys.env.ATOMSTREAM_DATA_DIR))
})

test('revoking an unknown id is refused and does not show what was given', async (t) => {
  const keys = makeKeys(t)
  const { key } = await keys.create('--user', 'ada', '--scopes', 'all')
  await assert.rejects(keys.run('revoke', key), (error) => {
    assert(error instanceof ConfigError)
    assert(!error.message.includes(key))
    return true
  })
})
