import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type BenchReport, formatFigure, formatReport, formatTable } from '../../bench/report.ts'
import { allRows, speedUp } from '../../bench/rows.ts'
import { benchReport, someMachine } from '../support/bench-report.ts'

const report: BenchReport = {
  format: 1,
  quick: false,
  machine: { ...someMachine, commit: null },
  settings: { rateLimit: 'off', durability: 'flush' },
  rows: [
    {
      id: 'throughput/telemetry-100',
      table: 'throughput',
      label: 'telemetry, 100 a batch',
      unit: 'rec/s',
      published: 1_000,
      required: 10_000,
      measured: 812_345.6,
      p50Ms: 1.2345,
      p99Ms: 9.876,
      samples: 4_321,
      bytesPerSecond: 87_654_321,
      serverAnonBytesMax: 1e8,
      disk: null,
      readBack: {
        recordsCounted: 432_100,
        recordsCompared: 600,
        blobsCompared: 0,
        mismatches: ['record 7 humidity: read 1, sent 2'],
      },
      verdict: 'missed',
      note: 'what was read back differs',
    },
  ],
  codecs: [],
  verdict: 'missed',
}

test('a report shows the figures of a row, what differed, and which rows were missed', () => {
  const text = formatReport(report)
  assert.match(text, /The rate limit is off/)
  assert.match(text, /1,000 +10,000 +812,346 +1\.23 +9\.88 +4,321 +87\.7 +missed/)
  assert.match(text, /NOT as sent:\n {2}throughput\/telemetry-100: record 7 humidity/)
  assert.match(text, /MISSED: throughput\/telemetry-100\n$/)
})

test('a row that could not be run is named at the end and is never one that is met', () => {
  const [row] = report.rows
  assert(row !== undefined)
  const rest = { readBack: null, measured: null } as const
  const met = { ...row, ...rest, id: 'a', verdict: 'met' } as const
  const skipped = { ...row, ...rest, id: 'b', verdict: 'not run' } as const
  const text = (rows: BenchReport['rows']) => formatReport({ ...report, rows, verdict: 'met' })
  assert.match(text([met]), /\nAll rows met\.\n$/)
  assert.match(text([met, skipped]), /\nAll other rows met; not run: b\n$/)
})

test('growth has a table for each thing that is raised, durability a line for each size', () => {
  const point = { table: 'growth', measured: 5_000, p50Ms: 1, p99Ms: 2 } as const
  const rate = { table: 'durability', label: '100 a batch' } as const
  const text = formatReport(
    benchReport([
      { ...point, id: 'a', label: '7 sessions', growth: { dimension: 'sessions', value: 7 } },
      { ...point, id: 'b', label: '9 a batch', growth: { dimension: 'batch', value: 9 } },
      { ...rate, id: 'durability/x-flush', measured: 200_000, p99Ms: 8 },
      { ...rate, id: 'durability/x-commit', measured: 300_000, p99Ms: 4 },
      { ...rate, id: 'durability/x', unit: '×', measured: 1.5, verdict: 'missed', note: 'why' },
    ]),
  )
  const [before, batches = '', sessions = '', durability = ''] =
    text.split(/^(?=Against|The cost)/m)
  assert.match(before ?? '', /\nHow cost grows\n=+\n\n$/)
  assert.match(batches, /^Against the batch size.*\n\n[\s\S]*9 a batch +5,000 +1 +2 /)
  assert.match(sessions, /^Against sessions.*\n\n[\s\S]*7 sessions +5,000 +1 +2 /)
  assert.match(durability, /100 a batch +200,000 +8 +300,000 +4 +1\.5 +missed: why\n/)
})

test('columns line up: names to the left, figures to the right', () => {
  const rows = [
    ['a', '1'],
    ['long name', '1,234'],
  ]
  assert.equal(
    formatTable(['row', 'rate'], rows),
    'row         rate\n---------  -----\na              1\nlong name  1,234',
  )
})

test('figures keep three digits or whole numbers', () => {
  assert.deepEqual([null, 0.012345, 1, 99.96, 123.4, 50_000].map(formatFigure), [
    '-',
    '0.0123',
    '1',
    '100',
    '123',
    '50,000',
  ])
})

test('every published figure is a row, and row ids are unique', () => {
  const rows = allRows()
  assert.equal(new Set(rows.map((row) => row.id)).size, rows.length)
  const figures = rows.flatMap((row) => {
    const size = `${row.run.body.kind} ${row.run.body.records} ${row.run.connections === 1}`
    if (row.kind === 'throughput') return [`${size} ${row.published}/s`]
    if (row.kind === 'latency') return [`${size} ${row.publishedPerSecond}/s ${row.publishedMs} ms`]
    return []
  })
  assert.deepEqual(figures.toSorted(), [
    'buffers 10 false 500/s',
    'buffers 10 false 500/s 20 ms',
    'frames 10 false 300/s',
    'frames 10 false 300/s 33 ms',
    'frames 100 false 2000/s',
    'frames 100 false 2000/s 50 ms',
    'telemetry 1 true 100/s',
    'telemetry 1 true 100/s 10 ms',
    'telemetry 100 false 1000/s',
    'telemetry 100 false 1000/s 100 ms',
    'telemetry 1000 false 8333/s',
    'telemetry 1000 false 8333/s 120 ms',
    'telemetry 1000 true 8333/s',
    'telemetry 1000 true 8333/s 120 ms',
    'telemetry 10000 false 50000/s',
    'telemetry 10000 false 50000/s 200 ms',
  ])
  for (const id of [speedUp.fast, speedUp.slow]) assert(rows.some((row) => row.id === id))
})
