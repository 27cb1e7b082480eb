import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Fault } from './fault.ts'
import { chosenFaults, faultId, helpText, parseOptions } from './options.ts'

function named(name: string): Fault {
  const inflict = async () => ({ runs: 0, measured: '', failures: [] })
  return { name, holds: 'it holds', runs: { test: 1, torture: 12_000 }, inflict }
}

const some = [named('kill -9 under mixed load'), named('tenant × scope (all)')]

test('options say what to run, how often and from which seed', () => {
  assert.deepEqual(parseOptions([]), {
    help: false,
    quick: false,
    allowNotRun: false,
    runs: null,
    only: null,
    seed: null,
    json: null,
  })
  const args = ['--runs', '7', '--only', 'Kill, fuzz', '--seed=0', '--json', 'a.json', '--quick']
  assert.deepEqual(parseOptions([...args, '--allow-not-run']), {
    help: false,
    quick: true,
    allowNotRun: true,
    runs: 7,
    only: ['kill', 'fuzz'],
    seed: 0,
    json: 'a.json',
  })
})

test('an option that is unknown, malformed or lacks its value is refused by name', () => {
  const wrong: readonly [string[], RegExp][] = [
    [['--run', '7'], /--run/],
    [['--runs'], /--runs/],
    [['--runs', '0'], /--runs takes a whole number from 1/],
    [['--runs', '1.5'], /--runs/],
    [['--seed', '4294967296'], /--seed/],
    [['--seed=-1'], /--seed/],
    [['--only', 'a,,b'], /--only/],
    [['kill'], /kill/],
  ]
  for (const [args, pattern] of wrong) assert.throws(() => parseOptions(args), pattern)
})

test('faults are chosen by a part of their id, and an id that fits none is refused', () => {
  assert.deepEqual(some.map(faultId), ['kill-9-under-mixed-load', 'tenant-scope-all'])
  assert.deepEqual(chosenFaults(some, null), some)
  assert.deepEqual(chosenFaults(some, ['tenant', 'kill']), some)
  assert.deepEqual(chosenFaults(some, ['kill-9']), [some[0]])
  assert.throws(() => chosenFaults(some, ['kill', 'disk']), /"disk".*kill-9-under-mixed-load/)
})

test('the help names every fault with its runs', () => {
  assert.match(helpText(some), /kill-9-under-mixed-load {2}12,000 runs\n {2}tenant-scope-all/)
})
