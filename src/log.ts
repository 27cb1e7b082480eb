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
    },
    destination,
  )
}

/** Tickets travel in the query, so a logged URL would give one away. */
function withoutTicket(value: unknown): unknown {
  return typeof value === 'string' ? value.replace(/([?&]ticket=)[^&#]*/g, '$1[redacted]') : value
}
