import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'

interface LockEntry {
  version?: string
  dependencies?: Record<string, string>
  devDependencies?: Record<string, string>
  optionalDependencies?: Record<string, string>
}

function readRoot<T>(name: string): T {
  return JSON.parse(readFileSync(new URL(`../../../${name}`, import.meta.url), 'utf8')) as T
}

test('versions are exact, so that two clones run the same code', () => {
  const { dependencies, devDependencies } = readRoot<LockEntry>('package.json')
  for (const [name, version] of Object.entries({ ...dependencies, ...devDependencies })) {
    assert.match(version, /^(npm:[\w.-]+@)?\d+\.\d+\.\d+$/, name)
  }
})

// npm leaves out of the lock what the registry it was made with did not have, an optional build for
// another system say, and `npm ci` then refuses the whole lock on every machine.
test('the lock file holds every package that another one names, for all systems', () => {
  const { packages } = readRoot<{ packages: Record<string, LockEntry> }>('package-lock.json')
  for (const [path, entry] of Object.entries(packages)) {
    if (path !== '') assert(entry.version !== undefined, path)
    const named = Object.keys({ ...entry.dependencies, ...entry.optionalDependencies })
    for (const name of named) {
      const nested = `${path}/node_modules/${name}`
      assert(nested in packages || `node_modules/${name}` in packages, `${path} names ${name}`)
    }
  }
})
