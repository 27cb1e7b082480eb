import { gunzipSync } from 'node:zlib'
import { Refusal } from '../contracts/errors.ts'

/**
 * How long a gzip body says it is once inflated: its last four bytes (ISIZE, RFC 1952 section 2.3.1).
 * Nothing of it is believed but as a bound: `inflate` goes no further, so memory can be counted before.
 */
export function declaredLength(bytes: Uint8Array): number {
  if (bytes.byteLength < 4) return 0
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  return view.getUint32(bytes.byteLength - 4, true)
}

/**
 * Inflates one gzip member. Throws Refusal `BODY_TOO_LARGE` where it declares more than `bytesMax`,
 * `MALFORMED_ENCODING` for what is no gzip, is cut, or holds more than it declares.
 */
export function inflate(bytes: Uint8Array, bytesMax: number): Uint8Array {
  const declared = declaredLength(bytes)
  if (declared > bytesMax && bytes[0] === 0x1f && bytes[1] === 0x8b) {
    throw new Refusal('BODY_TOO_LARGE', {
      message: 'The body inflates to more than this server takes',
      fields: { maxBytes: bytesMax },
    })
  }
  try {
    return gunzipSync(bytes, { maxOutputLength: Math.max(1, Math.min(declared, bytesMax)) })
  } catch {
    throw new Refusal('MALFORMED_ENCODING')
  }
}
