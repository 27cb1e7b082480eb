import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { readdir } from 'node:fs/promises'
import { type TestContext, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { gzipSync } from 'node:zlib'
import type { StartSession } from '../../src/contracts/http.ts'
import { mediaTypes } from '../../src/contracts/media.ts'
import { tester } from '../support/actors.ts'
import { testRecords } from '../support/ingest.ts'
import { wavBuffer } from '../support/media.ts'
import { eventually, within } from '../support/waiting.ts'
import { addKey, bearer, openDoor, ownKey, rawConnection } from './door.ts'

type Json = Record<string, unknown>
const MiB = 1024 * 1024
const wav = wavBuffer({ sampleRate: 16_000, channels: 1, durationMs: 3_000 })

async function open(t: TestContext, options: Parameters<typeof openDoor>[1] = {}) {
  const door = await openDoor(t, options)
  const ask = async (
    method: string,
    path: string,
    init: RequestInit & { duplex?: 'half' } = {},
  ) => {
    const headers = { ...bearer(), ...(init.headers as Record<string, string>) }
    const reply = await fetch(`${door.url}/api/streaming/${path}`, { method, ...init, headers })
    const text = await reply.text()
    const body = JSON.parse(text === '' ? 'null' : text) as Json
    return { status: reply.status, headers: reply.headers, body }
  }
  const start = (request: StartSession) => door.sessions.start(tester, request)
  const upload = (
    sessionId: string,
    body: unknown,
    headers: Record<string, string> = { 'Content-Type': 'audio/wav' },
    query = '',
  ) =>
    ask('POST', `sessions/${sessionId}/upload${query}`, {
      body: body as never,
      duplex: 'half',
      headers,
    })
  const job = (id: unknown) => door.store.jobs.find(0, String(id))
  const noFiles = () =>
    eventually(
      async () => ((await readdir(door.spool.folder)).length === 0 ? true : undefined),
      'an empty spool',
    )
  return { ...door, ask, start, upload, job, noFiles }
}

async function* pieces(bytes: Uint8Array, length: number) {
  for (let from = 0; from < bytes.length; from += length) yield bytes.subarray(from, from + length)
}

test('a file becomes a job, with a length and chunked, and its file goes in the end', async (t) => {
  const door = await open(t)
  const session = await door.start({ sessionType: 'audio' })
  for (const body of [wav, pieces(wav, 10_000)]) {
    const type = { 'Content-Type': 'Audio/WAV; codecs=1' }
    const reply = await door.upload(session.id, body, type)
    assert.equal(reply.status, 202, JSON.stringify(reply.body))
    const { jobId, sessionId, status, statusUrl } = reply.body
    assert.equal(sessionId, session.id)
    assert.equal(status, 'queued')
    assert.equal(reply.headers.get('location'), statusUrl)
    const media = door.job(jobId)?.media
    assert.equal(media?.contentType, 'audio/wav')
    assert.equal(media?.bytes, wav.length)
    assert.deepEqual(Buffer.from(media?.hash ?? []), createHash('sha256').update(wav).digest())
    await eventually(
      async () => (door.job(jobId)?.endedAtMs === null ? undefined : true),
      'the end of the job',
    )
    assert.equal(door.job(jobId)?.status, 'completed', JSON.stringify(door.job(jobId)?.error))
  }
  await door.noFiles()
  assert.equal(door.spool.usedBytes, 0)
})

test('timestamp says when a file begins, else it begins when it arrives', async (t) => {
  const door = await open(t)
  const { id } = await door.start({ sessionType: 'audio' })
  const type = { 'Content-Type': 'audio/wav' }
  const beginsAtMs = async (query: string) => {
    const reply = await door.upload(id, wav, type, query)
    assert.equal(reply.status, 202, JSON.stringify(reply.body))
    return door.job(reply.body.jobId)?.media?.beginsAtMs ?? 0
  }
  assert.equal(await beginsAtMs('?timestamp=2025-01-20T10:30:00.0005Z'), 1_737_369_000_000.5)
  assert.equal(await beginsAtMs('?timestamp=1737369000001'), 1_737_369_000_001)
  const before = Date.now()
  const arrival = await beginsAtMs('')
  assert.ok(arrival >= before && arrival <= Date.now())
  const wrong = await door.upload(id, wav, type, '?timestamp=yesterday')
  assert.equal(wrong.status, 400)
  assert.equal(wrong.body.field, 'timestamp')
  const telemetry = await door.start({ sessionType: 'telemetry' })
  const json = { 'Content-Type': 'application/json' }
  const records = JSON.stringify({ records: testRecords(1) })
  const misplaced = await door.upload(telemetry.id, records, json, '?timestamp=1')
  assert.equal(misplaced.status, 400)
})

test('a type that the session does not take is told which it takes', async (t) => {
  const door = await open(t)
  const kinds = { audio: 'video/mp4', video: 'audio/wav', telemetry: 'audio/wav' } as const
  for (const [sessionType, type] of Object.entries(kinds)) {
    const { id } = await door.start({ sessionType: sessionType as keyof typeof kinds })
    const reply = await door.upload(id, wav, { 'Content-Type': type })
    assert.equal(reply.status, 415)
    assert.equal(reply.body.code, 'UNSUPPORTED_MEDIA_TYPE')
    const own = Object.keys(mediaTypes).filter((name) => name.startsWith(`${sessionType}/`))
    assert.deepEqual(reply.body.supported, ['application/json', 'application/msgpack', ...own])
  }
  const { id } = await door.start({ sessionType: 'video' })
  const unknown = await door.upload(id, wav, { 'Content-Type': 'video/x-unknown' })
  assert.equal(unknown.status, 415)
  assert.ok((unknown.body.supported as string[]).includes('video/mp4'))
  // This server was started without ffmpeg.
  const undecodable = await door.upload(id, wav, { 'Content-Type': 'video/mp4' })
  assert.equal(undecodable.status, 503)
  assert.equal(undecodable.body.code, 'DECODER_MISSING')
  await door.noFiles()
})

test('a compressed file is refused, and so is one for a session that takes none', async (t) => {
  const door = await open(t)
  const { id } = await door.start({ sessionType: 'audio' })
  const encoded = { 'Content-Type': 'audio/wav', 'Content-Encoding': 'gzip' }
  const gzip = await door.upload(id, gzipSync(wav), encoded)
  assert.equal(gzip.status, 415)
  assert.deepEqual(gzip.body.supported, ['identity'])
  await door.sessions.pause(tester, id)
  const paused = await door.upload(id, wav)
  assert.equal(paused.status, 409)
  assert.equal(paused.body.code, 'SESSION_STATE_CONFLICT')
  const unknown = await door.upload(`stream-session-${'0'.repeat(32)}`, wav)
  assert.equal(unknown.status, 404)
  await door.noFiles()
})

test('a file past the bound is refused before it comes, and one of no length as it does', async (t) => {
  const door = await open(t, { spool: { fileBytesMax: 2 * MiB } })
  const { id } = await door.start({ sessionType: 'audio' })
  const raw = await rawConnection(t, door.port)
  raw.socket.write(
    `POST /api/streaming/sessions/${id}/upload HTTP/1.1\r\nHost: a\r\nX-API-Key: ${ownKey}\r\n` +
      'Content-Type: audio/wav\r\nContent-Length: 99999999999\r\n\r\n',
  )
  assert.match(await raw.until('"maxBytes":2097152'), /^HTTP\/1\.1 413 /)
  const chunked = await door.upload(id, pieces(randomBytes(3 * MiB), 65_536))
  assert.equal(chunked.status, 413)
  assert.equal(chunked.body.code, 'BODY_TOO_LARGE')
  assert.equal(chunked.body.maxBytes, 2 * MiB)
  await door.noFiles()
  assert.equal(door.spool.usedBytes, 0)
  const small = await door.upload(id, wav)
  assert.equal(small.status, 202)
})

test('a full spool tells when to come again, and an upload that breaks off leaves nothing', async (t) => {
  const door = await open(t, { spool: { bytesMax: 2 * MiB, fileBytesMax: 2 * MiB } })
  const { id } = await door.start({ sessionType: 'audio' })
  const raw = await rawConnection(t, door.port)
  raw.socket.write(
    `POST /api/streaming/sessions/${id}/upload HTTP/1.1\r\nHost: a\r\nX-API-Key: ${ownKey}\r\n` +
      `Content-Type: audio/wav\r\nContent-Length: ${2 * MiB}\r\n\r\n`,
  )
  raw.socket.write(randomBytes(MiB))
  await eventually(async () => (door.spool.usedBytes > 0 ? true : undefined), 'the upload')
  const refused = await door.upload(id, wav)
  assert.equal(refused.status, 503)
  assert.equal(refused.body.code, 'SATURATED')
  assert.ok(Number(refused.headers.get('retry-after')) >= 1)
  raw.socket.destroy()
  await door.noFiles()
  await eventually(async () => (door.spool.usedBytes === 0 ? true : undefined), 'the room')
  assert.equal((await door.upload(id, wav)).status, 202)
  const held = await door.metrics.bodiesInFlightBytes.get()
  assert.equal(held.values[0]?.value, 0)
})

test('the same key and file get the first job again, another file is a conflict', async (t) => {
  const door = await open(t)
  const { id } = await door.start({ sessionType: 'audio' })
  const headers = { 'Content-Type': 'audio/wav', 'Idempotency-Key': 'one' }
  const first = await door.upload(id, wav, headers)
  assert.equal(first.status, 202)
  const again = await door.upload(id, wav, { ...headers, Prefer: 'respond-async' })
  assert.deepEqual(again.body, first.body)
  assert.equal(again.headers.get('preference-applied'), 'respond-async')
  const other = await door.upload(id, wavBuffer({ seed: 2 }), headers)
  assert.equal(other.status, 409)
  assert.equal(other.body.code, 'IDEMPOTENCY_CONFLICT')
  const malformed = await door.upload(id, wav, { ...headers, 'Idempotency-Key': 'a key' })
  assert.equal(malformed.status, 400)
  await door.noFiles()
})

/** A job that stays queued: its batch closes when four more records come. */
async function queuedJob(door: Awaited<ReturnType<typeof open>>) {
  const session = await door.start({
    sessionType: 'telemetry',
    batchSize: 5,
    maxBatchDelayMs: 3_600_000,
  })
  const json = { 'Content-Type': 'application/json' }
  const send = (count: number, headers: Record<string, string> = {}) =>
    door.upload(session.id, JSON.stringify({ records: testRecords(count) }), {
      ...json,
      ...headers,
    })
  const { body } = await send(1, { Prefer: 'respond-async' })
  return { session, send, path: `jobs/${body.jobId}`, jobId: String(body.jobId) }
}

test('a wait holds the status until the job changes, or its time is over', async (t) => {
  const door = await open(t)
  const { send, path } = await queuedJob(door)
  const beganMs = performance.now()
  const late = await door.ask('GET', `${path}/status?wait=1`)
  assert.ok(performance.now() - beganMs >= 990)
  assert.equal(late.body.status, 'queued')
  const waiting = door.ask('GET', `${path}/status?wait=60`)
  await send(4)
  const changed = await within(waiting, 'the change')
  assert.notEqual(changed.body.status, 'queued')
  const ended = await within(
    door.ask('GET', `${path}/status?wait=60`),
    'the status of an ended job',
  )
  assert.equal(ended.body.status, 'completed')
  for (const wait of ['0', '61', '1.5', 'x']) {
    const wrong = await door.ask('GET', `${path}/status?wait=${wait}`)
    assert.equal(wrong.status, 400, wait)
    assert.equal(wrong.body.field, 'wait')
  }
})

test('a server that closes lets go who waits for a job', async (t) => {
  const door = await open(t)
  const { path } = await queuedJob(door)
  const waiting = door.ask('GET', `${path}/status?wait=60`)
  await delay(300)
  const closing = door.transport.close(10_000)
  assert.equal((await within(waiting, 'the reply', 5_000)).body.status, 'queued')
  await within(closing, 'the close', 5_000)
})

test('a queued job is cancelled once, and an unknown or foreign one is not found', async (t) => {
  const door = await open(t)
  const { path, jobId } = await queuedJob(door)
  const waiting = door.ask('GET', `${path}/status?wait=60`)
  const cancelled = await door.ask('POST', `${path}/cancel`)
  assert.equal(cancelled.status, 200, JSON.stringify(cancelled.body))
  const { cancelledAt, ...rest } = cancelled.body
  const partialResult = { atomsCreated: 0, itemsProcessed: 0 }
  assert.deepEqual(rest, { jobId, status: 'cancelled', partialResult })
  const status = (await within(waiting, 'the status')).body
  assert.equal(status.status, 'cancelled')
  assert.equal(status.cancelledAt, cancelledAt)
  const again = await door.ask('POST', `${path}/cancel`)
  assert.equal(again.status, 409)
  assert.equal(again.body.code, 'JOB_STATE_CONFLICT')
  assert.equal(again.body.status, 'cancelled')
  const unknown = await door.ask('POST', `jobs/job-${'0'.repeat(32)}/cancel`)
  assert.equal(unknown.status, 404)
  assert.equal(unknown.body.code, 'JOB_NOT_FOUND')
  const foreign = await addKey(door.store, 7, ['jobs:write'])
  const other = await door.ask('POST', `${path}/cancel`, { headers: bearer(foreign.key) })
  assert.equal(other.status, 404)
  const reader = await addKey(door.store, 0, ['jobs:read'])
  const forbidden = await door.ask('POST', `${path}/cancel`, { headers: bearer(reader.key) })
  assert.equal(forbidden.status, 403)
})
