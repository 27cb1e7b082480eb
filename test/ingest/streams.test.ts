import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import type { SessionRow } from '../../src/store/interfaces.ts'
import { tester } from '../support/actors.ts'
import { samplesOf, wavFile } from '../support/data.ts'
import { faultyWorkers } from '../support/faults.ts'
import { type FaultMark, markText } from '../support/faulty-mark.ts'
import { openIngest } from '../support/ingest.ts'
import { assertSound } from '../support/soundness.ts'
import { eventually } from '../support/waiting.ts'

type Ingest = Awaited<ReturnType<typeof openIngest>>

const sampleRate = 16_000
const format = { format: 'wav', sampleRate, channels: 1, bitDepth: 16 }

async function openSession(t: TestContext): Promise<{ ingest: Ingest; session: SessionRow }> {
  const ingest = await openIngest(t, { workerFile: (await faultyWorkers(t)).workerFile })
  const session = await ingest.sessions.start(tester, {
    sessionType: 'audio',
    batchSize: 1,
    retry: { maxRetries: 0 },
    segmentation: { segmentationMode: 'fixed-duration', maxSegmentDurationMs: 6_000 },
  })
  return { ingest, session }
}

/** Second number `second` of the session's audio; its samples tell it, and may bear a mark. */
function samples(second: number, mark?: Omit<FaultMark, 'task'>): Buffer {
  const bytes = Buffer.alloc(2 * sampleRate, second + 1)
  if (mark !== undefined) bytes.write(markText({ task: 'analyse', ...mark }), 0, 'latin1')
  return bytes
}

function push(ingest: Ingest, session: SessionRow, second: number, pcm: Buffer) {
  const buffer = {
    bufferNumber: second,
    timestamp: new Date(Date.UTC(2025, 0, 1) + second * 1_000).toISOString(),
    audioData: Buffer.from(wavFile(pcm)).toString('base64'),
    ...format,
  }
  return ingest.upload(session, { buffers: [buffer] })
}

/** The audio of all segments, in order. */
function audioOf(ingest: Ingest, session: SessionRow): Buffer {
  const segments = [...ingest.store.atoms.scan(session.number, 0)].map(({ hash }) => {
    const bytes = ingest.store.blobs.get(session.tenant, hash)
    assert.ok(bytes !== null)
    return samplesOf(Buffer.from(bytes))
  })
  return Buffer.concat(segments)
}

async function dead(ingest: Ingest, session: SessionRow, count: number): Promise<string[]> {
  const isThere = async () => (ingest.row(session).deadLetters === count ? true : undefined)
  await eventually(isThere, `${count} dead letters`)
  return ingest.deadLetters.list(0, {}, 10, null).rows.map(({ id }) => id)
}

test('dead letters of a session that is cut are redriven in the order of their audio', async (t) => {
  const { ingest, session } = await openSession(t)
  const marks = [1, 2].map((second) => ({ fault: 'throw', times: 1, name: `s${second}` }) as const)
  const parts = [samples(0), samples(1, marks[0]), samples(2, marks[1])]
  for (const [second, pcm] of parts.entries()) await push(ingest, session, second, pcm)
  const newestFirst = await dead(ingest, session, 2)
  await ingest.deadLetters.redrive(tester, { deadLetterIds: newestFirst })
  const ended = await ingest.sessions.end(tester, session.id, {})
  assert.equal(ended.status, 'completed')
  assert.deepEqual(audioOf(ingest, session), Buffer.concat(parts))
  const { recordsReceived, recordsProcessed, atomsCreated } = ingest.row(session)
  assert.deepEqual([recordsReceived, recordsProcessed, atomsCreated], [3, 3, 1])
  await ingest.close()
  await assertSound(ingest.path)
})

test('a redriven batch waits for the one at work, however low its number is', async (t) => {
  const { ingest, session } = await openSession(t)
  const failing = samples(0, { fault: 'throw', times: 1, name: 'first' })
  await push(ingest, session, 0, failing)
  const [letter = ''] = await dead(ingest, session, 1)
  const slow = samples(1, { fault: 'pause', times: 'always', name: 'slow' })
  const upload = push(ingest, session, 1, slow)
  await ingest.deadLetters.redrive(tester, { deadLetterIds: [letter] })
  await upload
  await push(ingest, session, 2, samples(2))
  const ended = await ingest.sessions.end(tester, session.id, {})
  assert.equal(ended.status, 'completed')
  const audio = audioOf(ingest, session)
  assert.equal(audio.length, 3 * 2 * sampleRate)
  for (const part of [failing, slow, samples(2)]) assert.notEqual(audio.indexOf(part), -1)
  await ingest.close()
  await assertSound(ingest.path)
})

test('what is redriven after the end is cut to its end, and nothing of it waits', async (t) => {
  const { ingest, session } = await openSession(t)
  await push(ingest, session, 0, samples(0))
  const late = samples(1, { fault: 'throw', times: 1, name: 'late' })
  await push(ingest, session, 1, late)
  const ids = await dead(ingest, session, 1)
  assert.equal((await ingest.sessions.end(tester, session.id, {})).status, 'failed')
  await ingest.deadLetters.redrive(tester, { deadLetterIds: ids })
  const isDone = async () => (ingest.row(session).recordsProcessed === 2 ? true : undefined)
  await eventually(isDone, 'the redriven buffer')
  assert.deepEqual(audioOf(ingest, session), Buffer.concat([samples(0), late]))
  assert.deepEqual(ingest.store.streams.pending(session.number), [])
  await ingest.close()
  await assertSound(ingest.path)
})

test('more buffers than may wait are joined, and cut as if they had stayed', async (t) => {
  const { ingest, session } = await openSession(t)
  const parts: Buffer[] = []
  const pieces = 300
  for (let piece = 0; piece < pieces; piece += 1) {
    const pcm = Buffer.alloc(2 * 160, piece + 1)
    parts.push(pcm)
    const atMs = Date.UTC(2025, 0, 1) + piece * 10
    await ingest.upload(session, {
      buffers: [
        {
          bufferNumber: piece,
          timestamp: new Date(atMs).toISOString(),
          audioData: Buffer.from(wavFile(pcm)).toString('base64'),
          ...format,
        },
      ],
    })
  }
  const waiting = ingest.store.streams.pending(session.number)
  assert.ok(waiting.length < 140, `${waiting.length} buffers wait`)
  assert.equal(
    waiting.reduce((sum, row) => sum + row.samples, 0),
    pieces * 160,
  )
  await ingest.close()
  await assertSound(ingest.path)
})
