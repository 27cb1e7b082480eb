import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync, readlinkSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { Refusal } from '../../src/contracts/errors.ts'
import { limits } from '../../src/limits.ts'
import { Committer } from '../../src/store/committer.ts'
import { Database } from '../../src/store/database.ts'
import type { Store, StoreOptions } from '../../src/store/interfaces.ts'
import { numberKey, textKey } from '../../src/store/keys.ts'
import { Repositories } from '../../src/store/repositories.ts'
import { openStore } from '../../src/store/store.ts'
import { startChild } from './children.ts'
import { storeConformance } from './conformance.ts'
import { blobOf, newSession, sha256, temporaryFolder } from './fixtures.ts'
import { recountLmdb } from './recount.ts'

const MiB = 1024 * 1024

function openFlushed(path: string, options: Partial<StoreOptions> = {}): Store {
  return openStore({ path, durability: 'flush', maxBytes: 1024 * MiB, ...options })
}

storeConformance('lmdb', openFlushed, recountLmdb)
storeConformance(
  'lmdb without flush',
  (path, options) => openFlushed(path, { ...options, durability: 'commit' }),
  recountLmdb,
)

test('a full store refuses what does not fit and keeps what it has acknowledged', async (t) => {
  const path = await temporaryFolder(t)
  const store = openFlushed(path, { maxBytes: 6 * MiB })
  const stored: ReturnType<typeof blobOf>[] = []
  const put = async (index: number) => {
    const blob = blobOf(`blob ${index}`, 200_000)
    await store.commit(
      (tx) => {
        tx.putBlob(1, blob.hash, blob.bytes)
        tx.appendEvent(1, null, 'stored', { index })
      },
      { bytes: blob.bytes.byteLength },
    )
    stored.push(blob)
  }
  const results = await Promise.allSettled(Array.from({ length: 50 }, (_, index) => put(index)))
  const refused = results.filter((result) => result.status === 'rejected')
  assert.ok(stored.length > 10 && refused.length > 10)
  for (const { reason } of refused) assert.equal((reason as Refusal).code, 'STORE_FULL')
  assert.ok(store.statistics().usedBytes <= 6 * MiB)
  assert.equal(store.events.last(1), stored.length)
  assert.equal((await store.commit((tx) => tx.appendEvent(1, null, 'small', {}))).name, 'small')
  await store.close()

  const again = openFlushed(path)
  for (const { hash, bytes } of stored) assert.deepEqual(again.blobs.get(1, hash), bytes)
  assert.equal(again.events.last(1), stored.length + 1)
  await again.close()
})

test('a full store takes new work once something was deleted', async (t) => {
  const store = openFlushed(await temporaryFolder(t), { maxBytes: 6 * MiB })
  const { number: session } = await store.commit((tx) => tx.createSession(newSession('a')))
  const page = blobOf('page', 200_000)
  const put = (number: number) =>
    store.commit((tx) => {
      tx.session(session).recordsQueued += 1
      const content = { kind: 'page' as const, ...page }
      tx.putJournal({ session, batch: 0, number, records: 1, job: null, content })
    })
  let stored = 0
  await assert.rejects(async () => {
    for (;;) {
      await put(stored)
      stored += 1
    }
  }, Refusal)
  assert.equal(store.journal.batch(session, 0).length, stored)
  assert.equal(store.sessions.get(session)?.recordsQueued, stored)
  await store.commit((tx) => {
    for (let number = 0; number < stored; number += 1) tx.deleteJournal(session, 0, number)
  })
  for (let number = 0; number < stored; number += 1) await put(number)
  await store.close()
})

test('every acknowledged unit is there, whole, after kill -9 in the middle of commits', async (t) => {
  const path = await temporaryFolder(t)
  for (let round = 0; round < 3; round += 1) {
    const child = startChild(t, 'crash-writer', path)
    await child.lines((lines) => lines.length >= 200)
    await child.kill()
    const acknowledged = (await child.lines()).filter((line) => line.endsWith('.'))

    const store = openFlushed(path)
    const session = store.sessions.find(1, 'crashed')
    assert.ok(session)
    const atoms = store.atoms.list(session.number, 0, 1_000_000)
    const indexes = new Map(atoms.map((atom) => [atom.metadata.label, atom]))
    for (const line of acknowledged) assert.ok(indexes.has(line), `${line} was acknowledged`)
    let chain: Uint8Array = new Uint8Array(32)
    for (const { hash, metadata } of atoms) {
      assert.deepEqual(store.blobs.get(1, hash), blobOf(String(metadata.label), 3_000).bytes)
      chain = sha256(chain, hash)
    }
    assert.equal(session.atomRows, atoms.length)
    assert.deepEqual(new Uint8Array(session.chain), chain)
    assert.equal(store.events.ofSession(1, session.number, 0, 1_000_000).length, atoms.length)
    assert.equal(store.events.last(1), atoms.length)
    await store.close()
  }
})

test('a key that another process adds or revokes is seen at once', async (t) => {
  const path = await temporaryFolder(t)
  const store = openFlushed(path)
  const digest = sha256('key of the tool')
  const seen = [store.apiKeys.version()]
  for (const change of ['add', 'revoke']) {
    const child = startChild(t, 'key-writer', path, change)
    await child.exit()
    seen.push(store.apiKeys.version())
    const row = store.apiKeys.byDigest(digest)
    assert.equal(row?.revokedAtMs !== null, change === 'revoke')
    // Commits of this process go on and do not hide the other's.
    await store.commit((tx) => tx.appendEvent(1, null, change, {}))
    assert.equal(store.apiKeys.version(), seen.at(-1))
  }
  assert.equal(new Set(seen).size, 3)
  await store.close()
})

test('a store that has failed refuses every later commit with the first error', async (t) => {
  const path = await temporaryFolder(t)
  const database = new Database({ path, flush: true, maxBytes: 64 * MiB })
  const committer = new Committer(database, new Repositories(database), true, 64 * MiB)
  await committer.commit((tx) => tx.appendEvent(1, null, 'before', {}))
  await database.close()
  const told: unknown[] = []
  committer.onFailure((failure) => told.push(failure))
  let runs = 0
  const run = () => {
    runs += 1
  }
  const [first, second] = await Promise.allSettled([committer.commit(run), committer.commit(run)])
  assert.equal(first.status, 'rejected')
  assert.deepEqual(second, first)
  await assert.rejects(committer.commit(run), (error) => error === first.reason)
  assert.equal(runs, 0)
  const file = join(path, 'data.mdb')
  assert.deepEqual(told, [{ path: file, error: first.reason, isStuck: false }])
  await committer.close()
})

test('a commit that does not come back fails the store, and says that a thread is stuck', async (t) => {
  const path = await temporaryFolder(t)
  const database = new Database({ path, flush: true, maxBytes: 1024 * MiB })
  const lookMs = 20
  const committer = new Committer(database, new Repositories(database), true, 64 * MiB, lookMs)
  const told: boolean[] = []
  committer.onFailure(({ isStuck }) => told.push(isStuck))
  const holder = startChild(t, 'lock-holder', path, `${limits.commitLooksMax * lookMs * 4}`)
  await holder.lines((lines) => lines.length > 0)
  const commits = [1, 2].map((index) =>
    committer.commit((tx) => tx.appendEvent(1, null, 'event', { index })),
  )
  for (const commit of commits) await assert.rejects(commit, /has not come back/)
  await assert.rejects(
    committer.commit(() => {}),
    /has not come back/,
  )
  assert.deepEqual(told, [true])
  assert.equal(await holder.exit(), 0)
  await committer.close()
  await database.close()
})

test('a tool beside the server may put keys and nothing else', async (t) => {
  const store = openFlushed(await temporaryFolder(t), { exclusive: false })
  await assert.rejects(store.commit((tx) => tx.appendEvent(1, null, 'event', {})))
  await assert.rejects(store.commit((tx) => tx.createSession(newSession('a'))))
  await store.close()
})

test('a data folder has one server at a time', async (t) => {
  const path = await temporaryFolder(t)
  const store = openFlushed(path)
  assert.throws(() => openFlushed(path), /is in use by process \d+/)
  const second = startChild(t, 'crash-writer', path)
  assert.notEqual(await second.exit(), 0)
  assert.match(second.errors(), new RegExp(`is in use by process ${process.pid}`))
  await store.close()
  await openFlushed(path).close()
})

test('the lock of a process that is gone is taken over, also where its id came again', async (t) => {
  const path = await temporaryFolder(t)
  const child = startChild(t, 'crash-writer', path)
  await child.lines((lines) => lines.length >= 1)
  assert.throws(() => openFlushed(path), /is in use/)
  await child.kill()
  await openFlushed(path).close()

  const store = openFlushed(path)
  const lockPath = join(path, 'owner.lock')
  const own = readlinkSync(lockPath)
  await store.close()
  symlinkSync(own.replace(/ \d+ /, ' 1 '), lockPath)
  await openFlushed(path).close()
})

test('the lock of a process that is dead and not reaped is taken over', async (t) => {
  const path = await temporaryFolder(t)
  await openFlushed(path).close()
  // A shell that becomes another program never asks after what it started.
  const parent = spawn('sh', ['-c', 'sleep 0.1 & echo $!; exec sleep 60'])
  t.after(() => parent.kill('SIGKILL'))
  const [printed] = (await once(parent.stdout, 'data')) as [Buffer]
  const pid = Number(printed.toString())
  const fields = () => {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  }
  const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()
  symlinkSync(`${pid} ${fields()[19]} ${boot}`, join(path, 'owner.lock'))
  assert.throws(() => openFlushed(path), /is in use/)
  while (fields()[0] !== 'Z') await delay(10)
  await openFlushed(path).close()
})

test('a lock that an earlier version left as a file counts as well', async (t) => {
  const path = await temporaryFolder(t)
  const store = openFlushed(path)
  const lockPath = join(path, 'owner.lock')
  const own = readlinkSync(lockPath)
  await store.close()
  writeFileSync(lockPath, `${own}\n`)
  assert.throws(() => openFlushed(path), /is in use/)
  writeFileSync(lockPath, `${own.replace(/ \d+ /, ' 1 ')}\n`)
  await openFlushed(path).close()
})

test('a store of a newer format is refused', async (t) => {
  const path = await temporaryFolder(t)
  await openFlushed(path).close()
  const database = new Database({ path, flush: true, maxBytes: MiB })
  await database.apply([{ table: 'meta', key: textKey('format'), value: numberKey(99) }])
  await database.close()
  assert.throws(() => openFlushed(path), /has format 99, this program reads format 5/)
})
