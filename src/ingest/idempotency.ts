import { createHash } from 'node:crypto'
import type { Clock } from '../clock.ts'
import { Refusal } from '../contracts/errors.ts'
import { limits } from '../limits.ts'
import type { SessionRow, Store } from '../store/interfaces.ts'
import type { IdempotentUpload, UploadAnswer } from './batch.ts'
import { storedAnswer } from './upload-answer.ts'

interface UnderWay {
  readonly fingerprint: Uint8Array
  readonly answer: Promise<UploadAnswer>
}

/**
 * One key, one upload: who sends it again gets the first answer again. Stored answers come from the
 * transaction that acknowledged the upload, so they outlive the process; an upload that is still under
 * way is waited for. An upload that was refused leaves its key free.
 */
export class IdempotentUploads {
  readonly #store: Store
  readonly #clock: Clock
  readonly #underWay = new Map<string, UnderWay>()

  constructor({ store, clock }: { store: Store; clock: Clock }) {
    this.#store = store
    this.#clock = clock
  }

  /** Whether the session has answered this key or is about to. */
  knows(session: SessionRow, key: string): boolean {
    const digest = keyDigest(key)
    return this.#underWay.has(nameOf(session, digest)) || this.#stored(session, digest) !== null
  }

  /**
   * The answer that was given to this key, or the one that `admit` gives now. Throws Refusal
   * `IDEMPOTENCY_CONFLICT` where the key stands for another upload, and what `admit` throws.
   * Everything up to the call of `admit` runs synchronously where nobody else has the key.
   */
  async once(
    session: SessionRow,
    upload: IdempotentUpload,
    admit: () => Promise<UploadAnswer>,
  ): Promise<UploadAnswer> {
    const name = nameOf(session, upload.keyDigest)
    for (;;) {
      const underWay = this.#underWay.get(name)
      if (underWay !== undefined) {
        requireSame(underWay.fingerprint, upload.fingerprint)
        const answer = await underWay.answer.catch(() => null)
        if (answer !== null) return answer
        // The first one was refused: this one is the first now, unless another was quicker.
        continue
      }
      const row = this.#stored(session, upload.keyDigest)
      if (row !== null) {
        requireSame(row.fingerprint, upload.fingerprint)
        return storedAnswer(row)
      }
      const answer = admit()
      this.#underWay.set(name, { fingerprint: upload.fingerprint, answer })
      try {
        return await answer
      } finally {
        this.#underWay.delete(name)
      }
    }
  }

  #stored(session: SessionRow, digest: Uint8Array) {
    const row = this.#store.idempotency.get(session.number, digest)
    if (row === null) return null
    return row.createdAtMs + limits.idempotencyTtlMs > this.#clock.now() ? row : null
  }
}

/** SHA-256, because a key may be long and is nobody else's business. */
export function keyDigest(key: string): Uint8Array {
  return createHash('sha256').update(key).digest()
}

function requireSame(first: Uint8Array, second: Uint8Array): void {
  if (Buffer.compare(first, second) !== 0) throw new Refusal('IDEMPOTENCY_CONFLICT')
}

function nameOf(session: SessionRow, digest: Uint8Array): string {
  return `${session.number}/${Buffer.from(digest).toString('latin1')}`
}
