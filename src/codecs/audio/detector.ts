import type { AudioCut } from '../../contracts/tasks.ts'
import type { StateWriter } from './state-bytes.ts'

/** Where a detector would cut, and why. */
export interface CutPlace {
  readonly sample: number
  readonly reason: AudioCut['reason']
  readonly score: number
  readonly threshold: number
  readonly silence: AudioCut['silence']
}

/**
 * Finds places to cut at, from the samples alone and one after the other: what it finds, and when
 * it tells, depends on nothing else. All samples are counted from the beginning of the run.
 */
export interface Detector {
  /** How many samples after a place it tells of it at the latest. */
  readonly lookahead: number
  /**
   * Takes the samples `[from, to)` of the block (channels interleaved), the first of them being
   * sample `position` of the run. Stops where it has found a place. Returns the first that it has
   * not taken.
   */
  take(block: Float64Array, from: number, to: number, position: number): number
  /** The place that `take` stopped for, once; null where it did not. */
  found(): CutPlace | null
  /** The audio is cut at this sample, at that place or because the segment was full. */
  cut(sample: number): void
  save(state: StateWriter): void
}

/**
 * Where window `index` of 20 ms begins, exact at any rate: 11,025 Hz has 220.5 samples in each.
 */
export function windowStart(index: number, sampleRate: number): number {
  return Math.floor((index * sampleRate) / windowsPerSecond)
}

export const windowsPerSecond = 50

/** Two decimals are more than a level is heard or measured to. */
export function roundedDb(decibels: number): number {
  return Math.round(decibels * 100) / 100 + 0
}
