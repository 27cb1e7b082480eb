import { connect, type Socket } from 'node:net'
import type { StartSession } from '../../src/contracts/http.ts'
import type { TestServer } from '../support/server.ts'
import { within } from '../support/waiting.ts'
import { openSocket } from '../support/websocket.ts'
import type { CleanUps } from './clean-ups.ts'

/** The ways in which an upload is acknowledged: from the journal, as atoms, over a WebSocket. */
export const ways = ['journaled', 'processed', 'socket'] as const
export type Way = (typeof ways)[number]

/** Uploads one record that bears the mark, on this connection, and resolves when it is acknowledged. */
type Upload = (connection: number, mark: string) => Promise<void>

export interface LoadOptions {
  readonly way: Way
  readonly connections: number
  readonly uploadsEach: number
  readonly markOf: (number: number) => string
}

/**
 * All connections upload at once, each one upload after the other. Gives the marks that were
 * acknowledged.
 */
export async function loadServer(
  scope: CleanUps,
  server: TestServer,
  { way, connections, uploadsEach, markOf }: LoadOptions,
): Promise<Set<string>> {
  const start = way === 'socket' ? socketUploads : requestUploads
  const upload = await start(scope, server, connections, way)
  const told = new Set<string>()
  const uploadInTurn = async (connection: number): Promise<void> => {
    for (let count = 0; count < uploadsEach; count += 1) {
      const mark = markOf(connection * uploadsEach + count)
      await upload(connection, mark)
      told.add(mark)
    }
  }
  await Promise.all(Array.from({ length: connections }, (_, index) => uploadInTurn(index)))
  return told
}

function recordsOf(mark: string): unknown[] {
  return [{ timestamp: Date.UTC(2025, 0, 20), values: { mark } }]
}

/** Sockets of our own, because a client that takes its time would not ask for group commit. */
async function requestUploads(
  scope: CleanUps,
  server: TestServer,
  connections: number,
  way: Way,
): Promise<Upload> {
  // One record closes a batch, or nothing does.
  const settings: StartSession =
    way === 'processed'
      ? { sessionType: 'telemetry', batchSize: 1, maxConcurrentBatches: 64 }
      : { sessionType: 'telemetry', batchSize: 10_000, maxBatchDelayMs: 3_600_000 }
  const { client } = server
  const sessions = await Promise.all(Array.from({ length: 8 }, () => client.start(settings)))
  const { hostname, port } = new URL(server.url)
  const lines = await Promise.all(
    Array.from({ length: connections }, () => openLine(scope, hostname, Number(port))),
  )
  return async (connection, mark) => {
    const { sessionId = '' } = sessions[connection % sessions.length] ?? {}
    const body = JSON.stringify({ records: recordsOf(mark) })
    const head = [
      `POST ${client.session(sessionId, 'upload')} HTTP/1.1`,
      `Host: ${hostname}`,
      `Authorization: Bearer ${server.key}`,
      'Content-Type: application/json',
      `Content-Length: ${body.length}`,
    ]
    const reply = await lines[connection]?.(`${head.join('\r\n')}\r\n\r\n${body}`)
    const expected = way === 'processed' ? '"recordsProcessed":1' : '"recordsQueued":1'
    if (!reply?.startsWith('HTTP/1.1 200') || !reply.includes(expected)) {
      throw new Error(`${mark} was not ${way}: ${reply}`)
    }
  }
}

/** A connection that carries one request after the other; gives each reply as text. */
async function openLine(
  scope: CleanUps,
  host: string,
  port: number,
): Promise<(request: string) => Promise<string>> {
  const socket = await new Promise<Socket>((resolve, reject) => {
    const opened = connect({ host, port, noDelay: true }, () => resolve(opened))
    opened.once('error', reject)
  })
  scope.after(() => socket.destroy())
  let received = ''
  let tell: (text: string) => void = () => {}
  socket.setEncoding('latin1').on('data', (text: string) => {
    received += text
    const end = received.indexOf('\r\n\r\n')
    const length = /\r\ncontent-length: *(\d+)/i.exec(received)?.[1]
    if (end < 0 || length === undefined || received.length < end + 4 + Number(length)) return
    const reply = received
    received = ''
    tell(reply)
  })
  return (request) => {
    const reply = new Promise<string>((resolve) => {
      tell = resolve
    })
    socket.write(request)
    return within(reply, 'the reply to an upload')
  }
}

async function socketUploads(
  scope: CleanUps,
  { client }: TestServer,
  connections: number,
): Promise<Upload> {
  const sessions = await Promise.all(
    Array.from({ length: 8 }, () => client.start({ sessionType: 'telemetry', batchSize: 1_000 })),
  )
  const sockets = await Promise.all(
    Array.from({ length: connections }, (_, index) =>
      openSocket(sessions[index % sessions.length]?.websocketUrl ?? '', client.headers),
    ),
  )
  scope.after(() => {
    for (const { socket } of sockets) socket.terminate()
  })
  return async (connection, mark) => {
    const message = { type: 'telemetry', id: mark, records: recordsOf(mark) }
    const answer = await sockets[connection]?.upload(message)
    if (answer?.type !== 'ack') throw new Error(`${mark} was refused`)
  }
}
