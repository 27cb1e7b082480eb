/**
 * A fault that is really inflicted, again and again, and what must hold each time. `npm test` runs each
 * a few times, `npm run torture` many times; both get the same code.
 */
export interface Fault {
  /** The first column of the report, and with dashes for spaces what `--only` takes. */
  readonly name: string
  /** What must hold, as the report prints it. */
  readonly holds: string
  /** How often, in `npm test` and in `npm run torture`. */
  readonly runs: { readonly test: number; readonly torture: number }
  readonly inflict: (order: FaultOrder) => Promise<FaultReport>
}

export interface FaultOrder {
  readonly runs: number
  /** True in `npm run torture`, where what takes long or measures percentiles is judged too. */
  readonly thorough: boolean
  /** Every random choice comes from it, and it is named where something does not hold. */
  readonly seed: number
  /** A folder of its own, removed by whoever called. */
  readonly folder: string
  /** Aborted when time is up or the user stops: what was started is ended, the report tells how far it got. */
  readonly signal: AbortSignal
  /** One line for who watches. */
  readonly say: (line: string) => void
}

export interface FaultReport {
  /** Runs that were made; fewer than ordered is a failure. */
  readonly runs: number
  /** What was counted or measured, in words: `12,300 records acknowledged, 0 lost`. */
  readonly measured: string
  /** What did not hold, each with its run and seed; empty where all held. */
  readonly failures: readonly string[]
  /** Why it could not be run at all here (a tool or right is missing); then nothing is claimed. */
  readonly notRun?: string
}
