/** A setting or an argument that cannot be taken. Its message is for the operator; exit code 2. */
export class ConfigError extends Error {
  constructor(message: string) {
    super(message)
    this.name = 'ConfigError'
  }
}

/** A command that could not do what was asked. Its message is for the operator; exit code 1. */
export class CommandFailure extends Error {
  constructor(message: string) {
    super(message)
    this.name = 'CommandFailure'
  }
}

/** What a command line may hold. Names bear their two dashes. */
export interface FlagNames {
  readonly valued: readonly string[]
  readonly switches: readonly string[]
}

export interface Arguments {
  readonly values: ReadonlyMap<string, string>
  readonly switches: ReadonlySet<string>
  readonly positionals: readonly string[]
}

/**
 * Takes `--name value`, `--name=value` and `--name` apart. A name that is not in `known`, stands
 * twice or lacks its value throws ConfigError. Messages show names only, never a value: it may be a key.
 */
export function readFlags(args: readonly string[], known: FlagNames): Arguments {
  const values = new Map<string, string>()
  const switches = new Set<string>()
  const positionals: string[] = []
  for (let index = 0; index < args.length; index += 1) {
    const argument = args[index] ?? ''
    if (!argument.startsWith('-') || argument === '-') {
      positionals.push(argument)
      continue
    }
    const equals = argument.indexOf('=')
    const name = equals === -1 ? argument : argument.slice(0, equals)
    if (values.has(name) || switches.has(name)) throw new ConfigError(`${name} is given twice`)
    if (known.switches.includes(name)) {
      if (equals !== -1) throw new ConfigError(`${name} takes no value`)
      switches.add(name)
    } else if (known.valued.includes(name)) {
      if (equals === -1) index += 1
      const value = equals === -1 ? args[index] : argument.slice(equals + 1)
      if (value === undefined || (equals === -1 && value.startsWith('--'))) {
        throw new ConfigError(`${name} needs a value: ${name}=VALUE`)
      }
      values.set(name, value)
    } else {
      const all = [...known.valued, ...known.switches]
      throw new ConfigError(`unknown flag ${name}${suggestion(name, all)}; see --help`)
    }
  }
  return { values, switches, positionals }
}

/** `, did you mean X?` for the nearest of the candidates, or nothing where none is near. */
export function suggestion(name: string, candidates: readonly string[]): string {
  let nearest = ''
  let nearestDistance = Number.POSITIVE_INFINITY
  for (const candidate of candidates) {
    const distance = editDistance(name.toLowerCase(), candidate.toLowerCase())
    if (distance < nearestDistance) {
      nearest = candidate
      nearestDistance = distance
    }
  }
  // Past half of the name's own length the two have nothing to do with each other.
  return nearestDistance <= nearest.length / 2 ? `, did you mean ${nearest}?` : ''
}

/** Levenshtein distance (Wagner and Fischer 1974), one row of the table at a time. */
function editDistance(a: string, b: string): number {
  let previous = Array.from({ length: b.length + 1 }, (_, index) => index)
  for (let i = 1; i <= a.length; i += 1) {
    const row = [i]
    for (let j = 1; j <= b.length; j += 1) {
      const replaced = (previous[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1)
      row.push(Math.min(replaced, (previous[j] ?? 0) + 1, (row[j - 1] ?? 0) + 1))
    }
    previous = row
  }
  return previous[b.length] ?? 0
}
