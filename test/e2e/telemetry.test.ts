import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { test } from 'node:test'
import { gzipSync } from 'node:zlib'
import { pack } from 'msgpackr'
import type { InlineSchema } from '../../src/contracts/schema.ts'
import { type Client, chainOf, type ReadRecord } from '../support/client.ts'
import {
  chunksOf,
  microsecondsOf,
  type TelemetryRecord,
  temperatureReadings,
} from '../support/data.ts'
import { startServer } from '../support/server.ts'

const uploadSize = 500
const fields: InlineSchema['fields'] = [
  { name: 'timestamp', type: 'datetime', required: true },
  { name: 'temperature', type: 'float', required: true, validation: { min: -50, max: 150 } },
]

/** Timestamps may be spelt another way; the instant, the values and the order must be the same. */
function comparable(records: readonly (TelemetryRecord | ReadRecord)[]): unknown[] {
  return records.map(({ timestamp, values }) => ({ at: microsecondsOf(timestamp), values }))
}

function assertSame(
  actual: readonly (TelemetryRecord | ReadRecord)[],
  expected: readonly (TelemetryRecord | ReadRecord)[],
): void {
  assert.equal(actual.length, expected.length)
  assert.deepStrictEqual(comparable(actual), comparable(expected))
}

interface Totals {
  received: number
  processed: number
  queued: number
}

/** Uploads everything in bodies of 500 and gives the sum of what the replies counted. */
async function feed(
  client: Client,
  sessionId: string,
  readings: readonly TelemetryRecord[],
  encoding: 'json' | 'msgpack',
): Promise<Totals> {
  const totals: Totals = { received: 0, processed: 0, queued: 0 }
  for (const records of chunksOf(readings, uploadSize)) {
    const reply =
      encoding === 'json'
        ? await client.upload(sessionId, { records })
        : await client.uploadMsgpack(sessionId, { records })
    assert.equal(reply.recordsReceived, records.length)
    assert.equal(reply.recordsRejected, 0)
    assert.equal(reply.status, 'active')
    totals.received += reply.recordsReceived
    totals.processed += reply.recordsProcessed
    totals.queued += reply.recordsQueued
  }
  return totals
}

test('real readings come back as they were sent, value for value', async (t) => {
  const readings = temperatureReadings(t)
  const { client } = await startServer(t)
  const inline = await client.start({ sessionType: 'telemetry', schema: { fields } })
  const id = inline.sessionId

  await t.test('uploads of 500 fill batches of 1,000 and every reply adds up', async () => {
    const totals = await feed(client, id, readings, 'json')
    assert.equal(totals.received, readings.length)
    assert.ok(totals.queued > 0, 'the first upload of a batch is queued')
    assert.ok(totals.processed > 0, 'the upload that fills a batch is processed')
    const { statistics } = await client.status(id)
    assert.equal(statistics.totalRecordsReceived, readings.length)
    assert.equal(
      statistics.totalAtomsCreated + statistics.totalRecordsQueued,
      statistics.totalRecordsReceived,
    )
  })

  const ended = await client.end(id)
  const atoms = await client.atoms(id)

  await t.test('the end reply, the status and the atoms agree on the final hash', async () => {
    assert.equal(ended.status, 'completed')
    assert.equal(ended.finalStatistics.totalRecordsReceived, readings.length)
    assert.equal(ended.finalStatistics.totalAtomsCreated, readings.length)
    const batches = Math.ceil(readings.length / 1_000)
    assert.equal(ended.finalStatistics.totalBatchesReceived, batches)
    assert.equal(atoms.length, batches)
    assert.deepEqual(
      atoms.map(({ seq, kind }) => ({ seq, kind })),
      atoms.map((_, seq) => ({ seq, kind: 'block' })),
    )
    assert.equal(chainOf(atoms), ended.finalHash)
    assert.equal((await client.status(id)).finalHash, ended.finalHash)
  })

  await t.test('pages by cursor give every record once, in order', async () => {
    assertSame(await client.records(id), readings)
    assertSame(await client.records(id, { limit: 777 }), readings)
    assertSame(await client.records(id, { limit: 10_000 }), readings)
  })

  await t.test('a time range gives what lies from its start to before its end', async () => {
    const from = readings[1_500]?.timestamp ?? ''
    const to = readings[4_321]?.timestamp ?? ''
    const inside = readings.filter(({ timestamp }) => timestamp >= from && timestamp < to)
    assertSame(await client.records(id, { from, to, limit: 1_000 }), inside)
    assertSame(
      await client.records(id, { from }),
      readings.filter(({ timestamp }) => timestamp >= from),
    )
    assertSame(await client.records(id, { from: '2100-01-01T00:00:00Z' }), [])
  })

  await t.test('NDJSON and CSV carry the same records', async () => {
    const path = client.session(id, 'records')
    const lines = await client.get(path, { limit: 10_000 }, { accept: 'application/x-ndjson' })
    assert.equal(lines.status, 200)
    assert.match(lines.headers.get('content-type') ?? '', /^application\/x-ndjson/)
    const rows = lines.text.trimEnd().split('\n')
    assertSame(
      rows.map((line) => JSON.parse(line) as ReadRecord),
      readings,
    )
    const table = await client.get(path, { limit: 10_000 }, { accept: 'text/csv' })
    assert.equal(table.status, 200)
    assert.match(table.headers.get('content-type') ?? '', /^text\/csv/)
    const [head = '', ...body] = table.text.trimEnd().split(/\r?\n/)
    const columns = head.split(',')
    const time = columns.indexOf('timestamp')
    const temperature = columns.indexOf('temperature')
    assertSame(
      body.map((line) => {
        const cells = line.split(',')
        return {
          timestamp: cells[time] ?? '',
          values: { temperature: Number(cells[temperature]) },
        }
      }),
      readings,
    )
  })

  await t.test('a record stands at its address and a block hashes to its name', async () => {
    const page = await client.records(id, { limit: 10_000 })
    for (const index of [0, 999, 1_000, readings.length - 1]) {
      const record = page[index]
      assert.ok(record !== undefined)
      const reply = await client.get(`/api/atoms/${record.address}`)
      assert.equal(reply.status, 200, reply.text)
      assertSame([reply.json as ReadRecord], [record])
    }
    for (const atom of atoms) {
      assert.equal((await client.atomBytes(atom.hash)).length, atom.bytes)
    }
    assert.equal(new Set(page.map(({ address }) => address)).size, readings.length)
    assert.ok(page.every(({ address }) => atoms.some(({ hash }) => address.startsWith(hash))))
  })

  await t.test('a registered schema and msgpack give the very same blocks', async () => {
    const definition = { schemaName: 'ambient', schemaVersion: '1.0.0', fields }
    const registered = await client.raw('POST', '/api/streaming/schemas', { json: definition })
    assert.ok(registered.status === 200 || registered.status === 201, registered.text)
    const found = await client.get('/api/streaming/schemas/ambient/1.0.0')
    assert.deepEqual((found.json as typeof definition).fields, fields)
    const other = await client.start({
      sessionType: 'telemetry',
      schema: { name: 'ambient', version: '1.0.0' },
    })
    await feed(client, other.sessionId, readings, 'msgpack')
    const otherEnd = await client.end(other.sessionId)
    assertSame(await client.records(other.sessionId), readings)
    assert.equal(otherEnd.finalHash, ended.finalHash)
  })
})

test('several uploads of a batch become one block, the same as one upload would', async (t) => {
  const readings = temperatureReadings(t).slice(0, 100)
  const { client } = await startServer(t)
  const hashes: string[][] = []
  for (const size of [25, 100]) {
    const { sessionId } = await client.start({ sessionType: 'telemetry', batchSize: 100 })
    const replies = []
    for (const records of chunksOf(readings, size)) {
      replies.push(await client.upload(sessionId, { records }))
    }
    assert.equal(new Set(replies.map(({ batchId }) => batchId)).size, 1)
    assert.equal(replies.at(-1)?.recordsProcessed, size)
    const atoms = await client.atoms(sessionId)
    assert.equal(atoms.length, 1)
    hashes.push(atoms.map(({ hash }) => hash))
  }
  assert.deepEqual(hashes[0], hashes[1])
})

const time = '2025-01-20T10:30:00.000Z'
const allCharacters = [
  '',
  ' "quoted", \\ back / slash,\r\n\ttab',
  '\u0000\u0001\u001f\u007f\u2028\u2029\ufeff',
  'äß€漢字🎷👩‍👩‍👧',
  '__proto__',
  'a'.repeat(10_000),
]

/** One record a case: what is sent and what must come back. */
const mixedRecords: TelemetryRecord[] = [
  { timestamp: time, values: { a: 1, b: 'text', c: true, d: null } },
  { timestamp: time, values: { a: 'was a number', b: 2, c: null, d: false } },
  { timestamp: time, values: { e: 'a new field' } },
  { timestamp: time, values: {} },
  { timestamp: time, values: { a: 1e308, b: 5e-324, c: 2 ** 53, d: -1.7976931348623157e308 } },
  { timestamp: time, values: { a: 0.1, b: 0.30000000000000004, c: -(2 ** 53), d: 1e21 } },
  ...allCharacters.map((text) => ({ timestamp: time, values: { text, [`key ${text}`]: 1 } })),
  { timestamp: '2025-01-20T10:30:00.123456Z', values: { a: 1 } },
  { timestamp: '2025-01-20T11:30:00.5+01:00', values: { a: 1 } },
  { timestamp: '2025-01-19T22:30:00-12:00', values: { a: 1 } },
  { timestamp: '2024-02-29T23:59:59.999999Z', values: { a: 1 } },
  { timestamp: '1969-12-31T23:59:59.999Z', values: { a: 1 } },
  { timestamp: 1_737_369_000_123, values: { a: 1 } },
  { timestamp: 1_737_369_000_123.456, values: { a: 1 } },
  { timestamp: 0, values: { a: 1 } },
].map((record) => ({
  ...record,
  // A field's name may not pass 256 bytes.
  values: Object.fromEntries(
    Object.entries(record.values).map(([name, value]) => [name.slice(0, 64), value]),
  ),
}))

test('values, names and times of every kind come back exactly, by every encoding', async (t) => {
  const { client } = await startServer(t)
  const json = Buffer.from(JSON.stringify({ records: mixedRecords }))
  const gzip = { 'content-encoding': 'gzip' }
  async function* pieces(): AsyncGenerator<Uint8Array> {
    for (let at = 0; at < json.length; at += 1_000) yield json.subarray(at, at + 1_000)
  }
  const encodings: Record<string, (id: string) => Promise<unknown>> = {
    JSON: (id) => client.uploadBytes(id, json),
    'chunked JSON without Content-Length': (id) => client.uploadBytes(id, pieces()),
    'gzipped JSON': (id) => client.uploadBytes(id, gzipSync(json), gzip),
    msgpack: (id) => client.uploadMsgpack(id, { records: mixedRecords }),
    'gzipped msgpack': (id) =>
      client.uploadBytes(id, gzipSync(pack({ records: mixedRecords })), {
        ...gzip,
        'content-type': 'application/msgpack',
      }),
  }
  const hashes = new Set<string>()
  for (const [name, send] of Object.entries(encodings)) {
    await t.test(name, async () => {
      const { sessionId } = await client.start({ sessionType: 'telemetry' })
      await send(sessionId)
      hashes.add((await client.end(sessionId)).finalHash)
      assertSame(await client.records(sessionId), mixedRecords)
    })
  }
  assert.equal(hashes.size, 1, 'the encoding leaves no trace in the block')
})

test('negative zero and integers of msgpack keep their value', async (t) => {
  const { client } = await startServer(t)
  const { sessionId } = await client.start({ sessionType: 'telemetry', batchSize: 1 })
  const text = `{"records":[{"timestamp":"${time}","values":{"zero":-0,"tiny":-0.0,"one":1.0}}]}`
  await client.uploadBytes(sessionId, text)
  // {records: [{timestamp: 1 (uint8), values: {z: -0 (float64), i: 2^53 - 1 (uint64)}}]}
  const packed = Buffer.concat([
    Buffer.from('81a77265636f72647391', 'hex'),
    Buffer.from('82a974696d657374616d70cc01', 'hex'),
    Buffer.from('a676616c75657382a17acb8000000000000000a169cf001fffffffffffff', 'hex'),
  ])
  await client.uploadBytes(sessionId, packed, { 'content-type': 'application/msgpack' })
  const records = await client.records(sessionId)
  assert.deepStrictEqual(
    records.map(({ values }) => values),
    [
      { zero: -0, tiny: -0, one: 1 },
      { z: -0, i: Number.MAX_SAFE_INTEGER },
    ],
  )
  const ndjson = await client.get(
    client.session(sessionId, 'records'),
    {},
    { accept: 'application/x-ndjson' },
  )
  assert.equal(ndjson.text.trimEnd().split('\n').length, 2)
})

test('fields pick members of the values, and CSV quotes what needs it', async (t) => {
  const { client } = await startServer(t)
  const { sessionId } = await client.start({ sessionType: 'telemetry', batchSize: 2 })
  const records = [
    { timestamp: time, values: { a: 1, b: 'x,"y"\nz', c: null } },
    { timestamp: time, values: { a: 2, c: true } },
  ]
  await client.upload(sessionId, { records })
  assertSame(await client.records(sessionId, { fields: 'a,c' }), [
    { timestamp: time, values: { a: 1, c: null } },
    { timestamp: time, values: { a: 2, c: true } },
  ])
  const path = client.session(sessionId, 'records')
  const table = await client.get(path, { fields: 'a,b' }, { accept: 'text/csv' })
  assert.ok(table.text.includes('"x,""y""\nz"'), table.text)
  assert.match(table.text, /^[^\r\n]*\ba,b\b/)
  const block = (await client.atoms(sessionId))[0]
  const bytes = await client.atomBytes(block?.hash ?? '')
  assert.equal(createHash('sha256').update(bytes).digest('hex'), block?.hash)
})
