import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { type TestContext, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { mediaRowIds } from '../../bench/media.ts'
import { memorySearchRowIds } from '../../bench/memory-search.ts'
import type { BenchReport } from '../../bench/report.ts'
import { allRows } from '../../bench/rows.ts'
import { streamRowIds } from '../../bench/stream.ts'

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
      ...expected,
      'batch/speed-up',
      'server/memory',
      ...mediaRowIds,
      ...streamRowIds,
      ...memorySearchRowIds,
    ],
  )
  for (const row of report.rows) {
    assert(['not judged', 'information', 'not run'].includes(row.verdict), row.id)
    if (row.samples === null) continue
    assert.deepEqual(row.readBack?.mismatches, [], row.id)
    const records = allRows().find(({ id }) => id === row.id)?.run.body.records ?? 0
    const sent = row.samples * (row.id.includes('frames') ? 10 : records)
    assert.equal(row.readBack?.recordsCounted, sent, row.id)
    assert(row.readBack.recordsCompared > 0, row.id)
  }
  checkMedia(report)
  assert(report.codecs.length > 0)
  assert.deepEqual(readdirSync(folder), ['report.json'])
})

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
  for (const option of ['--json', '--only', '--dir', '--quick']) assert(output.includes(option))
})
