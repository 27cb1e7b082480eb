import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { lstat, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { type Client, chainOf } from '../support/client.ts'
import { chunksOf, clipFrames, type Frame } from '../support/data.ts'
import { jpegFrame } from '../support/media.ts'
import { startServer } from '../support/server.ts'

const frameIntervalMs = 33.52

interface FrameMessage {
  readonly frameNumber: number
  readonly timestamp: string
  readonly imageData: Uint8Array
  readonly format: 'jpeg'
  readonly width: number
  readonly height: number
}

function messages(frames: readonly Frame[], firstNumber = 1): FrameMessage[] {
  return frames.map(({ bytes, width, height }, index) => ({
    frameNumber: firstNumber + index,
    timestamp: new Date(
      Date.UTC(2025, 0, 20) + (firstNumber + index - 1) * frameIntervalMs,
    ).toISOString(),
    imageData: bytes,
    format: 'jpeg',
    width,
    height,
  }))
}

/** As JSON carries them: the bytes in base64. */
function inJson(frames: readonly FrameMessage[]): unknown {
  return {
    frames: frames.map((frame) => ({
      ...frame,
      imageData: Buffer.from(frame.imageData).toString('base64'),
    })),
  }
}

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex')
}

/** Bytes on disk, which a sparse file has fewer of than its length. */
async function diskBytes(folder: string): Promise<number> {
  const entries = await readdir(folder, { recursive: true })
  const sizes = await Promise.all(entries.map(async (name) => lstat(join(folder, name))))
  return sizes.reduce((sum, { blocks }) => sum + blocks * 512, 0)
}

async function assertStored(
  client: Client,
  sessionId: string,
  sent: readonly FrameMessage[],
): Promise<void> {
  const atoms = await client.atoms(sessionId, { limit: 7 })
  assert.deepEqual(
    atoms.map(({ seq, kind, hash, bytes }) => ({ seq, kind, hash, bytes })),
    sent.map(({ imageData }, seq) => ({
      seq,
      kind: 'frame',
      hash: sha256(imageData),
      bytes: imageData.length,
    })),
  )
  for (const [index, frame] of sent.entries()) {
    const atom = atoms[index]
    assert.ok(atom !== undefined)
    const { metadata, hash } = atom
    const { frameNumber, width, height, format } = frame
    assert.deepEqual(
      {
        frameNumber: metadata.frameNumber,
        width: metadata.width,
        height: metadata.height,
        format: metadata.format,
        atMs: Date.parse(`${metadata.timestamp}`),
      },
      { frameNumber, width, height, format, atMs: Date.parse(frame.timestamp) },
    )
    assert.deepEqual(new Uint8Array(await client.atomBytes(hash)), frame.imageData)
  }
}

test('frames of a clip come back byte for byte', async (t) => {
  const frames = messages(await clipFrames(t, 40))
  const { client } = await startServer(t)
  const { sessionId } = await client.start({ sessionType: 'video', batchSize: 10 })

  await t.test('as base64 in JSON and as bytes in msgpack', async () => {
    for (const [index, part] of chunksOf(frames, 5).entries()) {
      const reply =
        index % 2 === 0
          ? await client.upload(sessionId, inJson(part))
          : await client.uploadMsgpack(sessionId, { frames: part })
      assert.equal(reply.recordsReceived, 5)
      assert.equal(index % 2 === 0 ? reply.recordsQueued : reply.recordsProcessed, 5)
    }
    const ended = await client.end(sessionId)
    assert.equal(ended.status, 'completed')
    assert.equal(ended.finalStatistics.totalAtomsCreated, frames.length)
    assert.equal(ended.finalHash, chainOf(await client.atoms(sessionId)))
    assert.equal(ended.finalHash, (await client.status(sessionId)).finalHash)
    await assertStored(client, sessionId, frames)
  })

  await t.test('a frame is served as the JPEG that it is', async () => {
    const hash = sha256(frames[0]?.imageData ?? new Uint8Array())
    const reply = await client.get(`/api/atoms/${hash}`)
    assert.equal(reply.headers.get('content-type'), 'image/jpeg')
  })
})

test('a frame that comes again is an atom again, but its bytes are stored once', async (t) => {
  const bytes = await jpegFrame({ width: 1_280, height: 720, seed: 5, quality: 95 })
  const same = messages(Array.from({ length: 50 }, () => ({ bytes, width: 1_280, height: 720 })))
  const server = await startServer(t)
  const { client } = server
  const { sessionId } = await client.start({ sessionType: 'video', batchSize: 10 })
  await client.uploadMsgpack(sessionId, { frames: same.slice(0, 10) })
  const beforeBytes = await diskBytes(server.dataDir)
  for (const part of chunksOf(same.slice(10), 10)) {
    await client.uploadMsgpack(sessionId, { frames: part })
  }
  const grownBytes = (await diskBytes(server.dataDir)) - beforeBytes
  assert.ok(
    grownBytes < 10 * bytes.length,
    `40 copies of ${bytes.length} bytes took ${grownBytes} bytes`,
  )
  assert.equal((await client.end(sessionId)).finalStatistics.totalAtomsCreated, same.length)
  await assertStored(client, sessionId, same)
})

test('frames whose size is not what was said are refused, the others are kept', async (t) => {
  const bytes = await jpegFrame({ width: 64, height: 48, seed: 1, quality: 80 })
  const [good, wide] = messages([
    { bytes, width: 64, height: 48 },
    { bytes, width: 65, height: 48 },
  ])
  assert.ok(good !== undefined && wide !== undefined)
  const { client } = await startServer(t)
  const { sessionId } = await client.start({ sessionType: 'video', batchSize: 1 })
  const reply = await client.uploadMsgpack(sessionId, { frames: [wide, good] })
  assert.equal(reply.recordsRejected, 1)
  assert.equal(reply.recordsProcessed, 1)
  const [invalid] = reply.invalidRecords ?? []
  assert.equal(invalid?.recordIndex, 0)
  assert.equal(invalid?.field, 'width')
  await assertStored(client, sessionId, [good])
})

test('only verify: "pixels" finds a picture whose pixels are cut off', async (t) => {
  const whole = await jpegFrame({ width: 320, height: 240, seed: 3, quality: 80 })
  // The markers are all there, end of image included, but half of the scan is gone.
  const cut = Uint8Array.from([...whole.subarray(0, whole.length >> 1), 0xff, 0xd9])
  const size = { width: 320, height: 240 }
  const frames = messages([
    { bytes: whole, ...size },
    { bytes: cut, ...size },
  ])
  const { client } = await startServer(t)
  const structure = await client.start({ sessionType: 'video', batchSize: 1 })
  assert.equal((await client.upload(structure.sessionId, inJson(frames))).recordsProcessed, 2)
  const pixels = await client.start({ sessionType: 'video', batchSize: 1, verify: 'pixels' })
  const reply = await client.upload(pixels.sessionId, inJson(frames))
  assert.equal(reply.recordsProcessed, 1)
  assert.deepEqual(
    reply.invalidRecords?.map(({ recordIndex, field }) => ({ recordIndex, field })),
    [{ recordIndex: 1, field: 'imageData' }],
  )
})
