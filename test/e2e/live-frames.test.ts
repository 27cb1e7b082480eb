import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { test } from 'node:test'
import sharp from 'sharp'
import type { FrameExtraction } from '../../src/contracts/media.ts'
import { type Client, chainOf } from '../support/client.ts'
import { clipFrames, type Frame } from '../support/data.ts'
import { startServer, temporaryFolder } from '../support/server.ts'

const frameIntervalMs = 40

interface FrameMessage {
  readonly frameNumber: number
  readonly timestamp: string
  readonly imageData: Uint8Array
  readonly format: 'jpeg'
  readonly width: number
  readonly height: number
}

function messages(frames: readonly Frame[]): FrameMessage[] {
  return frames.map(({ bytes, width, height }, index) => ({
    frameNumber: index + 1,
    timestamp: new Date(Date.UTC(2025, 0, 20) + index * frameIntervalMs).toISOString(),
    imageData: bytes,
    format: 'jpeg',
    width,
    height,
  }))
}

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex')
}

/** Uploads in parts of these sizes, over and over, and ends the session. */
async function push(
  client: Client,
  frames: readonly FrameMessage[],
  frameExtraction: FrameExtraction,
  { batchSize = 4, parts = [3, 1, 5] } = {},
) {
  const { sessionId } = await client.start({ sessionType: 'video', batchSize, frameExtraction })
  for (let at = 0, turn = 0; at < frames.length; turn += 1) {
    const count = parts[turn % parts.length] ?? 1
    const reply = await client.uploadMsgpack(sessionId, { frames: frames.slice(at, at + count) })
    assert.equal(reply.recordsRejected, 0)
    at += count
  }
  const ended = await client.end(sessionId)
  const atoms = await client.atoms(sessionId)
  assert.equal(ended.finalHash, chainOf(atoms))
  const { statistics } = await client.status(sessionId)
  assert.equal(statistics.totalRecordsReceived, frames.length)
  assert.equal(statistics.totalRecordsProcessed, frames.length)
  assert.equal(statistics.totalAtomsCreated, atoms.length)
  return { sessionId, atoms, finalHash: ended.finalHash }
}

/** Six scenes of five frames each: plain colours under a little noise, alike within a scene. */
async function scenes(): Promise<Frame[]> {
  const colours = ['#c02020', '#20a040', '#2030c0', '#d0d020', '#101010', '#f0f0f0']
  const frames: Frame[] = []
  for (const background of colours) {
    for (let index = 0; index < 5; index += 1) {
      const overlay = { input: dot, left: 10 + 4 * index, top: 20 }
      const image = sharp({ create: { width: 320, height: 240, channels: 3, background } })
      const bytes = new Uint8Array(await image.composite([overlay]).jpeg().toBuffer())
      frames.push({ bytes, width: 320, height: 240 })
    }
  }
  return frames
}
const dot = {
  create: { width: 8, height: 8, channels: 3 as const, background: '#808080' },
}

test('pushed frames that no mode passes over stay as they were pushed', async (t) => {
  const frames = messages(await clipFrames(t, 12))
  const { client } = await startServer(t)
  for (const frameExtractionMode of ['all-frames', 'keyframes'] as const) {
    const { atoms } = await push(client, frames, { frameExtractionMode })
    assert.deepEqual(
      atoms.map(({ hash }) => hash),
      frames.map(({ imageData }) => sha256(imageData)),
    )
    assert.equal(atoms[0]?.metadata.mode, frameExtractionMode)
    assert.equal(atoms[0]?.metadata.sourceFrame, 0)
  }
})

test('every third pushed frame becomes an atom, the first included, across batches and kills', async (t) => {
  const frames = messages(await clipFrames(t, 20))
  const frameExtraction = { frameExtractionMode: 'interval', interval: 3 } as const
  const dataDir = await temporaryFolder(t)
  const env = { ATOMSTREAM_API_KEY: 'killed-between-batches' }
  let server = await startServer(t, { dataDir, env })
  const undisturbed = await push(server.client, frames, frameExtraction)
  const expected = [0, 3, 6, 9, 12, 15, 18].map((index) => frames[index])
  assert.deepEqual(
    undisturbed.atoms.map(({ hash, metadata }) => [hash, metadata.sourceFrame]),
    expected.map((frame, index) => [sha256(frame?.imageData ?? new Uint8Array()), index * 3]),
  )
  // A frame that was passed over is kept by nobody.
  const passed = sha256(frames[1]?.imageData ?? new Uint8Array())
  assert.equal((await server.client.get(`/api/atoms/${passed}`)).status, 404)

  const { sessionId } = await server.client.start({
    sessionType: 'video',
    batchSize: 4,
    frameExtraction,
  })
  for (const [index, frame] of frames.entries()) {
    await server.client.uploadMsgpack(sessionId, { frames: [frame] })
    if (index % 7 !== 6) continue
    await server.kill('SIGKILL')
    server = await startServer(t, { dataDir, env })
  }
  assert.equal((await server.client.end(sessionId)).finalHash, undisturbed.finalHash)
})

test('pushed frames begin a scene where the picture changes, however they come', async (t) => {
  const frames = messages(await scenes())
  const { client } = await startServer(t)
  const frameExtraction = { frameExtractionMode: 'scene-changes' } as const
  const { atoms } = await push(client, frames, frameExtraction)
  assert.deepEqual(
    atoms.map(({ metadata }) => metadata.sourceFrame),
    [5, 10, 15, 20, 25],
  )
  for (const { metadata } of atoms) {
    assert.equal(metadata.threshold, 0.3)
    assert.ok(Number(metadata.score) > 0.3, `score ${metadata.score}`)
  }
  const other = await push(client, frames, frameExtraction, { batchSize: 1_000, parts: [30] })
  assert.equal(other.finalHash, chainOf(atoms))
})

test('pushed frames are shrunk to fit inside, never enlarged', async (t) => {
  const [frame] = messages(await clipFrames(t, 1))
  assert.ok(frame !== undefined)
  const { client } = await startServer(t)
  const small = await push(client, [frame], {
    frameExtractionMode: 'all-frames',
    resolution: { width: 320, height: 320 },
    compressionQuality: 60,
  })
  const [atom] = small.atoms
  assert.ok(atom !== undefined)
  const { width, height, format } = await sharp(await client.atomBytes(atom.hash)).metadata()
  assert.deepEqual([format, width, height], ['jpeg', 320, 180])
  assert.deepEqual([atom.metadata.width, atom.metadata.height], [320, 180])
  assert.deepEqual([atom.metadata.sourceWidth, atom.metadata.sourceHeight], [640, 360])
  assert.equal((await client.get(`/api/atoms/${sha256(frame.imageData)}`)).status, 404)
  const large = await push(client, [frame], {
    frameExtractionMode: 'all-frames',
    resolution: { width: 4_000, height: 4_000 },
  })
  assert.equal(large.atoms[0]?.hash, sha256(frame.imageData))
})

test('at ten frames a second every third of 25 a second is looked at, by their times', async (t) => {
  const frames = messages(await clipFrames(t, 25))
  const { client } = await startServer(t)
  const { atoms } = await push(client, frames, {
    frameExtractionMode: 'all-frames',
    frameRateFps: 10,
  })
  assert.equal(atoms.length, 10)
  const times = atoms.map(({ metadata }) => Date.parse(String(metadata.timestamp)))
  const slots = times.map((time) => Math.floor((time - Date.UTC(2025, 0, 20)) / 100 + 0.05))
  assert.deepEqual(slots, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
})
