import { parseArgs } from 'node:util'
import type { Fault } from './fault.ts'

export interface TortureOptions {
  readonly help: boolean
  /** Runs of every fault; null is each one's own number. */
  readonly runs: number | null
  /** What the ids of the faults must contain; null is all of them. */
  readonly only: readonly string[] | null
  /** Null is one drawn at the start. */
  readonly seed: number | null
  /** File for the report; null writes none. */
  readonly json: string | null
  readonly quick: boolean
  /** A fault that cannot be run here does not fail the whole. */
  readonly allowNotRun: boolean
}

const seedMax = 0xffffffff
const runsMax = 1_000_000_000

export function helpText(faults: readonly Fault[]): string {
  const width = Math.max(...faults.map((fault) => faultId(fault).length))
  const lines = faults.map(
    (fault) => `  ${faultId(fault).padEnd(width)}  ${fault.runs.torture.toLocaleString('en')} runs`,
  )
  return `npm run torture -- [options]

Inflicts faults on the built server, each in a process and a temporary folder of its own, prints what
held and exits 1 unless all of it did. What cannot be run on this machine is told as "not run".

  --runs N          runs of each fault, in place of its own number
  --only ID[,ID]    only faults whose id contains one of these
  --seed N          of every random choice (default: drawn, and told)
  --quick           as few runs as in npm test, and no percentiles
  --allow-not-run   what cannot be run here does not count against the whole
  --json FILE       write the report to FILE as well
  --help            print this

Faults:
${lines.join('\n')}
`
}

/** The fault's name in small letters, digits and dashes. */
export function faultId(fault: Fault): string {
  return fault.name
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, '-')
    .replace(/^-|-$/g, '')
}

/** Throws a TypeError that names the argument where one is unknown, malformed or lacks its value. */
export function parseOptions(args: readonly string[]): TortureOptions {
  const { values } = parseArgs({
    args: [...args],
    options: {
      help: { type: 'boolean', default: false },
      quick: { type: 'boolean', default: false },
      'allow-not-run': { type: 'boolean', default: false },
      runs: { type: 'string' },
      only: { type: 'string' },
      seed: { type: 'string' },
      json: { type: 'string' },
    },
  })
  const only = values.only?.split(',').map((id) => id.trim().toLowerCase())
  if (only?.includes('')) throw new TypeError('--only takes ids separated by commas')
  return {
    help: values.help,
    quick: values.quick,
    allowNotRun: values['allow-not-run'],
    runs: readNumber('--runs', values.runs, 1, runsMax),
    only: only ?? null,
    seed: readNumber('--seed', values.seed, 0, seedMax),
    json: values.json ?? null,
  }
}

/** The faults that were asked for. Throws a TypeError where an id fits none. */
export function chosenFaults(faults: readonly Fault[], only: readonly string[] | null): Fault[] {
  for (const part of only ?? []) {
    if (faults.some((fault) => faultId(fault).includes(part))) continue
    const known = faults.map(faultId).join(', ')
    throw new TypeError(`no fault has "${part}" in its id: ${known}`)
  }
  return faults.filter((fault) => only?.some((part) => faultId(fault).includes(part)) ?? true)
}

function readNumber(
  name: string,
  text: string | undefined,
  min: number,
  max: number,
): number | null {
  if (text === undefined) return null
  const value = /^\d+$/.test(text) ? Number(text) : Number.NaN
  if (value >= min && value <= max) return value
  throw new TypeError(`${name} takes a whole number from ${min} to ${max}`)
}
