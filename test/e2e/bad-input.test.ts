import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { pack } from 'msgpackr'
import { RejectedPage, SessionList, type StartSession } from '../../src/contracts/http.ts'
import { Client, exchange, RawReply } from '../support/client.ts'
import { jpegFrame, wavBuffer } from '../support/media.ts'
import { createKey, startServer, type TestServer } from '../support/server.ts'
import { badBodies } from './bad-bodies.ts'
import { type BadCase, msgpackType, record, type Target, time } from './bad-case.ts'
import { badBuffers, badFrames } from './bad-media.ts'
import { badRecords } from './bad-records.ts'
import { badRequests } from './bad-requests.ts'

const schema: StartSession['schema'] = {
  additionalFields: false,
  fields: [
    { name: 'temperature', type: 'float', required: true, validation: { min: -50, max: 150 } },
    { name: 'humidity', type: 'float' },
    { name: 'count', type: 'integer' },
    { name: 'unit', type: 'string', validation: { pattern: '^[A-Z]+$', maxLength: 3 } },
    { name: 'mode', type: 'string', validation: { enum: ['a', 'b'] } },
    { name: 'on', type: 'boolean' },
    { name: 'at', type: 'datetime' },
  ],
}
const strictUpload = { records: [{ timestamp: time, values: { temperature: 72.5 } }] }

const starts: Record<Target, StartSession> = {
  telemetry: { sessionType: 'telemetry', batchSize: 1 },
  strict: { sessionType: 'telemetry', batchSize: 1, schema },
  whole: { sessionType: 'telemetry', batchSize: 1, schema, onInvalid: 'reject-batch' },
  video: { sessionType: 'video', batchSize: 1 },
  pixels: { sessionType: 'video', batchSize: 1, verify: 'pixels' },
  audio: { sessionType: 'audio', batchSize: 1 },
  ended: { sessionType: 'telemetry', batchSize: 1 },
}

/** A running server with a session of every kind, each with one good upload in it. */
interface World {
  readonly server: TestServer
  readonly client: Client
  readonly ids: Readonly<Record<Target | 'foreign' | 'witness', string>>
  readonly keys: Readonly<Record<NonNullable<BadCase['key']>, string | null>>
  readonly goodUploads: Readonly<Record<Target, unknown>>
}

async function createWorld(t: TestContext): Promise<World> {
  const server = await startServer(t)
  const { client } = server
  const size = { width: 64, height: 48 }
  const imageData = await jpegFrame({ ...size, seed: 1, quality: 80 })
  const frame = { frameNumber: 1, timestamp: time, imageData, format: 'jpeg', ...size }
  const audioData = wavBuffer({ sampleRate: 16_000, channels: 1, bitDepth: '16', seed: 1 })
  const format = { format: 'wav', sampleRate: 16_000, channels: 1, bitDepth: 16 }
  const buffer = { bufferNumber: 1, timestamp: time, audioData, ...format }
  const goodUploads: Record<Target, unknown> = {
    telemetry: { records: [record] },
    strict: strictUpload,
    whole: strictUpload,
    video: { frames: [frame] },
    pixels: { frames: [frame] },
    audio: { buffers: [buffer] },
    ended: { records: [record] },
  }
  const foreignKey = await createKey(server.dataDir, { tenant: 7 })
  const readerKey = await createKey(server.dataDir, { scopes: 'sessions:read' })
  const foreign = await server.clientWith(foreignKey.key).start({ sessionType: 'telemetry' })
  const witness = await client.start(starts.telemetry)
  const ids: Record<string, string> = {
    foreign: foreign.sessionId,
    witness: witness.sessionId,
  }
  for (const [target, start] of Object.entries(starts)) {
    const { sessionId } = await client.start(start)
    ids[target] = sessionId
    await client.uploadMsgpack(sessionId, goodUploads[target as Target])
  }
  await client.end(ids.ended ?? '')
  const keys = {
    full: server.key,
    none: null,
    wrong: 'as_wrong-key-wrong-key-wrong-key',
    foreign: foreignKey.key,
    reader: readerKey.key,
  }
  return { server, client, ids: ids as World['ids'], keys, goodUploads }
}

/** All that may not change: counts, atoms and rejected records of the target, and the sessions. */
async function stored({ client, ids }: World, target: Target): Promise<unknown> {
  const { statistics, status, lastActivityAt } = await client.status(ids[target])
  const list = await client.get('/api/streaming/sessions')
  const rejected = await client.get(client.session(ids[target], 'rejected'))
  return {
    statistics: { ...statistics, sessionDurationMs: 0 },
    status,
    lastActivityAt,
    atoms: await client.atoms(ids[target]),
    rejected: rejected.as(RejectedPage),
    sessions: list.as(SessionList).sessions.map(({ sessionId }) => sessionId),
  }
}

async function send(world: World, bad: BadCase): Promise<RawReply> {
  const { server, ids, keys } = world
  const template = bad.path ?? `/api/streaming/sessions/{${bad.target ?? 'telemetry'}}/upload`
  const path = template.replace(/\{(\w+)\}/g, (_, name: keyof World['ids']) => ids[name])
  if (bad.raw !== undefined) {
    const { host } = new URL(server.url)
    const parts = bad.raw({ host, path, authorization: `Bearer ${server.key}` })
    return parsed(await exchange(server.url, parts))
  }
  const packed = bad.msgpack === undefined ? undefined : pack(bad.msgpack)
  const made = typeof bad.body === 'function' ? bad.body() : bad.body
  const text = bad.json === undefined ? undefined : JSON.stringify(bad.json)
  const body = packed ?? made ?? text
  const type = packed === undefined ? { 'content-type': 'application/json' } : msgpackType
  const headers: Record<string, string> = {
    ...(body === undefined ? {} : type),
    ...bad.headers,
  }
  if (headers['content-type'] === '') delete headers['content-type']
  const client = new Client(server.url, keys[bad.key ?? 'full'])
  return client.raw(bad.method ?? 'POST', path, {
    headers,
    ...(body === undefined ? {} : { body }),
  })
}

/** An answer as it came over a socket. */
function parsed(text: string): RawReply {
  const [head = '', ...rest] = text.split('\r\n\r\n')
  const [first = '', ...lines] = head.split('\r\n')
  const headers = lines.map((line): [string, string] => {
    const colon = line.indexOf(':')
    return [line.slice(0, colon), line.slice(colon + 1).trim()]
  })
  const status = Number(/^HTTP\/1\.1 (\d{3})/.exec(first)?.[1])
  const body = Buffer.from(rest.join('\r\n\r\n'), 'latin1')
  return new RawReply(status, new Headers(headers), body)
}

function assertRefused(reply: RawReply, bad: BadCase): void {
  if (bad.code === null) {
    assert.equal(reply.status, bad.status)
    return
  }
  const body = reply.refused(bad.status, bad.code)
  assert.ok(typeof body.requestId === 'string' && body.requestId.length > 0)
  assert.match(reply.headers.get('content-type') ?? '', /^application\/json/)
  for (const [name, value] of Object.entries(bad.fields ?? {})) {
    assert.deepEqual(body[name], value, name)
  }
  if (bad.invalid === undefined) return
  const [invalid] = body.invalidRecords as Record<string, unknown>[]
  for (const [name, value] of Object.entries(bad.invalid)) {
    assert.deepEqual(invalid?.[name], value, `${name} in ${JSON.stringify(invalid)}`)
  }
}

test('bad input is refused as documented, stores nothing and harms nobody', async (t) => {
  const world = await createWorld(t)
  const { server, client, ids, goodUploads } = world
  const cases: readonly BadCase[] = [
    ...badBodies,
    ...badRecords,
    ...(await badFrames()),
    ...badBuffers(),
    ...badRequests,
  ]
  assert.equal(new Set(cases.map(({ name }) => name)).size, cases.length)
  const { pid } = server
  for (const bad of cases) {
    await t.test(bad.name, async () => {
      const target = bad.target ?? 'telemetry'
      const before = await stored(world, target)
      assertRefused(await send(world, bad), bad)
      assert.deepEqual(await stored(world, target), before, 'nothing is stored')
      const next = await client.upload(ids.witness, goodUploads.telemetry)
      assert.equal(next.recordsProcessed, 1, 'the next good request works')
      assert.ok(server.running && server.pid === pid, 'the process is up')
    })
  }
  await t.test('after all that every session takes the next good upload', async () => {
    for (const [target, upload] of Object.entries(goodUploads)) {
      if (target === 'ended') continue
      const reply = await client.uploadMsgpack(ids[target as Target], upload)
      assert.equal(reply.recordsProcessed, 1, target)
    }
    assert.ok(server.log.some(({ level }) => level === 'info'))
    const severe = server.log.filter(({ level }) => level === 'error' || level === 'fatal')
    assert.deepEqual(severe, [], 'nothing of it is an error of the server')
  })
})

test('a partly valid upload keeps what is valid and tells what is not', async (t) => {
  const { client } = await startServer(t)
  const { sessionId } = await client.start({ sessionType: 'telemetry', batchSize: 3, schema })
  const invalid = { timestamp: time, values: { temperature: 'invalid' } }
  const [good] = strictUpload.records
  const reply = await client.upload(sessionId, { records: [good, invalid, good, good] })
  assert.equal(reply.recordsProcessed, 3)
  assert.equal(reply.recordsRejected, 1)
  const documented = {
    recordIndex: 1,
    field: 'temperature',
    value: 'invalid',
    expectedType: 'float',
    message: "Cannot parse 'invalid' as float",
  }
  assert.deepEqual(reply.invalidRecords, [documented])
  const page = await client.get(client.session(sessionId, 'rejected'))
  const [kept, ...more] = page.as(RejectedPage).rejected
  assert.deepEqual(more, [])
  const { batchId, rejectedAt, record: text, ...reason } = kept ?? {}
  assert.deepEqual(reason, documented)
  assert.equal(batchId, reply.batchId)
  assert.deepEqual(JSON.parse(`${text}`), invalid)
  assert.ok(!Number.isNaN(Date.parse(`${rejectedAt}`)))
})

test('at most 100 invalid records are shown, all are kept', async (t) => {
  const { client } = await startServer(t)
  const { sessionId } = await client.start({ sessionType: 'telemetry', batchSize: 1, schema })
  const invalid = { timestamp: time, values: { temperature: null } }
  const records = [...strictUpload.records, ...Array.from({ length: 150 }, () => invalid)]
  const reply = await client.upload(sessionId, { records })
  assert.equal(reply.recordsRejected, 150)
  assert.equal(reply.invalidRecords?.length, 100)
  const rejected: unknown[] = []
  let cursor: string | null = null
  do {
    const query: Record<string, string | number> =
      cursor === null ? { limit: 40 } : { limit: 40, cursor }
    const page = await client.get(client.session(sessionId, 'rejected'), query)
    const { rejected: rows, nextCursor } = page.as(RejectedPage)
    rejected.push(...rows.map(({ recordIndex }) => recordIndex))
    cursor = nextCursor
  } while (cursor !== null)
  assert.deepEqual(
    rejected,
    Array.from({ length: 150 }, (_, index) => index + 1),
  )
})

test('a foreign session answers exactly as an unknown one', async (t) => {
  const { client, ids } = await createWorld(t)
  const masked = async (id: string, method: string, path: string): Promise<unknown> => {
    const json = path === 'upload' ? { records: [record] } : {}
    const options = method === 'GET' ? {} : { json }
    const reply = await client.raw(method, client.session(id, path), options)
    const headers = [...reply.headers].filter(([name]) => !/^(date|x-request-id)$/.test(name))
    const { requestId: _, ...body } = reply.json as Record<string, unknown>
    assert.equal(body.sessionId, id)
    return { status: reply.status, headers, body: { ...body, sessionId: '' } }
  }
  const unknown = ids.foreign.replace(/.$/, (last) => (last === '0' ? '1' : '0'))
  for (const path of ['status', 'records', 'atoms', 'rejected', 'events']) {
    assert.deepEqual(await masked(ids.foreign, 'GET', path), await masked(unknown, 'GET', path))
  }
  for (const path of ['upload', 'end']) {
    assert.deepEqual(await masked(ids.foreign, 'POST', path), await masked(unknown, 'POST', path))
  }
})
