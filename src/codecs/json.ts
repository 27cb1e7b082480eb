import { isAscii } from 'node:buffer'
import { invalidBody, Refusal } from '../contracts/errors.ts'
import { limits } from '../limits.ts'
import { jsonFault } from './json-fault.ts'

/** What becomes of a member named `__proto__`: an own property that the caller must see to, or 422. */
export type ProtoKeys = 'refuse' | 'keep'

const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
/** Bodies from here on are scanned before they are parsed, because only then can they hold too much. */
const scanFirstBytes = 2 * limits.uploadValuesMax
/** Brackets that JSON.parse may meet unscanned: its stack takes about 40 bytes for each open one. */
const openersUnscannedMax = 65_536
/** The body, its records, a record and its values stand inside one another. */
const telemetryDepth = 4

/**
 * The value of a JSON text (RFC 8259). Throws a Refusal: INVALID_UTF8; NESTING_TOO_DEEP past
 * `limits.nestingDepthMax`; MALFORMED_JSON saying where; INVALID_BODY for more than
 * `limits.uploadValuesMax` values or, unless `protoKeys` is 'keep', for a member `__proto__`
 * anywhere. A kept one is an own property as JSON.parse makes it; no prototype is ever set.
 *
 * A loop over the bytes that follows the depth costs a quarter of JSON.parse; counting brackets with
 * indexOf costs a twentieth. So the brackets are counted first, and where more of them stand in the
 * parsed body than flat telemetry explains, and only there, the loop decides.
 */
export function parseJson(bytes: Uint8Array, protoKeys: ProtoKeys = 'refuse'): unknown {
  const text = decodeText(bytes)
  const openers = countOf(text, '{') + countOf(text, '[')
  const scanFirst = bytes.length > scanFirstBytes || openers > openersUnscannedMax
  if (scanFirst) scanStructure(bytes)
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    if (!scanFirst) scanStructure(bytes)
    throw new Refusal('MALFORMED_JSON', {
      message: `The body is not valid JSON: ${jsonFault(text)}`,
    })
  }
  if (!scanFirst && openers > limits.nestingDepthMax) {
    const unexplained = openers - telemetryContainers(value)
    if (unexplained > limits.nestingDepthMax - telemetryDepth) scanStructure(bytes)
  }
  if (protoKeys === 'refuse' && (text.includes('__proto__') || text.includes('\\u00'))) {
    refuseProtoKeys(value)
  }
  return value
}

/** Throws INVALID_BODY where an object anywhere in the value has a member named `__proto__`. */
export function refuseProtoKeys(value: unknown): void {
  const open: unknown[] = [value]
  while (open.length > 0) {
    const container = open.pop()
    if (typeof container !== 'object' || container === null) continue
    if (ArrayBuffer.isView(container)) continue
    if (Object.hasOwn(container, '__proto__')) {
      throw invalidBody('__proto__', 'no member of this name')
    }
    for (const member of Object.values(container)) {
      if (typeof member === 'object') open.push(member)
    }
  }
}

export function nestingTooDeep(): Refusal {
  return new Refusal('NESTING_TOO_DEEP', { fields: { maxDepth: limits.nestingDepthMax } })
}

export function tooManyValues(): Refusal {
  return invalidBody('body', `at most ${limits.uploadValuesMax} values; split the upload`)
}

function decodeText(bytes: Uint8Array): string {
  if (isAscii(bytes)) {
    return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('latin1')
  }
  try {
    return decoder.decode(bytes)
  } catch {
    throw new Refusal('INVALID_UTF8')
  }
}

function countOf(text: string, sign: string): number {
  let count = 0
  for (let at = text.indexOf(sign); at !== -1; at = text.indexOf(sign, at + 1)) count++
  return count
}

/**
 * Containers that a telemetry body of the documented shape holds at its first four levels. Each came
 * from a bracket of its own, so a container deeper than these is among the brackets left over.
 */
function telemetryContainers(body: unknown): number {
  if (typeof body !== 'object' || body === null) return 0
  const { records } = body as { records?: unknown }
  if (!Array.isArray(records)) return 1
  let containers = 2
  for (const record of records as ({ values?: unknown } | null)[]) {
    if (typeof record !== 'object' || record === null) continue
    containers++
    if (typeof record.values === 'object' && record.values !== null) containers++
  }
  return containers
}

/** Follows depth and counts values without building anything; correct up to the first fault. */
function scanStructure(bytes: Uint8Array): void {
  let depth = 0
  let commas = 0
  let openers = 0
  let at = 0
  while (at < bytes.length) {
    const byte = bytes[at++] as number
    if (byte === 0x22) {
      at = endOfString(bytes, at)
    } else if (byte === 0x2c) {
      commas++
    } else if (byte >= 0x5b) {
      // Bit 5 folds [ onto { and ] onto }.
      const folded = byte | 0x20
      if (folded === 0x7b) {
        openers++
        if (++depth > limits.nestingDepthMax) throw nestingTooDeep()
      } else if (folded === 0x7d) {
        depth--
      }
    }
  }
  if (commas + openers > limits.uploadValuesMax) throw tooManyValues()
}

/** Position after the string's closing quote, or past the end where there is none. */
function endOfString(bytes: Uint8Array, start: number): number {
  // A long string is an image: past its beginning the native search takes over.
  const nativeFrom = start + 64
  let at = start
  while (at < bytes.length) {
    if (at > nativeFrom) {
      const quote = bytes.indexOf(0x22, at)
      if (quote === -1) return bytes.length
      let slashes = 0
      while (bytes[quote - 1 - slashes] === 0x5c) slashes++
      if (slashes % 2 === 0) return quote + 1
      at = quote + 1
      continue
    }
    const byte = bytes[at++]
    if (byte === 0x22) return at
    if (byte === 0x5c) at++
  }
  return at
}
