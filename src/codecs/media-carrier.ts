import assert from 'node:assert/strict'
import type { BodyFormat } from '../contracts/tasks.ts'
import { base64ByteLength, decodeBase64 } from './base64.ts'
import type { MediaKind } from './media-kinds.ts'
import { RecordFault } from './rejection.ts'

/** An opened upload body that holds frames or buffers. */
export interface MediaBody {
  readonly format: BodyFormat
  /** The body without its content encoding; msgpack's binary values are views into it. */
  readonly bytes: Uint8Array
  /**
   * The upload's own buffer, which may be transferred; `bytes` lie in it unless they were
   * inflated.
   */
  readonly body: ArrayBuffer | SharedArrayBuffer
}

/** Where the bytes of an upload's records lie: one buffer, which goes back to the main thread. */
export interface Carrier {
  readonly buffer: ArrayBuffer | SharedArrayBuffer
  /**
   * Finds or decodes the bytes that a record carries. Throws RecordFault where it carries none.
   */
  place(value: unknown): { readonly byteOffset: number; readonly byteLength: number }
}

export function openCarrier(
  kind: MediaKind,
  records: readonly unknown[],
  body: MediaBody,
): Carrier {
  return body.format === 'json' ? base64Carrier(kind, records) : binaryCarrier(kind, body)
}

/** JSON: all base64 texts are decoded one behind the other into a buffer of their common size. */
function base64Carrier(kind: MediaKind, records: readonly unknown[]): Carrier {
  let total = 0
  for (const record of records) {
    const text = (record as Readonly<Record<string, unknown>> | null)?.[kind.bytes]
    if (typeof text === 'string') total += base64ByteLength(text) ?? 0
  }
  const buffer = new ArrayBuffer(total)
  const target = Buffer.from(buffer)
  const expectedType = `base64 ${kind.title}`
  let end = 0
  return {
    buffer,
    place(value) {
      if (typeof value !== 'string') {
        const message = `${kind.bytes} must be a base64 string in JSON`
        throw new RecordFault(kind.bytes, value, expectedType, message)
      }
      const byteLength = base64ByteLength(value)
      if (byteLength === null || !decodeBase64(value, target, end, byteLength)) {
        const message = `${kind.bytes} is not base64 (RFC 4648, section 4)`
        throw new RecordFault(kind.bytes, value, expectedType, message)
      }
      const byteOffset = end
      end += byteLength
      return { byteOffset, byteLength }
    },
  }
}

/**
 * msgpack: the bytes already lie in the body, whose buffer goes back as it came. What was inflated
 * may lie in a larger buffer, even in the pool that Node shares among its small buffers: that is
 * not ours to give away, so it is copied.
 */
function binaryCarrier(kind: MediaKind, { bytes, body }: MediaBody): Carrier {
  const shared = bytes.buffer
  const own = shared === body || shared.byteLength === bytes.byteLength
  const buffer = own ? shared : new Uint8Array(bytes).buffer
  const origin = buffer === shared ? 0 : bytes.byteOffset
  return {
    buffer,
    place(value) {
      if (!(value instanceof Uint8Array)) {
        const message = `${kind.bytes} must be binary in msgpack`
        throw new RecordFault(kind.bytes, value, 'binary', message)
      }
      assert(value.buffer === shared, 'binary values are views into the body')
      return { byteOffset: value.byteOffset - origin, byteLength: value.byteLength }
    },
  }
}
