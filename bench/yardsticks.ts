import assert from 'node:assert/strict'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import type { BodySource } from './bodies.ts'
import { HttpConnection } from './http-client.ts'
import type { RequestsResult, SaturatingPace } from './messages.ts'
import { drive, type PaceResult } from './pace.ts'
import { summariseLatency } from './statistics.ts'

/** Texts that are made, then parsed without anything between. */
const groupBytes = 8 * 2 ** 20
const warmUpMs = 100

/**
 * Records a second that `JSON.parse` alone makes of new bodies of the source. The texts are decoded
 * beforehand and the garbage of the last ones is collected before the clock starts, so that nothing
 * but the parser and what it allocates is counted.
 */
export function measureParse(
  source: BodySource,
  measureMs: number,
  nextFirst: () => number,
): number {
  const collect = garbageCollector()
  const target = Buffer.alloc(source.bytesMax)
  const group = Math.max(1, Math.floor(groupBytes / source.bytesMax))
  const parseGroup = (): number => {
    const texts = Array.from({ length: group }, () =>
      target.toString('utf8', 0, source.write(target, 0, nextFirst())),
    )
    collect()
    let parsed: { records: unknown[] } | undefined
    const begin = performance.now()
    for (const text of texts) parsed = JSON.parse(text)
    const ms = performance.now() - begin
    assert.equal(parsed?.records.length, source.records)
    return ms
  }
  for (let warmMs = 0; warmMs < Math.min(warmUpMs, measureMs); ) warmMs += parseGroup()
  let groups = 0
  let totalMs = 0
  for (; totalMs < measureMs; groups++) totalMs += parseGroup()
  return (groups * group * source.records * 1_000) / totalMs
}

let collector: (() => void) | undefined

function garbageCollector(): () => void {
  if (collector === undefined) {
    setFlagsFromString('--expose-gc')
    collector = runInNewContext('gc') as () => void
  }
  return collector
}

/** One GET again and again over each of the connections. */
export async function measureGets(
  url: URL,
  connectionCount: number,
  pace: SaturatingPace,
): Promise<RequestsResult> {
  const request = Buffer.from(`GET ${url.pathname} HTTP/1.1\r\nhost: ${url.host}\r\n\r\n`)
  const opened = Array.from({ length: connectionCount }, () => HttpConnection.open(url))
  const connections = await Promise.all(opened)
  try {
    const senders = connections.map((connection) => ({
      prepare: () => undefined,
      send: async () => {
        const { status } = await connection.send(request)
        if (status !== 200) throw new Error(`${url} was answered ${status}`)
      },
    }))
    return summariseRequests(await drive(senders, pace), 0, 0)
  } finally {
    for (const connection of connections) connection.close()
  }
}

export function summariseRequests(
  { samples, measuredMs }: Pick<PaceResult, 'samples' | 'measuredMs'>,
  acknowledgedRecords: number,
  recordsEach: number,
): RequestsResult {
  assert(samples.length > 0, 'nothing was answered within the measured time')
  const requestsPerSecond = (samples.length * 1_000) / measuredMs
  return {
    requestsPerSecond,
    recordsPerSecond: requestsPerSecond * recordsEach,
    latency: summariseLatency(samples.map((sample) => sample.latencyMs)),
    acknowledgedRecords,
  }
}
