import { setTimeout as delay } from 'node:timers/promises'
import type { Fault, FaultOrder, FaultReport } from './fault.ts'
import type { Random } from './random.ts'
import type { Trial } from './trial.ts'
import { count, runTrials, type Totals } from './trials.ts'

export const killFault: Fault = {
  name: 'kill -9 under mixed load',
  holds:
    '0 acknowledged records lost, 0 duplicated, no partial batch, serves again in 5 s, hash chain verifies',
  runs: { test: 10, torture: 200 },
  inflict,
}

async function inflict(order: FaultOrder): Promise<FaultReport> {
  let kills = 0
  const bringDown = async (trial: Trial, random: Random, signal: AbortSignal) => {
    await delay(random.float(50, 1_500), undefined, { signal })
    await kill(trial)
    kills += 1
    // Some of the restarts are killed too: while they start, and while they work off the journal.
    while (random.chance(0.3)) {
      if (random.chance(0.5)) await delay(random.float(0, 700), undefined, { signal })
      else await serveFor(trial, random.float(0, 80), signal)
      await kill(trial)
      kills += 1
    }
    await trial.serve()
    return []
  }
  const measured = ({ items, uploads, sessions, refused, askedAgain, restartMsMax }: Totals) =>
    [
      `${count(kills)} kills: ${count(items)} items in ${count(uploads)} uploads acknowledged`,
      `and ${count(refused)} refused in ${count(sessions)} sessions, all read back;`,
      `${count(askedAgain)} asked again; served within ${Math.round(restartMsMax)} ms`,
    ].join(' ')
  return runTrials(order, { bringDown, measured })
}

/** Kills the server that runs or starts, and launches another. */
async function kill(trial: Trial): Promise<void> {
  await trial.server?.kill('SIGKILL')
  trial.leave()
  trial.launch()
}

async function serveFor(trial: Trial, ms: number, signal: AbortSignal): Promise<void> {
  await trial.serve()
  await delay(ms, undefined, { signal })
}
