import assert from 'node:assert/strict'

/**
 * The one place that knows how keys are laid out. Every number is 8 bytes big-endian, so that LMDB's
 * byte order is numeric order and a range of a session or tenant is one run of neighbouring keys.
 *
 *   meta                  name as text
 *   sessions              session                      what is set once
 *   session-states        session                      what uploads change
 *   session-ids           id as text                   the session's number
 *   tenant-sessions       tenant, session              type and status, for filtered lists
 *   open-sessions         created at, session          empty: sessions that have not ended
 *   dropped-sessions      session                      empty: sessions whose removal has begun
 *   atoms                 session, seq
 *   blobs                 tenant, 32 bytes of SHA-256
 *   blob-users            tenant, 32 bytes of SHA-256  how many occurrences, where it is not one
 *   journal               session, batch, number       kind, record count and job
 *   journal-contents      session, batch, number       page bytes or media items
 *   pending-buffers       session, number              where in its audio, hash and length of its blob
 *   stream-states         session                      as the codec gave it
 *   retries               session, batch
 *   dead-letters          tenant, number
 *   dead-letter-ids       id as text                   tenant and number
 *   session-dead-letters  session, number              empty
 *   dead-batches          session, batch               empty: batches that are dead letters
 *   jobs                  number
 *   job-ids               id as text                   the job's number
 *   tenant-jobs           tenant, number               status, session and age, for filtered lists
 *   open-media-jobs       number                       empty: jobs on files that have not ended
 *   idempotency           session, 32 bytes of SHA-256
 *   idempotency-times     created at, session, SHA-256 empty
 *   events                tenant, number
 *   session-events        session, number              empty: the event stands under its tenant
 *   tenants               tenant                       counters and bytes
 *   rejected              session, seq of the first   the rejected records that follow each other
 *   schemas               tenant, name, 0, version
 *   api-keys              32 bytes of SHA-256
 *   told-keys             32 bytes of SHA-256          1: an event tells of the key, 2: of its revocation
 *   memories              tenant, number
 *   memory-facets         tenant, SHA-256, number      empty: a type or tag and a memory that bears it
 *   memory-facet-counts   tenant, SHA-256              how many memories bear it, where any do
 */

export const numberBytes = 8
export const digestBytes = 32
/** LMDB's bound with 4 KiB pages. */
const keyBytesMax = 1_978

/** The largest number that a key holds; ranges end at it. */
export const lastNumber = Number.MAX_SAFE_INTEGER

/** The numbers in sequence: one for `sessions`, three for `journal`. */
export function numberKey(...numbers: readonly number[]): Uint8Array {
  const key = Buffer.allocUnsafe(numbers.length * numberBytes)
  for (let index = 0; index < numbers.length; index += 1) {
    writeNumber(key, numbers[index] as number, index * numberBytes)
  }
  return key
}

/** The number at `position` of a key made by `numberKey`, counted in numbers. */
export function keyNumber(key: Uint8Array, position: number): number {
  return readNumber(key, position * numberBytes)
}

/** Numbers in sequence, then a SHA-256: a tenant's blob, a session's idempotency key. */
export function hashKey(numbers: readonly number[], hash: Uint8Array): Uint8Array {
  assert(hash.byteLength === digestBytes, 'the key ends with a SHA-256')
  const key = Buffer.allocUnsafe(numbers.length * numberBytes + digestBytes)
  for (let index = 0; index < numbers.length; index += 1) {
    writeNumber(key, numbers[index] as number, index * numberBytes)
  }
  key.set(hash, numbers.length * numberBytes)
  return key
}

/** A facet of a tenant's memories, then the number of one that bears it. */
export function facetKey(tenant: number, facet: Uint8Array, number: number): Uint8Array {
  return Buffer.concat([hashKey([tenant], facet), numberKey(number)])
}

/** The number at the end of a key made by `facetKey`. */
export function facetKeyNumber(key: Uint8Array): number {
  return readNumber(key, numberBytes + digestBytes)
}

export function digestKey(digest: Uint8Array): Uint8Array {
  assert(digest.byteLength === digestBytes, 'an API key is named by a SHA-256')
  return digest
}

export function textKey(text: string): Uint8Array {
  const key = Buffer.from(text)
  assertKey(key)
  return key
}

/** Names and versions hold no zero byte, so the two cannot run into each other. */
export function schemaKey(tenant: number, name: string, version: string): Uint8Array {
  const key = Buffer.concat([numberKey(tenant), Buffer.from(`${name}\0${version}`)])
  assertKey(key)
  return key
}

export function writeNumber(target: Uint8Array, number: number, offset: number): void {
  assert(Number.isSafeInteger(number) && number >= 0, 'keys hold counts')
  // Byte by byte: a DataView for each number would cost more than all the rest of a key.
  const high = Math.floor(number / 2 ** 32)
  const low = number % 2 ** 32
  for (let index = 0; index < numberBytes / 2; index += 1) {
    const shift = 24 - 8 * index
    target[offset + index] = (high >>> shift) & 0xff
    target[offset + 4 + index] = (low >>> shift) & 0xff
  }
}

export function readNumber(source: Uint8Array, offset: number): number {
  const view = new DataView(source.buffer, source.byteOffset, source.byteLength)
  return view.getUint32(offset) * 2 ** 32 + view.getUint32(offset + 4)
}

/** Whether a text from outside can be a key at all. */
export function fitsKey(text: string): boolean {
  return text.length > 0 && Buffer.byteLength(text) <= keyBytesMax
}

/** A key that LMDB refuses would leave a transaction cut in the middle, so it never gets there. */
function assertKey(key: Uint8Array): void {
  assert(key.byteLength > 0 && key.byteLength <= keyBytesMax, 'the key is empty or too long')
}
