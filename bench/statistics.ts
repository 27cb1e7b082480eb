import assert from 'node:assert/strict'

export interface LatencySummary {
  /** Milliseconds. */
  readonly p50Ms: number
  readonly p99Ms: number
  readonly samples: number
}

/**
 * The smallest sample that at least `fraction` of all samples do not exceed (nearest rank), so the
 * answer is always a time that was really measured. `sorted` rises; it holds at least one sample.
 */
export function percentile(sorted: readonly number[], fraction: number): number {
  assert(fraction > 0 && fraction <= 1, 'a fraction lies in (0, 1]')
  const value = sorted[Math.ceil(sorted.length * fraction) - 1]
  assert(value !== undefined, 'no samples')
  return value
}

export function summariseLatency(samplesMs: readonly number[]): LatencySummary {
  const sorted = samplesMs.toSorted((a, b) => a - b)
  return {
    p50Ms: percentile(sorted, 0.5),
    p99Ms: percentile(sorted, 0.99),
    samples: sorted.length,
  }
}

/** Middle of an odd number of values, the upper middle of an even one. */
export function median(values: readonly number[]): number {
  const value = values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)]
  assert(value !== undefined, 'no values')
  return value
}

export function sum<T>(values: readonly T[], pick: (value: T) => number): number {
  return values.reduce((total, value) => total + pick(value), 0)
}
