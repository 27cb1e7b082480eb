import { limits } from '../limits.ts'
import type { SessionRow, Store } from '../store/interfaces.ts'
import type { UploadAnswer } from './batch.ts'

/** An upload that waits for others, and what is told its sender. */
export interface GatheredUpload {
  readonly bytes: Uint8Array
  readonly resolve: (answer: UploadAnswer) => void
  readonly reject: (reason: unknown) => void
}

/** What of the store it goes by. */
export type WriteTimes = Pick<Store, 'isWriting' | 'onBeforeWrite'>

export type EndOfGathering = (
  session: SessionRow,
  uploads: readonly GatheredUpload[],
  arrivedAtMs: number,
) => void

interface Gathering {
  readonly session: SessionRow
  readonly uploads: GatheredUpload[]
  /** Of the first. */
  readonly arrivedAtMs: number
  bytes: number
  /** It has let a group of the store go without it. */
  hasWaited: boolean
}

/**
 * Small uploads of a session, to go on together: those that come in one turn of the event loop, or while
 * the store is writing, because none of them could be on disk before that has ended. As many as fill a batch
 * go on at once; what is left over after them lets one group of the store go without it, because a batch of
 * two parts is written twice and put together by a worker. Who comes alone loses microseconds.
 */
export class UploadGathering {
  readonly #store: WriteTimes
  readonly #onEnd: EndOfGathering
  readonly #open = new Map<number, Gathering>()
  /** Sessions of which so many came that some went on, since the last group of the store. */
  readonly #busy = new Set<number>()

  constructor(store: WriteTimes, onEnd: EndOfGathering) {
    this.#store = store
    this.#onEnd = onEnd
    store.onBeforeWrite(() => this.#beforeWrite())
  }

  /** `uploadsMax` of them go on at once. */
  join(
    session: SessionRow,
    bytes: Uint8Array,
    { nowMs, uploadsMax }: { readonly nowMs: number; readonly uploadsMax: number },
  ): Promise<UploadAnswer> {
    return new Promise((resolve, reject) => {
      const gathering = this.#open.get(session.number) ?? this.#begin(session, nowMs)
      gathering.uploads.push({ bytes, resolve, reject })
      gathering.bytes += bytes.byteLength
      const isFull = gathering.uploads.length >= Math.min(uploadsMax, limits.runUploadsMax)
      if (!isFull && gathering.bytes < limits.runBytesMax) return
      this.#busy.add(session.number)
      this.end(session.number)
    })
  }

  /** Hands on what has gathered of a session, before anything that came after it. */
  end(session: number): void {
    const gathering = this.#open.get(session)
    if (gathering === undefined) return
    this.#open.delete(session)
    this.#onEnd(gathering.session, gathering.uploads, gathering.arrivedAtMs)
  }

  #begin(session: SessionRow, arrivedAtMs: number): Gathering {
    const gathering = { session, arrivedAtMs, uploads: [], bytes: 0, hasWaited: false }
    this.#open.set(session.number, gathering)
    this.#endUnlessWriting(gathering)
    return gathering
  }

  #beforeWrite(): void {
    for (const [session, gathering] of [...this.#open]) {
      if (gathering.hasWaited || !this.#busy.has(session)) {
        this.end(session)
        continue
      }
      gathering.hasWaited = true
      this.#endUnlessWriting(gathering)
    }
    this.#busy.clear()
  }

  /**
   * At the end of the turn, unless the store is to tell when. Where many sessions gather each has few, and
   * to scan all of them between two groups would keep the disk waiting.
   */
  #endUnlessWriting(gathering: Gathering): void {
    setImmediate(() => {
      const { number } = gathering.session
      const isHeld = this.#store.isWriting && this.#open.size <= limits.gatheringsHeldMax
      if (this.#open.get(number) === gathering && !isHeld) this.end(number)
    })
  }
}
