import assert from 'node:assert/strict'
import { test } from 'node:test'
import { allHeld, formatReport, formatTable, type Row, rowOf } from './report.ts'

const subject = { id: 'kill-9', fault: 'kill -9', mustHold: '0 lost', runsOrdered: 10 }

test('a row has held only where all runs were made and none failed', () => {
  const made = { runs: 10, measured: '0 lost', failures: [] }
  const held = rowOf(subject, made, 5)
  assert.deepEqual([held.held, held.failures, held.durationMs], ['yes', [], 5])
  assert.equal(rowOf(subject, { ...made, failures: ['run 3: 1 lost'] }, 5).held, 'NO')
  const short = rowOf(subject, { ...made, runs: 9 }, 5)
  assert.deepEqual([short.held, short.failures], ['NO', ['9 of 10 runs were made']])
})

test('what could not be run has not held, and counts against the whole unless that is allowed', () => {
  const untried = { runs: 0, measured: '', failures: [], notRun: 'strace is missing' }
  const row = rowOf(subject, untried, 5)
  assert.deepEqual([row.held, row.measured], ['not run', 'strace is missing'])
  assert.equal(allHeld([row], { allowNotRun: false }), false)
  assert.equal(allHeld([row], { allowNotRun: true }), true)
  const failed = rowOf(subject, { ...untried, failures: ['it died'] }, 5)
  assert.equal(failed.held, 'NO')
  assert.equal(allHeld([row, failed], { allowNotRun: true }), false)
})

test('a table wraps long cells and cuts words that are longer than a line', () => {
  const rows = [
    ['one two three', '1'],
    ['abcdefghijkl', '22'],
  ]
  assert.equal(
    formatTable(['name', 'n'], rows, [8, 4]),
    [
      'name     | n',
      '---------+---',
      'one two  | 1',
      'three    |',
      '---------+---',
      'abcdefgh | 22',
      'ijkl     |',
    ].join('\n'),
  )
})

test('the report names version, seed and what did not hold', () => {
  const row: Row = {
    ...rowOf(subject, { runs: 10, measured: '1 lost', failures: ['run 3: 1 lost'] }, 5),
  }
  const text = formatReport({
    version: '1.2.3',
    date: '2025-01-20T10:30:00.000Z',
    node: '20.20.2',
    seed: 42,
    quick: false,
    rows: [row],
  })
  assert.match(text, /^atomstream 1\.2\.3, Node 20\.20\.2, 2025-01-20T10:30:00\.000Z, seed 42\n/)
  assert.match(text, /kill -9 +\| 10 +\| 0 lost +\| 1 lost +\| NO/)
  assert.match(text, /again with --seed 42\):\nkill-9: run 3: 1 lost\n$/)
})
