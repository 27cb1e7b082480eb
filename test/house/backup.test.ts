import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { runBackup } from '../../src/cli/backup.ts'
import { CommandFailure, ConfigError } from '../../src/cli/flags.ts'
import { backUpStore } from '../../src/store/backup.ts'
import { openStore } from '../../src/store/store.ts'
import { testRecords } from '../support/ingest.ts'
import { makeRichStore } from '../support/rich-store.ts'
import { type CommandResult, runCommand, startServer, temporaryFolder } from '../support/server.ts'
import { assertSound } from '../support/soundness.ts'

test('a copy made beside a server under full load is sound and holds all that was acknowledged', async (t) => {
  const server = await startServer(t)
  const { client } = server
  const { sessionId } = await client.start({ sessionType: 'telemetry', batchSize: 20 })
  let acknowledged = 0
  let isOver = false
  const load = Array.from({ length: 8 }, async (_, lane) => {
    for (let upload = 0; !isOver; upload += 1) {
      const records = testRecords(12, lane * 1_000_000 + upload * 12)
      const reply = await client.upload(sessionId, { records })
      acknowledged += reply.recordsReceived
    }
  })
  while (acknowledged < 1_000) await new Promise((resolve) => setTimeout(resolve, 5))
  const target = join(await temporaryFolder(t), 'copies', 'first')
  const before = acknowledged
  const result = await runCommand(server.dataDir, ['backup', target])
  const after = acknowledged
  assert.equal(result.code, 0, result.stderr)
  assert.match(
    result.stdout,
    /^copied \d+ bytes in \d+\.\d s; serve it by: atomstream --data-dir \/.*first\n$/,
  )
  assert(after > before, 'uploads went on')
  await assertSound(join(server.dataDir, 'store'))
  isOver = true
  await Promise.all(load)
  await assertSound(join(target, 'store'))
  const copy = openStore({ path: join(target, 'store'), durability: 'flush', maxBytes: 1 << 30 })
  const copied = copy.sessions.find(0, sessionId)?.recordsReceived ?? 0
  await copy.close()
  assert(copied >= before, `${copied} of ${before}`)
  assert(copied <= acknowledged, `${copied} of ${acknowledged}`)
})

test('a copy is a data folder: a server on it gives back what was stored, with its keys', async (t) => {
  const dataDir = await temporaryFolder(t)
  const { telemetry } = await makeRichStore(t, dataDir)
  const target = await temporaryFolder(t)
  const { code, stderr } = await runCommand(dataDir, ['backup', target])
  assert.equal(code, 0, stderr)
  assert.deepEqual(readdirSync(target), ['store'])
  const modes = ['store', 'store/data.mdb'].map((name) => statSync(join(target, name)).mode & 0o777)
  assert.deepEqual(modes, [0o700, 0o600])
  await assertSound(join(target, 'store'))
  const keys = await Promise.all(
    [dataDir, target].map((folder) => runCommand(folder, ['keys', 'list'])),
  )
  assert.equal(keys[0]?.stdout, keys[1]?.stdout)
  const server = await startServer(t, { dataDir: target })
  const records = await server.client.records(telemetry.id)
  assert(records.length >= 20)
})

test('a copy is refused where it would fall in with something else, which stays as it is', async (t) => {
  const dataDir = await temporaryFolder(t)
  await makeRichStore(t, dataDir)
  const env = { ATOMSTREAM_DATA_DIR: dataDir }
  const folder = await temporaryFolder(t)
  const full = join(folder, 'full')
  mkdirSync(full)
  writeFileSync(join(full, 'mine'), 'kept')
  const cut = join(folder, 'cut')
  mkdirSync(join(cut, 'store.partial'), { recursive: true })
  const file = join(folder, 'file')
  writeFileSync(file, 'kept')
  const cases: readonly [string, RegExp][] = [
    [full, /^backup: .*full is not empty; give a new or empty folder$/],
    [cut, /cut is not empty, among it a backup that was cut short: remove it; give a new/],
    [file, /^backup: .*file is not a folder$/],
    [join(file, 'below'), /^backup: ENOTDIR/],
  ]
  for (const [target, message] of cases) {
    await assert.rejects(runBackup([target], env), (error) => {
      assert(error instanceof CommandFailure)
      assert.match(error.message, message)
      return true
    })
  }
  assert.equal(readFileSync(join(full, 'mine'), 'utf8'), 'kept')
  assert.equal(readFileSync(file, 'utf8'), 'kept')
  assert.deepEqual(readdirSync(cut), ['store.partial'])
  const usage: readonly (readonly string[])[] = [[], [''], ['a', 'b'], ['a', '--jsn'], [dataDir]]
  for (const args of usage) await assert.rejects(runBackup(args, env), ConfigError)
})

test('a missing store is told by one line and exit code 1, and nothing is made', async (t) => {
  const folder = await temporaryFolder(t)
  const [source, target] = [join(folder, 'none'), join(folder, 'copy')]
  const { code, stdout, stderr } = await runCommand(source, ['backup', target])
  assert.deepEqual([code, stdout], [1, ''])
  assert.match(stderr, /^atomstream: backup: no store in [^\n]*none[^\n]*\n$/)
  assert.deepEqual(readdirSync(folder), [])
})

test('a copy that the disk refuses leaves nothing behind', async (t) => {
  const dataDir = await temporaryFolder(t)
  const { path } = await makeRichStore(t, dataDir)
  const folder = await temporaryFolder(t)
  const target = join(folder, 'new', 'copy')
  const bytesMax = Math.floor(statSync(join(path, 'data.mdb')).size / 2)
  const limited = runLimited(dataDir, target, bytesMax)
  assert.equal(limited.code, 1, limited.stdout)
  assert.match(limited.stderr, /^atomstream: backup: cannot copy to [^\n]*copy: File too large\n$/)
  assert.deepEqual(readdirSync(folder), [])
  const empty = join(folder, 'empty')
  mkdirSync(empty)
  runLimited(dataDir, empty, bytesMax)
  assert.deepEqual(readdirSync(empty), [])
})

test('a folder that nobody may write to is told', async (t) => {
  if (process.getuid?.() === 0) return t.skip('root may write everywhere')
  const dataDir = await temporaryFolder(t)
  const { path } = await makeRichStore(t, dataDir)
  const folder = await temporaryFolder(t)
  chmodSync(folder, 0o500)
  t.after(() => chmodSync(folder, 0o700))
  await assert.rejects(backUpStore(path, join(folder, 'copy'), 'store'), /EACCES/)
  assert.equal(existsSync(join(folder, 'copy')), false)
})

/** The command under a bound of the size of files, which stops a write as a full disk does. */
function runLimited(dataDir: string, target: string, bytesMax: number): CommandResult {
  const blocks = Math.floor(bytesMax / 1_024)
  const main = join(import.meta.dirname, '../../src/main.js')
  const script = `trap '' XFSZ; ulimit -f ${blocks}; exec "$0" "$@"`
  const args = ['-c', script, process.execPath, main, 'backup', target]
  const { status, stdout, stderr } = spawnSync('sh', args, {
    env: { PATH: process.env.PATH, ATOMSTREAM_DATA_DIR: dataDir },
    encoding: 'utf8',
  })
  return { code: status, stdout, stderr }
}
