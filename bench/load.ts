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
} from './bodies.ts'
import { measureDisk } from './disk.ts'
import { frameRequest, HttpConnection, headBytesMax, uploadHead } from './http-client.ts'
import type { LoadReply, LoadRequest, LoadResults, RunSpec } from './messages.ts'
import { drive, type Sender } from './pace.ts'
import { seededRandom } from './random.ts'
import { readBack } from './read-back.ts'
import { summariseLatency } from './statistics.ts'

/**
 * The load process: it alone builds and sends bodies, so that the bench process, which reads the
 * server's memory, and the server are not disturbed by it more than by any client.
 */

const random = seededRandom(1)

/** Numbers go up through all runs of this process: nothing is ever sent twice. */
const numbersUsed: Record<BodyKind, number> = { telemetry: 0, frames: 0, buffers: 0 }

function takeNumbers(body: BodySpec): number {
  const first = Math.ceil(numbersUsed[body.kind] / body.records) * body.records
  numbersUsed[body.kind] = first + body.records
  return first
}

interface UploadTarget {
  readonly url: URL
  readonly apiKey: string
  readonly body: BodySpec
  readonly source: BodySource
  readonly expect: RunSpec['expect']
  readonly onAcknowledged: (first: number, bodyBytes: number) => void
}

/** Sends uploads over one connection, each checked for its status and its counts. */
function createSender(connection: HttpConnection, target: UploadTarget): Sender {
  const buffer = Buffer.alloc(headBytesMax + target.source.bytesMax)
  const head = uploadHead(target.url, target.apiKey, target.source.contentType)
  let first = 0
  let bodyBytes = 0
  let request: Buffer = buffer.subarray(0, 0)
  return {
    prepare: () => {
      first = takeNumbers(target.body)
      bodyBytes = target.source.write(buffer, headBytesMax, first)
      request = frameRequest(buffer, head, bodyBytes)
    },
    send: async () => {
      const { status, body } = await connection.send(request)
      if (!isAcknowledged(status, body, target)) {
        throw new Error(`an upload of ${target.body.records} got ${status} ${body.slice(0, 500)}`)
      }
      target.onAcknowledged(first, bodyBytes)
    },
  }
}

function isAcknowledged(status: number, body: string, target: UploadTarget): boolean {
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

async function run(baseUrl: string, apiKey: string, spec: RunSpec): Promise<LoadResults['run']> {
  const api = new Api(baseUrl, apiKey)
  const media = spec.body.kind === 'telemetry' ? null : await createMediaSource(spec.body)
  const source = media ?? (await createBodySource(spec.body))
  // Each connection's uploads are batches of their own; none shall wait for another's turn.
  const session = await api.start({
    ...spec.session,
    sessionName: `bench ${spec.body.kind} ${spec.body.records}`,
    maxConcurrentBatches: spec.connections,
  })
  const firsts: number[] = []
  let bytesSent = 0
  const target: UploadTarget = {
    url: new URL(session.uploadUrl),
    apiKey,
    body: spec.body,
    source,
    expect: spec.expect,
    onAcknowledged: (first, bodyBytes) => {
      firsts.push(first)
      bytesSent += bodyBytes
    },
  }
  const connections = await openConnections(target.url, spec.connections)
  try {
    const senders = connections.map((connection) => createSender(connection, target))
    const { samples, measuredMs } = await drive(senders, spec.pace)
    assert(samples.length > 0, 'no upload was answered within the measured time')
    const records = firsts.length * spec.body.records
    const perSecond = (samples.length * 1_000) / measuredMs
    return {
      recordsPerSecond: perSecond * spec.body.records,
      bytesPerSecond: (perSecond * bytesSent) / firsts.length,
      latency: summariseLatency(samples.map((sample) => sample.latencyMs)),
      acknowledgedUploads: firsts.length,
      acknowledgedRecords: records,
      readBack: await readBack(
        api,
        {
          sessionId: session.sessionId,
          records,
          bodyBytes: bytesSent,
          firsts,
          uploadRecords: spec.body.records,
          media,
        },
        random,
      ),
    }
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
    const target: UploadTarget = {
      url: new URL(`http://127.0.0.1:${port}/api/streaming/sessions/sink/upload`),
      apiKey: 'sink',
      body,
      source,
      expect: 'processed',
      onAcknowledged: (_, bodyBytes) => {
        uploads++
        bytesSent += bodyBytes
      },
    }
    const connections = await openConnections(target.url, connectionCount)
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
