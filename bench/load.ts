import assert from 'node:assert/strict'
import { fork } from 'node:child_process'
import { once } from 'node:events'
import type { UploadReply } from '../src/contracts/http.ts'
import { Api } from './api.ts'
import {
  type BodyKind,
  type BodySource,
  type BodySpec,
  createBodySource,
  createMediaSource,
  createRecordSource,
  isTelemetry,
} from './bodies.ts'
import { measureDisk } from './disk.ts'
import { frameRequest, HttpConnection, headBytesMax, uploadHead } from './http-client.ts'
import { sendMessages } from './message-sender.ts'
import type { LoadReply, LoadRequest, LoadResults, RunResult, RunSpec } from './messages.ts'
import { drive, type Sender } from './pace.ts'
import { seededRandom } from './random.ts'
import type { SentSession } from './read-back.ts'
import { readAggregates, readLines } from './reading.ts'
import { type Destination, type FedSession, readBackAll, startSessions } from './sessions.ts'
import { sum, summariseLatency } from './statistics.ts'
import { measureGets, measureParse, summariseRequests } from './yardsticks.ts'

/**
 * The load process: it alone builds and sends bodies, so that the bench process, which reads the
 * server's memory, and the server are not disturbed by it more than by any client.
 */

const random = seededRandom(1)

/** Numbers go up through all runs of this process: nothing is ever sent twice. */
const numbersUsed: Record<BodyKind, number> = {
  telemetry: 0,
  mixed: 0,
  frames: 0,
  'small-frames': 0,
  buffers: 0,
}

function takeNumbers(body: BodySpec): number {
  const first = Math.ceil(numbersUsed[body.kind] / body.records) * body.records
  numbersUsed[body.kind] = first + body.records
  return first
}

interface UploadTarget {
  readonly body: BodySpec
  readonly source: BodySource
  readonly expect: RunSpec['expect'] | 'no-content'
  /** Where the next upload goes. */
  readonly next: () => Destination
}

/** Sends uploads over one connection, each checked for its status and its counts. */
function createSender(connection: HttpConnection, target: UploadTarget): Sender {
  const buffer = Buffer.alloc(headBytesMax + target.source.bytesMax)
  let destination: Destination
  let first = 0
  let bodyBytes = 0
  let request: Buffer = buffer.subarray(0, 0)
  return {
    prepare: () => {
      first = takeNumbers(target.body)
      destination = target.next()
      bodyBytes = target.source.write(buffer, headBytesMax, first)
      request = frameRequest(buffer, destination.head, bodyBytes)
    },
    send: async () => {
      const { status, body } = await connection.send(request)
      if (!isAcknowledged(status, body, target)) {
        throw new Error(`an upload of ${target.body.records} got ${status} ${body.slice(0, 500)}`)
      }
      destination.onAcknowledged(first, bodyBytes)
    },
  }
}

function isAcknowledged(status: number, body: string, target: UploadTarget): boolean {
  if (target.expect === 'no-content') return status === 204
  if (status !== 200) return false
  const reply = JSON.parse(body) as UploadReply
  const queued = target.expect === 'processed-or-queued' ? reply.recordsQueued : 0
  return (
    reply.recordsReceived === target.body.records &&
    reply.recordsProcessed + queued === target.body.records &&
    reply.recordsRejected === 0
  )
}

async function openConnections(url: URL, count: number): Promise<HttpConnection[]> {
  return Promise.all(Array.from({ length: count }, () => HttpConnection.open(url)))
}

interface Fed {
  readonly result: Omit<RunResult, 'readBack'>
  readonly sent: readonly SentSession[]
}

async function feed(api: Api, spec: RunSpec): Promise<Fed> {
  const { body } = spec
  const media = isTelemetry(body) ? null : await createMediaSource(body)
  const telemetry = media === null ? createRecordSource(body) : null
  const source = media ?? (telemetry as BodySource)
  const fed = await startSessions(api, spec, source.contentType)
  let turn = 0
  const target: UploadTarget = {
    body,
    source,
    expect: spec.expect,
    next: () => fed[turn++ % fed.length] as FedSession,
  }
  const connections = await openConnections(new URL(api.baseUrl), spec.connections)
  try {
    const senders = connections.map((connection) => createSender(connection, target))
    const { samples, measuredMs, unsentMs } = await drive(senders, spec.pace)
    assert(samples.length > 0, 'no upload was answered within the measured time')
    const uploads = sum(fed, (session) => session.firsts.length)
    const perSecond = (samples.length * 1_000) / measuredMs
    const result = {
      recordsPerSecond: perSecond * body.records,
      bytesPerSecond: (perSecond * sum(fed, (session) => session.bodyBytes)) / uploads,
      latency: summariseLatency([...samples.map((sample) => sample.latencyMs), ...unsentMs]),
      acknowledgedUploads: uploads,
      acknowledgedRecords: uploads * body.records,
    }
    const sent = fed.map((session) => session.sent(body.records, media))
    return { result, sent: sent.map((one) => ({ ...one, record: telemetry?.record })) }
  } finally {
    for (const connection of connections) connection.close()
  }
}

async function run(baseUrl: string, apiKey: string, spec: RunSpec): Promise<LoadResults['run']> {
  const api = new Api(baseUrl, apiKey)
  const { result, sent } = await feed(api, spec)
  return { ...result, readBack: await readBackAll(api, sent, random) }
}

async function fill(baseUrl: string, apiKey: string, spec: RunSpec): Promise<LoadResults['fill']> {
  const api = new Api(baseUrl, apiKey)
  const { result, sent } = await feed(api, spec)
  const { sessionId, firsts, uploadRecords } = sent[0] as SentSession
  const filled = { sessionId, firsts, uploadRecords }
  return { ...result, filled, readBack: await readBackAll(api, sent, random) }
}

async function points(
  request: Extract<LoadRequest, { kind: 'points' }>,
): Promise<LoadResults['points']> {
  const { body, pace } = request
  const source = await createBodySource(body)
  const url = new URL(request.url)
  let uploads = 0
  const destination: Destination = {
    head: uploadHead(url, 'none', source.contentType),
    onAcknowledged: () => {
      uploads++
    },
  }
  const target: UploadTarget = { body, source, expect: 'no-content', next: () => destination }
  const connections = await openConnections(url, request.connections)
  try {
    const senders = connections.map((connection) => createSender(connection, target))
    return summariseRequests(await drive(senders, pace), uploads * body.records, body.records)
  } finally {
    for (const connection of connections) connection.close()
  }
}

async function client(
  body: BodySpec,
  connectionCount: number,
  measureMs: number,
): Promise<LoadResults['client']> {
  const source = await createBodySource(body)
  const sink = fork(new URL('./sink.js', import.meta.url), [String(body.records)])
  try {
    const [port] = (await once(sink, 'message')) as [number]
    let bytesSent = 0
    let uploads = 0
    const url = new URL(`http://127.0.0.1:${port}/api/streaming/sessions/sink/upload`)
    const destination: Destination = {
      head: uploadHead(url, 'sink', source.contentType),
      onAcknowledged: (_, bodyBytes) => {
        uploads++
        bytesSent += bodyBytes
      },
    }
    const target: UploadTarget = { body, source, expect: 'processed', next: () => destination }
    const connections = await openConnections(url, connectionCount)
    const senders = connections.map((connection) => createSender(connection, target))
    const pace = { kind: 'saturate', warmUpMs: measureMs / 4, measureMs, uploadsMax: 1e9 } as const
    const { samples, measuredMs } = await drive(senders, pace)
    for (const connection of connections) connection.close()
    const requestsPerSecond = (samples.length * 1_000) / measuredMs
    return {
      requestsPerSecond,
      recordsPerSecond: requestsPerSecond * body.records,
      bytesPerSecond: (requestsPerSecond * bytesSent) / uploads,
    }
  } finally {
    sink.disconnect()
  }
}

async function answer(request: LoadRequest): Promise<LoadResults[keyof LoadResults]> {
  switch (request.kind) {
    case 'run':
      return run(request.baseUrl, request.apiKey, request.run)
    case 'client':
      return client(request.body, request.connections, request.measureMs)
    case 'disk': {
      const source = await createBodySource(request.body)
      return measureDisk(source, request.folder, request, () => takeNumbers(request.body))
    }
    case 'parse': {
      const source = await createBodySource(request.body)
      return measureParse(source, request.measureMs, () => takeNumbers(request.body))
    }
    case 'gets':
      return measureGets(new URL(request.url), request.connections, request.pace)
    case 'points':
      return points(request)
    case 'messages': {
      const single = { kind: 'telemetry', encoding: 'json', records: 1 } as const
      const next = () => takeNumbers(single)
      return sendMessages(new Api(request.baseUrl, request.apiKey), request, next, random)
    }
    case 'fill':
      return fill(request.baseUrl, request.apiKey, request.run)
    case 'aggregates':
      return readAggregates(new Api(request.baseUrl, request.apiKey), request.filled)
    case 'lines':
      return readLines(new Api(request.baseUrl, request.apiKey), request.filled)
  }
}

process.on('message', async (request: LoadRequest) => {
  let reply: LoadReply
  try {
    reply = { ok: true, result: await answer(request) }
  } catch (error) {
    reply = {
      ok: false,
      error: error instanceof Error ? (error.stack ?? error.message) : String(error),
    }
  }
  process.send?.(reply)
})
process.on('disconnect', () => process.exit())
// A Ctrl-C reaches the whole group; the parent decides what becomes of this process.
process.on('SIGINT', () => undefined)
