import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { ensureReady, root, run } from './ready.mjs'

// npm test [-- PART_OF_A_PATH … --OPTION_OF_NODE=VALUE …]
const options = process.argv.slice(2).filter((argument) => argument.startsWith('-'))
const filters = process.argv
  .slice(2)
  .filter((argument) => !argument.startsWith('-'))
  // So that the path of a source finds its built test.
  .map((argument) => argument.replace(/\.ts$/, '.js'))

await ensureReady({ dev: true })

const folder = join('dist', 'test')
const files = readdirSync(join(root, folder), { recursive: true })
  .filter((path) => path.endsWith('.test.js'))
  .map((path) => join(folder, path))
  .filter((path) => filters.length === 0 || filters.some((filter) => path.includes(filter)))
  .sort()

if (files.length === 0) {
  process.stderr.write(`no test file matches ${filters.join(' ')}\n`)
  process.exit(1)
}

process.exit(
  await run(process.execPath, [
    '--enable-source-maps',
    '--test',
    // Each file starts servers of its own, with their threads; more at once get in each other's way.
    '--test-concurrency=2',
    '--test-timeout=300000',
    '--test-reporter=spec',
    ...options,
    ...files,
  ]),
)
