import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { posix } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('../../..', import.meta.url))

/** What each part may import of ours. A part is a folder or file of src, or `workers`. */
const mayImport: Readonly<Record<string, readonly string[]>> = {
  'limits.ts': [],
  'clock.ts': [],
  'memory.ts': ['limits.ts'],
  contracts: ['contracts', 'limits.ts'],
  codecs: ['codecs', 'contracts', 'limits.ts'],
  workers: ['workers', 'codecs', 'memories/search', 'contracts', 'limits.ts'],
  store: ['store', 'contracts', 'limits.ts'],
  pool: ['pool', 'contracts', 'limits.ts', 'log.ts'],
  'log.ts': ['config.ts'],
  'metrics.ts': ['contracts', 'limits.ts'],
  'config.ts': ['cli', 'store', 'limits.ts', 'memory.ts'],
  cli: ['cli', 'config.ts', 'store', 'limits.ts', 'log.ts'],
  events: ['events', 'store', 'contracts', 'limits.ts', 'log.ts', 'metrics.ts'],
  ingest: ['ingest', 'pool', 'store', 'contracts', 'clock.ts', 'limits.ts', 'log.ts', 'metrics.ts'],
  // Of a thread of its own: nothing of the main thread may load it.
  'memories/search': ['memories/search', 'contracts', 'limits.ts'],
  memories: ['memories', 'events', 'store', 'contracts', 'limits.ts', 'log.ts', 'metrics.ts'],
  monitor: ['monitor', 'store', 'contracts', 'clock.ts', 'limits.ts', 'log.ts', 'memory.ts'],
  transport: [
    'transport',
    'ingest',
    'events',
    'memories',
    'monitor',
    'store',
    'contracts',
    'config.ts',
    'limits.ts',
    'log.ts',
    'memory.ts',
    'metrics.ts',
  ],
}
/** Of the codecs, the main thread may use those that read small values and heads; bodies go to workers. */
const mainThreadCodecs =
  /^src\/codecs\/(csv|gzip|json|telemetry\/(page-format|scan-upload|schema|timestamp))\.ts$/
/** The composition root and the program's entry bring everything together. */
const compositionFiles = ['src/server.ts', 'src/main.ts']

/** Which sources may import a package; a package that is not here may be imported everywhere. */
const packageImporters = new Map<string, RegExp>(
  Object.entries({
    'uWebSockets.js': /^src\/transport\/uws\.ts$/,
    lmdb: /^src\/store\//,
    libsql: /^src\/memories\/search\//,
    piscina: /^(src\/pool|workers)\//,
    // The pool only loads it: see there.
    sharp: /^src\/(codecs\/.+|pool\/pool\.ts)$/,
    wavefile: /^src\/codecs\//,
    'fluent-ffmpeg': /^src\/codecs\//,
    pino: /^src\/log\.ts$/,
    'prom-client': /^src\/metrics\.ts$/,
    'node:process': /^src\/config\.ts$/,
  }),
)

/**
 * Modules that reach outside the process. Of the codecs, only ffmpeg's adapter may, and what reads the
 * spooled file of a job or the program's own WebAssembly.
 */
const outsideModules = /^node:(fs|net|tls|http|https|http2|dgram|dns|child_process|cluster)(\/|$)/

const ioCodecs = /^src\/codecs\/(ffmpeg[./]|audio\/wav-file\.ts$|telemetry\/scanner\/module\.ts$)/

/** Every rule that the sources break, one line each. Paths are relative to the root. */
function violations(sources: ReadonlyMap<string, string>): string[] {
  return [...sources].flatMap(([path, text]) => {
    const code = withoutComments(text)
    const found = importsOf(code).flatMap((specifier) => importViolation(path, specifier) ?? [])
    if (/\bprocess\s*(\?\.|\.)\s*env\b|\bprocess\s*\[/.test(code) && path !== 'src/config.ts') {
      found.push(`${path} reads process.env`)
    }
    return found
  })
}

function importViolation(path: string, specifier: string): string | null {
  const part = partOf(path)
  if (specifier.startsWith('.')) {
    const target = posix.join(posix.dirname(path), specifier)
    const targetPart = partOf(target)
    if (targetPart === null) return `${path} imports ${target}, which is outside src`
    if (compositionFiles.includes(path)) return null
    const isOfMainThread = ['transport', 'ingest', 'pool'].includes(part ?? '')
    if (isOfMainThread && mainThreadCodecs.test(target)) return null
    const allowed = mayImport[part ?? '']
    if (allowed === undefined) return `${path} is no known part of the program`
    return allowed.includes(targetPart) ? null : `${path} imports ${target}`
  }
  const importers = packageImporters.get(specifier)
  if (importers !== undefined && !importers.test(path)) return `${path} imports ${specifier}`
  const isPure = part === 'codecs' && !ioCodecs.test(path)
  if (isPure && outsideModules.test(specifier)) return `${path} does I/O by ${specifier}`
  return null
}

/** `src/store/keys.ts` is part of `store`, `src/config.ts` is `config.ts`. */
function partOf(path: string): string | null {
  const [top, second] = path.split('/')
  if (top === 'workers') return 'workers'
  if (path.startsWith('src/memories/search/')) return 'memories/search'
  return top === 'src' && second !== undefined ? second : null
}

/** All module specifiers: static, type-only, re-exported, side-effect and dynamic ones. */
function importsOf(code: string): string[] {
  const pattern = /\b(?:from|import|require)\s*\(?\s*(['"`])([^'"`]+)\1/g
  return [...code.matchAll(pattern)].map((match) => match[2] ?? '')
}

function withoutComments(text: string): string {
  return text.replace(/\/\*[\s\S]*?\*\//g, '').replace(/^\s*\/\/.*$/gm, '')
}

test('imports run one way, and each native package has its one importer', () => {
  const sources = new Map(
    ['src', 'workers'].flatMap((folder) =>
      readdirSync(`${root}${folder}`, { recursive: true, encoding: 'utf8' })
        .filter((path) => path.endsWith('.ts'))
        .map((path) => [`${folder}/${path}`, readFileSync(`${root}${folder}/${path}`, 'utf8')]),
    ),
  )
  assert(sources.has('src/config.ts'))
  assert.deepEqual(violations(sources), [])
})

test('a source that breaks a rule is found', () => {
  const broken: readonly [string, string, string][] = [
    ['src/limits.ts', "import { x } from './config.ts'", 'src/config.ts'],
    ['src/contracts/http.ts', "import type { S } from '../store/interfaces.ts'", 'src/store'],
    ['src/store/blobs.ts', "import { x } from '../ingest/batcher.ts'", 'src/ingest'],
    ['src/ingest/jobs.ts', "export { x } from '../transport/router.ts'", 'src/transport'],
    ['src/ingest/jobs.ts', "const x = await import('../transport/router.ts')", 'src/transport'],
    ['workers/decode.ts', "import { x } from '../src/store/store.ts'", 'src/store'],
    ['src/transport/sse.ts', "import { x } from '../pool/pool.ts'", 'src/pool'],
    ['src/ingest/jobs.ts', "import { x } from '../codecs/wav.ts'", 'src/codecs/wav.ts'],
    ['src/transport/sse.ts', "import { App } from 'uWebSockets.js'", 'uWebSockets.js'],
    ['src/ingest/journal.ts', "import { open } from 'lmdb'", 'lmdb'],
    ['src/memories/memories.ts', "import { x } from './search/engine.ts'", 'memories/search'],
    ['src/memories/memories.ts', "import Database from 'libsql'", 'libsql'],
    ['src/codecs/wav.ts', "import { readFile } from 'node:fs/promises'", 'node:fs'],
    ['src/codecs/wav.ts', "import 'node:net'", 'node:net'],
    ['src/codecs/video.ts', "import { spawn } from 'node:child_process'", 'node:child_process'],
    ['src/server.ts', "import { x } from '../test/support.ts'", 'test/support.ts'],
    ['src/oddity/x.ts', "import { limits } from '../limits.ts'", 'no known part'],
    ['src/server.ts', 'const home = process.env.HOME', 'process.env'],
    ['src/server.ts', "import { env } from 'node:process'", 'node:process'],
    ['workers/decode.ts', "const { env } = process['env']", 'process.env'],
  ]
  for (const [path, text, named] of broken) {
    const found = violations(new Map([[path, text]]))
    assert.equal(found.length, 1, `${path}: ${text}`)
    assert(found[0]?.startsWith(path) && found[0].includes(named), found[0])
  }
})

test('what the rules allow is not found', () => {
  const allowed: readonly [string, string][] = [
    ['src/transport/uws.ts', "import { App } from 'uWebSockets.js'"],
    ['src/store/store.ts', "import { open } from 'lmdb'"],
    ['src/codecs/ffmpeg.ts', "import { spawn } from 'node:child_process'"],
    ['src/config.ts', 'const env = process.env'],
    ['src/transport/input.ts', "import { parseJson } from '../codecs/json.ts'"],
    ['src/server.ts', '// process.env is read by config.ts\n/* import "lmdb" */'],
    ['src/main.ts', "import { startServer } from './server.ts'"],
  ]
  assert.deepEqual(violations(new Map(allowed)), [])
})
