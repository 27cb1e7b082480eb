import assert from 'node:assert/strict'
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { findInflux, InfluxServer } from '../../bench/influx.ts'

/** A folder that is all that PATH names, with an `influxd` that tells this version, or none. */
function folderOnPath(t: TestContext, version: string | null): string {
  const folder = mkdtempSync(join(tmpdir(), 'influx-test-'))
  const path = process.env.PATH
  t.after(() => {
    process.env.PATH = path
    rmSync(folder, { recursive: true, force: true })
  })
  if (version !== null) {
    const script = `#!/bin/sh\necho "InfluxDB ${version} (git: unknown unknown)"\n`
    writeFileSync(join(folder, 'influxd'), script, { mode: 0o755 })
  }
  process.env.PATH = folder
  return folder
}

test('an installed InfluxDB 1.x is taken, and its version told', async (t) => {
  const folder = folderOnPath(t, 'v1.6.7~rc0')
  assert.deepEqual(await findInflux(folder, AbortSignal.timeout(5_000)), {
    path: join(folder, 'influxd'),
    source: 'InfluxDB 1.6.7~rc0 installed',
  })
})

test('InfluxDB 2 is no peer, and the reason is told', async (t) => {
  const folder = folderOnPath(t, 'v2.7.1')
  const found = await findInflux(folder, AbortSignal.timeout(5_000))
  assert.equal(found, 'the InfluxDB here is 2.7.1, not 1.x')
})

test('where there is neither InfluxDB nor a package, the reason is told', async (t) => {
  if (existsSync('/usr/bin/influxd') || existsSync('/usr/sbin/influxd')) {
    t.skip('it is installed')
    return
  }
  const folder = folderOnPath(t, null)
  const found = await findInflux(folder, AbortSignal.timeout(5_000))
  assert.match(String(found), /^there is no InfluxDB, and its package could not be had: .*apt-get/)
})

test('a server that exits at once is told of, and leaves no folder', async (t) => {
  const folder = folderOnPath(t, 'v1.6.7')
  const program = { path: join(folder, 'influxd'), source: 'a script' }
  await assert.rejects(
    InfluxServer.start(program, folder, AbortSignal.timeout(5_000)),
    /InfluxDB exited/,
  )
  assert.deepEqual(readdirSync(folder), ['influxd'])
})
