import { createHash } from 'node:crypto'
import type { Actor } from '../contracts/actor.ts'
import type { MediaType } from '../contracts/media.ts'
import type { SpooledFile } from './spool.ts'

/** A media file as the front door hands it over: whole, on disk, and nobody else's. */
export interface MediaUpload {
  readonly actor: Actor
  readonly spooled: SpooledFile
  /** Lower case, without parameters: a key of `mediaTypes`. */
  readonly contentType: string
  readonly type: MediaType
  /** When its first frame or sample was taken, milliseconds since the epoch. */
  readonly beginsAtMs: number
  /** How long the file took to arrive. */
  readonly uploadMs: number
  /** When its request came, milliseconds since the epoch. */
  readonly arrivedAtMs: number
  readonly idempotencyKey: string | null
}

/** What tells this upload from another under the same idempotency key, 32 bytes. */
export function mediaFingerprint({ spooled, contentType }: MediaUpload): Uint8Array {
  return createHash('sha256').update(spooled.hash).update(contentType).digest()
}
