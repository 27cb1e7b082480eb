import { type DestinationStream, type Logger, pino } from 'pino'
import type { LogLevel } from './config.ts'

export type { Logger }

/** No key and no ticket may ever stand in a log, wherever a caller puts a header or a request. */
const secretNames = ['authorization', 'x-api-key', 'sec-websocket-protocol', 'ticket', 'apiKey']
const secretPaths = secretNames.flatMap((name) => [`["${name}"]`, `*["${name}"]`, `*.*["${name}"]`])

/**
 * One JSON line a fact on standard output (or on `destination`), time in RFC 3339. Lines are
 * written before the call returns, so that the line before an exit is not lost.
 */
export function createLogger(
  level: LogLevel,
  destination: DestinationStream = pino.destination({ fd: 1, sync: true }),
): Logger {
  return pino(
    {
      level,
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      redact: { paths: secretPaths, censor: '[redacted]' },
      serializers: { url: withoutTicket, path: withoutTicket },
      hooks: { streamWrite: (line) => withoutControls(withoutSecrets(line)) },
    },
    destination,
  )
}

/**
 * What looks like a key, an Authorization header or a ticket, whichever way it got into a line: in
 * the message of an error, say. Keys made here are `as_` and 43 characters, tickets begin with the
 * base64url of `["key_`.
 */
function withoutSecrets(line: string): string {
  return line
    .replace(/as_[\w-]{43}/g, '[redacted]')
    .replace(/WyJrZXlf[\w-]*(\.[\w-]+)?/g, '[redacted]')
    .replace(/(\bbearer[ ,]+)[^\s"\\]+/gi, '$1[redacted]')
}

/**
 * JSON escapes what ends a line in ASCII. Readers that know Unicode also end one at U+0085, U+2028
 * and U+2029, terminals obey U+009B as they do ESC [, and the marks of direction reorder what is
 * shown.
 */
function withoutControls(line: string): string {
  return line.replace(/[\u007f-\u009f\u200e\u200f\u2028-\u202e\u2066-\u2069]/g, (character) => {
    const code = character.charCodeAt(0).toString(16).padStart(4, '0')
    return `\\u${code}`
  })
}

/** Tickets travel in the query, so a logged URL would give one away. */
function withoutTicket(value: unknown): unknown {
  return typeof value === 'string' ? value.replace(/([?&]ticket=)[^&#]*/g, '$1[redacted]') : value
}
