import { parseTimestamp } from '../../codecs/telemetry/timestamp.ts'
import { invalidParameter } from '../../contracts/errors.ts'

/**
 * A point in time out of a query, in milliseconds since the epoch with their fraction; null where none
 * is given. Throws Refusal `INVALID_PARAMETER`.
 */
export function instant(name: string, text: string | undefined): number | null {
  if (text === undefined) return null
  // In a URL a number is text as well.
  const timestamp = parseTimestamp(/^-?\d+(\.\d+)?$/.test(text) ? Number(text) : text)
  if (timestamp === null) {
    throw invalidParameter(name, 'an RFC 3339 timestamp with zone, or milliseconds since the epoch')
  }
  return timestamp.ms + timestamp.us / 1000
}
