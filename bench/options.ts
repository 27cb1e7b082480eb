import { parseArgs } from 'node:util'

export interface BenchOptions {
  readonly help: boolean
  readonly quick: boolean
  /** Rows whose id contains it; null is all. */
  readonly only: string | null
  /** File for the report; null writes none. */
  readonly json: string | null
  /** Where the temporary folder is made; null is the system's. */
  readonly dir: string | null
}

export const help = `npm run bench -- [options]

Starts the built server as a child on a free port with a temporary folder, drives it from another
process, prints the published figures beside the measured ones and exits 1 if a row is missed.

  --json FILE     write all rows, with the machine and the versions, to FILE
  --only PATTERN  only rows whose id contains PATTERN, such as latency, throughput/frames, media,
                  fanout, stream/latency, codecs
  --dir FOLDER    make the temporary folder in FOLDER (default: TMPDIR or /tmp), to choose the disk
  --quick         a few uploads a row: counts and read-back are checked, speed is not judged
  --help          print this
`

/** Throws a TypeError that names the argument where one is unknown or lacks its value. */
export function parseOptions(args: readonly string[]): BenchOptions {
  const { values } = parseArgs({
    args: [...args],
    options: {
      help: { type: 'boolean', default: false },
      quick: { type: 'boolean', default: false },
      only: { type: 'string' },
      json: { type: 'string' },
      dir: { type: 'string' },
    },
  })
  return {
    help: values.help,
    quick: values.quick,
    only: values.only ?? null,
    json: values.json ?? null,
    dir: values.dir ?? null,
  }
}
