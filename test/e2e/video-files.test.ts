import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import sharp from 'sharp'
import { JobCancelled } from '../../src/contracts/http.ts'
import type { FrameExtraction } from '../../src/contracts/media.ts'
import { type Client, chainOf } from '../support/client.ts'
import {
  childrenOf,
  endedJob,
  jobAt,
  jobStatus,
  spooledFiles,
  streamFile,
  uploadFile,
} from '../support/jobs.ts'
import {
  clip,
  isRealClip,
  type MediaFileName,
  mediaFile,
  sceneCuts,
} from '../support/media-files.ts'
import { startServer, temporaryFolder } from '../support/server.ts'
import { openEvents } from '../support/sse.ts'
import { eventually } from '../support/waiting.ts'

const beganAt = '2025-01-20T10:30:00.000Z'

async function extract(client: Client, path: string, type: string, settings: FrameExtraction) {
  const { sessionId } = await client.start({ sessionType: 'video', frameExtraction: settings })
  const query = { timestamp: beganAt }
  const job = await endedJob(client, await uploadFile(client, sessionId, path, type, { query }))
  assert.equal(job.status, 'completed', JSON.stringify(job))
  const atoms = await client.atoms(sessionId)
  assert.equal(job.result?.atomsCreated, atoms.length)
  assert.equal(job.result?.finalHash, chainOf(atoms))
  const ended = await client.end(sessionId)
  assert.equal(ended.finalHash, job.result?.finalHash)
  return { job, atoms, sessionId }
}

test('a video becomes its five keyframes, and its job tells of its five phases', async (t) => {
  t.diagnostic(isRealClip ? 'real input: bottle-detection.mp4' : 'generated input')
  const { path } = await clip()
  const server = await startServer(t)
  const { client } = server
  const { job, atoms, sessionId } = await extract(client, path, 'video/mp4', {
    frameExtractionMode: 'keyframes',
  })
  assert.deepEqual(
    atoms.map(({ kind, metadata }) => [kind, metadata.frameNumber, metadata.mode]),
    [0, 250, 500, 750, 1_000].map((frame) => ['frame', frame, 'keyframes']),
  )
  const expected = [0, 8.38, 16.76, 25.14, 33.52]
  for (const [index, { hash, metadata }] of atoms.entries()) {
    const seconds = expected[index] ?? 0
    assert.ok(Math.abs(Number(metadata.ptsMs) / 1_000 - seconds) < 0.02, `${metadata.ptsMs}`)
    const atMs = Date.parse(beganAt) + Number(metadata.ptsMs)
    assert.ok(Math.abs(Date.parse(String(metadata.timestamp)) - atMs) < 1)
    const { format, width, height } = await sharp(await client.atomBytes(hash)).metadata()
    assert.deepEqual([format, width, height], ['jpeg', 640, 360])
    assert.deepEqual([metadata.width, metadata.height], [640, 360])
  }
  assert.deepEqual(Object.keys(job.phaseProgress), [
    'upload',
    'validation',
    'atomization',
    'indexing',
    'completion',
  ])
  const phases = Object.values(job.phaseProgress)
  assert.ok(phases.every(({ status }) => status === 'completed'))
  const measured = phases.reduce((sum, { durationMs = Number.NaN }) => sum + durationMs, 0)
  const { totalDurationMs } = job.result ?? { totalDurationMs: 0 }
  assert.ok(measured <= totalDurationMs + phases.length, `${measured} of ${totalDurationMs} ms`)
  const events = await (
    await openEvents(`${client.url}${client.session(sessionId, 'events')}`, client.headers)
  ).whole()
  const created = events
    .filter(({ name }) => name === 'batch-processed')
    .reduce((sum, { data }) => sum + Number(data.atomsCreated), 0)
  assert.equal(created, 5)
  assert.deepEqual(await spooledFiles(server), [])
})

test('all frames of the clip are 1,189, every thirtieth 40, shrunk as asked for', async (t) => {
  const { path } = await clip()
  const { client } = await startServer(t)
  const all = await extract(client, path, 'video/mp4', {
    frameExtractionMode: 'all-frames',
    resolution: { width: 160, height: 160 },
    compressionQuality: 40,
  })
  assert.equal(all.atoms.length, 1_189)
  assert.deepEqual(
    all.atoms.map(({ metadata }) => metadata.frameNumber),
    Array.from({ length: 1_189 }, (_, index) => index),
  )
  const { width, height } = await sharp(await client.atomBytes(all.atoms[0]?.hash ?? '')).metadata()
  assert.deepEqual([width, height], [160, 90])
  const some = await extract(client, path, 'video/mp4', {
    frameExtractionMode: 'interval',
    interval: 30,
    resolution: { width: 160, height: 160 },
    compressionQuality: 40,
  })
  assert.equal(some.atoms.length, 40)
  assert.deepEqual(
    some.atoms.map(({ hash }) => hash),
    all.atoms.filter((_, index) => index % 30 === 0).map(({ hash }) => hash),
  )
})

test('six scenes are five scene changes at the default threshold', async (t) => {
  const { path } = await mediaFile('six-scenes.mp4')
  const { client } = await startServer(t)
  const { atoms } = await extract(client, path, 'video/mp4', {
    frameExtractionMode: 'scene-changes',
  })
  assert.equal(atoms.length, 5)
  for (const [index, { metadata }] of atoms.entries()) {
    const cut = sceneCuts[index] ?? 0
    assert.ok(Math.abs(Number(metadata.frameNumber) - cut) <= 1, `${metadata.frameNumber}`)
    assert.equal(metadata.threshold, 0.3)
    assert.ok(Number(metadata.score) > 0.3)
  }
})

test('each container is taken under its own type, also in chunks of unknown number', async (t) => {
  const files: [MediaFileName, string][] = [
    ['moov-first.mp4', 'video/mp4'],
    ['moov-last.mp4', 'video/mp4; codecs="avc1.64001e"'],
    ['clip.mov', 'video/quicktime'],
    ['clip.mkv', 'video/x-matroska'],
    ['vp8.webm', 'video/webm'],
    ['clip.ts', 'video/mp2t'],
    ['images.mjpeg', 'video/x-motion-jpeg'],
    ['images.avi', 'video/x-msvideo'],
  ]
  const { client } = await startServer(t)
  for (const [name, type] of files) {
    const { path } = await mediaFile(name)
    const { sessionId } = await client.start({
      sessionType: 'video',
      frameExtraction: { frameExtractionMode: 'interval', interval: 10 },
    })
    const whole = await endedJob(client, await uploadFile(client, sessionId, path, type))
    const chunked = await endedJob(client, await streamFile(client, sessionId, path, type))
    assert.equal(whole.status, 'completed', `${name}: ${JSON.stringify(whole.error)}`)
    assert.ok((whole.result?.atomsCreated ?? 0) >= 8, `${name}: ${whole.result?.atomsCreated}`)
    assert.equal(chunked.result?.finalHash, whole.result?.finalHash, name)
  }
})

test('a cancelled job stops within a second, its decoder too, and keeps what it has stored', async (t) => {
  const { path } = await mediaFile('looped.mp4')
  const server = await startServer(t)
  const { client } = server
  const { sessionId } = await client.start({
    sessionType: 'video',
    frameExtraction: { frameExtractionMode: 'all-frames' },
  })
  const jobId = await uploadFile(client, sessionId, path, 'video/mp4')
  const running = await jobAt(client, jobId, 300)
  assert.equal(running.currentPhase, 'atomization')
  assert.ok((running.progress?.percentComplete ?? 0) >= 1)
  assert.ok((running.progress?.estimatedTimeRemainingMs ?? 0) > 0)
  assert.equal((await childrenOf(server.pid)).length, 1)
  const askedMs = performance.now()
  const reply = await client.raw('POST', `/api/streaming/jobs/${jobId}/cancel`)
  const cancelled = reply.as(JobCancelled)
  const children = await childrenOf(server.pid)
  assert.ok(performance.now() - askedMs < 1_000)
  assert.deepEqual(children, [])
  assert.equal(cancelled.status, 'cancelled')
  const atoms = await client.atoms(sessionId)
  assert.equal(cancelled.partialResult.atomsCreated, atoms.length)
  assert.ok(atoms.length >= 256 && atoms.length < 23_780, `${atoms.length} atoms`)
  const status = await jobStatus(client, jobId)
  assert.equal(status.status, 'cancelled')
  assert.equal(status.phaseProgress.atomization?.status, 'cancelled')
  const again = await client.raw('POST', `/api/streaming/jobs/${jobId}/cancel`)
  assert.equal(again.refused(409, 'JOB_STATE_CONFLICT').status, 'cancelled')
  await eventually(
    async () => ((await spooledFiles(server)).length === 0 ? true : undefined),
    'an empty spool',
  )
  assert.equal((await client.end(sessionId)).status, 'completed')
})

test('a queued job is cancelled before it begins, and a cancelled session cancels its jobs', async (t) => {
  const { path } = await mediaFile('looped.mp4')
  const server = await startServer(t)
  const { client } = server
  const { sessionId } = await client.start({
    sessionType: 'video',
    frameExtraction: { frameExtractionMode: 'all-frames' },
  })
  const jobs: string[] = []
  for (let index = 0; index < 4; index += 1) {
    jobs.push(await uploadFile(client, sessionId, path, 'video/mp4'))
  }
  const last = jobs.at(-1) ?? ''
  assert.equal((await jobStatus(client, last)).status, 'queued')
  await client.raw('POST', `/api/streaming/jobs/${last}/cancel`)
  const { partialResult, status } = await jobStatus(client, last)
  assert.deepEqual([status, partialResult?.atomsCreated], ['cancelled', 0])
  await jobAt(client, jobs[0] ?? '', 300)
  const ended = await client.raw('POST', client.session(sessionId, 'cancel'))
  assert.equal(ended.status, 200, ended.text)
  for (const jobId of jobs) assert.equal((await jobStatus(client, jobId)).status, 'cancelled')
  assert.deepEqual(await childrenOf(server.pid), [])
  const { status: session } = await client.status(sessionId)
  assert.equal(session, 'cancelled')
})

test('the end of a session waits for its jobs', async (t) => {
  const { path } = await clip()
  const { client } = await startServer(t)
  const { sessionId } = await client.start({
    sessionType: 'video',
    frameExtraction: {
      frameExtractionMode: 'all-frames',
      resolution: { width: 64, height: 64 },
    },
  })
  const jobId = await uploadFile(client, sessionId, path, 'video/mp4')
  const early = await client.raw('POST', client.session(sessionId, 'end'), {
    json: { timeoutMs: 1 },
  })
  assert.equal(early.status, 202, early.text)
  const refused = await client.raw('POST', client.session(sessionId, 'upload'), {
    body: new Uint8Array(4),
    headers: { 'content-type': 'video/mp4' },
  })
  refused.refused(409, 'SESSION_STATE_CONFLICT')
  const ended = await client.end(sessionId, { timeoutMs: 60_000 })
  assert.equal(ended.finalStatistics.totalAtomsCreated, 1_189)
  assert.equal((await jobStatus(client, jobId)).result?.finalHash, ended.finalHash)
})

test('a job goes on after a stop, and its file stays for it alone', async (t) => {
  const { path } = await mediaFile('looped.mp4')
  const dataDir = await temporaryFolder(t)
  const env = { ATOMSTREAM_API_KEY: 'stopped-amid-a-job' }
  const first = await startServer(t, { dataDir, env })
  const { sessionId } = await first.client.start({
    sessionType: 'video',
    frameExtraction: { frameExtractionMode: 'interval', interval: 40 },
  })
  const jobId = await uploadFile(first.client, sessionId, path, 'video/mp4')
  const quick = await first.client.start({ sessionType: 'video' })
  const calm = await endedJob(
    first.client,
    await uploadFile(first.client, quick.sessionId, (await clip()).path, 'video/mp4'),
  )
  assert.equal(calm.result?.atomsCreated, 5)
  await jobAt(first.client, jobId, 40)
  assert.equal((await first.stop()).code, 0)
  const stray = join(dataDir, 'spool', `spool-${'0'.repeat(32)}`)
  await writeFile(stray, 'left by an upload that never became a job')
  const second = await startServer(t, { dataDir, env })
  assert.equal(existsSync(stray), false)
  const job = await endedJob(second.client, jobId)
  assert.equal(job.status, 'completed', JSON.stringify(job.error))
  assert.equal(job.result?.atomsCreated, 595)
  const atoms = await second.client.atoms(sessionId)
  assert.equal(job.result?.finalHash, chainOf(atoms))
  assert.deepEqual(
    atoms.map(({ metadata }) => metadata.frameNumber),
    Array.from({ length: 595 }, (_, index) => index * 40),
  )
})

test('an upload that is sent again under its key gets the job of the first', async (t) => {
  const { path } = await mediaFile('images.avi')
  const server = await startServer(t)
  const { client } = server
  const { sessionId } = await client.start({ sessionType: 'video' })
  const headers = { 'idempotency-key': 'clip-1' }
  const first = await uploadFile(client, sessionId, path, 'video/x-msvideo', { headers })
  const second = await uploadFile(client, sessionId, path, 'video/x-msvideo', { headers })
  assert.equal(second, first)
  const other = await client.raw('POST', client.session(sessionId, 'upload'), {
    body: new Uint8Array(100),
    headers: { ...headers, 'content-type': 'video/x-msvideo' },
  })
  other.refused(409, 'IDEMPOTENCY_CONFLICT')
  await endedJob(client, first)
  await eventually(
    async () => ((await spooledFiles(server)).length === 0 ? true : undefined),
    'an empty spool',
  )
})
