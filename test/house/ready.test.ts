import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('../../..', import.meta.url))

interface Outcome {
  code: number | null
  stdout: string
  stderr: string
}

/** A folder with the project's own scripts and packages and a few sources of its own. */
function makeProject(t: TestContext): string {
  const folder = makeFolder(t)
  for (const path of ['scripts', 'package.json', 'package-lock.json', 'tsconfig.json']) {
    cpSync(join(root, path), join(folder, path), { recursive: true })
  }
  // Nothing here may start an install: npm ci would empty the real folder through this link.
  symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'))
  for (const part of ['src', 'workers', 'bench', 'test']) mkdirSync(join(folder, part))
  writeFileSync(
    join(folder, 'src', 'main.ts'),
    "const shown: string[] = process.argv.slice(2)\nconsole.log('served', ...shown)\n",
  )
  writeFileSync(join(folder, 'test', 'old.test.ts'), 'export const old = 1\n')
  return folder
}

function makeFolder(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'atomstream-ready-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

async function runScript(folder: string, script: string, ...args: string[]): Promise<Outcome> {
  return runNode(join(folder, 'scripts', script), ...args)
}

async function runNode(...args: string[]): Promise<Outcome> {
  // npm's own variables would point a nested npm at this project.
  const env = Object.fromEntries(
    Object.entries(process.env).filter(([name]) => !/^(npm_|NODE_TEST)/.test(name)),
  )
  const child = spawn(process.execPath, args, { env, stdio: ['ignore', 'pipe', 'pipe'] })
  const outcome: Outcome = { code: null, stdout: '', stderr: '' }
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    outcome.stdout += text
  })
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    outcome.stderr += text
  })
  outcome.code = await new Promise((resolve) => child.once('close', resolve))
  return outcome
}

/** Nothing but the build stays behind: no lock, no half-made build. */
function assertTidy(folder: string): void {
  const left = readdirSync(folder).filter((name) => name.startsWith('dist'))
  assert.deepEqual(left, ['dist'])
}

test('the first start builds and serves, the next one only serves', async (t) => {
  const folder = makeProject(t)
  const first = await runScript(folder, 'atomstream.mjs', '--port', '9000')
  assert.equal(first.code, 0, first.stderr)
  assert.equal(first.stdout, 'served --port 9000\n')
  assert.match(first.stderr, /building/)
  assertTidy(folder)
  const second = await runScript(folder, 'atomstream.mjs', '--port=9000')
  assert.deepEqual(second, { code: 0, stdout: 'served --port=9000\n', stderr: '' })
})

test('a changed source is built again, a changed time alone is not', async (t) => {
  const folder = makeProject(t)
  const source = join(folder, 'src', 'main.ts')
  assert.equal((await runScript(folder, 'build.mjs')).code, 0)
  utimesSync(source, new Date(), new Date())
  assert.equal((await runScript(folder, 'atomstream.mjs')).stderr, '')
  writeFileSync(source, "console.log('changed')\n")
  const changed = await runScript(folder, 'atomstream.mjs')
  assert.equal(changed.stdout, 'changed\n')
  assert.match(changed.stderr, /building/)
})

test('nothing of a deleted source survives in the build', async (t) => {
  const folder = makeProject(t)
  assert.equal((await runScript(folder, 'build.mjs')).code, 0)
  assert(existsSync(join(folder, 'dist', 'test', 'old.test.js')))
  rmSync(join(folder, 'test', 'old.test.ts'))
  assert.equal((await runScript(folder, 'build.mjs')).code, 0)
  assert(!existsSync(join(folder, 'dist', 'test', 'old.test.js')))
})

test('a source that does not compile stops the start and keeps the last build', async (t) => {
  const folder = makeProject(t)
  assert.equal((await runScript(folder, 'build.mjs')).code, 0)
  writeFileSync(join(folder, 'src', 'main.ts'), 'const port: number = "9000"\nconsole.log(port)\n')
  const outcome = await runScript(folder, 'atomstream.mjs')
  assert.equal(outcome.code, 1)
  assert.equal(outcome.stdout, '')
  assert.match(outcome.stderr, /the build failed:\nsrc\/main\.ts\(1,7\): error TS2322/)
  assertTidy(folder)
  assert.match(readFileSync(join(folder, 'dist', 'src', 'main.js'), 'utf8'), /served/)
})

test('two starts at once build once and both serve', async (t) => {
  const folder = makeProject(t)
  const outcomes = await Promise.all([
    runScript(folder, 'atomstream.mjs'),
    runScript(folder, 'atomstream.mjs'),
  ])
  for (const outcome of outcomes) {
    assert.equal(outcome.code, 0, outcome.stderr)
    assert.equal(outcome.stdout, 'served\n')
  }
  const builds = outcomes.filter((outcome) => outcome.stderr.includes('building'))
  assert.equal(builds.length, 1)
  assertTidy(folder)
})

test('the lock of a start that died is taken over', async (t) => {
  const folder = makeProject(t)
  const dead = spawn(process.execPath, ['--version'], { stdio: 'ignore' })
  await new Promise((resolve) => dead.once('close', resolve))
  mkdirSync(join(folder, 'dist-lock'))
  writeFileSync(join(folder, 'dist-lock', 'pid'), String(dead.pid))
  const outcome = await runScript(folder, 'atomstream.mjs')
  assert.equal(outcome.stdout, 'served\n')
  assertTidy(folder)
})

test('missing packages are installed with npm ci, once', async (t) => {
  const folder = makeFolder(t)
  cpSync(join(root, 'scripts'), join(folder, 'scripts'), { recursive: true })
  // A package that is a folder needs no network.
  mkdirSync(join(folder, 'piece'))
  writeJson(join(folder, 'piece', 'package.json'), { name: 'piece', version: '1.0.0' })
  const dependencies = { piece: 'file:piece' }
  writeJson(join(folder, 'package.json'), { name: 'whole', version: '1.0.0', dependencies })
  writeJson(join(folder, 'package-lock.json'), {
    name: 'whole',
    version: '1.0.0',
    lockfileVersion: 3,
    requires: true,
    packages: {
      '': { name: 'whole', version: '1.0.0', dependencies },
      'node_modules/piece': { resolved: 'piece', link: true },
      piece: { version: '1.0.0' },
    },
  })
  const ready = JSON.stringify(join(folder, 'scripts', 'ready.mjs'))
  const code = `const { ensureInstalled } = await import(${ready}); await ensureInstalled()`
  const first = await runNode('--input-type=module', '-e', code)
  assert.equal(first.code, 0, first.stderr)
  assert.match(first.stderr, /installing packages/)
  assert(existsSync(join(folder, 'node_modules', 'piece', 'package.json')))
  assert.deepEqual(await runNode('--input-type=module', '-e', code), {
    code: 0,
    stdout: '',
    stderr: '',
  })
  rmSync(join(folder, 'node_modules', 'piece'))
  assert.match((await runNode('--input-type=module', '-e', code)).stderr, /installing packages/)
})

test('an install that fails says what npm said and what to do', async (t) => {
  const folder = makeFolder(t)
  cpSync(join(root, 'scripts'), join(folder, 'scripts'), { recursive: true })
  writeJson(join(folder, 'package.json'), { dependencies: { piece: 'file:piece' } })
  writeJson(join(folder, 'package-lock.json'), { lockfileVersion: 3, packages: { '': {} } })
  const outcome = await runScript(folder, 'atomstream.mjs')
  assert.equal(outcome.code, 1)
  assert.match(outcome.stderr, /npm ci failed; it said:\n[\s\S]*start again/)
})

function writeJson(path: string, value: unknown): void {
  writeFileSync(path, JSON.stringify(value))
}
