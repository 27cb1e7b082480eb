import { availableParallelism } from 'node:os'
import { join, resolve } from 'node:path'
import { ConfigError, readFlags, suggestion } from './cli/flags.ts'
import { limits } from './limits.ts'
import { memoryBudgets } from './memory.ts'
import type { StoreOptions } from './store/interfaces.ts'

export { ConfigError }

export const logLevels = ['silent', 'fatal', 'error', 'warn', 'info', 'debug', 'trace'] as const
export type LogLevel = (typeof logLevels)[number]

/** The settings of one process, checked. Rates and counts are off at 0 where their row says so. */
export interface Config {
  readonly host: string
  /** 0 lets the kernel pick a free one. */
  readonly port: number
  /** Absolute path. */
  readonly dataDir: string
  /** Base of the URLs in replies, without a slash at the end; null takes the request's Host. */
  readonly publicUrl: string | null
  readonly apiKey: string | null
  readonly rateLimit: number
  readonly streamConnectionsMax: number
  readonly streamEventsPerMinute: number
  readonly workers: number
  readonly durability: 'flush' | 'commit'
  /** Origins as browsers send them. */
  readonly corsOrigins: readonly string[]
  /** Never more than memory is there for. */
  readonly uploadBytesMax: number
  readonly storeBytesMax: number
  /** Absolute path; null looks for one. */
  readonly ffmpeg: string | null
  /** Never more than the spool takes. */
  readonly mediaBytesMax: number
  readonly spoolBytesMax: number
  readonly mediaTimeoutS: number
  readonly retentionHours: number
  readonly retentionBytes: number
  /** Bound of the memory that the process itself takes. */
  readonly memoryMaxMiB: number
  readonly logLevel: LogLevel
}

/** How a setting's text is read. `parse` gives undefined for what is not `expected`. */
interface Kind<T> {
  readonly expected: string
  readonly parse: (text: string) => T | undefined
}

interface Setting<T> {
  readonly variable: `ATOMSTREAM_${string}`
  readonly kind: Kind<T>
  readonly standard: T
  /** The default as --help and README print it, where its value would tell too little. */
  readonly standardText?: string
  readonly unit: string
  readonly description: string
  /** Its value is never shown, not even in an error. */
  readonly secret?: boolean
}

const settings: { readonly [K in keyof Config]: Setting<Config[K]> } = {
  host: {
    variable: 'ATOMSTREAM_HOST',
    kind: pattern(/^[A-Za-z0-9._:-]+$/, 'an IP address or a host name'),
    standard: '127.0.0.1',
    unit: 'address',
    description: 'Address to listen on',
  },
  port: {
    variable: 'ATOMSTREAM_PORT',
    kind: integer(0, 65_535),
    standard: 8_080,
    unit: 'port',
    description: 'TCP port to listen on; 0 picks a free one',
  },
  dataDir: {
    variable: 'ATOMSTREAM_DATA_DIR',
    kind: {
      expected: 'a folder path',
      parse: (text) => (text === '' ? undefined : resolve(text)),
    },
    standard: resolve('data'),
    standardText: './data',
    unit: 'path',
    description: 'Folder of everything that is stored; created where missing',
  },
  publicUrl: {
    variable: 'ATOMSTREAM_PUBLIC_URL',
    kind: {
      expected: 'an absolute http or https URL without user, query and fragment',
      parse: parsePublicUrl,
    },
    standard: null,
    standardText: "the request's Host",
    unit: 'URL',
    description: 'Base of the URLs in replies; set it behind a proxy',
  },
  apiKey: {
    variable: 'ATOMSTREAM_API_KEY',
    kind: pattern(
      new RegExp(`^[!-~]{${limits.apiKeyCharsMin},${limits.apiKeyCharsMax}}$`),
      `${limits.apiKeyCharsMin} to ${limits.apiKeyCharsMax} visible ASCII characters`,
    ),
    standard: null,
    standardText: 'none',
    unit: 'key',
    description: 'Key with every scope for tenant 0, taken beside the stored ones',
    secret: true,
  },
  rateLimit: {
    variable: 'ATOMSTREAM_RATE_LIMIT',
    kind: integer(0, limits.rateLimitMax),
    standard: limits.rateLimitDefault,
    unit: 'requests/minute',
    description: 'HTTP requests and WebSocket upgrades of one tenant; 0 is no limit',
  },
  streamConnectionsMax: {
    variable: 'ATOMSTREAM_STREAM_CONNECTIONS_MAX',
    kind: integer(0, limits.subscribersMax),
    standard: limits.streamConnectionsDefault,
    unit: 'connections',
    description: 'Open GET /api/v1/stream connections of one key; 0 is no limit',
  },
  streamEventsPerMinute: {
    variable: 'ATOMSTREAM_STREAM_EVENTS_PER_MINUTE',
    kind: integer(0, limits.rateLimitMax),
    standard: limits.streamEventsPerMinuteDefault,
    unit: 'events/minute',
    description: 'Events of one GET /api/v1/stream connection; 0 is no limit',
  },
  workers: {
    variable: 'ATOMSTREAM_WORKERS',
    kind: integer(1, limits.workersMax),
    standard: Math.min(availableParallelism(), limits.workersMax),
    standardText: 'one a CPU',
    unit: 'threads',
    description: 'Threads that decode and check uploads',
  },
  durability: {
    variable: 'ATOMSTREAM_DURABILITY',
    kind: choice(['flush', 'commit']),
    standard: 'flush',
    unit: 'mode',
    description: 'flush: on disk before the reply; commit: the kernel flushes later',
  },
  corsOrigins: {
    variable: 'ATOMSTREAM_CORS_ORIGINS',
    kind: {
      expected: 'a comma list of exact origins such as https://app.example',
      parse: parseOrigins,
    },
    standard: [],
    standardText: 'none',
    unit: 'origins',
    description: 'Origins whose pages may use the server from a browser',
  },
  uploadBytesMax: {
    variable: 'ATOMSTREAM_UPLOAD_BYTES_MAX',
    kind: integer(limits.uploadBodyBytesMin, limits.inflatedBodyBytesMax),
    standard: limits.uploadBodyBytesMax,
    unit: 'bytes',
    description: 'Largest upload body, as it is sent',
  },
  storeBytesMax: {
    variable: 'ATOMSTREAM_STORE_BYTES_MAX',
    kind: integer(limits.storeBytesMaxMin, limits.storeBytesMaxMax),
    standard: limits.storeBytesMaxDefault,
    unit: 'bytes',
    description: 'The store grows to this, then uploads get 507',
  },
  ffmpeg: {
    variable: 'ATOMSTREAM_FFMPEG',
    kind: {
      expected: 'a file path',
      parse: (text) => (text === '' ? undefined : resolve(text)),
    },
    standard: null,
    standardText: "the PATH's, else the one that comes along",
    unit: 'path',
    description: 'ffmpeg that decodes media files',
  },
  mediaBytesMax: {
    variable: 'ATOMSTREAM_MEDIA_BYTES_MAX',
    kind: integer(limits.mediaFileBytesMaxMin, limits.spoolBytesMaxMax),
    standard: limits.mediaFileBytesMaxDefault,
    unit: 'bytes',
    description: 'Largest media file; it is spooled to the data folder, not held in memory',
  },
  spoolBytesMax: {
    variable: 'ATOMSTREAM_SPOOL_BYTES_MAX',
    kind: integer(limits.mediaFileBytesMaxMin, limits.spoolBytesMaxMax),
    standard: limits.spoolBytesMaxDefault,
    unit: 'bytes',
    description: 'Media files that arrive or wait for their jobs, together; past it they get 503',
  },
  mediaTimeoutS: {
    variable: 'ATOMSTREAM_MEDIA_TIMEOUT_S',
    kind: integer(1, limits.mediaTimeoutSMax),
    standard: limits.mediaTimeoutSDefault,
    unit: 'seconds',
    description: 'A job on a media file fails after this',
  },
  retentionHours: {
    variable: 'ATOMSTREAM_RETENTION_HOURS',
    kind: integer(0, limits.retentionHoursMax),
    standard: 0,
    unit: 'hours',
    description: 'What is older is dropped, events and atoms together; 0 keeps for ever',
  },
  retentionBytes: {
    variable: 'ATOMSTREAM_RETENTION_BYTES',
    kind: integer(0, limits.storeBytesMaxMax),
    standard: 0,
    unit: 'bytes',
    description: 'Of what one tenant stores beyond this the oldest is dropped; 0 is no bound',
  },
  memoryMaxMiB: {
    variable: 'ATOMSTREAM_MEMORY_MAX_MIB',
    kind: integer(limits.memoryMiBMin, limits.memoryMiBMax),
    standard: defaultMemoryMiB(availableParallelism()),
    standardText: '1024, or 512 and 256 a CPU',
    unit: 'MiB',
    description: 'Memory of the process; near it uploads get 503. A sixteenth is for one upload',
  },
  logLevel: {
    variable: 'ATOMSTREAM_LOG_LEVEL',
    kind: choice(logLevels),
    standard: 'info',
    unit: 'level',
    description: 'Least level that is logged',
  },
}

/** One row of the settings table, as --help and README show it. */
export interface SettingRow {
  readonly variable: string
  readonly flag: string
  readonly standard: string
  readonly expected: string
  readonly unit: string
  readonly description: string
}

export const settingRows: readonly SettingRow[] = Object.values(settings).map(
  ({ variable, standard, standardText, kind, unit, description }) => ({
    variable,
    flag: flagOf(variable),
    standard: standardText ?? String(standard),
    expected: kind.expected,
    unit,
    description,
  }),
)

/**
 * Settings from flags, else from the environment, else their defaults. Throws ConfigError that
 * names the flag or variable, what was given and what was expected; an unknown flag or `ATOMSTREAM_*`
 * variable is an error too, because a misspelt one would silently leave its default in force.
 */
export function loadConfig(
  args: readonly string[],
  env: Readonly<Record<string, string | undefined>> = process.env,
): Config {
  const { values, positionals } = readFlags(args, {
    valued: settingRows.map((row) => row.flag),
    switches: [],
  })
  if (positionals.length > 0) {
    throw new ConfigError(`unexpected argument "${positionals[0]}"; see --help`)
  }
  const variables = settingRows.map((row) => row.variable)
  for (const name of Object.keys(env)) {
    if (name.startsWith('ATOMSTREAM_') && !variables.includes(name)) {
      throw new ConfigError(`unknown variable ${name}${suggestion(name, variables)}; see --help`)
    }
  }
  const read = <K extends keyof Config>(key: K): Config[K] => {
    const setting: Setting<Config[K]> = settings[key]
    const flag = flagOf(setting.variable)
    const flagText = values.get(flag)
    if (flagText !== undefined) return parseSetting(setting, flag, flagText)
    const text = env[setting.variable]
    return text === undefined ? setting.standard : parseSetting(setting, setting.variable, text)
  }
  const memoryMaxMiB = read('memoryMaxMiB')
  const workers = read('workers')
  requireMemoryFor(workers, memoryMaxMiB)
  const spoolBytesMax = read('spoolBytesMax')
  return {
    host: read('host'),
    port: read('port'),
    dataDir: read('dataDir'),
    publicUrl: read('publicUrl'),
    apiKey: read('apiKey'),
    rateLimit: read('rateLimit'),
    streamConnectionsMax: read('streamConnectionsMax'),
    streamEventsPerMinute: read('streamEventsPerMinute'),
    workers,
    durability: read('durability'),
    corsOrigins: read('corsOrigins'),
    uploadBytesMax: Math.min(read('uploadBytesMax'), memoryBudgets(memoryMaxMiB).bodyBytesMax),
    storeBytesMax: read('storeBytesMax'),
    ffmpeg: read('ffmpeg'),
    mediaBytesMax: Math.min(read('mediaBytesMax'), spoolBytesMax),
    spoolBytesMax,
    mediaTimeoutS: read('mediaTimeoutS'),
    retentionHours: read('retentionHours'),
    retentionBytes: read('retentionBytes'),
    memoryMaxMiB,
    logLevel: read('logLevel'),
  }
}

/** How the server and the keys command open the same store. */
export function storeOptions(config: Config): StoreOptions {
  return {
    path: join(config.dataDir, 'store'),
    durability: config.durability,
    maxBytes: config.storeBytesMax,
    queueBytesMax: memoryBudgets(config.memoryMaxMiB).commitQueueBytesMax,
  }
}

function parseSetting<T>(setting: Setting<T>, source: string, text: string): T {
  const value = setting.kind.parse(text)
  if (value !== undefined) return value
  const given = setting.secret ? `${text.length} characters` : JSON.stringify(text)
  throw new ConfigError(`${source}: expected ${setting.kind.expected}, got ${given}`)
}

/** `ATOMSTREAM_DATA_DIR` is `--data-dir`. */
function flagOf(variable: string): string {
  return `--${variable.slice('ATOMSTREAM_'.length).toLowerCase().replaceAll('_', '-')}`
}

function defaultMemoryMiB(cpus: number): number {
  const { memoryMiBDefaultBase, memoryMiBDefaultPerCpu, memoryMiBDefaultMin } = limits
  return Math.max(memoryMiBDefaultMin, memoryMiBDefaultBase + cpus * memoryMiBDefaultPerCpu)
}

/** A heap for each thread has to fit, or no body ever would. Throws ConfigError. */
function requireMemoryFor(workers: number, memoryMaxMiB: number): void {
  const neededMiB = limits.memoryMiBBase + workers * limits.memoryMiBPerWorker
  if (memoryMaxMiB >= neededMiB) return
  throw new ConfigError(`${workers} workers need a memory of ${neededMiB} MiB, not ${memoryMaxMiB}`)
}

function integer(min: number, max: number): Kind<number> {
  return {
    expected: `an integer from ${min} to ${max}`,
    parse: (text) => {
      // Number('') is 0, Number('0x10') is 16 and Number(' 1') is 1: digits only.
      const value = /^\d{1,16}$/.test(text) ? Number(text) : Number.NaN
      return value >= min && value <= max ? value : undefined
    },
  }
}

function choice<const T extends string>(words: readonly T[]): Kind<T> {
  return {
    expected: `one of ${words.join(', ')}`,
    parse: (text) => words.find((word) => word === text),
  }
}

function pattern(expression: RegExp, expected: string): Kind<string> {
  return { expected, parse: (text) => (expression.test(text) ? text : undefined) }
}

function parsePublicUrl(text: string): string | undefined {
  // The URL parser repairs `http:host` and drops an empty query; both should be refused.
  if (!/^https?:\/\/[^/?#@\s]+(\/[^?#\s]*)?$/.test(text) || !URL.canParse(text)) return undefined
  return new URL(text).href.replace(/\/+$/, '')
}

function parseOrigins(text: string): readonly string[] | undefined {
  const origins = text
    .split(',')
    .map((origin) => origin.trim())
    .filter((origin) => origin !== '')
  // Browsers send the serialised form (lower case, no default port), which is compared as it is.
  const exact = origins.every(
    (origin) =>
      /^https?:\/\//.test(origin) && URL.canParse(origin) && new URL(origin).origin === origin,
  )
  return exact ? origins : undefined
}
