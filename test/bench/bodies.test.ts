import assert from 'node:assert/strict'
import { test } from 'node:test'
import { unpack } from 'msgpackr'
import sharp from 'sharp'
import {
  type BodySource,
  type BodySpec,
  createBodySource,
  createMediaSource,
  createRecordSource,
} from '../../bench/bodies.ts'
import { mixedRecord } from '../../bench/mixed-bodies.ts'
import {
  telemetryNumberAt,
  telemetryRecord,
  telemetryRecordsMax,
  telemetryTimeMs,
  telemetryValues,
} from '../../bench/telemetry-bodies.ts'

function upload(source: BodySource, first: number): Buffer {
  const target = Buffer.alloc(source.bytesMax + 100)
  return target.subarray(100, 100 + source.write(target, 100, first))
}

for (const encoding of ['json', 'msgpack'] as const) {
  test(`telemetry uploads as ${encoding} hold exactly the records of their numbers`, () => {
    for (const records of [1, 100, 1_000, 10_000]) {
      const source = createRecordSource({ kind: 'telemetry', encoding, records })
      const target = Buffer.alloc(source.bytesMax)
      // The last block there is needs the day and the range of pressures to change as well.
      for (const first of [0, records * 3, 120_000, telemetryRecordsMax - records]) {
        const bytes = target.subarray(0, source.write(target, 0, first))
        const body = encoding === 'json' ? JSON.parse(bytes.toString()) : unpack(bytes)
        const expected = Array.from({ length: records }, (_, i) => telemetryRecord(first + i))
        assert.deepEqual(body, { records: expected })
      }
    }
  })
}

test('points in line protocol are the records of their numbers, timed in nanoseconds', async () => {
  for (const records of [1, 100]) {
    const source = await createBodySource({ kind: 'telemetry', encoding: 'lines', records })
    for (const first of [0, 123_400, telemetryRecordsMax - records]) {
      const lines = upload(source, first).toString().split('\n')
      assert.equal(lines.pop(), '')
      assert.equal(lines.length, records)
      lines.forEach((line, index) => {
        const [measurement, fields = '', time] = line.split(' ')
        assert.equal(measurement, 'telemetry')
        const pairs = fields.split(',').map((field) => field.split('='))
        const values = Object.fromEntries(pairs.map(([name, value]) => [name, Number(value)]))
        assert.deepEqual(values, telemetryValues(first + index))
        assert.equal(time, `${telemetryTimeMs(first + index)}000000`)
      })
    }
  }
})

test('mixed uploads hold the records of their numbers in three shapes, none of them twice', () => {
  const source = createRecordSource({ kind: 'mixed', encoding: 'json', records: 10_000 })
  const seen = new Set<string>()
  const shapes = new Set<string>()
  for (const first of [0, 10_000, 99_990_000]) {
    const text = upload(source, first).toString()
    for (const place of ['hall 3', 'hall \\"B\\"', 'caf\\u00e9', 'Malmö 2 °C']) {
      assert(text.includes(`"place":"${place}"`), place)
    }
    const { records } = JSON.parse(text) as { records: ReturnType<typeof mixedRecord>[] }
    const expected = Array.from({ length: 10_000 }, (_, index) => mixedRecord(first + index))
    assert.deepEqual(records, expected)
    records.forEach(({ timestamp, values }, index) => {
      assert.equal(Date.parse(timestamp), telemetryTimeMs(first + index))
      seen.add(JSON.stringify(values))
      shapes.add(Object.keys(values).join(' '))
    })
  }
  assert.equal(seen.size, 30_000)
  // Each of the three with and without what is optional in it.
  assert.equal(shapes.size, 6)
  assert.throws(() => upload(source, 100_000_000))
})

test('no telemetry record shares its values or its timestamp with another', () => {
  const seen = new Set<string>()
  const timestamps = new Set<string>()
  const count = 200_000
  for (let i = 0; i < count; i++) {
    // All of ten blocks, and the same places of blocks far apart.
    const number = i < 100_000 ? i : (i - 100_000) * 9_000 + 7
    const record = telemetryRecord(number)
    seen.add(`${number} ${Object.values(record.values).join(' ')}`)
    timestamps.add(`${number} ${record.timestamp}`)
  }
  const numbers = new Set([...seen].map((text) => text.split(' ')[0]))
  assert.equal(seen.size, numbers.size)
  assert.equal(timestamps.size, numbers.size)
  assert.equal(new Set([...seen].map((text) => text.slice(text.indexOf(' ')))).size, numbers.size)
  assert.equal(
    new Set([...timestamps].map((text) => text.slice(text.indexOf(' ')))).size,
    numbers.size,
  )
})

test('timestamps rise by steps of many sizes, also from block to block, and name the record', () => {
  const steps = new Set<number>()
  for (const first of [0, 9_000, telemetryRecordsMax - 2_000]) {
    for (let number = first; number < first + 1_999; number++) {
      steps.add(telemetryTimeMs(number + 1) - telemetryTimeMs(number))
      assert.equal(telemetryNumberAt(telemetryTimeMs(number)), number)
    }
  }
  assert.deepEqual(
    [...steps].toSorted((a, b) => a - b),
    [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11],
  )
})

test('the run stops rather than send a telemetry record twice', async () => {
  const source = await createBodySource({ kind: 'telemetry', encoding: 'json', records: 1 })
  assert.throws(() => upload(source, telemetryRecordsMax))
})

for (const kind of ['frames', 'buffers'] as const) {
  for (const encoding of ['json', 'msgpack'] as const) {
    test(`${kind} as ${encoding} carry their numbers, timestamps and distinct bytes`, async () => {
      const spec: BodySpec = { kind, encoding, records: 10 }
      const source = await createMediaSource(spec)
      const target = Buffer.alloc(source.bytesMax)
      const seen = new Set<string>()
      for (const first of [0, 10, 987_650]) {
        const bytes = target.subarray(0, source.write(target, 0, first))
        const body = encoding === 'json' ? JSON.parse(bytes.toString()) : unpack(bytes)
        const items: Record<string, unknown>[] = body[kind]
        assert.equal(items.length, 10)
        items.forEach((item, index) => {
          const data = (item.imageData ?? item.audioData) as string | Buffer
          const media = typeof data === 'string' ? Buffer.from(data, 'base64') : data
          assert(media.equals(source.item(first + index)))
          assert.equal(item[source.numberField], source.shownNumber(first + index))
          assert.match(String(item.timestamp), /^20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/)
          seen.add(media.toString('latin1'))
          seen.add(String(item.timestamp))
        })
      }
      assert.equal(seen.size, 60)
    })
  }
}

for (const { kind, size, bytes } of [
  { kind: 'frames', size: [1_920, 1_080, 3], bytes: 200_000 },
  { kind: 'small-frames', size: [320, 240, 3], bytes: 11_000 },
] as const) {
  test(`${kind} are JPEGs of ${size.slice(0, 2)} that decode and differ`, async () => {
    const source = await createMediaSource({ kind, encoding: 'msgpack', records: 10 })
    const frame = source.item(123_456)
    assert(Math.abs(frame.length / bytes - 1) < 0.1, `${frame.length} bytes`)
    assert(!frame.equals(source.item(123_466)))
    const { info } = await sharp(frame, { failOn: 'warning' })
      .raw()
      .toBuffer({ resolveWithObject: true })
    assert.deepEqual([info.width, info.height, info.channels], size)
  })
}

test('a buffer is a WAV of 100 ms, 44.1 kHz, stereo, 16 bits', async () => {
  const { default: wavefile } = await import('wavefile')
  const source = await createMediaSource({ kind: 'buffers', encoding: 'msgpack', records: 10 })
  const wav = new wavefile.WaveFile(source.item(42))
  const { sampleRate, numChannels, bitsPerSample } = wav.fmt as Record<string, number>
  assert.deepEqual([sampleRate, numChannels, bitsPerSample], [44_100, 2, 16])
  assert.equal((wav.data as { samples: Uint8Array }).samples.length, 4_410 * 4)
})
