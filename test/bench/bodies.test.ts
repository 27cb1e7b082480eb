import assert from 'node:assert/strict'
import { test } from 'node:test'
import { unpack } from 'msgpackr'
import sharp from 'sharp'
import {
  type BodySource,
  type BodySpec,
  createBodySource,
  createMediaSource,
} from '../../bench/bodies.ts'
import { telemetryRecord, telemetryRecordsMax } from '../../bench/telemetry-bodies.ts'

function upload(source: BodySource, first: number): Buffer {
  const target = Buffer.alloc(source.bytesMax + 100)
  return target.subarray(100, 100 + source.write(target, 100, first))
}

test('telemetry uploads hold exactly the records of their numbers', async () => {
  for (const records of [1, 100, 1_000, 10_000]) {
    const source = await createBodySource({ kind: 'telemetry', encoding: 'json', records })
    const target = Buffer.alloc(source.bytesMax)
    // The last block there is needs the day to change as well.
    for (const first of [0, records * 3, 120_000, telemetryRecordsMax - records]) {
      const length = source.write(target, 0, first)
      const body = JSON.parse(target.toString('utf8', 0, length))
      const expected = Array.from({ length: records }, (_, index) => telemetryRecord(first + index))
      assert.deepEqual(body, { records: expected })
    }
  }
})

test('no telemetry record shares its values or its timestamp with another', () => {
  const seen = new Set<string>()
  const timestamps = new Set<string>()
  const count = 200_000
  for (let i = 0; i < count; i++) {
    // All of ten blocks, and the same places of blocks far apart.
    const number = i < 100_000 ? i : (i - 100_000) * 1_000 + 7
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

test('a frame is a JPEG of 1920 by 1080 and about 200 KB that decodes', async () => {
  const source = await createMediaSource({ kind: 'frames', encoding: 'msgpack', records: 10 })
  const frame = source.item(123_456)
  assert(frame.length > 180_000 && frame.length < 220_000, `${frame.length} bytes`)
  const { info } = await sharp(frame, { failOn: 'warning' })
    .raw()
    .toBuffer({ resolveWithObject: true })
  assert.deepEqual([info.width, info.height, info.channels], [1_920, 1_080, 3])
})

test('a buffer is a WAV of 100 ms, 44.1 kHz, stereo, 16 bits', async () => {
  const { default: wavefile } = await import('wavefile')
  const source = await createMediaSource({ kind: 'buffers', encoding: 'msgpack', records: 10 })
  const wav = new wavefile.WaveFile(source.item(42))
  const { sampleRate, numChannels, bitsPerSample } = wav.fmt as Record<string, number>
  assert.deepEqual([sampleRate, numChannels, bitsPerSample], [44_100, 2, 16])
  assert.equal((wav.data as { samples: Uint8Array }).samples.length, 4_410 * 4)
})
