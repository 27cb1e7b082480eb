import { setTimeout as sleep } from 'node:timers/promises'
import type { Pace, PacedPace, SaturatingPace } from './messages.ts'

export interface Sample {
  readonly latencyMs: number
  /** `performance.now()` when the reply was there. */
  readonly doneAt: number
}

export interface Sender {
  /** Builds the next upload, so that building it is not part of its latency. */
  prepare(): void
  /** Sends what was prepared; resolves when its reply is there and checked. */
  send(): Promise<void>
}

export interface PaceResult {
  /** Uploads within the measured time, in the order of their replies. */
  readonly samples: readonly Sample[]
  readonly measuredMs: number
}

/** Drives all senders at the given pace until it is over; rejects with the first failure. */
export function drive(senders: readonly Sender[], pace: Pace): Promise<PaceResult> {
  return pace.kind === 'saturate' ? saturate(senders, pace) : paced(senders, pace)
}

async function saturate(senders: readonly Sender[], pace: SaturatingPace): Promise<PaceResult> {
  const samples: Sample[] = []
  const begin = performance.now() + pace.warmUpMs
  const end = begin + pace.measureMs
  let started = 0
  await Promise.all(
    senders.map(async (sender) => {
      while (performance.now() < end && started < pace.uploadsMax) {
        started++
        sender.prepare()
        const sentAt = performance.now()
        await sender.send()
        const doneAt = performance.now()
        if (doneAt >= begin && doneAt <= end) samples.push({ latencyMs: doneAt - sentAt, doneAt })
      }
    }),
  )
  // A run cut short by its count has been measured until its last reply only.
  const last = samples.reduce((latest, sample) => Math.max(latest, sample.doneAt), begin)
  return { samples, measuredMs: Math.min(end, started < pace.uploadsMax ? end : last) - begin }
}

/**
 * Open loop: upload k is due at k/rate, and its latency counts from then even where every
 * connection was still waiting, for a sender that waits for a slow server would otherwise hide
 * the slowness (coordinated omission). The timer's lateness, up to a millisecond, counts against
 * the server too.
 */
async function paced(senders: readonly Sender[], pace: PacedPace): Promise<PaceResult> {
  const samples: Sample[] = []
  const intervalMs = 1_000 / pace.uploadsPerSecond
  const warm = performance.now() + pace.warmUpMs
  await Promise.all(
    senders.map(async (sender) => {
      while (performance.now() < warm) {
        sender.prepare()
        await sender.send()
      }
    }),
  )
  const begin = performance.now() + intervalMs
  let next = 0
  await Promise.all(
    senders.map(async (sender) => {
      while (next < pace.uploads) {
        const dueAt = begin + next++ * intervalMs
        sender.prepare()
        // A timer may fire a fraction of a millisecond early.
        for (let waitMs = dueAt - performance.now(); waitMs > 0; ) {
          await sleep(Math.ceil(waitMs))
          waitMs = dueAt - performance.now()
        }
        await sender.send()
        const doneAt = performance.now()
        samples.push({ latencyMs: doneAt - dueAt, doneAt })
      }
    }),
  )
  const last = samples.reduce((latest, sample) => Math.max(latest, sample.doneAt), begin)
  return { samples, measuredMs: Math.max(last - begin, pace.uploads * intervalMs) }
}
