import { limits } from '../limits.ts'
import type { SessionRow } from '../store/interfaces.ts'
import type { UploadAnswer } from './batch.ts'

/** An upload that waits for the end of this turn of the event loop. */
export interface GatheredUpload {
  readonly bytes: Uint8Array
  readonly resolve: (answer: UploadAnswer) => void
  readonly reject: (reason: unknown) => void
}

interface Gathering {
  readonly session: SessionRow
  readonly uploads: GatheredUpload[]
  bytes: number
}

/**
 * Small uploads of a session that come in one turn of the event loop, to go on together: all that the
 * sockets have brought has come by its end, and who comes alone loses microseconds.
 */
export class UploadGathering {
  readonly #onEnd: (session: SessionRow, uploads: readonly GatheredUpload[]) => void
  readonly #open = new Map<number, Gathering>()

  constructor(onEnd: (session: SessionRow, uploads: readonly GatheredUpload[]) => void) {
    this.#onEnd = onEnd
  }

  join(session: SessionRow, bytes: Uint8Array): Promise<UploadAnswer> {
    return new Promise((resolve, reject) => {
      let gathering = this.#open.get(session.number)
      if (gathering === undefined) {
        gathering = { session, uploads: [], bytes: 0 }
        this.#open.set(session.number, gathering)
        setImmediate(() => this.end(session.number))
      }
      gathering.uploads.push({ bytes, resolve, reject })
      gathering.bytes += bytes.byteLength
      const isFull = gathering.uploads.length === limits.runUploadsMax
      if (isFull || gathering.bytes >= limits.runBytesMax) this.end(session.number)
    })
  }

  /** Hands on what has gathered of a session, before anything that came after it. */
  end(session: number): void {
    const gathering = this.#open.get(session)
    if (gathering === undefined) return
    this.#open.delete(session)
    this.#onEnd(gathering.session, gathering.uploads)
  }
}
