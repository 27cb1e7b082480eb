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

/** Of a short schedule: one stall of a busy machine is not a queue without end. */
const lateMsLeast = 2_000

export interface PaceResult {
  /** Uploads within the measured time, in the order of their replies. */
  readonly samples: readonly Sample[]
  readonly measuredMs: number
  /** How long uploads had been due that a run was given up before, least first; else empty. */
  readonly unsentMs: readonly number[]
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
  const measuredMs = Math.min(end, started < pace.uploadsMax ? end : last) - begin
  return { samples, measuredMs, unsentMs: [] }
}

/**
 * Open loop: upload k is due at k/rate, and its latency counts from then even where every
 * connection was still waiting, for a sender that waits for a slow server would otherwise hide
 * the slowness (coordinated omission). The timer's lateness, up to a millisecond, counts against
 * the server too.
 *
 * Where the next upload is late by half of the whole schedule, the rate is more than is taken, and
 * what follows would only wait longer: the run is given up. What was due by then and not sent has
 * waited so long at least, and counts with that: half of all uploads, so p50 shows it.
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
  const lateMsMax = Math.max((pace.uploads * intervalMs) / 2, lateMsLeast)
  const isGivenUp = (number: number) =>
    performance.now() - (begin + number * intervalMs) > lateMsMax
  let next = 0
  await Promise.all(
    senders.map(async (sender) => {
      while (next < pace.uploads && !isGivenUp(next)) {
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
  const unsentMs: number[] = []
  // The last in flight end after it was given up; by then yet more may have been due.
  for (let number = pace.uploads - 1; number >= next; number--) {
    const waitedMs = last - (begin + number * intervalMs)
    if (waitedMs > 0) unsentMs.push(waitedMs)
  }
  const scheduledMs = Math.min(next, pace.uploads) * intervalMs
  return { samples, measuredMs: Math.max(last - begin, scheduledMs), unsentMs }
}
