import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { formatComparison } from '../../bench/compare.ts'
import { readReport, writeResult } from '../../bench/stored-report.ts'
import { benchReport } from '../support/bench-report.ts'

function temporaryFolder(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'bench-compare-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

const older = benchReport([
  { id: 'throughput/a', measured: 200_000, p99Ms: 20 },
  { id: 'throughput/gone', measured: 1 },
  { id: 'throughput/other', measured: 1, unit: 'ms' },
  { id: 'throughput/failed' },
])
const newer = benchReport(
  [
    { id: 'throughput/a', measured: 300_000, p99Ms: 5 },
    { id: 'throughput/fresh', measured: 7 },
    { id: 'throughput/other', measured: 2, unit: 's' },
    { id: 'throughput/failed', measured: 8 },
  ],
  { machine: { ...older.machine, commit: 'fedcba+', date: '2025-02-01T00:00:00.000Z' } },
)

test('rows that both reports have are shown with old, new and their quotient', () => {
  const text = formatComparison(
    { name: 'old.json', report: older },
    { name: 'this run', report: newer },
  )
  assert.match(text, /throughput\/a +rec\/s +200,000 +300,000 +1\.50 +20 +5 +0\.25\n/)
  assert.match(text, /throughput\/failed +rec\/s +- +8 +- /)
  assert.match(text, /Only in the old one: throughput\/gone\n/)
  assert.match(text, /Only in the new one: throughput\/fresh\n/)
  assert.match(text, /Not in the same unit: throughput\/other\n/)
})

test('both reports are named with date, commit and machine, and what weakens them is said', () => {
  const named = { name: 'old.json', report: older }
  const text = formatComparison(named, { name: 'new.json', report: newer })
  assert.match(text, /old: old\.json: 2025-01-20T\S+, commit 0123456789abcdef, Some CPU, 2 cores/)
  assert.match(text, /new: new\.json: 2025-02-01T\S+, commit fedcba\+, Some CPU/)
  assert.doesNotMatch(text, /same machine|quick run/)
  const machine = { ...newer.machine, cores: 64 }
  const weak = { name: 'new.json', report: { ...newer, quick: true, machine } }
  const doubtful = formatComparison(named, weak)
  assert.match(doubtful, /A quick run tells nothing of speed: new\.json\n/)
  assert.match(doubtful, /not of the same machine/)
})

test('a report that was written is read again as it was', (t) => {
  const path = join(temporaryFolder(t), 'results', 'report.json')
  writeResult(path, JSON.stringify(newer))
  assert.deepEqual(readReport(path), newer)
})

test('a file that is missing, no JSON or no report of this format is refused by its name', (t) => {
  const folder = temporaryFolder(t)
  const path = join(folder, 'file.json')
  assert.throws(() => readReport(path), { message: `${path} is not there` })
  assert.throws(() => readReport(folder), { message: `${folder} cannot be read (EISDIR)` })
  const refusals: [unknown, RegExp][] = [
    [{ ...older, format: 2 }, /is a report of format 2; this bench reads format 1$/],
    [{ ...older, format: undefined }, /is no report of this bench: \/format/],
    [{ ...older, rows: [{ id: 1 }] }, /is no report of this bench: \/rows\/0\/\w+/],
    [[], /is no report of this bench/],
    [null, /is no report of this bench/],
  ]
  for (const [value, message] of refusals) {
    writeFileSync(path, JSON.stringify(value))
    assert.throws(() => readReport(path), message)
  }
  writeFileSync(path, '{"format":1,')
  assert.throws(() => readReport(path), /file\.json is no JSON: /)
})
