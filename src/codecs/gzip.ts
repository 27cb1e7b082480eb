import { gunzipSync } from 'node:zlib'
import { Refusal } from '../contracts/errors.ts'
import type { DecodeUpload } from '../contracts/tasks.ts'
import { limits } from '../limits.ts'

/** Deflate writes at most 258 bytes for two bits (RFC 1951 section 3.2.5). */
const inflationMax = 1_032

/**
 * How long a gzip body says it is once inflated: its last four bytes (ISIZE, RFC 1952 section 2.3.1),
 * or the most that its bytes can become, where it says more: else a few of them would take memory for
 * 64 MiB. Believed only as a bound, within the cap: `inflate` goes no further, so memory is counted
 * before.
 */
export function declaredLength(bytes: Uint8Array): number {
  if (bytes.byteLength < 4) return 0
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const declared = view.getUint32(bytes.byteLength - 4, true)
  return Math.min(declared, bytes.byteLength * inflationMax)
}

/** Bytes that have to be parsed of an upload: its body's, or what it says it inflates to. */
export function parsedLength({ body, byteLength, gzip }: DecodeUpload): number {
  if (!gzip) return byteLength
  const declared = declaredLength(new Uint8Array(body, 0, byteLength))
  return Math.min(declared, limits.inflatedBodyBytesMax)
}

/**
 * Inflates one gzip member. Throws Refusal `BODY_TOO_LARGE` past `bytesMax`, `MALFORMED_ENCODING` for
 * what is no gzip, is cut, or holds more than it declares.
 */
export function inflate(bytes: Uint8Array, bytesMax: number): Uint8Array {
  const maxOutputLength = Math.max(1, Math.min(declaredLength(bytes), bytesMax))
  try {
    return gunzipSync(bytes, { maxOutputLength })
  } catch (error) {
    const isPast = error instanceof RangeError && 'code' in error
    if (!isPast || maxOutputLength < bytesMax) throw new Refusal('MALFORMED_ENCODING')
    throw new Refusal('BODY_TOO_LARGE', {
      message: 'The body inflates to more than this server takes',
      fields: { maxBytes: bytesMax },
    })
  }
}
