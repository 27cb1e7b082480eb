import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { readRecords } from '../../src/codecs/telemetry/read.ts'
import { formatTimestamp } from '../../src/codecs/telemetry/timestamp.ts'
import type { ReadFormat, ReadResult, ReadTask } from '../../src/contracts/tasks.ts'
import { limits } from '../../src/limits.ts'
import { buildPage, type PageRecord, pageRecords } from './telemetry-records.ts'

type Options = Partial<Omit<ReadTask, 'kind' | 'blocks'>> & { readonly firstIndex?: number }

function read(blocks: readonly (readonly PageRecord[])[], options: Options = {}): ReadResult {
  const { firstIndex = 0, ...changes } = options
  return readRecords({
    kind: 'read',
    blocks: blocks.map((records, position) => ({
      bytes: buildPage(records).bytes,
      hash: `hash${position}`,
      firstIndex: position === 0 ? firstIndex : 0,
    })),
    fromMs: null,
    toMs: null,
    fields: null,
    limit: limits.pageLimitMax,
    format: 'ndjson',
    ...changes,
  })
}

const textOf = ({ bytes }: ReadResult) => Buffer.from(bytes).toString()

/** The rows' numbers: every record of `dated` has its own in `n`. */
function numbersOf(result: ReadResult): number[] {
  const lines = textOf(result)
    .split('\n')
    .filter((line) => line !== '')
  return lines.map((line) => (JSON.parse(line) as { values: { n: number } }).values.n)
}

function dated(times: readonly (readonly [ms: number, us: number])[]): PageRecord[] {
  return times.map(([ms, us], n) => ({ ms, us, values: new Map([['n', n]]) }))
}

/** Fields in the order of the blocks' columns: in which their names first appear. */
function columnsOf(records: readonly PageRecord[]): string[] {
  return [...new Set(records.flatMap(({ values }) => [...values.keys()]))]
}

/** JSON.stringify loses the sign of -0, so that the oracle puts it back. */
function stringify(value: unknown): string {
  return Object.is(value, -0) ? '-0' : JSON.stringify(value)
}

function jsonOf(records: readonly PageRecord[], hash: string, fields: readonly string[] | null) {
  const names = columnsOf(records).filter((name) => fields === null || fields.includes(name))
  return records.map(({ ms, us, values }, index) => {
    const members = names
      .filter((name) => values.has(name))
      .map((name) => `${JSON.stringify(name)}:${stringify(values.get(name))}`)
    const timestamp = formatTimestamp({ ms, us })
    return `{"timestamp":"${timestamp}","values":{${members}},"address":"${hash}/${index}"}`
  })
}

function csvOf(records: readonly PageRecord[], hash: string, columns: readonly string[]) {
  return records.map(({ ms, us, values }, index) => {
    const cells = columns.map((name) => {
      const value = values.get(name)
      if (value === undefined || value === null) return ''
      if (typeof value !== 'string') return stringify(value)
      return /[\n\r,"]/.test(value) ? `"${value.split('"').join('""')}"` : value
    })
    return `${[formatTimestamp({ ms, us }), `${hash}/${index}`, ...cells].join(',')}\r\n`
  })
}

const blocks = fc.array(pageRecords, { minLength: 1, maxLength: 3 })
const fields = fc.option(fc.uniqueArray(fc.constantFrom('a', 'b', 'c', 'toString', 'none')))

test('JSON and NDJSON are what JSON.stringify makes of the same records', () => {
  fc.assert(
    fc.property(blocks, fields, (given, asked) => {
      const rows = given.flatMap((records, block) => jsonOf(records, `hash${block}`, asked))
      const json = read(given, { fields: asked, format: 'json' })
      assert.equal(textOf(json), rows.join(','))
      const ndjson = read(given, { fields: asked, format: 'ndjson' })
      assert.equal(textOf(ndjson), rows.map((row) => `${row}\n`).join(''))
      for (const result of [json, ndjson]) {
        assert.deepEqual([result.records, result.next, result.columns], [rows.length, null, []])
      }
    }),
    { numRuns: 300 },
  )
})

test('CSV has a cell for each column of any block, quoted where it must be', () => {
  fc.assert(
    fc.property(blocks, fields, (given, asked) => {
      const columns = asked ?? [...new Set(given.flatMap(columnsOf))]
      const rows = given.flatMap((records, block) => csvOf(records, `hash${block}`, columns))
      const csv = read(given, { fields: asked, format: 'csv' })
      assert.equal(textOf(csv), rows.join(''))
      assert.deepEqual(csv.columns, columns)
    }),
    { numRuns: 300 },
  )
})

test('pages of any size, one after the other, are the whole', () => {
  const format = fc.constantFrom<ReadFormat>('json', 'ndjson', 'csv')
  fc.assert(
    fc.property(blocks, format, fc.integer({ min: 1, max: 15 }), (given, kind, limit) => {
      const columns = [...new Set(given.flatMap(columnsOf))]
      const rows = given.flatMap((records, block) =>
        kind === 'csv'
          ? csvOf(records, `hash${block}`, columns)
          : jsonOf(records, `hash${block}`, null),
      )
      const whole = readRecords({ ...taskOf(given, 0, 0), format: kind, limit: rows.length })
      let text: string[] = []
      let at: { block: number; index: number } | null = { block: 0, index: 0 }
      let total = 0
      while (at !== null) {
        const part: ReadResult = readRecords({
          ...taskOf(given, at.block, at.index),
          format: kind,
          limit,
          fields: kind === 'csv' ? columns : null,
        })
        assert.ok(part.records > 0 && part.records <= limit)
        assert.equal(part.next === null, total + part.records === rows.length)
        total += part.records
        text = [...text, textOf(part)]
        at =
          part.next === null ? null : { block: at.block + part.next.block, index: part.next.index }
      }
      assert.equal(text.join(kind === 'json' ? ',' : ''), textOf(whole))
    }),
    { numRuns: 200 },
  )
})

function taskOf(given: readonly (readonly PageRecord[])[], block: number, index: number) {
  return {
    kind: 'read',
    fromMs: null,
    toMs: null,
    fields: null,
    blocks: given.slice(block).map((records, position) => ({
      bytes: buildPage(records).bytes,
      hash: `hash${block + position}`,
      firstIndex: position === 0 ? index : 0,
    })),
  } as const
}

test('a range includes its beginning and not its end, to the microsecond', () => {
  const base = Date.parse('2025-01-20T10:30:00Z')
  const records = dated([
    [base - 1, 999],
    [base, 0],
    [base, 1],
    [base, 2],
    [base + 1, 0],
  ])
  const cases: [number | null, number | null, number[]][] = [
    [null, null, [0, 1, 2, 3, 4]],
    [base, null, [1, 2, 3, 4]],
    [base + 0.001, null, [2, 3, 4]],
    [null, base, [0]],
    [null, base + 0.002, [0, 1, 2]],
    [base + 0.001, base + 0.002, [2]],
    [base, base, []],
    [base + 5, null, []],
  ]
  for (const [fromMs, toMs, expected] of cases) {
    assert.deepEqual(numbersOf(read([records], { fromMs, toMs })), expected)
  }
})

test('rows out of order in time keep their place, and the next one is the next in range', () => {
  const records = dated([
    [5, 0],
    [1, 0],
    [9, 0],
    [2, 0],
    [8, 0],
    [3, 0],
  ])
  const first = read([records], { toMs: 4, limit: 2 })
  assert.deepEqual([numbersOf(first), first.next], [[1, 3], { block: 0, index: 5 }])
  const second = read([records], { toMs: 4, limit: 2, firstIndex: 5 })
  assert.deepEqual([numbersOf(second), second.next], [[5], null])
})

test('a limit that a block just fills goes on in the next block, if that has a row', () => {
  const records = dated([
    [1, 0],
    [2, 0],
  ])
  assert.deepEqual(read([records, records], { limit: 2 }).next, { block: 1, index: 0 })
  assert.equal(read([records, records], { limit: 4 }).next, null)
  assert.equal(read([records, records], { limit: 2, toMs: 0 }).next, null)
})

test('CSV gives fewer rows where its columns are many, and always one', () => {
  const columns = Array.from({ length: 2_000 }, (_, at) => `f${at}`)
  const records = dated(Array.from({ length: 3_000 }, (_, at) => [at, 0] as const))
  const { records: rows, next } = read([records], { format: 'csv', fields: columns })
  assert.equal(rows, Math.floor(limits.csvCellsMax / 2_002))
  assert.deepEqual(next, { block: 0, index: rows })
})

test('no blocks and no rows give no text', () => {
  for (const format of ['json', 'ndjson', 'csv'] as const) {
    assert.deepEqual([textOf(read([], { format })), read([], { format }).next], ['', null])
    const past = read([dated([[1, 0]])], { format, firstIndex: 1 })
    assert.deepEqual([textOf(past), past.records, past.next], ['', 0, null])
  }
})
