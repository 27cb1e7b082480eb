import assert from 'node:assert/strict'
import { readFileSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { CommandFailure, ConfigError } from '../../src/cli/flags.ts'
import { newApiKey } from '../../src/cli/keys.ts'
import { runVerify } from '../../src/cli/verify.ts'
import { Database, type TableName } from '../../src/store/database.ts'
import { facetKey, hashKey, numberKey, textKey } from '../../src/store/keys.ts'
import { facetsOf } from '../../src/store/memories.ts'
import { openStore } from '../../src/store/store.ts'
import { type Damage, type VerificationSummary, verifyStore } from '../../src/store/verification.ts'
import { blobOf } from '../store/fixtures.ts'
import { makeRichStore, type RichStore } from '../support/rich-store.ts'
import { runCommand, startServer, temporaryFolder } from '../support/server.ts'
import { changeRows, damagedIn, tamper } from '../support/soundness.ts'

interface Verdict extends VerificationSummary {
  readonly damaged: Damage[]
}

async function verdictOf(path: string): Promise<Verdict> {
  const damaged: Damage[] = []
  const summary = await verifyStore(path, { onDamage: (damage) => damaged.push(damage) })
  return { ...summary, damaged }
}

async function richStore(t: TestContext): Promise<RichStore> {
  return makeRichStore(t, await temporaryFolder(t))
}

/** The last byte of a value is another one: that of a row is in its last field. */
function lastByteFlipped(value: Uint8Array): Uint8Array {
  const changed = new Uint8Array(value)
  const last = changed.byteLength - 1
  changed[last] = (changed[last] ?? 0) ^ 1
  return changed
}

function named(verdict: Verdict): string[] {
  assert.equal(verdict.sound, false)
  assert.equal(verdict.damages, verdict.damaged.length)
  return verdict.damaged.map(({ kind }) => kind)
}

test('a store that holds some of everything is sound, and everything is counted', async (t) => {
  const { path } = await richStore(t)
  const { sound, counts, damaged } = await verdictOf(path)
  assert.deepEqual(damaged, [])
  assert.equal(sound, true)
  const { blobBytes, events, ...rest } = counts
  assert(blobBytes > 0)
  assert(events > 10)
  assert.deepEqual(rest, {
    sessions: 5,
    atomRows: 9,
    atoms: 27,
    blobs: 9,
    journalEntries: 3,
    pendingBuffers: 2,
    rejected: 1,
    memories: 3,
    deadLetters: 1,
    jobs: 3,
    idempotencyAnswers: 1,
    schemas: 0,
    apiKeys: 1,
  })
})

test('a byte of a stored block or frame that has changed is named with whom it harms', async (t) => {
  const store = await richStore(t)
  const { path, telemetry, ended } = store
  const database = new Database({ path, flush: true, maxBytes: 1 << 30 })
  const frames = [...database.table('blobs').keys({ from: numberKey(0), to: numberKey(1) })]
  await database.close()
  for (const key of frames) await tamper(path, 'blobs', key, lastByteFlipped)
  const verdict = await verdictOf(path)
  const blobs = verdict.damaged.filter(({ kind }) => kind === 'blob')
  assert.deepEqual(
    new Set(blobs.map(({ where }) => where.hash)),
    new Set(frames.map((key) => Buffer.from(key).subarray(8).toString('hex'))),
  )
  const harmed = verdict.damaged.filter(({ kind }) => kind === 'atom').map(({ where }) => where)
  assert.equal(harmed.length, 8, '2 blocks, 5 frames and one that is queued')
  for (const { id } of [telemetry, ended]) {
    assert(harmed.some(({ session }) => session === id))
  }
})

test('a blob that is gone is named by the atoms that need it', async (t) => {
  const { path, telemetry } = await richStore(t)
  const store = openStore({ path, durability: 'flush', maxBytes: 1 << 30 })
  const [atom] = store.atoms.list(telemetry.number, 0, 1)
  await store.close()
  assert(atom !== undefined)
  await tamper(path, 'blobs', hashKey([0], atom.hash), () => null)
  const verdict = await verdictOf(path)
  const lost = verdict.damaged.find(({ kind }) => kind === 'atom')
  assert.deepEqual(lost?.where, {
    session: telemetry.id,
    seq: 0,
    hash: Buffer.from(atom.hash).toString('hex'),
  })
  assert.equal(lost?.found, 'none')
  assert.deepEqual(new Set(named(verdict)), new Set(['atom', 'tenant']))
})

test('each row that is wrong or gone is named', async (t) => {
  const { path, telemetry, video, ended, failed, cut } = await richStore(t)
  const copy = await temporaryFolder(t)
  const whole = readFileSync(join(path, 'data.mdb'))
  const none = (): null => null
  const zero = (value: Uint8Array): Uint8Array => new Uint8Array(value.byteLength)
  const other = (): Uint8Array => numberKey(99)
  const number = telemetry.number
  const buffer = hashKey([5], blobOf('buffer one').hash)
  const [common, rare] = facetsOf({ tags: ['common', 'rare'] }) as [Uint8Array, Uint8Array]
  const shorter = (value: Uint8Array): Uint8Array => value.subarray(1)
  const cases: readonly [
    TableName,
    Uint8Array,
    (value: Uint8Array) => Uint8Array | null,
    readonly string[],
  ][] = [
    ['atoms', numberKey(video.number, 1), none, ['atom', 'session', 'blob', 'tenant']],
    ['atoms', numberKey(video.number, 2), none, ['session', 'blob', 'tenant']],
    ['atoms', numberKey(video.number, 1), zero, ['atom', 'session', 'blob']],
    ['session-states', numberKey(number), none, ['session']],
    ['session-ids', textKey(telemetry.id), other, ['session', 'index']],
    ['tenant-sessions', numberKey(0, ended.number), lastByteFlipped, ['session']],
    ['tenant-sessions', numberKey(0, ended.number), none, ['session']],
    ['open-sessions', numberKey(telemetry.createdAtMs, number), none, ['session']],
    ['journal', numberKey(number, 3, 0), none, ['journal', 'session']],
    ['journal-contents', numberKey(number, 3, 0), none, ['journal']],
    ['journal', numberKey(failed.number, 1, 0), none, ['journal', 'dead letter']],
    ['dead-letters', numberKey(3, 1), none, ['dead letter', 'index']],
    ['session-dead-letters', numberKey(failed.number, 1), none, ['session', 'dead letter']],
    ['dead-batches', numberKey(failed.number, 1), none, ['session', 'dead letter']],
    ['jobs', numberKey(1), none, ['index']],
    ['jobs', numberKey(1), zero, ['job']],
    ['tenant-jobs', numberKey(0, 1), lastByteFlipped, ['job']],
    ['pending-buffers', numberKey(cut.number, 1), none, ['blob']],
    ['pending-buffers', numberKey(cut.number, 2), zero, ['pending buffer', 'blob']],
    ['blobs', buffer, none, ['atom', 'tenant']],
    ['blobs', buffer, shorter, ['blob', 'atom', 'tenant']],
    ['atoms', numberKey(cut.number, 1), none, ['session', 'blob', 'tenant']],
    ['sessions', numberKey(cut.number), none, ['owner', 'job', 'blob', 'tenant']],
    ['open-media-jobs', numberKey(2), none, ['job']],
    ['jobs', numberKey(2), none, ['index', 'session']],
    ['events', numberKey(0, 2), none, ['event', 'tenant']],
    ['session-events', numberKey(number, 1), none, ['event', 'tenant']],
    ['memories', numberKey(0, 1), none, ['memory list', 'tenant']],
    ['memories', numberKey(0, 2), zero, ['memory', 'memory list']],
    ['memory-facets', facetKey(0, common, 1), none, ['memory', 'memory list']],
    ['memory-facets', facetKey(0, rare, 1), none, ['memory', 'memory list']],
    ['memory-facet-counts', hashKey([0], common), other, ['memory list']],
    ['memory-facet-counts', hashKey([0], rare), none, ['memory list']],
    ['rejected', numberKey(number, 0), none, ['session', 'tenant']],
    ['rejected', numberKey(number, 0), zero, ['rejected']],
    ['tenants', numberKey(0), none, ['owner', 'tenant']],
    ['tenants', numberKey(3), lastByteFlipped, ['tenant']],
    ['sessions', numberKey(number), none, ['owner', 'index', 'job', 'blob', 'tenant']],
  ]
  for (const [table, key, change, expected] of cases) {
    writeFileSync(join(copy, 'data.mdb'), whole)
    await tamper(copy, table, key, change)
    const damaged = await damagedIn(copy)
    const kinds = new Set(damaged.map(({ kind }) => kind))
    for (const kind of expected) {
      assert(kinds.has(kind), `${table}: ${kind} in ${JSON.stringify(damaged)}`)
    }
  }
})

test('a counter that was set wrong is named with what was counted', async (t) => {
  const { path, video } = await richStore(t)
  await changeRows(path, (transaction) => {
    const row = transaction.session(video.number)
    row.atomsCreated += 1
    row.recordsQueued += 2
    row.chain = new Uint8Array(32).fill(7)
  })
  const { damaged } = await verdictOf(path)
  const found = damaged.map(({ kind, where, expected, found }) => {
    assert.deepEqual([kind, where.session], ['session', video.id])
    return [expected, found]
  })
  assert.deepEqual(found.slice(0, 3), [
    ['records processed, queued, rejected, dead and cancelled, together 4', '6'],
    ['records processed, each an atom, 3', '4'],
    ['hash chain '.concat('07'.repeat(32)), found[2]?.[1]],
  ])
  assert.deepEqual(found.slice(3), [
    ['atoms 4', '3'],
    ['records queued 3', '1'],
  ])
})

test('a key that an event has told of and that is not there is named', async (t) => {
  const { path } = await richStore(t)
  const { row } = newApiKey({ tenant: 0, user: 'ada', scopes: ['ingest'] })
  await changeRows(path, (transaction) => transaction.tellApiKey(row))
  const digest = Buffer.from(row.digest).toString('hex')
  const where = { table: 'told-keys', digest }
  const { damaged } = await verdictOf(path)
  assert.deepEqual(damaged, [{ kind: 'index', where, expected: 'an API key true', found: 'false' }])
})

test('bytes of the file itself that have changed are found', async (t) => {
  const { path, ended } = await richStore(t)
  const store = openStore({ path, durability: 'flush', maxBytes: 1 << 30 })
  const [atom] = store.atoms.list(ended.number, 1, 1)
  const bytes = atom === undefined ? null : store.blobs.get(0, atom.hash)
  await store.close()
  assert(bytes !== null)
  const file = readFileSync(join(path, 'data.mdb'))
  // Copies in pages that are free harm nobody, and which one is in use the bytes do not tell.
  let copies = 0
  for (let at = file.indexOf(bytes); at > 0; at = file.indexOf(bytes, at + 1)) {
    file[at + 100] = (file[at + 100] ?? 0) ^ 255
    copies += 1
  }
  assert(copies > 0)
  writeFileSync(join(path, 'data.mdb'), file)
  assert(named(await verdictOf(path)).includes('blob'))
})

test('a file that is cut, empty or of something else is damage, not a crash', async (t) => {
  const { path } = await richStore(t)
  const file = join(path, 'data.mdb')
  const { length } = readFileSync(file)
  for (const [bytes, names] of [
    [Math.floor(length / 3), ['file']],
    [8_192, ['file']],
    [100, ['file']],
    [0, ['file']],
  ] as const) {
    truncateSync(file, bytes)
    const verdict = await verdictOf(path)
    const last = verdict.damaged.at(-1)
    assert.deepEqual([last?.kind], names, `${bytes} bytes: ${JSON.stringify(verdict.damaged)}`)
    assert.equal(verdict.sound, false)
  }
  writeFileSync(file, Buffer.alloc(65_536, 'not a store'))
  assert.deepEqual(named(await verdictOf(path)), ['file'])
})

test('pages of the file overwritten at random are told, whatever LMDB makes of them', async (t) => {
  const { path } = await richStore(t)
  const file = join(path, 'data.mdb')
  const whole = readFileSync(file)
  const pageBytes = 4_096
  for (let page = 3; page < whole.byteLength / pageBytes; page += 12) {
    const changed = Buffer.from(whole)
    changed.fill(0xa5, page * pageBytes, (page + 1) * pageBytes)
    writeFileSync(file, changed)
    const verdict = await verdictOf(path)
    // Some pages are free: what nobody reads is no damage.
    assert.equal(verdict.sound, verdict.damaged.length === 0)
  }
})

test('verify runs beside a server, and its command tells by line, by JSON and by exit code', async (t) => {
  const dataDir = await temporaryFolder(t)
  const store = await makeRichStore(t, dataDir)
  const server = await startServer(t, { dataDir })
  const sound = await runCommand(dataDir, ['verify'])
  assert.equal(sound.code, 0, sound.stdout + sound.stderr)
  assert.match(sound.stdout, /^sound: sessions 5, atoms \d+, blobs \d+, [^\n]*; \d+\.\d s\n$/)
  await server.stop()
  await tamper(store.path, 'atoms', numberKey(store.video.number, 1), () => null)
  const damaged = await runCommand(dataDir, ['verify'])
  assert.equal(damaged.code, 1)
  assert.match(damaged.stdout, new RegExp(`^damaged: atom, tenant 0, session ${store.video.id}: `))
  assert.match(damaged.stdout, /\ndamaged, \d+ found: sessions 5/)
  const json = await runCommand(dataDir, ['verify', '--json'])
  assert.equal(json.code, 1)
  const verdict = JSON.parse(json.stdout) as Verdict
  assert.equal(verdict.sound, false)
  assert.equal(verdict.damages, verdict.damaged.length)
  assert.equal(verdict.counts.sessions, 5)
})

test('verify of no store fails, of wrong arguments is refused, and makes nothing', async (t) => {
  const dataDir = await temporaryFolder(t)
  const env = { ATOMSTREAM_DATA_DIR: join(dataDir, 'none') }
  const print = () => assert.fail('nothing to tell')
  await assert.rejects(runVerify([], print, env), (error) => {
    assert(error instanceof CommandFailure)
    assert.match(error.message, /^verify: no store in .*none/)
    return true
  })
  await assert.rejects(runVerify(['now'], print, env), ConfigError)
  await assert.rejects(runVerify(['--jsn'], print, env), ConfigError)
  const { code, stdout, stderr } = await runCommand(join(dataDir, 'none'), ['verify'])
  assert.deepEqual([code, stdout], [1, ''])
  assert.match(stderr, /^atomstream: verify: no store in [^\n]*\n$/)
})
