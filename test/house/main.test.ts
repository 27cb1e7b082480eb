import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { settingRows } from '../../src/config.ts'
import { runCommand } from '../support/server.ts'

const program = fileURLToPath(new URL('../../src/main.js', import.meta.url))
const packageFile = new URL('../../../package.json', import.meta.url)

function runMain(args: readonly string[], env: Record<string, string> = {}) {
  return spawnSync(process.execPath, [program, ...args], {
    encoding: 'utf8',
    env: { PATH: process.env.PATH, ...env },
  })
}

test('--help lists each setting with flag, variable, default and unit', () => {
  const { status, stdout } = runMain(['--help'])
  assert.equal(status, 0)
  for (const row of settingRows) {
    assert(stdout.includes(`${row.flag}, ${row.variable}\n`), row.flag)
    assert(stdout.includes(`Default: ${row.standard}. Unit: ${row.unit}.`), row.flag)
  }
  assert.equal(runMain(['serve', '--help']).stdout, stdout)
  assert.equal(runMain(['-h']).stdout, stdout)
  for (const line of stdout.split('\n')) assert(line.length <= 120, line)
})

test('keys --help tells the three commands', () => {
  const { status, stdout } = runMain(['keys', '--help'])
  assert.equal(status, 0)
  for (const command of ['keys create', 'keys list', 'keys revoke']) {
    assert(stdout.includes(`atomstream ${command}`), command)
  }
})

test('--version prints the version of package.json', () => {
  const { version } = JSON.parse(readFileSync(packageFile, 'utf8')) as { version: string }
  assert.equal(runMain(['--version']).stdout, `${version}\n`)
})

test('wrong arguments and settings end with 2 and one line on standard error', () => {
  const cases: readonly [readonly string[], Record<string, string>, string][] = [
    [['serv'], {}, 'unknown command "serv", did you mean serve?; see --help'],
    [['--prot', '1'], {}, 'unknown flag --prot, did you mean --port?; see --help'],
    [['serve', 'now'], {}, 'unexpected argument "now"; see --help'],
    [[], { ATOMSTREAM_PORT: 'x' }, 'ATOMSTREAM_PORT: expected an integer from 0 to 65535, got "x"'],
    [
      [],
      { ATOMSTREAM_PORTS: '1' },
      'unknown variable ATOMSTREAM_PORTS, did you mean ATOMSTREAM_PORT?; see --help',
    ],
    [['keys'], {}, 'keys: expected create, list or revoke, got nothing'],
    [['keys', 'lst'], {}, 'keys: expected create, list or revoke, got "lst", did you mean list?'],
  ]
  for (const [args, env, message] of cases) {
    const { status, stdout, stderr } = runMain(args, env)
    assert.equal(status, 2, stderr)
    assert.equal(stdout, '')
    assert.equal(stderr, `atomstream: ${message}\n`)
  }
})

test('a data folder that cannot be made is a failed start, not a busy one', async () => {
  const { code } = await runCommand('/proc/no-such-folder/store', [])
  assert.equal(code, 1)
})
