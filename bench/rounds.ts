import assert from 'node:assert/strict'
import type { Round } from './report.ts'
import { median } from './statistics.ts'

/** Two rates that were measured right after each other, and their quotient. */
export interface RatioRound extends Round {
  readonly yardstick: number
  readonly ratio: number
}

export function ratioRound(ours: number, yardstick: number): RatioRound {
  return { ours, yardstick, ratio: ours / yardstick }
}

/**
 * Ours with the yardstick right before and right after it in each round, whose mean it is compared
 * with: what else happens on the machine meets both.
 */
export async function between(
  count: number,
  ours: (round: number) => Promise<number>,
  yardstick: () => Promise<number>,
): Promise<RatioRound[]> {
  const rounds: RatioRound[] = []
  let before = await yardstick()
  for (let round = 0; round < count; round++) {
    const own = await ours(round)
    const after = await yardstick()
    rounds.push(ratioRound(own, (before + after) / 2))
    before = after
  }
  return rounds
}

/** Place of the round whose ratio is the median of all. */
export function middleOf(rounds: readonly RatioRound[]): number {
  const ratio = median(rounds.map((round) => round.ratio))
  const place = rounds.findIndex((round) => round.ratio === ratio)
  assert(place >= 0, 'a ratio is a number')
  return place
}
