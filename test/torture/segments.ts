import { gzipSync } from 'node:zlib'
import { startServer, type TestServer } from '../support/server.ts'
import { CleanUps } from './clean-ups.ts'
import type { Fault, FaultOrder, FaultReport } from './fault.ts'
import { type Cut, converse, frameOf, type Step } from './segment-talk.ts'

const socketsAtOnce = 32
/** The server has read the first segment by then; where it seems that it has not, more time is given. */
const gapsMs = [15, 60, 250, 1_000] as const

/** What a client sends and, step by step, waits for. */
export interface Conversation {
  readonly name: string
  readonly steps: readonly Step[]
}

/**
 * TCP may cut a request anywhere: at every byte the reply must be that to the whole. The library itself
 * refuses a few cuts of a request line; those are listed by `refusedCuts` and must be refused as it says.
 */
export const segmentsFault: Fault = {
  name: 'cut segments',
  holds:
    'a request cut at every byte into two TCP segments gets the same reply; only cuts right after the ' +
    'method and inside the version of its request line are refused, with 505',
  runs: { test: 1, torture: 1 },
  inflict: inflictSegments,
}

async function inflictSegments(order: FaultOrder): Promise<FaultReport> {
  const failures: string[] = []
  let runs = 0
  let cuts = 0
  let refused = 0
  while (runs < order.runs && !order.signal.aborted) {
    runs += 1
    const scope = new CleanUps()
    try {
      const server = await startServer(scope)
      for (const conversation of await conversations(server)) {
        const seen = await cutEverywhere(server, conversation, order.signal)
        failures.push(...seen.failures.map((failure) => `${conversation.name}, ${failure}`))
        cuts += seen.cuts
        refused += seen.refused
      }
    } finally {
      await scope.run()
    }
  }
  return { runs, measured: `${cuts} cuts, of which ${refused} are refused as listed`, failures }
}

/**
 * Cuts of these requests, by their positions, that uWebSockets.js refuses: it takes a request line for
 * one of HTTP/1.0 where a segment ends right after the space behind the method, or after the space
 * behind the path or a further byte of `HTTP/1.1\r\n`, its last excepted.
 */
export function refusedCuts(text: string): ReadonlySet<number> {
  const positions = new Set<number>()
  for (const line of text.matchAll(/^([A-Z]+ )\S+ HTTP\/1\.1\r\n/gm)) {
    positions.add(line.index + (line[1] ?? '').length)
    const end = line.index + line[0].length
    for (let back = 1; back <= 'HTTP/1.1\r\n'.length; back += 1) positions.add(end - back)
  }
  return positions
}

const refusal =
  'HTTP/1.1 505 HTTP Version Not Supported\r\nConnection: close\r\n\r\n' +
  '<h1>HTTP Version Not Supported</h1><p>This server does not support HTTP/1.0.</p>' +
  '<hr><i>uWebSockets/20 Server</i>'

interface Seen {
  readonly cuts: number
  readonly refused: number
  readonly failures: readonly string[]
}

async function cutEverywhere(
  server: TestServer,
  { steps }: Conversation,
  signal: AbortSignal,
): Promise<Seen> {
  const whole = await converse(server.url, steps, null)
  const cuts: Cut[] = steps.flatMap((step, index) =>
    Array.from({ length: step.bytes.length - 1 }, (_, at) => ({ step: index, position: at + 1 })),
  )
  const failures: string[] = []
  let refused = 0
  const work = [...cuts]
  const cutInTurn = async (): Promise<void> => {
    for (let cut = work.shift(); cut !== undefined && !signal.aborted; cut = work.shift()) {
      const { bytes } = steps[cut.step] as Step
      const isRefused = refusedCuts(bytes.toString('latin1')).has(cut.position)
      if (isRefused) refused += 1
      const failure = await judgeCut(server, steps, { cut, isRefused, whole })
      if (failure !== null) failures.push(failure)
    }
  }
  await Promise.all(Array.from({ length: socketsAtOnce }, cutInTurn))
  return { cuts: cuts.length, refused, failures }
}

/** What is wrong with the answer to a cut conversation, null where nothing is. */
async function judgeCut(
  server: TestServer,
  steps: readonly Step[],
  { cut, isRefused, whole }: { cut: Cut; isRefused: boolean; whole: string },
): Promise<string | null> {
  let got = ''
  for (const gapMs of gapsMs) {
    got = await converse(server.url, steps, { ...cut, gapMs })
    if (!isRefused) break
    // The two segments may have come as one, and then nothing is refused.
    if (got.endsWith(refusal) && whole.startsWith(got.slice(0, -refusal.length))) return null
  }
  if (!isRefused && got === whole) return null
  const expected = isRefused ? 'a refusal' : whole
  const place = `cut at byte ${cut.position} of step ${cut.step + 1}`
  return `${place}: expected ${JSON.stringify(expected)}, got ${JSON.stringify(got)}`
}

async function conversations(server: TestServer): Promise<Conversation[]> {
  const { client, url, key } = server
  const common = `Host: ${new URL(url).host}\r\nAuthorization: Bearer ${key}\r\n`
  const json = `${common}Content-Type: application/json\r\n`
  const quiet = await client.start({ sessionType: 'telemetry' })
  // Every upload is answered alike, because none closes a batch.
  const filled = await client.start({
    sessionType: 'telemetry',
    batchSize: 10_000,
    maxBatchDelayMs: 3_600_000,
  })
  const status = client.session(quiet.sessionId, 'status')
  const upload = client.session(filled.sessionId, 'upload')
  const records = '{"records":[{"timestamp":"2025-01-20T10:30:00Z","values":{"a":1}}]}'
  const zipped = gzipSync(records)
  const start = '{"sessionType":"telemetry"}'
  const get = (path: string): string => `GET ${path} HTTP/1.1\r\n${common}\r\n`
  const one = (name: string, ...parts: (string | Uint8Array)[]): Conversation => ({
    name,
    steps: [{ bytes: Buffer.concat(parts.map((part) => Buffer.from(part))), replies: 1 }],
  })
  const chunks = [records.slice(0, 20), records.slice(20), '']
  const chunked = chunks.map((chunk) => `${chunk.length.toString(16)}\r\n${chunk}\r\n`).join('')
  const zippedHead = `${json}Content-Encoding: gzip\r\nContent-Length: ${zipped.length}\r\n`
  const startPath = '/api/streaming/sessions/start'
  const message = JSON.stringify({ type: 'telemetry', id: 'm', ...JSON.parse(records) })
  const upgrade =
    `GET ${new URL(filled.websocketUrl ?? '').pathname} HTTP/1.1\r\n${common}` +
    'Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n' +
    'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n'
  return [
    one('GET', get(status)),
    one('OPTIONS', `OPTIONS ${status} HTTP/1.1\r\n${common}\r\n`),
    one(
      'POST',
      `POST ${startPath} HTTP/1.1\r\n${json}Content-Length: ${start.length}\r\n\r\n`,
      start,
    ),
    one('chunked', `POST ${upload} HTTP/1.1\r\n${json}Transfer-Encoding: chunked\r\n\r\n`, chunked),
    one('gzip', `POST ${upload} HTTP/1.1\r\n${zippedHead}\r\n`, zipped),
    {
      name: 'two in a row',
      steps: [{ bytes: Buffer.from(get(status) + get('/none')), replies: 2 }],
    },
    {
      name: 'WebSocket',
      steps: [
        { bytes: Buffer.from(upgrade), replies: 1 },
        { bytes: frameOf(message), replies: 'ack' },
      ],
    },
  ]
}
