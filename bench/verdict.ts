import type { DiskResult } from './messages.ts'

export type Verdict = 'met' | 'missed' | 'information' | 'not judged'

export interface Judgement {
  /** What `measured` had to reach, or for a latency not to pass. */
  readonly required: number
  readonly verdict: Verdict
  /** Where the requirement is not simply the published figure. */
  readonly note: string
}

/** A server that writes through an engine, with its index, may cost this part of a plain write. */
const diskShare = 0.7

/**
 * The published rate times `factor`; or, where a disk was measured, that share of its rate if that is
 * less, since nothing durable outruns the disk.
 */
export function judgeThroughput(
  measured: number,
  bound: { readonly published: number; readonly factor: number; readonly disk: DiskResult | null },
): Judgement {
  const rate = bound.published * bound.factor
  const diskRate = bound.disk ? diskShare * bound.disk.recordsPerSecond : Number.POSITIVE_INFINITY
  const required = Math.min(rate, diskRate)
  let note = bound.factor === 1 ? '' : `${bound.factor} × published`
  if (bound.disk) {
    const plain = `plain write and fdatasync ${Math.round(bound.disk.recordsPerSecond)}/s`
    note = diskRate < rate ? `${diskShare} of ${plain}` : plain
  }
  return { required, verdict: measured >= required ? 'met' : 'missed', note }
}

/** At most `required`. */
export function judgeAtMost(measured: number, required: number): Judgement {
  return { required, verdict: measured <= required ? 'met' : 'missed', note: '' }
}
