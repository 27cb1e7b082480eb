import assert from 'node:assert/strict'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { Database } from '../../src/store/database.ts'
import type { SessionRow, Transaction } from '../../src/store/interfaces.ts'
import { numberKey } from '../../src/store/keys.ts'
import type { Damage } from '../../src/store/verification.ts'
import { atomOf, blobOf, mediaFile } from '../store/fixtures.ts'
import { makeRichStore } from '../support/rich-store.ts'
import { temporaryFolder } from '../support/server.ts'
import { changeRows, damagedIn } from '../support/soundness.ts'

/** The session of each damage, with what was expected and found. */
function texts(damaged: readonly Damage[]): (string | number | undefined)[][] {
  return damaged.map(({ where, expected, found }) => [where.session, expected, found])
}

test('where records become no atoms one by one, others may be processed than atoms created', async (t) => {
  const { path, telemetry, cut } = await makeRichStore(t, await temporaryFolder(t))
  await changeRows(path, (transaction) => {
    for (const { number } of [telemetry, cut]) {
      const row = transaction.session(number)
      row.recordsProcessed -= 1
      row.recordsCancelled += 1
    }
  })
  assert.deepEqual(texts(await damagedIn(path)), [
    [telemetry.id, 'records processed, each an atom, 19', '20'],
  ])
})

test('a segment is what audio that is cut becomes, and nothing else', async (t) => {
  const { path, cut, video } = await makeRichStore(t, await temporaryFolder(t))
  await changeRows(path, (transaction) => {
    for (const [number, kind] of [
      [cut.number, 'buffer'],
      [video.number, 'segment'],
    ] as const) {
      const row = transaction.session(number)
      const { hash, bytes } = blobOf('misplaced')
      transaction.putBlob(row.tenant, hash, bytes)
      transaction.appendAtom(row, { ...atomOf(hash, 1), kind })
      row.recordsReceived += 1
      row.recordsProcessed += 1
    }
  })
  assert.deepEqual(texts(await damagedIn(path)), [
    [video.id, 'kind frame', 'segment'],
    [cut.id, 'kind segment', 'buffer'],
  ])
})

test('only an open session whose input is cut or selected holds something for it', async (t) => {
  const { path, telemetry, video, ended, cut } = await makeRichStore(t, await temporaryFolder(t))
  const { hash, bytes } = blobOf('left')
  const hold = (transaction: Transaction, { number }: SessionRow): void => {
    const row = transaction.session(number)
    transaction.putBlob(row.tenant, hash, bytes)
    const place = { run: 0, startSample: 0, samples: 50 }
    transaction.appendPending(row, { hash, byteLength: bytes.byteLength, ...place })
    transaction.putStreamState(row, bytes)
  }
  await changeRows(path, (transaction) => {
    for (const session of [telemetry, video, ended, cut]) hold(transaction, session)
  })
  const none = [
    ['a session that cuts audio true', 'false'],
    ['a session that selects or cuts true', 'false'],
  ]
  const [buffer, state] = none
  assert.deepEqual(texts(await damagedIn(path)), [
    ...none.map((text) => [telemetry.id, ...text]),
    ...none.map((text) => [video.id, ...text]),
    [ended.id, 'an open session true', 'false'],
    [ended.id, ...(buffer ?? [])],
    [ended.id, 'an open session true', 'false'],
    [ended.id, ...(state ?? [])],
  ])
})

test('what is left of the audio of a session that has ended is named', async (t) => {
  const { path, cut } = await makeRichStore(t, await temporaryFolder(t))
  await changeRows(path, (transaction) => {
    const row = transaction.session(cut.number)
    row.status = 'cancelled'
    row.endedAtMs = 1
    const { recordsReceived, batchesReceived, atomsCreated, chain } = row
    row.final = { recordsReceived, batchesReceived, atomsCreated, chain }
  })
  const damaged = await damagedIn(path)
  assert.deepEqual(
    damaged.map(({ kind, where }) => [kind, where.session, where.buffer]),
    [
      ['pending buffer', cut.id, 1],
      ['pending buffer', cut.id, 2],
      ['stream state', cut.id, undefined],
    ],
  )
})

test('a job on a file agrees with its file, its list and its session', async (t) => {
  const { path, cut } = await makeRichStore(t, await temporaryFolder(t))
  const copy = await temporaryFolder(t)
  const whole = readFileSync(join(path, 'data.mdb'))
  const cases: readonly [(transaction: Transaction) => void, readonly string[]][] = [
    [(transaction) => (transaction.job(2).atomsCreated += 1), ['atoms of its file 1']],
    [(transaction) => (transaction.job(2).media = null), ['has a file true']],
    [(transaction) => (transaction.job(1).media = mediaFile), ['has a file false']],
    [(transaction) => (transaction.session(cut.number).openJobs += 1), ['open jobs on files 2']],
    [(transaction) => (transaction.job(2).status = 'cancelled'), ['open jobs on files 1']],
    [(transaction) => (transaction.job(3).status = 'queued'), ['open jobs on files 1']],
  ]
  for (const [wrong, expected] of cases) {
    writeFileSync(join(copy, 'data.mdb'), whole)
    await changeRows(copy, wrong)
    const damaged = await damagedIn(copy)
    assert.deepEqual(
      damaged.map((damage) => damage.expected),
      expected,
    )
  }
})

test('the list of open jobs on files and what it leads to agree', async (t) => {
  const { path } = await makeRichStore(t, await temporaryFolder(t))
  const database = new Database({ path, flush: true, maxBytes: 1 << 30 })
  const value = new Uint8Array(0)
  const listed = [3, 99].map((number) => ({ key: numberKey(number), value }))
  await database.apply(listed.map((row) => ({ table: 'open-media-jobs', ...row })))
  await database.close()
  assert.deepEqual(
    (await damagedIn(path)).map(({ where, expected, found }) => [where.job, expected, found]),
    [
      ['job-ended', 'listed as open on a file false', 'true'],
      [99, 'a job true', 'false'],
    ],
  )
})

test('a buffer that waits has all of its bytes', async (t) => {
  const { path, cut } = await makeRichStore(t, await temporaryFolder(t))
  const { hash, bytes } = blobOf('sound')
  await changeRows(path, (transaction) => {
    transaction.putBlob(5, hash, bytes)
    const place = { run: 0, startSample: 100, samples: 50 }
    transaction.appendPending(transaction.session(cut.number), { hash, byteLength: 101, ...place })
  })
  const [damage, ...others] = await damagedIn(path)
  assert.deepEqual(others, [])
  assert.equal(damage?.where.buffer, 3)
  assert.deepEqual([damage?.expected, damage?.found], ['bytes 101', '100'])
})
