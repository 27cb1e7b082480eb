import assert from 'node:assert/strict'
import { availableParallelism } from 'node:os'
import { join, resolve } from 'node:path'
import { test } from 'node:test'
import {
  type Config,
  ConfigError,
  loadConfig,
  settingRows,
  storeOptions,
} from '../../src/config.ts'
import { limits } from '../../src/limits.ts'

const key = 'visible-ascii-key'

/** Each setting with a text it takes and the value that comes of it. */
const samples: readonly [keyof Config, string, string, unknown][] = [
  ['host', 'ATOMSTREAM_HOST', '::1', '::1'],
  ['port', 'ATOMSTREAM_PORT', '0', 0],
  ['dataDir', 'ATOMSTREAM_DATA_DIR', 'elsewhere', resolve('elsewhere')],
  ['publicUrl', 'ATOMSTREAM_PUBLIC_URL', 'https://in.example/base/', 'https://in.example/base'],
  ['apiKey', 'ATOMSTREAM_API_KEY', key, key],
  ['rateLimit', 'ATOMSTREAM_RATE_LIMIT', '0', 0],
  ['streamConnectionsMax', 'ATOMSTREAM_STREAM_CONNECTIONS_MAX', '7', 7],
  ['streamEventsPerMinute', 'ATOMSTREAM_STREAM_EVENTS_PER_MINUTE', '50', 50],
  ['workers', 'ATOMSTREAM_WORKERS', '3', 3],
  ['durability', 'ATOMSTREAM_DURABILITY', 'commit', 'commit'],
  [
    'corsOrigins',
    'ATOMSTREAM_CORS_ORIGINS',
    'https://a.example, http://b.example:81',
    ['https://a.example', 'http://b.example:81'],
  ],
  ['uploadBytesMax', 'ATOMSTREAM_UPLOAD_BYTES_MAX', '1048576', 1_048_576],
  ['storeBytesMax', 'ATOMSTREAM_STORE_BYTES_MAX', '1073741824', 1_073_741_824],
  ['ffmpeg', 'ATOMSTREAM_FFMPEG', 'own/ffmpeg', resolve('own/ffmpeg')],
  ['mediaBytesMax', 'ATOMSTREAM_MEDIA_BYTES_MAX', '2097152', 2_097_152],
  ['spoolBytesMax', 'ATOMSTREAM_SPOOL_BYTES_MAX', '8388608', 8_388_608],
  ['mediaTimeoutS', 'ATOMSTREAM_MEDIA_TIMEOUT_S', '60', 60],
  ['retentionHours', 'ATOMSTREAM_RETENTION_HOURS', '720', 720],
  ['retentionBytes', 'ATOMSTREAM_RETENTION_BYTES', '5000000', 5_000_000],
  ['memoryMaxMiB', 'ATOMSTREAM_MEMORY_MAX_MIB', '65536', 65_536],
  ['logLevel', 'ATOMSTREAM_LOG_LEVEL', 'debug', 'debug'],
]

/** A variable, a text that it refuses, and what the message tells was expected. */
const refused: readonly [string, string, RegExp][] = [
  ['ATOMSTREAM_HOST', '', /an IP address or a host name, got ""/],
  ['ATOMSTREAM_HOST', 'http://x', /an IP address or a host name, got "http:\/\/x"/],
  ['ATOMSTREAM_PORT', '', /an integer from 0 to 65535, got ""/],
  ['ATOMSTREAM_PORT', '65536', /an integer from 0 to 65535, got "65536"/],
  ['ATOMSTREAM_PORT', '-1', /an integer from 0 to 65535, got "-1"/],
  ['ATOMSTREAM_PORT', '0x10', /an integer from 0 to 65535, got "0x10"/],
  ['ATOMSTREAM_PORT', '1e3', /an integer/],
  ['ATOMSTREAM_PORT', ' 80', /an integer/],
  ['ATOMSTREAM_DATA_DIR', '', /a folder path/],
  ['ATOMSTREAM_PUBLIC_URL', 'in.example', /an absolute http or https URL/],
  ['ATOMSTREAM_PUBLIC_URL', 'ftp://in.example', /an absolute http or https URL/],
  ['ATOMSTREAM_PUBLIC_URL', 'http:in.example', /an absolute http or https URL/],
  ['ATOMSTREAM_PUBLIC_URL', 'https://in.example/?', /an absolute http or https URL/],
  ['ATOMSTREAM_PUBLIC_URL', 'https://in.example/#top', /an absolute http or https URL/],
  ['ATOMSTREAM_PUBLIC_URL', 'https://me@in.example', /an absolute http or https URL/],
  ['ATOMSTREAM_PUBLIC_URL', 'https://in.example:99999', /an absolute http or https URL/],
  ['ATOMSTREAM_API_KEY', '', /16 to 256 visible ASCII characters, got 0 characters/],
  ['ATOMSTREAM_API_KEY', 'x'.repeat(15), /got 15 characters/],
  ['ATOMSTREAM_API_KEY', 'x'.repeat(257), /got 257 characters/],
  ['ATOMSTREAM_API_KEY', 'sixteen or more with a space', /visible ASCII/],
  ['ATOMSTREAM_API_KEY', 'sixteen-or-more-ü', /visible ASCII/],
  ['ATOMSTREAM_RATE_LIMIT', '1000/min', /an integer/],
  ['ATOMSTREAM_STREAM_CONNECTIONS_MAX', 'five', /an integer/],
  ['ATOMSTREAM_STREAM_EVENTS_PER_MINUTE', '1.5', /an integer/],
  ['ATOMSTREAM_WORKERS', '0', /an integer from 1 to 256, got "0"/],
  ['ATOMSTREAM_DURABILITY', 'fsync', /one of flush, commit, got "fsync"/],
  ['ATOMSTREAM_CORS_ORIGINS', '*', /exact origins/],
  ['ATOMSTREAM_CORS_ORIGINS', 'null', /exact origins/],
  ['ATOMSTREAM_CORS_ORIGINS', 'https://a.example/', /exact origins/],
  ['ATOMSTREAM_CORS_ORIGINS', 'https://A.example', /exact origins/],
  ['ATOMSTREAM_CORS_ORIGINS', 'https://a.example:443', /exact origins/],
  ['ATOMSTREAM_UPLOAD_BYTES_MAX', '64MiB', /an integer/],
  ['ATOMSTREAM_UPLOAD_BYTES_MAX', String(limits.inflatedBodyBytesMax + 1), /an integer/],
  ['ATOMSTREAM_STORE_BYTES_MAX', '1', /an integer/],
  ['ATOMSTREAM_FFMPEG', '', /a file path, got ""/],
  ['ATOMSTREAM_MEDIA_BYTES_MAX', '1000', /an integer from 1048576 to/],
  ['ATOMSTREAM_SPOOL_BYTES_MAX', '16GiB', /an integer/],
  ['ATOMSTREAM_MEDIA_TIMEOUT_S', '0', /an integer from 1 to 86400, got "0"/],
  ['ATOMSTREAM_RETENTION_HOURS', '7d', /an integer from 0 to 876600, got "7d"/],
  ['ATOMSTREAM_RETENTION_BYTES', '-1', /an integer/],
  ['ATOMSTREAM_MEMORY_MAX_MIB', '383', /an integer from 384 to 1048576, got "383"/],
  ['ATOMSTREAM_LOG_LEVEL', 'verbose', /one of silent, fatal, error/],
]

function flagOf(variable: string): string {
  const row = settingRows.find((candidate) => candidate.variable === variable)
  assert(row !== undefined)
  return row.flag
}

function messageOf(args: readonly string[], env: Record<string, string>): string {
  try {
    loadConfig(args, env)
  } catch (error) {
    assert(error instanceof ConfigError)
    return error.message
  }
  throw new assert.AssertionError({ message: 'no ConfigError' })
}

test('nothing given gives the documented defaults', () => {
  assert.deepEqual(loadConfig([], {}), {
    host: '127.0.0.1',
    port: 8080,
    dataDir: resolve('./data'),
    publicUrl: null,
    apiKey: null,
    rateLimit: 1000,
    streamConnectionsMax: 5,
    streamEventsPerMinute: 1000,
    workers: Math.min(availableParallelism(), limits.workersMax),
    durability: 'flush',
    corsOrigins: [],
    uploadBytesMax: limits.uploadBodyBytesMax,
    storeBytesMax: limits.storeBytesMaxDefault,
    ffmpeg: null,
    mediaBytesMax: limits.mediaFileBytesMaxDefault,
    spoolBytesMax: limits.spoolBytesMaxDefault,
    mediaTimeoutS: limits.mediaTimeoutSDefault,
    retentionHours: 0,
    retentionBytes: 0,
    memoryMaxMiB: Math.max(1_024, 512 + 256 * availableParallelism()),
    logLevel: 'info',
  })
})

test('each setting is read from its variable and from its flag in both spellings', () => {
  assert.deepEqual(
    samples.map(([, variable]) => variable),
    settingRows.map((row) => row.variable),
  )
  for (const [name, variable, text, value] of samples) {
    const flag = flagOf(variable)
    assert.deepEqual(loadConfig([], { [variable]: text })[name], value, variable)
    assert.deepEqual(loadConfig([flag, text], {})[name], value, `${flag} ${text}`)
    assert.deepEqual(loadConfig([`${flag}=${text}`], {})[name], value, `${flag}=${text}`)
  }
})

test('a media file may never be larger than the spool', () => {
  const { mediaBytesMax } = loadConfig(['--spool-bytes-max', '8388608'], {})
  assert.equal(mediaBytesMax, 8_388_608)
})

test('a flag wins over its variable', () => {
  assert.equal(loadConfig(['--port', '1'], { ATOMSTREAM_PORT: '2' }).port, 1)
})

test('a malformed setting is refused with its name, what was given and what was expected', () => {
  for (const [variable, text, expected] of refused) {
    const fromVariable = messageOf([], { [variable]: text })
    assert(fromVariable.startsWith(`${variable}: expected `), fromVariable)
    assert.match(fromVariable, expected)
    const flag = flagOf(variable)
    const fromFlag = messageOf([`${flag}=${text}`], {})
    assert(fromFlag.startsWith(`${flag}: expected `), fromFlag)
    assert.match(fromFlag, expected)
  }
})

test('an unknown variable or flag is refused and the nearest name is told', () => {
  assert.equal(
    messageOf([], { ATOMSTREAM_PROT: '1' }),
    'unknown variable ATOMSTREAM_PROT, did you mean ATOMSTREAM_PORT?; see --help',
  )
  assert.equal(
    messageOf(['--dataDir=x'], {}),
    'unknown flag --dataDir, did you mean --data-dir?; see --help',
  )
  assert.equal(messageOf(['-p', '1'], {}), 'unknown flag -p; see --help')
  assert.equal(messageOf(['9000'], {}), 'unexpected argument "9000"; see --help')
})

test('variables of other programs are left alone', () => {
  assert.equal(loadConfig([], { PORT: 'x', XATOMSTREAM_PORT: 'x' }).port, 8080)
})

test('a flag without a value or given twice is refused', () => {
  assert.equal(messageOf(['--port'], {}), '--port needs a value: --port=VALUE')
  assert.equal(messageOf(['--port', '--host', 'x'], {}), '--port needs a value: --port=VALUE')
  assert.equal(messageOf(['--port=1', '--port', '2'], {}), '--port is given twice')
})

test('no message shows the API key', () => {
  const secret = 'short-secret'
  const messages = [
    messageOf([], { ATOMSTREAM_API_KEY: secret }),
    messageOf([`--api-key=${secret}`], {}),
    messageOf(['--api-key', secret], {}),
    messageOf([`--api-kee=${secret}`], {}),
    messageOf([], { ATOMSTREAM_APIKEY: secret }),
    messageOf([`--api-key=${secret}`, `--api-key=${secret}`], {}),
  ]
  for (const message of messages) assert(!message.includes(secret), message)
})

test('an API key of 16 and of 256 characters is taken', () => {
  for (const length of [limits.apiKeyCharsMin, limits.apiKeyCharsMax]) {
    const text = '~'.repeat(length)
    assert.equal(loadConfig([], { ATOMSTREAM_API_KEY: text }).apiKey, text)
  }
})

test('memory bounds the workers that may be had and the largest upload', () => {
  const memory = ['--memory-max-mib', '384', '--workers']
  assert.equal(messageOf([...memory, '3'], {}), '3 workers need a memory of 480 MiB, not 384')
  assert.equal(loadConfig([...memory, '2'], {}).uploadBytesMax, 24 * 1024 * 1024)
})

test('the store is opened with the settings of its folder, durability and size', () => {
  const config = loadConfig(['--data-dir', 'x', '--durability', 'commit'], {})
  assert.deepEqual(storeOptions(config), {
    path: join(resolve('x'), 'store'),
    durability: 'commit',
    maxBytes: limits.storeBytesMaxDefault,
    queueBytesMax: limits.commitQueueBytesMax,
  })
})
