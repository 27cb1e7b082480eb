import type { ErrorCode, InvalidRecord } from '../../src/contracts/errors.ts'

/** The sessions that bad input is sent to. Each holds something good, which must stay as it is. */
export type Target = 'telemetry' | 'strict' | 'whole' | 'video' | 'pixels' | 'audio' | 'ended'

export interface Wire {
  /** `Host` header and request target of the case. */
  readonly host: string
  readonly path: string
  readonly authorization: string
}

/** One request that must be refused: an upload of JSON with the full key unless told otherwise. */
export interface BadCase {
  readonly name: string
  readonly target?: Target
  readonly method?: string
  /** `{telemetry}` and the like stand for session ids, `{foreign}` for one of another tenant. */
  readonly path?: string
  readonly key?: 'full' | 'none' | 'wrong' | 'foreign' | 'reader'
  readonly headers?: Readonly<Record<string, string>>
  /** A function makes a large body when its turn comes. */
  readonly body?: string | Uint8Array | (() => Uint8Array)
  readonly json?: unknown
  readonly msgpack?: unknown
  /** Bytes for a connection of its own, where no client would send such a request. */
  readonly raw?: (wire: Wire) => Iterable<string | Uint8Array>
  readonly status: number
  /** Null where the HTTP parser itself refuses, without a body. */
  readonly code: ErrorCode | null
  /** Members of the body, compared one by one. */
  readonly fields?: Readonly<Record<string, unknown>>
  /** Members of the first of `invalidRecords`. */
  readonly invalid?: Partial<InvalidRecord>
}

export const time = '2025-01-20T10:30:00.000Z'
export const record = { timestamp: time, values: { a: 1 } }

export const msgpackType = { 'content-type': 'application/msgpack' }
export const gzipEncoding = { 'content-encoding': 'gzip' }

/** The text of a body with one record whose `values` are this text. */
export function valuesText(values: string): string {
  return `{"records":[{"timestamp":"${time}","values":${values}}]}`
}
