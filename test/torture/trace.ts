/** One system call of a trace. */
export interface Call {
  readonly name: string
  /** As strace prints them. */
  readonly args: string
  /** The number that came back, NaN where none came. */
  readonly result: number
  /** Positions of its beginning and its end in the trace; an end that was not seen is infinite. */
  readonly entered: number
  readonly left: number
}

interface Unfinished {
  readonly name: string
  readonly args: string
  readonly entered: number
}

const wholePattern = /^(\d+) +(\w+)\((.*)\) += +(-?\d+|\?)/s
const unfinishedPattern = /^(\d+) +(\w+)\((.*?) *<unfinished \.\.\.>$/s
const resumedPattern = /^(\d+) +<\.\.\. (\w+) resumed>(.*)\) += +(-?\d+|\?)/s

/**
 * The calls of all threads in the order of their beginnings. strace holds a thread at the beginning and
 * at the end of each call until it has noted it, so of two lines the first one happened first: what a
 * thread does because of another's call comes later in the trace than the end of that call.
 */
export function readTrace(lines: readonly string[]): Call[] {
  const calls: Call[] = []
  const unfinished = new Map<string, Unfinished>()
  lines.forEach((line, position) => {
    const begun = unfinishedPattern.exec(line)
    if (begun !== null) {
      const [, thread = '', name = '', args = ''] = begun
      unfinished.set(thread, { name, args, entered: position })
      return
    }
    const resumed = resumedPattern.exec(line)
    if (resumed !== null) {
      const [, thread = '', name = '', rest = '', result] = resumed
      const start = unfinished.get(thread)
      if (start?.name !== name) throw new Error(`line ${position} resumes what has not begun`)
      unfinished.delete(thread)
      const { args, entered } = start
      calls.push({ name, args: args + rest, result: Number(result), entered, left: position })
      return
    }
    const whole = wholePattern.exec(line)
    if (whole === null) return
    const [, , name = '', args = '', result] = whole
    calls.push({ name, args, result: Number(result), entered: position, left: position })
  })
  for (const call of unfinished.values()) {
    calls.push({ ...call, result: Number.NaN, left: Number.POSITIVE_INFINITY })
  }
  return calls.sort((one, other) => one.entered - other.entered)
}

/** The file, socket or pipe of a call's descriptor, as `strace -y` prints it; empty where it does not. */
export function fileOf({ args }: Call): string {
  return /^\d+<(.*?)>/.exec(args)?.[1] ?? ''
}

/** The number of a call's descriptor. */
export function descriptorOf({ args }: Call): number {
  return Number.parseInt(args, 10)
}
