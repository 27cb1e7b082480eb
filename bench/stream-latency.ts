import { type LatencySummary, summariseLatency } from './statistics.ts'
import type { Fanout } from './stream-fanout.ts'

export interface StreamLatency {
  /**
   * From the send of a memory's request to its event at a subscriber, over all events of all
   * subscribers. The commit lies within, so from the commit it is less.
   */
  readonly fromSend: LatencySummary
  /** From the arrival of the reply, which leaves after the commit too: negative where it is later. */
  readonly fromReply: LatencySummary
  readonly mismatches: readonly string[]
}

/** Messages are due at a fixed rate, whatever became of those before. */
export async function measureLatency(
  fanout: Fanout,
  messages: number,
  perSecond: number,
): Promise<StreamLatency> {
  const dueMs = 1_000 / perSecond
  const warmUp = Math.ceil(perSecond / 2)
  const { sentAtMs, repliedAtMs, got } = await fanout.drive(messages, warmUp, {
    keepsArrivals: true,
    dueMs,
  })
  const since = (beginsAtMs: Float64Array): LatencySummary => {
    const samples = Array.from(got.arrivedAtMs, (atMs, sample) => {
      return atMs - (beginsAtMs[Math.floor(sample / fanout.count)] as number)
    })
    return summariseLatency(samples)
  }
  return {
    fromSend: since(sentAtMs),
    fromReply: since(repliedAtMs),
    mismatches: got.mismatches,
  }
}
