import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { test } from 'node:test'
import { chainOf } from '../support/client.ts'
import { chunksOf, speechBuffers, speechFormat } from '../support/data.ts'
import { wavBuffer } from '../support/media.ts'
import { startServer } from '../support/server.ts'

/** The format of the speech as the generator names it. */
const speech = { ...speechFormat, bitDepth: `${speechFormat.bitDepth}` }

interface BufferMessage {
  readonly bufferNumber: number
  readonly timestamp: string
  readonly audioData: Uint8Array
  readonly format: 'wav'
  readonly sampleRate: number
  readonly channels: number
  readonly bitDepth: number
}

function messages(buffers: readonly Uint8Array[], format = speechFormat): BufferMessage[] {
  return buffers.map((audioData, index) => ({
    bufferNumber: index + 1,
    timestamp: new Date(Date.UTC(2025, 0, 20) + index * 100).toISOString(),
    audioData,
    format: 'wav',
    ...format,
  }))
}

function inJson(buffers: readonly BufferMessage[]): unknown {
  return {
    buffers: buffers.map((buffer) => ({
      ...buffer,
      audioData: Buffer.from(buffer.audioData).toString('base64'),
    })),
  }
}

test('speech in buffers of 100 ms comes back byte for byte', async (t) => {
  const sent = messages(speechBuffers(t))
  const { client } = await startServer(t)
  const { sessionId } = await client.start({ sessionType: 'audio', batchSize: 20 })
  for (const [index, part] of chunksOf(sent, 10).entries()) {
    const reply =
      index % 2 === 0
        ? await client.upload(sessionId, inJson(part))
        : await client.uploadMsgpack(sessionId, { buffers: part })
    assert.equal(reply.recordsReceived, part.length)
    assert.equal(reply.recordsRejected, 0)
  }
  const ended = await client.end(sessionId)
  assert.equal(ended.status, 'completed')
  assert.equal(ended.finalStatistics.totalAtomsCreated, sent.length)
  const atoms = await client.atoms(sessionId)
  assert.equal(ended.finalHash, chainOf(atoms))
  assert.deepEqual(
    atoms.map(({ seq, kind, hash, metadata }) => ({
      seq,
      kind,
      hash,
      bufferNumber: metadata.bufferNumber,
      sampleRate: metadata.sampleRate,
      channels: metadata.channels,
      bitDepth: metadata.bitDepth,
    })),
    sent.map(({ audioData, bufferNumber, sampleRate, channels, bitDepth }, seq) => ({
      seq,
      kind: 'buffer',
      hash: createHash('sha256').update(audioData).digest('hex'),
      bufferNumber,
      sampleRate,
      channels,
      bitDepth,
    })),
  )
  for (const [index, { hash }] of atoms.entries()) {
    assert.deepEqual(new Uint8Array(await client.atomBytes(hash)), sent[index]?.audioData)
  }
  const first = await client.get(`/api/atoms/${atoms[0]?.hash}`)
  assert.match(first.headers.get('content-type') ?? '', /^audio\/(x-)?wav$/)
})

test('buffers in the usual formats are taken and kept as they are', async (t) => {
  const formats = [
    { sampleRate: 8_000, channels: 1, bitDepth: 8 },
    { sampleRate: 44_100, channels: 2, bitDepth: 16 },
    { sampleRate: 48_000, channels: 2, bitDepth: 24 },
    { sampleRate: 96_000, channels: 1, bitDepth: 32 },
  ]
  const { client } = await startServer(t)
  const { sessionId } = await client.start({ sessionType: 'audio', batchSize: formats.length })
  const sent = formats.flatMap((format, seed) =>
    messages([wavBuffer({ ...format, bitDepth: `${format.bitDepth}`, seed })], format),
  )
  const reply = await client.uploadMsgpack(sessionId, { buffers: sent })
  assert.equal(reply.recordsProcessed, formats.length, JSON.stringify(reply))
  const atoms = await client.atoms(sessionId)
  for (const [index, { hash }] of atoms.entries()) {
    assert.deepEqual(new Uint8Array(await client.atomBytes(hash)), sent[index]?.audioData)
  }
})

test('silence that comes twice is two atoms of the same bytes', async (t) => {
  const silence = wavBuffer({ ...speech, seed: 9 })
  const { client } = await startServer(t)
  const { sessionId } = await client.start({ sessionType: 'audio', batchSize: 2 })
  await client.uploadMsgpack(sessionId, { buffers: messages([silence, silence]) })
  const atoms = await client.atoms(sessionId)
  assert.equal(atoms.length, 2)
  assert.equal(atoms[0]?.hash, atoms[1]?.hash)
  assert.deepEqual(
    atoms.map(({ seq, metadata }) => [seq, metadata.bufferNumber]),
    [
      [0, 1],
      [1, 2],
    ],
  )
  assert.equal((await client.end(sessionId)).finalHash, chainOf(atoms))
})

test('a buffer that is not what was said of it is refused by the field that lies', async (t) => {
  const { client } = await startServer(t)
  const { sessionId } = await client.start({ sessionType: 'audio', batchSize: 1 })
  const audioData = wavBuffer({ ...speech, seed: 2 })
  const lies = [{ sampleRate: 44_100 }, { channels: 2 }, { bitDepth: 24 }]
  const buffers = lies.map((lie) => ({ ...messages([audioData])[0], ...lie }))
  const reply = await client.uploadMsgpack(sessionId, {
    buffers: [...buffers, ...messages([audioData])],
  })
  assert.equal(reply.recordsRejected, 3)
  assert.equal(reply.recordsProcessed, 1)
  assert.deepEqual(
    reply.invalidRecords?.map(({ recordIndex, field }) => [recordIndex, field]),
    [
      [0, 'sampleRate'],
      [1, 'channels'],
      [2, 'bitDepth'],
    ],
  )
})
