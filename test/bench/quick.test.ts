import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { type TestContext, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { durabilityRowIds } from '../../bench/durability.ts'
import { growthRows } from '../../bench/growth-rows.ts'
import { limitRowIds } from '../../bench/limits.ts'
import { mediaRowIds } from '../../bench/media.ts'
import { memorySearchRowIds } from '../../bench/memory-search.ts'
import type { BenchReport } from '../../bench/report.ts'
import { allRows } from '../../bench/rows.ts'
import { streamRowIds } from '../../bench/stream.ts'
import { benchReport } from '../support/bench-report.ts'

const bench = fileURLToPath(new URL('../../bench/main.js', import.meta.url))

function temporaryFolder(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'bench-test-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

function startBench(t: TestContext, ...args: string[]) {
  const child = spawn(process.execPath, [bench, ...args], { stdio: ['ignore', 'pipe', 'pipe'] })
  t.after(() => child.kill('SIGKILL'))
  return child
}

test('a quick bench reads back all that it sent, row by row, and cleans up', async (t) => {
  const folder = temporaryFolder(t)
  const json = join(folder, 'report.json')
  const child = startBench(t, '--quick', '--json', json, '--dir', folder)
  const [output, errors] = await Promise.all([
    text(child.stdout),
    text(child.stderr),
    once(child, 'close'),
  ])
  assert.equal(child.exitCode, 0, `${errors}\n${output}`)
  assert.match(output, /The rate limit is off/)
  assert.match(output, /all as sent/)
  const report = JSON.parse(readFileSync(json, 'utf8')) as BenchReport
  assert.equal(report.quick, true)
  assert.equal(report.machine.node, process.version)
  const expected = allRows().map((row) => row.id)
  assert.deepEqual(
    report.rows.map((row) => row.id),
    [
      ...limitRowIds,
      ...expected,
      'batch/speed-up',
      ...mediaRowIds,
      ...streamRowIds,
      ...memorySearchRowIds,
      ...durabilityRowIds,
      ...growthRows(true).map(({ id }) => id),
      'server/memory',
    ],
  )
  for (const row of report.rows) {
    assert(['not judged', 'information', 'not run'].includes(row.verdict), row.id)
    if (row.samples === null || row.id.startsWith('limits/')) continue
    assert.deepEqual(row.readBack?.mismatches, [], row.id)
    const records = uploadRecords(row.id)
    const sent = row.samples * (row.id.includes('frames') ? 10 : records)
    assert.equal(row.readBack?.recordsCounted, sent, row.id)
    assert(row.readBack.recordsCompared > 0, row.id)
  }
  checkLimits(report)
  checkMedia(report)
  checkGrowth(report)
  const memory = report.rows.find(({ id }) => id === 'server/memory')
  // Its own servers: published, media, stream, memories, two of durability, four of growth.
  assert.match(memory?.note ?? '', /^most of 10: /)
  assert(report.codecs.length > 0)
  assert.deepEqual(readdirSync(folder), ['report.json'])
})

/** Of eight uploads or messages each; peers are left out. */
const limitCounts: Readonly<Record<string, number>> = {
  'parse-10000': 80_000,
  'parse-1000': 8_000,
  'parse-100': 800,
  'parse-mixed': 80_000,
  // As many of JSON.
  msgpack: 160_000,
  'large-bodies': 40_000,
  'web-socket': 8,
  single: 8,
  'buffers-10': 80,
  pixels: 32,
  'frames-100': 80,
  // What was filled, and what was read of it.
  aggregates: 80_000,
  ndjson: 40_000,
}

function checkLimits({ rows }: BenchReport): void {
  const read = Object.fromEntries(
    rows.flatMap(({ id, readBack }) =>
      id.startsWith('limits/') && readBack !== null ? [[id.slice(7), readBack.recordsCounted]] : [],
    ),
  )
  assert.deepEqual(read, limitCounts)
  for (const { id, readBack, verdict } of rows) {
    if (!id.startsWith('limits/')) continue
    assert.deepEqual(readBack?.mismatches ?? [], [], id)
    assert.equal(verdict === 'not run', id.startsWith('limits/influxdb-'), id)
  }
}

/** Records of one upload; the name of a durability row bears them. */
function uploadRecords(rowId: string): number {
  const row = [...allRows(), ...growthRows(true)].find(({ id }) => id === rowId)
  return row?.run.body.records ?? Number(/^durability\/telemetry-(\d+)-/.exec(rowId)?.[1])
}

/** How cost grows: every point stands where it belongs, and the store was as large as it says. */
function checkGrowth({ rows }: BenchReport): void {
  for (const { id, point } of growthRows(true)) {
    const row = rows.find((each) => each.id === id)
    assert.deepEqual(row?.growth, point, id)
    assert(row?.measured !== null && row?.p99Ms !== null, id)
    if (point.dimension !== 'store' || point.value === 0) continue
    assert((row.readBack?.blobsCompared ?? 0) > 0, id)
    const onDisk = Number(/^([\d.]+) GB on disk$/.exec(row.note)?.[1]) * 1e9
    assert(onDisk >= point.value * 0.99, `${id}: ${row.note}`)
  }
  for (const id of durabilityRowIds) {
    const figure = rows.find((each) => each.id === id)?.measured ?? 0
    assert(figure > 0, id)
  }
}

/** Which rows ran depends on the machine; those that did have read back all that they made. */
function checkMedia({ rows }: BenchReport): void {
  const row = (name: string) => rows.find(({ id }) => id === `media/${name}`)
  const counted = (name: string) => {
    const found = row(name)
    assert.deepEqual(found?.readBack?.mismatches, [], name)
    assert(found?.measured !== null, name)
    return found?.readBack?.recordsCounted ?? 0
  }
  // A minute holds two segments of the longest duration, and more where speech pauses.
  for (const mode of ['fixed-duration', 'silence', 'energy', 'speech-detection']) {
    assert(counted(`audio-${mode}`) >= 2, mode)
  }
  assert.equal(counted('audio-fixed-duration'), 2)
  if (row('keyframes')?.verdict === 'not run') return
  // A cold job and a warm one of the same file.
  const isReal = row('keyframes')?.note.endsWith('bottle-detection.mp4') === true
  assert.equal(counted('keyframes'), 2 * (isReal ? 5 : 1))
  assert.equal(counted('all-frames'), isReal ? 1_189 : 50)
  assert((row('keyframes')?.readBack?.blobsCompared ?? 0) > 0)
  assert.equal(typeof counted('cancel'), 'number')
}

test('an interrupted bench stops its server and removes its folder', async (t) => {
  const folder = temporaryFolder(t)
  const child = startBench(t, '--quick', '--dir', folder)
  // The first line of progress comes while the server has all further rows before it.
  await once(child.stderr, 'data')
  child.stdout.resume()
  child.stderr.resume()
  child.kill('SIGINT')
  await once(child, 'close')
  assert.equal(child.exitCode, 130)
  assert.deepEqual(readdirSync(folder), [])
})

test('an unknown option is refused and --help tells all of them', async (t) => {
  const wrong = startBench(t, '--fast')
  const [errors] = await Promise.all([text(wrong.stderr), once(wrong, 'close')])
  assert.equal(wrong.exitCode, 2)
  assert.match(errors, /--fast/)
  const help = startBench(t, '--help')
  const [output] = await Promise.all([text(help.stdout), once(help, 'close')])
  assert.equal(help.exitCode, 0)
  const options = ['--json', '--only', '--dir', '--quick', '--compare', '--with', '--plot']
  assert.match(output, /100,000 memories, which runs no other way/)
  for (const option of options) assert(output.includes(`  ${option} `), option)
})

test('a report is compared with another and drawn, without a run', async (t) => {
  const folder = temporaryFolder(t)
  const [older, newer] = [join(folder, 'old.json'), join(folder, 'new.json')]
  const rows = (measured: number) =>
    growthRows(false).map(({ id, point }) => ({ id, growth: point, measured, p99Ms: 1 }))
  writeFileSync(older, JSON.stringify(benchReport(rows(1_000))))
  writeFileSync(newer, JSON.stringify(benchReport(rows(3_000))))
  const comparing = startBench(t, '--compare', older, '--with', newer)
  const [comparison] = await Promise.all([text(comparing.stdout), once(comparing, 'close')])
  assert.equal(comparing.exitCode, 0)
  assert.match(comparison, /growth\/batch-1 +rec\/s +1,000 +3,000 +3\.00 /)
  const drawing = startBench(t, '--plot', newer)
  const [path] = await Promise.all([text(drawing.stdout), once(drawing, 'close')])
  assert.equal(drawing.exitCode, 0)
  assert.equal(path, `${join(folder, 'growth.svg')}\n`)
  assert.match(readFileSync(path.trim(), 'utf8'), /^<svg /)
})

test('a report to compare with that cannot be read is refused before anything runs', async (t) => {
  const folder = temporaryFolder(t)
  const child = startBench(t, '--quick', '--dir', folder, '--compare', join(folder, 'none.json'))
  const [errors] = await Promise.all([text(child.stderr), once(child, 'close')])
  assert.equal(child.exitCode, 2)
  assert.equal(errors, `bench: ${join(folder, 'none.json')} is not there\n`)
  assert.deepEqual(readdirSync(folder), [])
})
