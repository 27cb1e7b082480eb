import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'

export const root = fileURLToPath(new URL('..', import.meta.url))

const sourceFolders = ['src', 'workers', 'bench', 'test']
const buildFiles = ['tsconfig.json', 'package-lock.json']
/** 192 MiB: the largest body, what grows beside it, and room. */
const wasmPagesMax = 3_072
const lockPollMs = 100
/** A holder older than this has hung, or its process id belongs to somebody else by now. */
const lockTimeoutMs = 600_000

/**
 * Installs and builds what is missing or stale, and does nothing, quickly and quietly, where all is
 * there. `dev` also asks for what only tests, checks and the bench need. Talks on stderr alone,
 * because stdout belongs to the program. Ends the process with status 1 and advice where it cannot.
 */
export async function ensureReady({ dev }) {
  try {
    checkNode()
    if (isInstalled({ dev }) && isBuilt()) return
    await withLock(async () => {
      const stale = !isBuilt()
      // Building takes the compiler, which is a development package.
      if (!isInstalled({ dev: dev || stale })) await install()
      if (stale) await build()
    })
  } catch (error) {
    fail(error)
  }
}

/** As `ensureReady`, without the build. */
export async function ensureInstalled() {
  try {
    checkNode()
    if (isInstalled({ dev: true })) return
    await withLock(async () => {
      if (!isInstalled({ dev: true })) await install()
    })
  } catch (error) {
    fail(error)
  }
}

/** Runs a command with this terminal and gives its exit status; signals are passed on to it. */
export async function run(command, args) {
  const child = spawn(command, args, { cwd: root, stdio: 'inherit' })
  const forward = (signal) => child.kill(signal)
  process.on('SIGTERM', forward)
  process.on('SIGINT', forward)
  const [code, signal] = await new Promise((resolve, reject) => {
    child.once('error', reject)
    child.once('exit', (...result) => resolve(result))
  })
  process.off('SIGTERM', forward)
  process.off('SIGINT', forward)
  return signal === null ? code : 1
}

/** The file that a package's command stands for, as its package.json says. */
export function packageBin(packageName, commandName) {
  const folder = join(root, 'node_modules', packageName)
  const { bin } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'))
  return join(folder, typeof bin === 'string' ? bin : bin[commandName])
}

function fail(error) {
  const denied = ['EACCES', 'EPERM', 'EROFS'].includes(error.code)
  const advice = denied ? `\nRun "npm run build" once as a user who may write to ${root}` : ''
  process.stderr.write(`atomstream: ${error.message}${advice}\n`)
  process.exit(1)
}

function checkNode() {
  const [major, minor] = process.versions.node.split('.').map(Number)
  // The upper end is that of the HTTP server's binary, which is built for each version of Node.
  if (major > 20 ? major < 23 : major === 20 && minor >= 12) return
  throw new Error(
    `Node.js 20.12 to 22 is needed and this is ${process.versions.node}. ` +
      'Install Node.js 20 or 22 and start again.',
  )
}

/**
 * Compares the lock file with the one that npm writes into node_modules when it is done. Optional
 * packages are left out: which of them npm installs depends on the machine.
 */
function isInstalled({ dev }) {
  const wanted = readJson(join(root, 'package-lock.json'))
  const present = readJson(join(root, 'node_modules', '.package-lock.json'))
  if (wanted === null) throw new Error('package-lock.json is missing or broken: get it again')
  if (present === null) return false
  for (const [path, entry] of Object.entries(wanted.packages)) {
    if (path === '' || entry.optional || entry.devOptional || (entry.dev && !dev)) continue
    const other = present.packages[path]
    if (other === undefined || other.version !== entry.version) return false
    if (entry.integrity && other.integrity && other.integrity !== entry.integrity) return false
    if (!existsSync(join(root, path))) return false
  }
  return true
}

function isBuilt() {
  const stampFile = join(root, 'dist', '.stamp')
  if (!existsSync(stampFile) || !existsSync(join(root, 'dist', 'src', 'main.js'))) return false
  return readFileSync(stampFile, 'utf8') === sourceStamp()
}

/**
 * SHA-256 over the paths and the contents of all that goes into the build. Contents and not times,
 * because copying a finished installation or switching branches changes times alone; reading them
 * all takes a few milliseconds.
 */
function sourceStamp() {
  const hash = createHash('sha256')
  const files = [...buildFiles]
  for (const folder of sourceFolders) {
    for (const path of readdirSync(join(root, folder), { recursive: true })) {
      if (path.endsWith('.ts')) files.push(join(folder, path))
    }
  }
  for (const path of files.sort()) {
    const bytes = readFileSync(join(root, path))
    hash.update(`\0${path}\0${bytes.length}\0`).update(bytes)
  }
  return hash.digest('hex')
}

async function install() {
  process.stderr.write('atomstream: installing packages (npm ci) …\n')
  // Under npm this names the npm that runs us; without it there is the one on the PATH.
  const npm = process.env.npm_execpath
  const isNpm = npm !== undefined && /npm-cli\.c?js$/.test(npm)
  // NODE_ENV=production would leave the compiler out.
  const args = ['ci', '--include=dev', '--no-audit', '--no-fund', '--loglevel=error']
  const command = isNpm ? process.execPath : 'npm'
  const output = await capture(command, isNpm ? [npm, ...args] : args)
  if (output === null) return
  throw new Error(
    `npm ci failed; it said:\n${output}\n` +
      'Check that this machine reaches the npm registry, then start again.',
  )
}

/**
 * Builds into a folder beside dist and swaps the two: a failed build leaves the last one standing,
 * and nothing of a deleted source stays behind, where its tests would still run.
 */
async function build() {
  process.stderr.write('atomstream: building …\n')
  const dist = join(root, 'dist')
  const next = join(root, `dist-next-${process.pid}`)
  // Taken first: a source that changes during the build makes the stamp wrong and the build stale.
  const stamp = sourceStamp()
  try {
    const tsc = packageBin('typescript', 'tsc')
    const paths = ['--outDir', next, '--tsBuildInfoFile', join(next, '.tsbuildinfo')]
    const args = [tsc, '-p', join(root, 'tsconfig.json'), ...paths, '--pretty', 'false']
    const output = await capture(process.execPath, args)
    if (output !== null) throw new Error(`the build failed:\n${output}`)
    await buildWasm(next)
    writeFileSync(join(next, '.stamp'), stamp)
    rmSync(dist, { recursive: true, force: true })
    renameSync(next, dist)
  } finally {
    rmSync(next, { recursive: true, force: true })
  }
}

/**
 * Compiles each folder `assembly` below src to a WebAssembly module beside it in the build, named after the
 * folder that both are in.
 */
export async function buildWasm(outDir) {
  for (const path of readdirSync(join(root, 'src'), { recursive: true })) {
    if (!path.endsWith(join('assembly', 'index.ts'))) continue
    const parent = join('src', dirname(dirname(path)))
    const outFile = join(outDir, parent, `${basename(parent)}.wasm`)
    const asc = packageBin('assemblyscript', 'asc')
    // No collector, no assertions and nothing to import: what it is given, its bounds, checks its input.
    const lean = ['--runtime', 'stub', '--noAssert', '--use', 'abort=']
    // Vectors go between functions of the module, which the warning takes for its boundary.
    const vectors = ['--enable', 'simd', '--disableWarning', '112']
    const memory = ['--maximumMemory', String(wasmPagesMax)]
    const args = [asc, join(root, 'src', path), '--outFile', outFile, '-O3']
    const output = await capture(process.execPath, [...args, ...lean, ...vectors, ...memory])
    if (output !== null) throw new Error(`the build failed:\n${output}`)
  }
}

/** Runs a command silently. Gives null where it succeeds, else what it printed. */
async function capture(command, args) {
  const child = spawn(command, args, { cwd: root, stdio: ['ignore', 'pipe', 'pipe'] })
  let output = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text) => {
      output += text
    })
  }
  let interrupted = false
  const interrupt = () => {
    interrupted = true
    child.kill()
  }
  process.on('SIGINT', interrupt).on('SIGTERM', interrupt)
  try {
    const code = await new Promise((resolve, reject) => {
      child.once('error', reject)
      child.once('close', resolve)
    })
    if (interrupted) throw new Error('interrupted')
    return code === 0 ? null : output.trim()
  } finally {
    process.off('SIGINT', interrupt).off('SIGTERM', interrupt)
  }
}

/**
 * One process at a time installs and builds here. The lock is a folder that appears by a rename
 * with its holder's process id already in it, and goes by a rename, so that it is never seen half made.
 */
async function withLock(work) {
  const lock = join(root, 'dist-lock')
  const mine = join(root, `dist-lock-${process.pid}`)
  rmSync(mine, { recursive: true, force: true })
  mkdirSync(mine)
  try {
    writeFileSync(join(mine, 'pid'), String(process.pid))
    await acquire(lock, mine)
    try {
      await work()
    } finally {
      renameSync(lock, mine)
    }
  } finally {
    rmSync(mine, { recursive: true, force: true })
  }
}

async function acquire(lock, mine) {
  let told = false
  for (;;) {
    try {
      renameSync(mine, lock)
      return
    } catch (error) {
      if (error.code !== 'ENOTEMPTY' && error.code !== 'EEXIST') throw error
    }
    const holder = readHolder(lock)
    if (holder !== null && !isAlive(holder)) breakLock(lock, holder)
    else if (!told) {
      process.stderr.write('atomstream: waiting for another start in this folder …\n')
      told = true
    }
    await sleep(lockPollMs)
  }
}

/** The holder's process id and the lock's age, or null where it has just been released. */
function readHolder(lock) {
  try {
    const ageMs = Date.now() - statSync(lock).mtimeMs
    return { pid: Number(readFileSync(join(lock, 'pid'), 'utf8')), ageMs }
  } catch {
    return null
  }
}

function isAlive({ pid, ageMs }) {
  if (ageMs > lockTimeoutMs) return false
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return error.code === 'EPERM'
  }
}

/** Takes a dead holder's lock away; gives it back where another process has been faster. */
function breakLock(lock, holder) {
  const broken = `${lock}-broken-${process.pid}`
  try {
    renameSync(lock, broken)
    if (readHolder(broken)?.pid === holder.pid) rmSync(broken, { recursive: true, force: true })
    else renameSync(broken, lock)
  } catch (error) {
    if (error.code !== 'ENOENT') throw error
  }
}

function readJson(path) {
  try {
    return JSON.parse(readFileSync(path, 'utf8'))
  } catch {
    return null
  }
}
