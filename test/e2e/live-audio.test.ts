import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { test } from 'node:test'
import type { AtomRow } from '../../src/contracts/http.ts'
import { type Client, chainOf } from '../support/client.ts'
import { samplesOf, seededRandom, speechBuffers, speechFormat, wavFile } from '../support/data.ts'
import { startServer, type TestServer, temporaryFolder } from '../support/server.ts'
import { openEvents } from '../support/sse.ts'

const frameBytes = (speechFormat.channels * speechFormat.bitDepth) / 8
const segmentation = {
  segmentationMode: 'silence',
  silenceThresholdDb: -25,
  minSilenceDurationMs: 300,
  minSegmentDurationMs: 500,
  maxSegmentDurationMs: 4_000,
} as const

interface BufferMessage {
  readonly bufferNumber: number
  readonly timestamp: string
  readonly audioData: Uint8Array
  readonly format: 'wav'
  readonly sampleRate: number
  readonly channels: number
  readonly bitDepth: number
}

const beganAtMs = Date.UTC(2025, 0, 20)

/** The samples in buffers of these lengths, each with the time of its first sample to the microsecond. */
function buffersOf(samples: Buffer, lengths: () => number): BufferMessage[] {
  const buffers: BufferMessage[] = []
  for (let from = 0; from < samples.length; ) {
    const bytes = Math.min(lengths() * frameBytes, samples.length - from)
    const microseconds = Math.round((from / frameBytes / speechFormat.sampleRate) * 1e6)
    const seconds = new Date(beganAtMs + Math.floor(microseconds / 1e6) * 1e3).toISOString()
    const fraction = String(microseconds % 1e6).padStart(6, '0')
    buffers.push({
      bufferNumber: buffers.length + 1,
      timestamp: seconds.replace('.000Z', `.${fraction}Z`),
      audioData: wavFile(samples.subarray(from, from + bytes)),
      format: 'wav',
      ...speechFormat,
    })
    from += bytes
  }
  return buffers
}

/** What of a segment must be the same however the audio was cut into buffers and batches. */
function essence({ hash, bytes, metadata }: AtomRow) {
  const { batchId: _batchId, ...others } = metadata
  return { hash, bytes, ...others }
}

async function upload(client: Client, sessionId: string, buffers: readonly BufferMessage[]) {
  const reply = await client.uploadMsgpack(sessionId, { buffers })
  assert.equal(reply.recordsRejected, 0)
}

async function segmentsOf(client: Client, sessionId: string): Promise<AtomRow[]> {
  const atoms = await client.atoms(sessionId)
  assert.ok(atoms.every(({ kind }) => kind === 'segment'))
  return atoms
}

/** The bytes of all segments without their headers, in order. */
async function audioOf(client: Client, atoms: readonly AtomRow[]): Promise<Buffer> {
  const parts: Buffer[] = []
  for (const { hash } of atoms) parts.push(samplesOf(await client.atomBytes(hash)))
  return Buffer.concat(parts)
}

test('a session cuts its audio at silences, whatever its buffers and batches are', async (t) => {
  const samples = Buffer.concat(speechBuffers(t).map((wav) => samplesOf(Buffer.from(wav))))
  const server = await startServer(t)
  const { client } = server
  const random = seededRandom(5)
  const plans = [
    { batchSize: 1_000, perUpload: 50, lengths: () => 1_600 },
    { batchSize: 3, perUpload: 4, lengths: () => 1 + Math.floor(random() * 9_000) },
    { batchSize: 7, perUpload: 1, lengths: () => 16_000 },
  ]
  const found: AtomRow[][] = []
  for (const { batchSize, perUpload, lengths } of plans) {
    const { sessionId } = await client.start({ sessionType: 'audio', batchSize, segmentation })
    const buffers = buffersOf(samples, lengths)
    for (let at = 0; at < buffers.length; at += perUpload) {
      await upload(client, sessionId, buffers.slice(at, at + perUpload))
    }
    const ended = await client.end(sessionId)
    assert.equal(ended.status, 'completed')
    const atoms = await segmentsOf(client, sessionId)
    assert.equal(ended.finalHash, chainOf(atoms))
    assert.equal(ended.finalStatistics.totalAtomsCreated, atoms.length)
    const { statistics } = await client.status(sessionId)
    assert.equal(statistics.totalRecordsProcessed, buffers.length)
    found.push(atoms)
  }
  const [first = [], ...others] = found
  assert.ok(first.length > 3, `${first.length} segments`)
  for (const other of others) assert.deepEqual(other.map(essence), first.map(essence))
  assert.deepEqual(await audioOf(client, first), samples)
  const { metadata } = first[0] as AtomRow
  assert.equal(metadata.reason, 'silence')
  assert.equal(metadata.threshold, -25)
  assert.equal(metadata.startSample, 0)
  assert.equal(metadata.timestamp, '2025-01-20T00:00:00.000Z')
  // Only what a segment is made of is kept: raw buffers go once they are cut.
  const raw = buffersOf(samples, () => 1_600)[0]?.audioData ?? new Uint8Array()
  const hash = createHash('sha256').update(raw).digest('hex')
  assert.equal((await client.get(`/api/atoms/${hash}`)).status, 404)
})

test('audio that is half cut when the process is killed is cut the same by the next one', async (t) => {
  const samples = Buffer.concat(speechBuffers(t).map((wav) => samplesOf(Buffer.from(wav))))
  const buffers = buffersOf(samples, () => 1_600)
  const calm = await startServer(t)
  const undisturbed = await calm.client.start({ sessionType: 'audio', batchSize: 10, segmentation })
  for (const buffer of buffers) await upload(calm.client, undisturbed.sessionId, [buffer])
  const expected = await calm.client.end(undisturbed.sessionId)

  const dataDir = await temporaryFolder(t)
  const env = { ATOMSTREAM_API_KEY: 'killed-again-and-again' }
  let server: TestServer = await startServer(t, { dataDir, env })
  const { sessionId } = await server.client.start({
    sessionType: 'audio',
    batchSize: 10,
    segmentation,
  })
  for (const [index, buffer] of buffers.entries()) {
    await upload(server.client, sessionId, [buffer])
    if (index % 29 !== 28) continue
    await server.kill('SIGKILL')
    server = await startServer(t, { dataDir, env })
  }
  const ended = await server.client.end(sessionId)
  assert.equal(ended.finalHash, expected.finalHash)
  const [atoms, calmAtoms] = [
    await segmentsOf(server.client, sessionId),
    await segmentsOf(calm.client, undisturbed.sessionId),
  ]
  assert.deepEqual(atoms.map(essence), calmAtoms.map(essence))
})

test('audio in thousands of tiny buffers is cut like any other', async (t) => {
  const samples = Buffer.concat(speechBuffers(t).map((wav) => samplesOf(Buffer.from(wav))))
  const { client } = await startServer(t)
  const hashes: string[] = []
  for (const [length, perUpload] of [
    [37, 2_000],
    [16_000, 3],
  ] as const) {
    const { sessionId } = await client.start({ sessionType: 'audio', batchSize: 500, segmentation })
    const buffers = buffersOf(samples, () => length)
    for (let at = 0; at < buffers.length; at += perUpload) {
      await upload(client, sessionId, buffers.slice(at, at + perUpload))
    }
    hashes.push((await client.end(sessionId)).finalHash)
    assert.deepEqual(await audioOf(client, await segmentsOf(client, sessionId)), samples)
  }
  assert.equal(hashes[0], hashes[1])
})

test('each mode cuts live audio, and listeners hear of each segment', async (t) => {
  const samples = Buffer.concat(speechBuffers(t).map((wav) => samplesOf(Buffer.from(wav))))
  const { client } = await startServer(t)
  for (const segmentationMode of [
    'fixed-duration',
    'silence',
    'energy',
    'speech-detection',
  ] as const) {
    const { sessionId, sseUrl } = await client.start({
      sessionType: 'audio',
      batchSize: 20,
      segmentation: { segmentationMode, maxSegmentDurationMs: 3_000 },
    })
    await upload(
      client,
      sessionId,
      buffersOf(samples, () => 1_600),
    )
    await client.end(sessionId)
    const atoms = await segmentsOf(client, sessionId)
    assert.ok(atoms.length >= 4, `${segmentationMode}: ${atoms.length} segments`)
    assert.deepEqual(await audioOf(client, atoms), samples)
    const reader = await openEvents(sseUrl, client.headers)
    const created = (await reader.whole())
      .filter(({ name }) => name === 'batch-processed')
      .reduce((sum, { data }) => sum + Number(data.atomsCreated), 0)
    assert.equal(created, atoms.length)
  }
})

test('a pause between buffers and a change of format begin new audio', async (t) => {
  const { client } = await startServer(t)
  const { sessionId } = await client.start({
    sessionType: 'audio',
    batchSize: 4,
    segmentation: { segmentationMode: 'fixed-duration' },
  })
  const samples = Buffer.alloc(8_000 * frameBytes, 3)
  const [one, two] = buffersOf(Buffer.concat([samples, samples]), () => 8_000)
  const late = new Date(beganAtMs + 60_000).toISOString()
  const stereo = {
    ...wavOf({ channels: 2, samples }),
    timestamp: new Date(beganAtMs + 60_500).toISOString(),
  }
  assert.ok(one !== undefined && two !== undefined)
  await upload(client, sessionId, [
    one,
    two,
    { ...one, bufferNumber: 3, timestamp: late },
    { ...one, ...stereo, bufferNumber: 4 },
  ])
  await client.end(sessionId)
  const atoms = await segmentsOf(client, sessionId)
  assert.deepEqual(
    atoms.map(({ metadata }) => [
      metadata.reason,
      metadata.run,
      metadata.startSample,
      metadata.endSample,
      metadata.timestamp,
    ]),
    [
      ['gap', 0, 0, 16_000, '2025-01-20T00:00:00.000Z'],
      ['format-change', 1, 0, 8_000, '2025-01-20T00:01:00.000Z'],
      ['end', 2, 0, 4_000, '2025-01-20T00:01:00.500Z'],
    ],
  )
})

function wavOf({ channels, samples }: { channels: number; samples: Uint8Array }) {
  const audioData = Buffer.from(wavFile(samples))
  audioData.writeUInt16LE(channels, 22)
  audioData.writeUInt32LE(speechFormat.sampleRate * 2 * channels, 28)
  audioData.writeUInt16LE(2 * channels, 32)
  return { audioData: Uint8Array.from(audioData), channels }
}

test('settings that its mode does not know, or that contradict each other, are refused', async (t) => {
  const { client } = await startServer(t)
  const cases = [
    [{ sessionType: 'video', segmentation: {} }, 'segmentation'],
    [{ sessionType: 'audio', frameExtraction: {} }, 'frameExtraction'],
    [{ sessionType: 'audio', segmentation: { segmentationMode: 'words' } }, 'segmentation'],
    [
      { sessionType: 'audio', segmentation: { energyThresholdDb: 6 } },
      'segmentation.energyThresholdDb',
    ],
    [
      {
        sessionType: 'audio',
        segmentation: { minSegmentDurationMs: 5_000, maxSegmentDurationMs: 4_000 },
      },
      'segmentation.minSegmentDurationMs',
    ],
    [{ sessionType: 'video', frameExtraction: { interval: 5 } }, 'frameExtraction.interval'],
    [
      {
        sessionType: 'video',
        frameExtraction: { frameExtractionMode: 'interval', sceneThreshold: 0.5 },
      },
      'frameExtraction.sceneThreshold',
    ],
    [
      { sessionType: 'video', frameExtraction: { resolution: { width: 5, height: 100 } } },
      'frameExtraction',
    ],
  ] as const
  for (const [body, field] of cases) {
    const reply = await client.raw('POST', '/api/streaming/sessions/start', { json: body })
    const { field: named } = reply.refused(422, 'INVALID_BODY')
    assert.ok(String(named).startsWith(field), `${JSON.stringify(body)}: ${named}`)
  }
})
