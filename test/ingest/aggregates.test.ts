import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { Refusal } from '../../src/contracts/errors.ts'
import { WorkerFailure } from '../../src/contracts/worker-failure.ts'
import type { AggregateQuery } from '../../src/ingest/record-aggregator.ts'
import { limits } from '../../src/limits.ts'
import type { SessionRow } from '../../src/store/interfaces.ts'
import { tester } from '../support/actors.ts'
import { seededRandom } from '../support/data.ts'
import { faultyWorkers } from '../support/faults.ts'
import { markText } from '../support/faulty-mark.ts'
import { openIngest, type TestRecord } from '../support/ingest.ts'
import { hourMs, retain } from '../support/retention.ts'

type Ingest = Awaited<ReturnType<typeof openIngest>>

const query: AggregateQuery = {
  fromMs: null,
  toMs: null,
  fields: null,
  intervalMs: 60_000,
  format: 'json',
}
const forever = new AbortController().signal
const startMs = Date.UTC(2025, 0, 20)

/** Numbers of all digits, which no encoding makes smaller. */
function noise(count: number, first: number, names: readonly string[]): TestRecord[] {
  const random = seededRandom(first + 1)
  return Array.from({ length: count }, (_, index) => ({
    timestamp: new Date(startMs + 10 * (first + index)).toISOString(),
    values: Object.fromEntries(names.map((name) => [name, random()])),
  }))
}

async function startSession(ingest: Ingest, uploads: readonly TestRecord[][]): Promise<SessionRow> {
  const batchSize = limits.batchSizeMax
  const session = await ingest.sessions.start(tester, { sessionType: 'telemetry', batchSize })
  for (const records of uploads) await ingest.upload(session, { records })
  await ingest.sessions.end(tester, session.id, {})
  return ingest.row(session)
}

interface Interval {
  start: string
  fields: Record<string, { min: number; max: number; mean: number; count: number }>
}

function intervalsOf(bytes: Uint8Array | null): Interval[] {
  assert.ok(bytes !== null)
  return JSON.parse(`[${Buffer.from(bytes).toString()}]`) as Interval[]
}

test('blocks of many tasks, and one that is larger than a task, come to one reply', async (t) => {
  const ingest = await openIngest(t)
  const few = ['a', 'b', 'c', 'd']
  const many = Array.from({ length: 40 }, (_, field) => `f${field}`)
  const uploads = [
    ...[0, 1, 2].map((upload) => noise(10_000, upload * 10_000, few)),
    noise(10_000, 30_000, [...few, ...many]),
    ...[4, 5, 6, 7].map((upload) => noise(10_000, upload * 10_000, few)),
  ]
  const session = await startSession(ingest, uploads)
  const sizes = ingest.store.atoms.list(session.number, 0, 100).map((atom) => atom.byteLength)
  assert.ok(Math.max(...sizes) > limits.aggregateTaskBytes)
  assert.ok(sizes.reduce((sum, size) => sum + size) > 2 * limits.aggregateTaskBytes)
  const bytes = await ingest.aggregates.aggregate(session, query, forever)
  const records = uploads.flat()
  const intervals = intervalsOf(bytes)
  assert.equal(intervals.length, Math.ceil((records.length * 10) / query.intervalMs))
  for (const [index, { start, fields }] of intervals.entries()) {
    const perInterval = query.intervalMs / 10
    const inside = records.slice(index * perInterval, (index + 1) * perInterval)
    assert.equal(Date.parse(start), startMs + index * query.intervalMs)
    for (const name of few) {
      const numbers = inside.map(({ values }) => values[name] as number)
      const { min, max, mean = 0, count } = fields[name] ?? {}
      assert.deepEqual(
        [min, max, count],
        [Math.min(...numbers), Math.max(...numbers), inside.length],
      )
      const sum = numbers.reduce((total, value) => total + value, 0)
      assert.ok(Math.abs(mean - sum / numbers.length) < 1e-12)
    }
    assert.equal(fields.f39?.count, fields.f0?.count)
  }
  const again = await Promise.all(
    Array.from({ length: 2 * limits.aggregatesAtOnceMax }, () =>
      ingest.aggregates.aggregate(session, query, forever),
    ),
  )
  for (const copy of again) assert.deepEqual(copy, bytes)
})

test('numbers that take no bytes are bounded by how many they are', async (t) => {
  const ingest = await openIngest(t)
  const columns = 60
  const values = Object.fromEntries(Array.from({ length: columns }, (_, n) => [`f${n}`, n]))
  const rowsPerUpload = limits.batchSizeMax
  const uploads = Array.from({ length: 8 }, (_, upload) =>
    Array.from({ length: rowsPerUpload }, (_, row) => ({
      timestamp: new Date(startMs + upload * rowsPerUpload + row).toISOString(),
      values,
    })),
  )
  const session = await startSession(ingest, uploads)
  const atoms = ingest.store.atoms.list(session.number, 0, 100)
  assert.ok(atoms.reduce((sum, { byteLength }) => sum + byteLength, 0) < limits.aggregateTaskBytes)
  const run = t.mock.method(ingest.pool, 'run')
  const intervals = intervalsOf(await ingest.aggregates.aggregate(session, query, forever))
  const counts = intervals.map(({ fields }) => fields.f59?.count)
  assert.deepEqual(counts, [60_000, 20_000])
  const rowsOf = new Map(atoms.map((atom) => [atom.fromMs, atom.atoms]))
  const tasks = run.mock.calls.flatMap(({ arguments: [task] }) =>
    task.kind === 'aggregate' ? [task.blocks.filter((_, index) => index % 4 === 2)] : [],
  )
  const rows = tasks.map((froms) =>
    froms.reduce((sum, fromMs) => sum + (rowsOf.get(fromMs) ?? 0), 0),
  )
  assert.equal(
    rows.reduce((sum, count) => sum + count),
    8 * rowsPerUpload,
  )
  const rowsMax = limits.aggregateTaskValuesMax / (columns + 1) + rowsPerUpload
  assert.ok(rows.length > 1 && Math.max(...rows) < rowsMax, `${rows}`)
})

test('who goes away ends the work, and others get their answer', async (t) => {
  const ingest = await openIngest(t)
  const uploads = Array.from({ length: 8 }, (_, upload) => noise(5_000, upload * 5_000, ['a', 'b']))
  const session = await startSession(ingest, uploads)
  assert.equal(await ingest.aggregates.aggregate(session, query, AbortSignal.abort()), null)
  const leaving = Array.from(
    { length: 3 * limits.aggregatesAtOnceMax },
    () => new AbortController(),
  )
  const answers = leaving.map(({ signal }) => ingest.aggregates.aggregate(session, query, signal))
  await nextTurn()
  for (const controller of leaving) controller.abort()
  assert.deepEqual(
    await Promise.all(answers),
    leaving.map(() => null),
  )
  const intervals = intervalsOf(await ingest.aggregates.aggregate(session, query, forever))
  const counted = intervals.reduce((sum, { fields }) => sum + (fields.a?.count ?? 0), 0)
  assert.equal(counted, 40_000)
})

test('past so many that wait the next is told to come again', async (t) => {
  const ingest = await openIngest(t)
  const session = await startSession(ingest, [noise(100, 0, ['a'])])
  const asked = limits.aggregatesAtOnceMax + limits.aggregatesWaitingMax
  const answers = Array.from({ length: asked }, () =>
    ingest.aggregates.aggregate(session, query, forever),
  )
  await assert.rejects(
    ingest.aggregates.aggregate(session, query, forever),
    (error) => error instanceof Refusal && error.code === 'SATURATED',
  )
  const [first, ...others] = await Promise.all(answers)
  for (const other of others) assert.deepEqual(other, first)
})

test('a worker that fails is told of once, and the next request is answered', async (t) => {
  const ingest = await openIngest(t, { workerFile: (await faultyWorkers(t)).workerFile })
  const note = markText({ task: 'aggregate', fault: 'exit', times: 1, name: 'aggregate' })
  const timestamp = new Date(startMs).toISOString()
  const session = await startSession(ingest, [[{ timestamp, values: { note, n: 1 } }]])
  await assert.rejects(
    ingest.aggregates.aggregate(session, query, forever),
    (error) => error instanceof WorkerFailure && error.task === 'aggregate',
  )
  const [interval] = intervalsOf(await ingest.aggregates.aggregate(session, query, forever))
  assert.deepEqual(interval?.fields, { n: { min: 1, max: 1, mean: 1, count: 1 } })
})

test('what is committed after the request came is not in its answer', async (t) => {
  const ingest = await openIngest(t)
  const session = await ingest.sessions.start(tester, { sessionType: 'telemetry', batchSize: 1 })
  await ingest.upload(session, { records: noise(5, 0, ['a']) })
  const asked = ingest.row(session)
  await ingest.upload(session, { records: noise(5, 5, ['a']) })
  const countOf = async (row: SessionRow) =>
    intervalsOf(await ingest.aggregates.aggregate(row, query, forever))[0]?.fields.a?.count
  assert.equal(await countOf(asked), 5)
  assert.equal(await countOf(ingest.row(session)), 10)
})

test('a session that retention takes meanwhile is unknown, not empty', async (t) => {
  const ingest = await openIngest(t)
  const session = await startSession(ingest, [noise(100, 0, ['a'])])
  await retain(ingest.store, Date.now() + 2 * hourMs, { hours: 1 })
  await assert.rejects(
    ingest.aggregates.aggregate(session, query, forever),
    (error) => error instanceof Refusal && error.code === 'SESSION_NOT_FOUND',
  )
})
