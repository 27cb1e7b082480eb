import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Static } from '@sinclair/typebox'
import { IntervalPage } from '../../src/contracts/http.ts'
import { limits } from '../../src/limits.ts'
import type { Client, Query } from '../support/client.ts'
import { chunksOf, microsecondsOf, type TelemetryRecord } from '../support/data.ts'
import { wavBuffer } from '../support/media.ts'
import { createKey, startServer, temporaryFolder } from '../support/server.ts'

type Intervals = Static<typeof IntervalPage>['intervals']

const hour = 3_600_000_000n
const minute = 60_000_000n

/** What a walk over the records finds. Their numbers are whole, so that sums are exact. */
function expectedIntervals(
  records: readonly TelemetryRecord[],
  lengthUs: bigint,
  fields?: readonly string[],
): Intervals {
  const found = new Map<bigint, Map<string, number[]>>()
  for (const { timestamp, values } of records) {
    const at = BigInt(microsecondsOf(timestamp))
    const start = at - (((at % lengthUs) + lengthUs) % lengthUs)
    const interval = found.get(start) ?? new Map<string, number[]>()
    found.set(start, interval)
    for (const [name, value] of Object.entries(values)) {
      if (typeof value !== 'number' || !(fields?.includes(name) ?? true)) continue
      interval.set(name, [...(interval.get(name) ?? []), value])
    }
  }
  return [...found]
    .sort(([one], [other]) => Number(one - other))
    .map(([start, numbers]) => ({
      start: new Date(Number(start / 1_000n)).toISOString(),
      fields: Object.fromEntries(
        [...numbers].map(([name, list]) => {
          const mean = list.reduce((sum, value) => sum + value, 0) / list.length
          return [
            name,
            { min: Math.min(...list), max: Math.max(...list), mean, count: list.length },
          ]
        }),
      ),
    }))
}

async function intervals(client: Client, sessionId: string, query: Query): Promise<Intervals> {
  const reply = await client.get(client.session(sessionId, 'records'), query)
  return reply.as(IntervalPage).intervals
}

/** In no order of time: every seventh without a temperature, every third with a field more. */
function readings(count: number): TelemetryRecord[] {
  return Array.from({ length: count }, (_, index) => {
    const at = Date.UTC(2025, 0, 20) + ((index * 7_919) % count) * 1_300 - (index % 2) * 86_400_000
    const values: TelemetryRecord['values'] = {}
    if (index % 7 === 0) Object.assign(values, { state: 'off', temperature: null })
    else Object.assign(values, { temperature: (index % 1_000) - 500, valid: true })
    if (index % 3 === 0) Object.assign(values, { humidity: (index * 31) % 100 })
    return { timestamp: new Date(at).toISOString().replace('Z', `${100 + (index % 900)}Z`), values }
  })
}

test('intervals come once and in order, whatever order the records came in, and after a restart', async (t) => {
  const dataDir = await temporaryFolder(t)
  const server = await startServer(t, { dataDir })
  const { client } = server
  const { sessionId } = await client.start({ sessionType: 'telemetry', batchSize: 300 })
  const records = readings(3_000)
  for (const part of chunksOf(records, 250)) await client.upload(sessionId, { records: part })
  await client.end(sessionId)
  const path = client.session(sessionId, 'records')
  for (const [downsample, lengthUs] of [
    ['1m', minute],
    ['60s', minute],
    ['90000ms', 90_000_000n],
    ['1h', hour],
    ['2d', 48n * hour],
  ] as const) {
    assert.deepEqual(
      await intervals(client, sessionId, { downsample }),
      expectedIntervals(records, lengthUs),
    )
  }
  const before = await client.get(path, { downsample: '1m' })
  await server.stop()
  const again = await startServer(t, { dataDir, env: { ATOMSTREAM_API_KEY: server.key } })
  assert.equal((await again.client.get(path, { downsample: '1m' })).text, before.text)
})

test('a range and names of fields choose what is aggregated, to the microsecond', async (t) => {
  const { client } = await startServer(t)
  const { sessionId } = await client.start({ sessionType: 'telemetry', batchSize: 200 })
  const records = readings(1_000)
  for (const part of chunksOf(records, 200)) await client.upload(sessionId, { records: part })
  await client.end(sessionId)
  const times = records.map(({ timestamp }) => timestamp).sort()
  const from = times[300] as string
  const to = times[900] as string
  const inside = records.filter(({ timestamp }) => timestamp >= from && timestamp < to)
  assert.deepEqual(
    await intervals(client, sessionId, { downsample: '1h', from, to }),
    expectedIntervals(inside, hour),
  )
  assert.deepEqual(
    await intervals(client, sessionId, { downsample: '1h', from, fields: 'humidity,none' }),
    expectedIntervals(
      records.filter(({ timestamp }) => timestamp >= from),
      hour,
      ['humidity', 'none'],
    ),
  )
  assert.deepEqual(await intervals(client, sessionId, { downsample: '1h', from: to, to }), [])
  assert.deepEqual(
    await intervals(client, sessionId, { downsample: '1h', from: '2100-01-01T00:00:00Z' }),
    [],
  )
})

test('borders hold to the microsecond, before 1970 and in far years too', async (t) => {
  const { client } = await startServer(t)
  const { sessionId } = await client.start({ sessionType: 'telemetry' })
  const times = [
    '0000-01-01T00:00:00Z',
    '1969-12-31T23:59:59.999999Z',
    '1970-01-01T00:00:00.000000Z',
    '2025-01-20T10:30:59.999999Z',
    '2025-01-20T10:31:00Z',
    '2025-01-20T11:31:00.000001+01:00',
    '9999-12-31T23:59:59.999999Z',
  ]
  const records = times.map((timestamp, n) => ({ timestamp, values: { n: n + 1 } }))
  await client.upload(sessionId, { records })
  await client.end(sessionId)
  const found = await intervals(client, sessionId, { downsample: '1m' })
  assert.deepEqual(
    found.map(({ start, fields: { n } }) => [start, n?.min, n?.max, n?.count]),
    [
      ['0000-01-01T00:00:00.000Z', 1, 1, 1],
      ['1969-12-31T23:59:00.000Z', 2, 2, 1],
      ['1970-01-01T00:00:00.000Z', 3, 3, 1],
      ['2025-01-20T10:30:00.000Z', 4, 4, 1],
      ['2025-01-20T10:31:00.000Z', 5, 6, 2],
      ['9999-12-31T23:59:00.000Z', 7, 7, 1],
    ],
  )
  const weeks = await intervals(client, sessionId, { downsample: '7d', to: '1970-01-01T00:00:00Z' })
  assert.deepEqual(
    weeks.map(({ start }) => start),
    ['0000-01-01T00:00:00.000Z', '1969-12-25T00:00:00.000Z'],
  )
})

test('NDJSON and CSV carry the same intervals, and any other type is refused', async (t) => {
  const { client } = await startServer(t)
  const { sessionId } = await client.start({ sessionType: 'telemetry' })
  await client.upload(sessionId, { records: readings(500) })
  await client.end(sessionId)
  const path = client.session(sessionId, 'records')
  const query = { downsample: '10m' }
  const expected = await intervals(client, sessionId, query)
  const lines = await client.get(path, query, { accept: 'application/x-ndjson' })
  assert.match(lines.headers.get('content-type') ?? '', /^application\/x-ndjson/)
  assert.deepEqual(
    lines.text
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as unknown),
    expected,
  )
  const table = await client.get(path, query, { accept: 'text/csv' })
  assert.match(table.headers.get('content-type') ?? '', /^text\/csv/)
  const [head, ...rows] = table.text.trimEnd().split('\r\n')
  assert.equal(head, 'start,field,min,max,mean,count')
  assert.deepEqual(
    rows,
    expected.flatMap(({ start, fields }) =>
      Object.entries(fields).map(([name, { min, max, mean, count }]) =>
        [start, name, min, max, mean, count].join(),
      ),
    ),
  )
  const refused = await client.get(path, query, { accept: 'image/png' })
  refused.refused(406, 'NOT_ACCEPTABLE')
})

test('what no interval is, pages of intervals and too many of them are refused, and say why', async (t) => {
  const { client } = await startServer(t)
  const { sessionId } = await client.start({ sessionType: 'telemetry' })
  const path = client.session(sessionId, 'records')
  const daysMax = limits.downsampleMsMax / 86_400_000
  const wrong = ['', '1', 'm', '0m', '-1m', '1.5m', '01m', '1 m', '1M', '1w', '1m ', '1m1s', '1e3s']
  for (const downsample of [...wrong, `${daysMax + 1}d`, `${'9'.repeat(15)}ms`, '9'.repeat(400)]) {
    const reply = await client.get(path, { downsample })
    const body = reply.refused(400, 'INVALID_PARAMETER')
    assert.equal(body.field, 'downsample', downsample)
    assert.match(`${body.expected}`, /ms, s, m, h, d/)
  }
  for (const [name, value] of [
    ['limit', 10],
    ['cursor', 'MC4w'],
  ] as const) {
    const reply = await client.get(path, { downsample: '1m', [name]: value })
    assert.equal(reply.refused(400, 'INVALID_PARAMETER').field, name)
  }
  const twice = await client.get(`${path}?downsample=1m&downsample=2m`)
  twice.refused(400, 'INVALID_PARAMETER')
  const backwards = await client.get(path, { downsample: '1m', from: 2, to: 1 })
  assert.equal(backwards.refused(400, 'INVALID_PARAMETER').field, 'to')

  assert.deepEqual(await intervals(client, sessionId, { downsample: `${daysMax}d` }), [])
  const count = Math.ceil(limits.downsampleCellsMax / 2 / 10_000)
  for (let upload = 0; upload <= count; upload += 1) {
    const records = Array.from({ length: 10_000 }, (_, index) => ({
      timestamp: upload * 10_000 + index,
      values: { n: 1 },
    }))
    await client.upload(sessionId, { records })
  }
  await client.end(sessionId)
  const many = (await client.get(path, { downsample: '1ms' })).refused(400, 'INVALID_PARAMETER')
  assert.equal(many.field, 'downsample')
  assert.match(`${many.message}`, /longer interval.*shorter range/)
  const some = await intervals(client, sessionId, { downsample: '1ms', to: 20_000 })
  assert.equal(some.length, 20_000)
  const [whole] = await intervals(client, sessionId, { downsample: '1h' })
  assert.equal(whole?.fields.n?.count, (count + 1) * 10_000)
})

test("frames and buffers have no intervals, and another tenant's session none that it tells of", async (t) => {
  const server = await startServer(t)
  const { client } = server
  const { sessionId } = await client.start({ sessionType: 'audio', batchSize: 1 })
  const format = { sampleRate: 16_000, channels: 1 }
  const audioData = Buffer.from(wavBuffer({ ...format, bitDepth: '16' })).toString('base64')
  const timestamp = '2025-01-20T10:30:00Z'
  const buffers = [
    { bufferNumber: 1, timestamp, audioData, format: 'wav', ...format, bitDepth: 16 },
  ]
  await client.upload(sessionId, { buffers })
  await client.end(sessionId)
  assert.deepEqual(await intervals(client, sessionId, { downsample: '1m' }), [])
  const { key } = await createKey(server.dataDir, { tenant: 7 })
  const other = server.clientWith(key)
  const reply = await other.get(client.session(sessionId, 'records'), { downsample: '1m' })
  reply.refused(404, 'SESSION_NOT_FOUND')
})
