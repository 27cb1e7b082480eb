import assert from 'node:assert/strict'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { plotGrowth } from '../../bench/plot.ts'
import { keepReport } from '../../bench/results.ts'
import { readReport } from '../../bench/stored-report.ts'
import { benchReport } from '../support/bench-report.ts'

const report = benchReport([
  { id: 'growth/batch-1', measured: 1, growth: { dimension: 'batch', value: 1 } },
])
const whole = { json: null, quick: false, only: null } as const

function temporaryFolder(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'bench-results-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

test('a run of all rows leaves its report and a plot of it in a folder that it makes', (t) => {
  const folder = join(temporaryFolder(t), 'results')
  const [json = '', svg = ''] = keepReport(whole, report, folder)
  assert.deepEqual(readdirSync(folder).toSorted(), ['growth.svg', 'latest.json'])
  assert.deepEqual(readReport(json), report)
  assert.equal(readFileSync(svg, 'utf8'), plotGrowth(report))
})

test('a run of some rows, or a quick one, leaves only the file that it was asked for', (t) => {
  const folder = temporaryFolder(t)
  assert.deepEqual(keepReport({ ...whole, only: 'growth' }, report, folder), [])
  assert.deepEqual(keepReport({ ...whole, quick: true }, report, folder), [])
  assert.deepEqual(readdirSync(folder), [])
  const json = join(folder, 'mine.json')
  assert.deepEqual(keepReport({ ...whole, json }, report, folder), [json])
  assert.deepEqual(keepReport({ ...whole, json, quick: true }, report, folder), [json])
  assert.deepEqual(readdirSync(folder), ['mine.json'])
})
