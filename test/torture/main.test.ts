import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { temporaryFolder } from '../support/server.ts'
import { eventually, within } from '../support/waiting.ts'
import type { TortureReport } from './report.ts'

const mainPath = join(import.meta.dirname, 'main.js')
const endTimeoutMs = 60_000

interface Torture {
  readonly child: ChildProcess
  readonly temporary: string
  readonly output: { stdout: string; stderr: string }
  readonly ended: Promise<number | null>
}

/** The program with a temporary folder of its own, so that what it leaves there is seen. */
async function torture(t: TestContext, args: readonly string[]): Promise<Torture> {
  const temporary = join(await temporaryFolder(t), 'tmp')
  mkdirSync(temporary)
  const env = { ...process.env, TMPDIR: temporary }
  const child = spawn(process.execPath, [mainPath, ...args], {
    env,
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  t.after(() => child.kill('SIGKILL'))
  const output = { stdout: '', stderr: '' }
  child.stdout.on('data', (chunk: Buffer) => {
    output.stdout += chunk.toString()
  })
  child.stderr.on('data', (chunk: Buffer) => {
    output.stderr += chunk.toString()
  })
  const ended = once(child, 'close').then(([code]) => code as number | null)
  return { child, temporary, output, ended }
}

test('torture prints the table, writes the report and leaves nothing behind', async (t) => {
  const file = join(await temporaryFolder(t), 'report.json')
  const args = ['--quick', '--only', 'nasty', '--runs', '500', '--seed', '7', '--json', file]
  const { output, ended, temporary } = await torture(t, args)
  assert.equal(await within(ended, 'the end of the torture', endTimeoutMs), 0, output.stderr)
  assert.match(output.stdout, /fault +\| runs +\| must hold +\| measured +\| held/)
  assert.match(output.stdout, /nasty JSON.* \| 500 +\|.*\| yes/)
  const report = JSON.parse(readFileSync(file, 'utf8')) as TortureReport
  assert.equal(report.seed, 7)
  assert.deepEqual(
    report.rows.map(({ held, runs }) => [held, runs]),
    [['yes', 500]],
  )
  assert.deepEqual(readdirSync(temporary), [])
})

test('SIGINT ends what was started, and what was not tried has not held', async (t) => {
  const { child, output, ended, temporary } = await torture(t, ['--only', 'kill', '--runs', '100'])
  const serverPid = await eventually(async () => childServers(temporary)[0], 'a server')
  child.kill('SIGINT')
  assert.equal(await within(ended, 'the end of the torture', endTimeoutMs), 130, output.stderr)
  assert.match(output.stdout, /\| NO/)
  assert.match(output.stdout, /interrupted/)
  assert.deepEqual(childServers(temporary), [], `${serverPid} was started`)
  assert.deepEqual(readdirSync(temporary), [])
})

test('options that are wrong are told before anything runs', async (t) => {
  const { output, ended } = await torture(t, ['--only', 'nothing-like-it'])
  assert.equal(await ended, 2)
  assert.match(output.stderr, /nothing-like-it/)
  const help = await torture(t, ['--help'])
  assert.equal(await help.ended, 0)
  assert.match(help.output.stdout, /--only ID\[,ID\]/)
})

/** Processes whose data folder lies in `folder`. */
function childServers(folder: string): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && environmentOf(name).includes(`=${folder}/`))
    .map(Number)
}

function environmentOf(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/environ`, 'latin1')
  } catch {
    return ''
  }
}
