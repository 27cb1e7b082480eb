import { limits } from '../src/limits.ts'
import type { Api, StartedSession } from './api.ts'
import type { MediaSource } from './bodies.ts'
import { uploadHead } from './http-client.ts'
import type { ReadBack, RunSpec } from './messages.ts'
import { compareCounts, Differences, readBack, type SentSession, sample } from './read-back.ts'
import { sum } from './statistics.ts'

/** Where an upload goes, and who counts it. */
export interface Destination {
  /** Of the request, without the length of its body. */
  readonly head: string
  readonly onAcknowledged: (first: number, bodyBytes: number) => void
}

const callsAtOnce = 16
const comparedSessionsMax = 16

/** A session, and what of the uploads to it was acknowledged. */
export class FedSession implements Destination {
  readonly head: string
  readonly firsts: number[] = []
  bodyBytes = 0

  constructor(
    private readonly session: StartedSession,
    apiKey: string,
    contentType: string,
  ) {
    this.head = uploadHead(new URL(session.uploadUrl), apiKey, contentType)
  }

  onAcknowledged(first: number, bodyBytes: number): void {
    this.firsts.push(first)
    this.bodyBytes += bodyBytes
  }

  sent(uploadRecords: number, media: MediaSource | null): SentSession {
    const { firsts, bodyBytes } = this
    const records = firsts.length * uploadRecords
    return { sessionId: this.session.sessionId, records, bodyBytes, firsts, uploadRecords, media }
  }
}

export function startSessions(api: Api, spec: RunSpec, contentType: string): Promise<FedSession[]> {
  const names = Array.from({ length: spec.sessions ?? 1 }, (_, index) => index)
  return fewAtOnce(names, async () => {
    const session = await api.start({
      ...spec.session,
      sessionName: `bench ${spec.body.kind} ${spec.body.records}`,
      // Each connection's uploads are batches of their own; none shall wait for another's turn,
      // as far as a session may have that.
      maxConcurrentBatches: Math.min(spec.connections, limits.concurrentBatchesMax),
    })
    return new FedSession(session, api.apiKey, contentType)
  })
}

/**
 * Reads one session back. Of several the counts of all are compared, and what some of them hold,
 * the first and the last among them.
 */
export async function readBackAll(
  api: Api,
  sessions: readonly SentSession[],
  random: () => number,
): Promise<ReadBack> {
  const compared = new Set(sample(sessions, comparedSessionsMax, random))
  const parts: ReadBack[] = []
  for (const session of compared) parts.push(await readBack(api, session, random))
  const differences = new Differences()
  const others = sessions.filter((session) => !compared.has(session))
  const counts = await fewAtOnce(others, (session) => compareCounts(api, session, differences))
  return {
    recordsCounted: sum(parts, (part) => part.recordsCounted) + sum(counts, (count) => count),
    recordsCompared: sum(parts, (part) => part.recordsCompared),
    blobsCompared: sum(parts, (part) => part.blobsCompared),
    mismatches: [...parts.flatMap((part) => part.mismatches), ...differences.list()],
  }
}

/** As `Promise.all` over what `call` makes of the items, a few of them at a time. */
async function fewAtOnce<T, U>(items: readonly T[], call: (item: T) => Promise<U>): Promise<U[]> {
  const results: U[] = []
  let next = 0
  const work = async () => {
    for (let index = next++; index < items.length; index = next++) {
      results[index] = await call(items[index] as T)
    }
  }
  await Promise.all(Array.from({ length: Math.min(callsAtOnce, items.length) }, work))
  return results
}
