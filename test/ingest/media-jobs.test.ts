import assert from 'node:assert/strict'
import { readFileSync, writeFileSync } from 'node:fs'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { Refusal } from '../../src/contracts/errors.ts'
import type { JobRow, SessionRow } from '../../src/store/interfaces.ts'
import { tester, testerOf } from '../support/actors.ts'
import { samplesOf, seededRandom, wavFile } from '../support/data.ts'
import { deathsFileVariable } from '../support/dying-media.ts'
import { openIngest } from '../support/ingest.ts'
import { clip } from '../support/media-files.ts'
import { temporaryFolder } from '../support/server.ts'
import { assertSound } from '../support/soundness.ts'
import { eventually } from '../support/waiting.ts'

type Ingest = Awaited<ReturnType<typeof openIngest>>

/** So long that its segments make several chunks. */
const wav = wavFile(noise(20 * 1024 * 1024))
const segmentation = { segmentationMode: 'fixed-duration', maxSegmentDurationMs: 10_000 } as const

function noise(bytes: number): Buffer {
  const random = seededRandom(3)
  const block = Buffer.from(Array.from({ length: 65_536 }, () => Math.floor(random() * 256)))
  const all = Buffer.alloc(bytes)
  for (let at = 0; at < bytes; at += block.length) {
    block.copy(all, at)
    all.writeUInt32LE(at, at)
  }
  return all
}

function ended(ingest: Ingest, { number }: JobRow): Promise<JobRow> {
  const isOver = async () => {
    const row = ingest.store.jobs.get(number)
    return row?.endedAtMs == null ? undefined : row
  }
  return eventually(isOver, 'the end of the job', 60_000)
}

function audioOf(ingest: Ingest, session: SessionRow): Buffer {
  const segments = [...ingest.store.atoms.scan(session.number, 0)].map(({ hash }) => {
    const bytes = ingest.store.blobs.get(session.tenant, hash)
    assert.ok(bytes !== null)
    return samplesOf(Buffer.from(bytes))
  })
  return Buffer.concat(segments)
}

test('threads that die with a chunk under way leave no atom behind twice', async (t) => {
  const deathsFile = join(await temporaryFolder(t), 'deaths')
  writeFileSync(deathsFile, '')
  process.env[deathsFileVariable] = deathsFile
  const mediaFile = new URL('../support/dying-media.js', import.meta.url)
  const ingest = await openIngest(t, { mediaFile })
  const session = await ingest.sessions.start(tester, { sessionType: 'audio', segmentation })
  const job = await ended(ingest, await ingest.uploadFile(session, wav, 'audio/wav'))
  assert.equal(readFileSync(deathsFile).byteLength, 2)
  assert.equal(job.status, 'completed', JSON.stringify(job.error))
  const rows = [...ingest.store.atoms.scan(session.number, 0)]
  const starts = rows.map(({ metadata }) => metadata.startSample)
  assert.deepEqual(
    starts,
    starts.map((_, index) => index * 160_000),
  )
  assert.ok(audioOf(ingest, session).equals(samplesOf(Buffer.from(wav))))
  assert.deepEqual(job.media?.checkpoint.emitted, rows.length)
  assert.equal((await ingest.sessions.end(tester, session.id, {})).atomsCreated, rows.length)
  await eventually(
    async () => ((await readdir(ingest.spool.folder)).length === 0 ? true : undefined),
    'an empty spool',
  )
  await ingest.close()
  await assertSound(ingest.path)
})

test('a session that is cancelled while a file is being taken cancels its job too', async (t) => {
  const { ffmpeg, path } = await clip()
  const ingest = await openIngest(t, { ffmpeg })
  const session = await ingest.sessions.start(tester, {
    sessionType: 'video',
    frameExtraction: { frameExtractionMode: 'all-frames' },
  })
  const bytes = readFileSync(path)
  const first = await ingest.uploadFile(session, bytes, 'video/mp4')
  // It becomes a job or is refused, and nothing else.
  const second = ingest.uploadFile(session, bytes, 'video/mp4').catch((error: unknown) => {
    assert.ok(error instanceof Refusal)
    return null
  })
  const cancelled = await ingest.sessions.cancel(tester, session.id)
  assert.equal(cancelled.status, 'cancelled')
  const jobs = [first.number]
  const other = await second
  if (other !== null) jobs.push(other.number)
  for (const number of jobs) assert.equal(ingest.store.jobs.get(number)?.status, 'cancelled')
  assert.equal(ingest.row(session).openJobs, 0)
  await ingest.close()
  await assertSound(ingest.path)
})

test('jobs on files go on with the next process, those of one tenant do not hold up another', async (t) => {
  const ingest = await openIngest(t)
  const sessions = await Promise.all(
    [0, 0, 0, 1].map((tenant) =>
      ingest.sessions.start(testerOf(tenant), { sessionType: 'audio', segmentation }),
    ),
  )
  const jobs: JobRow[] = []
  for (const session of sessions) jobs.push(await ingest.uploadFile(session, wav, 'audio/wav'))
  await ingest.close()
  const next = await openIngest(t, { path: ingest.path })
  await next.mediaJobs.recover()
  const rows = []
  for (const job of jobs) rows.push(await ended(next, job))
  assert.deepEqual(new Set(rows.map(({ status }) => status)), new Set(['completed']))
  assert.equal(new Set(rows.map(({ chain }) => Buffer.from(chain).toString('hex'))).size, 1)
  // A stop is no fault of the file's.
  for (const { media } of rows) assert.ok((media?.runs ?? 9) <= 1)
  await next.close()
  await assertSound(next.path)
})
