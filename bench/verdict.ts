import type { DiskResult } from './messages.ts'

/**
 * `not run`: what the row needs is not on this machine. `not judged`: its figure says nothing of
 * the server, as in a quick run or where the disk is too slow for any server.
 */
export type Verdict = 'met' | 'missed' | 'information' | 'not judged' | 'not run'

export type OverallVerdict = Exclude<Verdict, 'information'>

/**
 * Of a whole run: met only where every row with a bound is. A quick run judges by counts alone, so
 * what it leaves out does not matter.
 */
export function overallVerdict(
  rows: readonly { readonly verdict: Verdict }[],
  isQuick: boolean,
): OverallVerdict {
  const has = (one: Verdict) => rows.some(({ verdict }) => verdict === one)
  if (has('missed')) return 'missed'
  if (isQuick) return 'met'
  if (has('not run')) return 'not run'
  return has('not judged') ? 'not judged' : 'met'
}

export interface Judgement {
  /** What `measured` had to reach, or for a latency not to pass. */
  readonly required: number
  readonly verdict: Verdict
  /** Where the requirement is not simply the published figure. */
  readonly note: string
}

/**
 * A server that writes through an engine, with its index, reaches at least this part of a plain
 * write.
 */
const diskShare = 0.7

/** What is asked of a server on this disk: nothing durable outruns a plain write. */
export function carriedPerSecond(disk: DiskResult): number {
  return diskShare * disk.recordsPerSecond
}

/**
 * The published rate times `factor`; or, where a disk was measured, its share of the disk's rate
 * if that is less.
 */
export function judgeThroughput(
  measured: number,
  bound: { readonly published: number; readonly factor: number; readonly disk: DiskResult | null },
): Judgement {
  const rate = bound.published * bound.factor
  const diskRate = bound.disk ? carriedPerSecond(bound.disk) : Number.POSITIVE_INFINITY
  const required = Math.min(rate, diskRate)
  let note = bound.factor === 1 ? '' : `${bound.factor} × published`
  if (bound.disk) {
    const plain = `plain write and fdatasync ${Math.round(bound.disk.recordsPerSecond)}/s`
    note = diskRate < rate ? `${diskShare} of ${plain}` : plain
  }
  return { required, verdict: measured >= required ? 'met' : 'missed', note }
}

/** At least `required`. */
export function judgeAtLeast(measured: number, required: number): Judgement {
  return { required, verdict: measured >= required ? 'met' : 'missed', note: '' }
}

/** At most `required`. */
export function judgeAtMost(measured: number, required: number): Judgement {
  return { required, verdict: measured <= required ? 'met' : 'missed', note: '' }
}

/**
 * At most the published latency; or, where a disk was measured, what a plain write and fdatasync
 * of one upload takes there, by the same share, if that is more.
 */
export function judgeLatency(
  p50Ms: number,
  publishedMs: number,
  disk: DiskResult | null,
): Judgement {
  if (!disk) return judgeAtMost(p50Ms, publishedMs)
  const plainMs = disk.latency.p50Ms
  const judgement = judgeAtMost(p50Ms, Math.max(publishedMs, plainMs / diskShare))
  return { ...judgement, note: `plain write and fdatasync ${Math.round(plainMs)} ms` }
}

/**
 * A latency that the disk decides. Where a plain write of the same upload is slower than the
 * published figures, no server on this disk can reach them: such a row is shown, not judged.
 */
export function judgeDiskBound(
  measuredMs: number,
  published: { readonly publishedMs: number; readonly publishedPerSecond: number },
  disk: DiskResult,
): Judgement {
  const judgement = judgeLatency(measuredMs, published.publishedMs, disk)
  const isInReach =
    disk.latency.p50Ms <= published.publishedMs &&
    disk.recordsPerSecond >= published.publishedPerSecond
  if (judgement.verdict === 'met' || isInReach) return judgement
  return {
    ...judgement,
    verdict: 'not judged',
    note: `out of this disk's reach: ${judgement.note}`,
  }
}
