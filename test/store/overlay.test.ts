import assert from 'node:assert/strict'
import test from 'node:test'
import fc from 'fast-check'
import type { Range } from '../../src/store/database.ts'
import { Database } from '../../src/store/database.ts'
import { Overlay } from '../../src/store/overlay.ts'
import { temporaryFolder } from './fixtures.ts'

/** Short keys over few bytes, so that they meet and one is the beginning of another. */
const keyArbitrary = fc
  .array(fc.constantFrom(0, 1, 127, 128, 255), { minLength: 1, maxLength: 3 })
  .map((bytes) => Uint8Array.from(bytes))
const changeArbitrary = fc.record({
  key: keyArbitrary,
  value: fc.option(fc.uint8Array({ minLength: 1, maxLength: 3 })),
})
const scenario = fc.record({
  committed: fc.array(changeArbitrary, { maxLength: 20 }),
  units: fc.array(fc.record({ changes: fc.array(changeArbitrary), fails: fc.boolean() })),
  from: keyArbitrary,
  to: keyArbitrary,
  reverse: fc.boolean(),
  limit: fc.option(fc.nat(6), { nil: undefined }),
})

test('an overlay reads as a table in which its changes stand, less those taken back', async (t) => {
  const path = await temporaryFolder(t)
  const database = new Database({ path, flush: false, maxBytes: 64 * 1024 * 1024 })
  await fc.assert(
    fc.asyncProperty(scenario, async ({ committed, units, from, to, reverse, limit }) => {
      const old = [...database.table('atoms').keys({ from: Uint8Array.of(0), to: everyKey })]
      await database.apply(old.map((key) => ({ table: 'atoms', key, value: null })))
      await database.apply(committed.map((change) => ({ table: 'atoms', ...change })))
      const overlay = new Overlay(database)
      const model = new Model(committed)
      for (const { changes, fails } of units) {
        overlay.mark()
        for (const change of changes) overlay.set({ table: 'atoms', ...change })
        if (fails) overlay.undo()
        else model.apply(changes)
      }
      const table = overlay.table('atoms')
      const range = { from, to, reverse, ...(limit === undefined ? {} : { limit }) }
      const expected = model.entries(range)
      assert.deepEqual(
        Array.from(table.entries(range), ({ key, value }) => [hex(key), hex(value)]),
        expected,
      )
      assert.deepEqual(
        Array.from(table.keys(range), hex),
        expected.map(([key]) => key),
      )
      for (const { key } of [...committed, ...units.flatMap(({ changes }) => changes)]) {
        const value = table.get(key)
        assert.equal(value === null ? undefined : hex(value), model.rows.get(hex(key)))
        assert.equal(table.has(key), value !== null)
      }
      await database.apply(overlay.writes())
      const written = Array.from(database.table('atoms').entries(range), ({ key }) => hex(key))
      assert.deepEqual(
        written,
        expected.map(([key]) => key),
      )
    }),
    { numRuns: 200, seed: 20_251_121 },
  )
  await database.close()
})

const everyKey = Uint8Array.of(255, 255, 255, 255)

class Model {
  readonly rows = new Map<string, string>()

  constructor(changes: readonly Change[]) {
    this.apply(changes)
  }

  apply(changes: readonly Change[]): void {
    for (const { key, value } of changes) {
      if (value === null) this.rows.delete(hex(key))
      else this.rows.set(hex(key), hex(value))
    }
  }

  entries({ from, to, reverse, limit }: Range): [string, string][] {
    const first = hex(from)
    const end = hex(to)
    const within = [...this.rows].filter(([key]) =>
      reverse ? key <= first && key > end : key >= first && key < end,
    )
    const sorted = within.sort(([one], [other]) => (one < other ? -1 : 1))
    return (reverse ? sorted.reverse() : sorted).slice(0, limit)
  }
}

interface Change {
  readonly key: Uint8Array
  readonly value: Uint8Array | null
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex')
}
