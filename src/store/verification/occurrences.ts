import { hash, randomInt } from 'node:crypto'
import { limits } from '../../limits.ts'
import { decodeAtom } from '../atoms.ts'
import { decodeHead, decodeItems, pageKind } from '../journal.ts'
import { digestBytes, keyNumber, numberBytes, readNumber } from '../keys.ts'
import { decodeBuffer } from '../streams.ts'
import type { Inspection } from './inspection.ts'

/** A blob that is suspected: how many occurrences it claims, and how many were found. */
interface Suspect {
  readonly tenant: number
  readonly digest: string
  readonly byteLength: number
  readonly isDamaged: boolean
  readonly users: number
  found: number
}

/** One use of a blob: by an atom row, a journaled item or a pending buffer. */
interface Occurrence {
  readonly tenant: number
  readonly digest: Uint8Array
  readonly byteLength: number
  readonly where: Readonly<Record<string, string | number>>
}

/**
 * Whether blobs and what uses them are in step. The two stand in different orders, so nothing can
 * be merged: each blob is added to one of a fixed number of sums as often as it says it is used,
 * and each use is taken off again (as in set reconciliation). Sums that are not zero in the end
 * name groups of blobs to be looked at one by one. In a sound store that is none, so both are read
 * once, in 8 MiB of memory.
 */
export class OccurrenceSums {
  readonly #inspection: Inspection
  readonly #uses = new Int32Array(limits.verificationSums)
  /**
   * The same, each use weighted by a number that tenant, hash and length decide: 1 in 2^32 is
   * missed.
   */
  readonly #weights = new Int32Array(limits.verificationSums)
  /** So that nobody can make content whose weights cancel out. */
  readonly #salt = randomInt(2 ** 31)
  readonly #damaged = new Set<number>()

  constructor(inspection: Inspection) {
    this.#inspection = inspection
  }

  /** A use of a blob. */
  take(tenant: number, digest: Uint8Array, byteLength: number): void {
    this.#add(tenant, digest, byteLength, -1)
  }

  /** Goes over all blobs: each has the hash it is named by, and as many users as it says. */
  checkBlobs(): void {
    const { counts } = this.#inspection
    for (const { key, value } of this.#inspection.entries('blobs')) {
      if (key.byteLength !== numberBytes + digestBytes) {
        this.#inspection.damage(
          'key',
          { table: 'blobs', key: hex(key) },
          'a SHA-256',
          'another key',
        )
        continue
      }
      const tenant = keyNumber(key, 0)
      const digest = key.subarray(numberBytes)
      counts.blobs += 1
      counts.blobBytes += value.byteLength
      this.#inspection.addBytes(tenant, key.byteLength + value.byteLength)
      this.#add(tenant, digest, value.byteLength, this.#users(tenant, digest))
      const found = hash('sha256', value, 'hex')
      const expected = hex(digest)
      if (found === expected) continue
      const where = { tenant, hash: expected }
      this.#inspection.damage('blob', where, 'bytes of this SHA-256', `bytes of ${found}`)
      this.#damaged.add(this.#sumOf(digest))
    }
    this.#checkUserRows()
  }

  /** Looks one by one at the blobs and uses of the sums that are not zero. */
  explain(): void {
    const suspicious: number[] = []
    for (let sum = 0; sum < this.#uses.length; sum += 1) {
      const isZero = this.#uses[sum] === 0 && this.#weights[sum] === 0
      if (!isZero || this.#damaged.has(sum)) suspicious.push(sum)
    }
    const { blobs, atomRows } = this.#inspection.counts
    const each = 1 + (blobs + atomRows) / limits.verificationSums
    const atOnce = Math.max(1, Math.floor(limits.verificationSuspectsMax / each))
    for (let start = 0; start < suspicious.length; start += atOnce) {
      this.#explainSums(new Set(suspicious.slice(start, start + atOnce)))
    }
  }

  #explainSums(sums: ReadonlySet<number>): void {
    const suspects = new Map<string, Suspect>()
    for (const { key, value } of this.#inspection.entries('blobs')) {
      const tenant = keyNumber(key, 0)
      const digest = key.subarray(numberBytes)
      if (!sums.has(this.#sumOf(digest))) continue
      suspects.set(nameOf(tenant, digest), {
        tenant,
        digest: hex(digest),
        byteLength: value.byteLength,
        isDamaged: hash('sha256', value, 'hex') !== hex(digest),
        users: this.#users(tenant, digest),
        found: 0,
      })
    }
    for (const occurrence of this.#occurrences()) {
      if (!sums.has(this.#sumOf(occurrence.digest))) continue
      this.#compare(occurrence, suspects.get(nameOf(occurrence.tenant, occurrence.digest)) ?? null)
    }
    for (const { tenant, digest, users, found } of suspects.values()) {
      const where = { tenant, hash: digest }
      this.#inspection.compare('blob', where, 'uses', users, found)
    }
  }

  #compare({ where, digest, byteLength }: Occurrence, suspect: Suspect | null): void {
    const place = { ...where, hash: hex(digest) }
    if (suspect === null) {
      this.#inspection.damage('atom', place, 'a blob of this hash', 'none')
      return
    }
    suspect.found += 1
    if (suspect.isDamaged) this.#inspection.damage('atom', place, 'sound bytes', 'a damaged blob')
    this.#inspection.compare('atom', place, 'bytes', byteLength, suspect.byteLength)
  }

  *#occurrences(): Iterable<Occurrence> {
    const { rows } = this.#inspection
    for (const { key, value } of this.#inspection.entries('atoms')) {
      const session = quietly(() => rows.sessions.read(keyNumber(key, 0)))
      const atom = quietly(() => decodeAtom(keyNumber(key, 1), value))
      if (session === null || atom === null) continue
      const { hash: digest, byteLength, seq } = atom
      yield { tenant: session.tenant, digest, byteLength, where: { session: session.id, seq } }
    }
    for (const { key, value } of this.#inspection.entries('journal-contents')) {
      const session = quietly(() => rows.sessions.read(keyNumber(key, 0)))
      const head = this.#inspection.snapshot.table('journal').get(key)
      const isMedia = head !== null && quietly(() => decodeHead(head))?.kind !== pageKind
      const items = isMedia ? quietly(() => decodeItems(value)) : null
      if (session === null || items === null) continue
      const where = { session: session.id, batch: keyNumber(key, 1), entry: keyNumber(key, 2) }
      for (const { hash: digest, byteLength } of items) {
        yield { tenant: session.tenant, digest, byteLength, where }
      }
    }
    for (const { key, value } of this.#inspection.entries('pending-buffers')) {
      const session = quietly(() => rows.sessions.read(keyNumber(key, 0)))
      const buffer = quietly(() => decodeBuffer(key, value))
      if (session === null || buffer === null) continue
      const { hash: digest, byteLength, number } = buffer
      yield {
        tenant: session.tenant,
        digest,
        byteLength,
        where: { session: session.id, buffer: number },
      }
    }
  }

  #checkUserRows(): void {
    const blobs = this.#inspection.snapshot.table('blobs')
    for (const { key, value } of this.#inspection.entries('blob-users')) {
      const where = { tenant: keyNumber(key, 0), hash: hex(key.subarray(numberBytes)) }
      if (!blobs.has(key)) this.#inspection.damage('blob', where, 'a blob of this hash', 'none')
      if (value.byteLength === numberBytes && readNumber(value, 0) > 1) continue
      this.#inspection.damage('blob', where, 'a count of uses over 1', hex(value))
    }
  }

  #users(tenant: number, digest: Uint8Array): number {
    const count = () => this.#inspection.rows.blobs.users(tenant, digest)
    return this.#inspection.attempt('blob', { tenant, hash: hex(digest) }, count) ?? 1
  }

  #add(tenant: number, digest: Uint8Array, byteLength: number, times: number): void {
    const sum = this.#sumOf(digest)
    this.#uses[sum] = (this.#uses[sum] ?? 0) + times
    const weight = Math.imul(this.#weightOf(tenant, digest, byteLength), times)
    this.#weights[sum] = (this.#weights[sum] ?? 0) + weight
  }

  #sumOf(digest: Uint8Array): number {
    return word(digest, 0) % limits.verificationSums
  }

  /** Murmur's finaliser over a word of the hash, the tenant and the length. */
  #weightOf(tenant: number, digest: Uint8Array, byteLength: number): number {
    let weight = this.#salt
    for (const part of [word(digest, 4), word(digest, 8), tenant, byteLength]) {
      weight = Math.imul(weight ^ part, 0x85ebca6b)
      weight = Math.imul(weight ^ (weight >>> 13), 0xc2b2ae35)
      weight ^= weight >>> 16
    }
    return weight
  }
}

function quietly<T>(read: () => T): T | null {
  try {
    return read()
  } catch {
    // It was told when the row was gone over itself.
    return null
  }
}

function word(digest: Uint8Array, offset: number): number {
  const [a = 0, b = 0, c = 0, d = 0] = digest.subarray(offset, offset + 4)
  return (a * 2 ** 24 + b * 2 ** 16 + c * 2 ** 8 + d) >>> 0
}

function nameOf(tenant: number, digest: Uint8Array): string {
  return `${tenant} ${Buffer.from(digest).toString('latin1')}`
}

export function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('hex')
}
