import { mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { FaultOrder, FaultReport } from './fault.ts'
import { partSeed, Random } from './random.ts'
import { Trial } from './trial.ts'

/** Runs between two audits: the clients' memory of a load, and reading it back, grow with them. */
const runsPerAudit = 5
/** After so many the next data folder is an empty one. */
const runsPerFolder = 40
/** Of hundreds of failures with one cause, the first few tell it. */
const failuresShownMax = 20

export interface TrialPlan {
  /** Brings the server of a loaded trial down and up again; gives what did not hold meanwhile. */
  readonly bringDown: (trial: Trial, random: Random, signal: AbortSignal) => Promise<string[]>
  readonly measured: (totals: Totals) => string
}

export interface Totals {
  runs: number
  readonly failures: string[]
  uploads: number
  items: number
  refused: number
  sessions: number
  askedAgain: number
  restartMsMax: number
  readonly socketCloses: Map<number, number>
}

/** Runs under mixed load, one data folder for several of them, each load read back and compared. */
export async function runTrials(order: FaultOrder, plan: TrialPlan): Promise<FaultReport> {
  const totals: Totals = {
    runs: 0,
    failures: [],
    uploads: 0,
    items: 0,
    refused: 0,
    sessions: 0,
    askedAgain: 0,
    restartMsMax: 0,
    socketCloses: new Map(),
  }
  while (totals.runs < order.runs && !order.signal.aborted) {
    await runFolder(order, plan, totals)
    const failed = totals.failures.length
    order.say(`run ${totals.runs}: ${plan.measured(totals)}; ${failed} failures`)
  }
  const failures = totals.failures.slice(0, failuresShownMax)
  return { runs: totals.runs, measured: plan.measured(totals), failures }
}

/** As many runs as one data folder takes; a run that throws ends it early. */
async function runFolder(order: FaultOrder, plan: TrialPlan, totals: Totals): Promise<void> {
  const first = totals.runs
  const last = Math.min(order.runs, first + runsPerFolder)
  const dataDir = join(order.folder, `data-${first}`)
  await mkdir(dataDir)
  const trial = new Trial(dataDir, new Random(partSeed(order.seed, first)), order.signal)
  const failed = (texts: readonly string[]) => {
    totals.failures.push(...texts.map((text) => `run ${totals.runs}: ${text}`))
  }
  try {
    trial.launch()
    await trial.serve()
    while (totals.runs < last && !order.signal.aborted) {
      if (!trial.isLoaded) await trial.startLoad()
      totals.runs += 1
      const random = new Random(partSeed(order.seed, totals.runs))
      failed(await plan.bringDown(trial, random, order.signal))
      const isAudited = (totals.runs - first) % runsPerAudit === 0 || totals.runs === last
      if (isAudited) await trial.audit()
      failed(trial.failures.splice(0))
    }
  } catch (error) {
    if (!order.signal.aborted) {
      failed([...trial.failures, error instanceof Error ? (error.stack ?? '') : String(error)])
    }
  } finally {
    await trial.close()
    add(totals, trial)
    await rm(dataDir, { recursive: true, force: true, maxRetries: 5 })
  }
}

function add(totals: Totals, trial: Trial): void {
  totals.uploads += trial.acknowledgedUploads
  totals.items += trial.acknowledgedItems
  totals.refused += trial.refusedUploads
  totals.sessions += trial.sessions
  totals.askedAgain += trial.askedAgain
  totals.restartMsMax = Math.max(totals.restartMsMax, trial.restartMsMax)
  for (const [code, count] of trial.socketCloses) {
    totals.socketCloses.set(code, (totals.socketCloses.get(code) ?? 0) + count)
  }
}

/** A count as people read it. */
export function count(value: number): string {
  return value.toLocaleString('en')
}
