import assert from 'node:assert/strict'
import { chmod, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import type { JobStatusReply } from '../../src/contracts/http.ts'
import type { FrameExtraction } from '../../src/contracts/media.ts'
import { childrenOf, endedJob, isRunning, spooledFiles, uploadFile } from '../support/jobs.ts'
import { flipped, mediaFile, pixelBomb, truncated } from '../support/media-files.ts'
import { startServer, type TestServer, temporaryFolder } from '../support/server.ts'
import { eventually } from '../support/waiting.ts'

/** Whatever a file was, nothing of it is left behind. */
async function assertTidy(server: TestServer): Promise<void> {
  const isTidy = async () => {
    const [files, children] = [await spooledFiles(server), await childrenOf(server.pid)]
    return files.length + children.length === 0 ? true : undefined
  }
  await eventually(isTidy, 'an empty spool and no decoder', 2_000)
}

async function job(
  server: TestServer,
  file: string | Uint8Array,
  contentType: string,
  frameExtraction: FrameExtraction = { frameExtractionMode: 'all-frames' },
): Promise<{ status: JobStatusReply; sessionId: string }> {
  const { client } = server
  const sessionType = contentType.startsWith('video/') ? 'video' : 'audio'
  const settings = sessionType === 'video' ? { frameExtraction } : { segmentation: {} }
  const { sessionId } = await client.start({ sessionType, ...settings })
  const jobId = await uploadFile(client, sessionId, file, contentType)
  return { status: await endedJob(client, jobId), sessionId }
}

test('playlists and other texts in the guise of media are not recognised', async (t) => {
  const server = await startServer(t)
  const secret = join(await temporaryFolder(t), 'secret.txt')
  await writeFile(secret, 'not for you')
  const texts = [
    `#EXTM3U\n#EXT-X-MEDIA-SEQUENCE:0\n#EXTINF:10.0,\nconcat:file://${secret}\n#EXT-X-ENDLIST\n`,
    `ffconcat version 1.0\nfile '${secret}'\n`,
    `<?xml version="1.0"?><MPD><Period><BaseURL>file://${secret}</BaseURL></Period></MPD>`,
    `RIFF\0\0\0\0`,
    'GIF89a',
  ]
  const types = [
    'video/mp4',
    'video/x-matroska',
    'video/mp2t',
    'video/x-msvideo',
    'video/x-motion-jpeg',
    'audio/mpeg',
    'audio/wav',
    'audio/flac',
  ]
  for (const text of texts) {
    for (const type of types) {
      const { status } = await job(server, Buffer.from(text), type)
      const what = `${type}: ${JSON.stringify(text)}: ${JSON.stringify(status)}`
      assert.equal(status.status, 'failed', what)
      assert.equal(status.error?.code, 'MEDIA_NOT_RECOGNISED', what)
      assert.equal(status.partialResult?.atomsCreated, 0)
      assert.ok(!JSON.stringify(status).includes('not for you'))
    }
  }
  await assertTidy(server)
})

test('an empty file is refused at once', async (t) => {
  const server = await startServer(t)
  const { client } = server
  const { sessionId } = await client.start({ sessionType: 'video' })
  const reply = await client.raw('POST', client.session(sessionId, 'upload'), {
    body: new Uint8Array(0),
    headers: { 'content-type': 'video/mp4' },
  })
  reply.refused(422, 'INVALID_BODY')
  await assertTidy(server)
})

test('a file of another kind than its type says is not recognised', async (t) => {
  const server = await startServer(t)
  const { path } = await mediaFile('clip.mkv')
  for (const type of ['video/mp4', 'video/mp2t', 'video/x-msvideo']) {
    const { status } = await job(server, path, type)
    assert.equal(status.error?.code, 'MEDIA_NOT_RECOGNISED', JSON.stringify(status))
  }
  const { status: speech } = await job(server, (await mediaFile('speech.flac')).path, 'video/mp4')
  assert.equal(speech.error?.code, 'MEDIA_NOT_RECOGNISED')
  await assertTidy(server)
})

test('a frame of 16,000 by 16,000 pixels is refused for its size', async (t) => {
  const server = await startServer(t)
  const { status } = await job(server, (await pixelBomb()).path, 'video/x-msvideo')
  assert.equal(status.status, 'failed')
  assert.equal(status.error?.code, 'MEDIA_LIMIT_EXCEEDED', JSON.stringify(status.error))
  await assertTidy(server)
})

test('an hour of silence in a small file is cut into two minutes of two thousand', async (t) => {
  const server = await startServer(t)
  const { path } = await mediaFile('hour.flac')
  const { status, sessionId } = await job(server, path, 'audio/flac')
  assert.equal(status.status, 'completed', JSON.stringify(status.error))
  const atoms = await server.client.atoms(sessionId)
  assert.equal(atoms.length, 120)
  // Equal segments are stored once.
  assert.equal(new Set(atoms.map(({ hash }) => hash)).size, 1)
  assert.ok(atoms.every(({ metadata }) => metadata.reason !== 'silence'))
  await assertTidy(server)
})

test('a truncated or damaged video keeps its good frames and names the first bad one', async (t) => {
  const server = await startServer(t)
  const cases = [
    [await truncated('moov-first.mp4', 0.6), 'video/mp4'],
    [await truncated('images.avi', 0.5), 'video/x-msvideo'],
    [await truncated('images.mjpeg', 0.5), 'video/x-motion-jpeg'],
    [await flipped('moov-first.mp4', 1, 40), 'video/mp4'],
    [await flipped('clip.mkv', 2, 40), 'video/x-matroska'],
  ] as const
  for (const [{ path }, type] of cases) {
    const runs = [await job(server, path, type), await job(server, path, type)]
    const found = []
    for (const { status, sessionId } of runs) {
      assert.equal(status.status, 'failed', `${path}: ${JSON.stringify(status)}`)
      assert.equal(status.error?.code, 'ATOMIZATION_ERROR', JSON.stringify(status.error))
      const named = /^Failed to parse video frame (\d+)$/.exec(status.error?.message ?? '')
      assert.ok(named !== null, status.error?.message)
      const { atomsCreated, lastSuccessfulFrame } = status.partialResult ?? {}
      assert.equal(lastSuccessfulFrame, Number(named[1]) - 1, path)
      const atoms = await server.client.atoms(sessionId)
      assert.equal(atomsCreated, atoms.length)
      assert.equal(atomsCreated, lastSuccessfulFrame, path)
      assert.ok(status.error?.details !== '')
      assert.equal((await server.client.end(sessionId)).status, 'completed')
      found.push(atoms.map(({ hash }) => hash))
    }
    assert.deepEqual(found[1], found[0], 'the same file gives the same')
    assert.ok((found[0]?.length ?? 0) > 0, `${path} has a good frame`)
  }
  const last = await job(server, (await truncated('moov-last.mp4', 0.9)).path, 'video/mp4')
  assert.equal(last.status.error?.code, 'MEDIA_NOT_RECOGNISED', JSON.stringify(last.status))
  await assertTidy(server)
})

/** A program that passes for ffmpeg until it is given work; then it does what the script says. */
async function impostor(t: TestContext, script: string): Promise<string> {
  const path = join(await temporaryFolder(t), 'ffmpeg')
  const version = 'echo "ffmpeg version 6.0 Copyright (c) 2000-2023 the FFmpeg developers"'
  await writeFile(
    path,
    `#!/bin/sh\ncase "$*" in *-version*) ${version}; exit 0;; esac\n${script}\n`,
  )
  await chmod(path, 0o755)
  return path
}

test('a decoder that hangs is gone within a second of its deadline', async (t) => {
  const ffmpeg = await impostor(t, 'trap "" TERM INT; while :; do sleep 0.1; done')
  const server = await startServer(t, {
    env: { ATOMSTREAM_FFMPEG: ffmpeg, ATOMSTREAM_MEDIA_TIMEOUT_S: '2' },
  })
  const { path } = await mediaFile('images.avi')
  const beganMs = performance.now()
  const { status } = await job(server, path, 'video/x-msvideo')
  assert.equal(status.error?.code, 'MEDIA_TIMEOUT', JSON.stringify(status))
  assert.ok(performance.now() - beganMs < 2_000 + 1_000 + 1_000, 'job start included')
  await assertTidy(server)
})

test('a decoder that fails by itself fails the job, and says how', async (t) => {
  const ffmpeg = await impostor(t, 'echo "out of paper" >&2; exit 9')
  const server = await startServer(t, { env: { ATOMSTREAM_FFMPEG: ffmpeg } })
  const { status } = await job(server, (await mediaFile('images.avi')).path, 'video/x-msvideo')
  assert.equal(status.status, 'failed')
  assert.match(status.error?.code ?? '', /^(DECODER_FAILED|MEDIA_NOT_RECOGNISED)$/)
  assert.match(JSON.stringify(status.error), /out of paper/)
  await assertTidy(server)
})

test('no decoder outlives a server that is killed', async (t) => {
  const ffmpeg = await impostor(t, 'exec sleep 1000')
  const server = await startServer(t, { env: { ATOMSTREAM_FFMPEG: ffmpeg } })
  const { client } = server
  const { sessionId } = await client.start({ sessionType: 'video' })
  await uploadFile(client, sessionId, (await mediaFile('images.avi')).path, 'video/x-msvideo')
  const [child] = await eventually(async () => {
    const children = await childrenOf(server.pid)
    return children.length > 0 ? children : undefined
  }, 'the decoder')
  await server.kill('SIGKILL')
  const isGone = async () => ((await isRunning(child ?? 0)) ? undefined : true)
  await eventually(isGone, 'the end of the decoder', 2_000)
})
