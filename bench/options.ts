import { parseArgs } from 'node:util'

export interface BenchOptions {
  readonly help: boolean
  readonly quick: boolean
  /** Rows whose id contains it; null is all. */
  readonly only: string | null
  /** File for the report; null is the folder of results, for a full run. */
  readonly json: string | null
  /** Where the temporary folder is made; null is the system's. */
  readonly dir: string | null
  /** Report that the run, or `with`, is compared with; null compares nothing. */
  readonly compare: string | null
  /** Report that takes the place of a run; null runs. */
  readonly with: string | null
  /** Report whose growth is drawn, without a run; null runs. */
  readonly plot: string | null
}

export const help = `npm run bench -- [options]

Starts the built server as a child on a free port with a temporary folder, drives it from another
process, prints the published figures, the limits of this machine and how cost grows, each beside
what is asked of it, and exits 1 if a row is missed, 3 if one could not be run or judged here because
a peer or a program is not there, or the disk is too slow for it, and 0 only if all are met. A run of all rows is written to
bench/results/latest.json and its growth drawn to bench/results/growth.svg; any other run is
written only where --json names a file.

  --json FILE     write all rows, with the machine and the versions, to FILE and nothing elsewhere
  --only PATTERN  only rows whose id contains PATTERN, such as latency, throughput/frames, limits,
                  growth, growth/store, durability, media, fanout, stream/latency, codecs;
                  memories adds the search of 100,000 memories, which runs no other way
  --dir FOLDER    make the temporary folder in FOLDER (default: TMPDIR or /tmp), to choose the
                  disk; how cost grows with the store's size takes 7 GB of it
  --quick         a few uploads a row: counts and read-back are checked, speed is not judged
  --compare OLD   after the run, show old and new figures and their quotient for every row
                  that is in the report OLD too
  --with NEW      compare OLD with the report NEW, without a run
  --plot REPORT   draw the growth of REPORT to growth.svg beside it, without a run
  --help          print this
`

const settings = {
  help: { type: 'boolean', default: false },
  quick: { type: 'boolean', default: false },
  only: { type: 'string' },
  json: { type: 'string' },
  dir: { type: 'string' },
  compare: { type: 'string' },
  with: { type: 'string' },
  plot: { type: 'string' },
} as const

/**
 * Throws an Error that names the argument where one is unknown, lacks its value or has an empty
 * one, or where two exclude each other.
 */
export function parseOptions(args: readonly string[]): BenchOptions {
  const { values } = parseArgs({ args: [...args], options: settings })
  const given = Object.entries(values).filter(([, value]) => value !== false)
  for (const [name, value] of given) {
    if (value === '') throw new Error(`--${name} needs a value that is not empty`)
  }
  const names = given.map(([name]) => name)
  // Both do without a run, so nothing that says how to run goes with them.
  if (values.plot !== undefined) refuseOthers(names, 'plot', ['help', 'plot'])
  if (values.with !== undefined) {
    refuseOthers(names, 'with', ['help', 'compare', 'with'])
    if (values.compare === undefined) throw new Error('--with needs --compare OLD beside it')
  }
  return {
    help: values.help,
    quick: values.quick,
    only: values.only ?? null,
    json: values.json ?? null,
    dir: values.dir ?? null,
    compare: values.compare ?? null,
    with: values.with ?? null,
    plot: values.plot ?? null,
  }
}

function refuseOthers(given: readonly string[], name: string, allowed: readonly string[]): void {
  const other = given.find((each) => !allowed.includes(each))
  if (other !== undefined)
    throw new Error(`--${name} runs nothing, so it does not go with --${other}`)
}
