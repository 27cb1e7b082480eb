import type { DecodedContent, RejectedRecord } from '../contracts/tasks.ts'

/** A decoded and valid upload on its way into a batch. */
export interface AdmittedUpload {
  readonly arrivedAtMs: number
  /** Bytes of the body as it came, compressed where it was. */
  readonly wireBytes: number
  /** Records in the upload; `content` holds those that are not in `rejected`. */
  readonly received: number
  readonly rejected: readonly RejectedRecord[]
  readonly content: DecodedContent
}

/** One upload's place in a batch. Until it is journaled or processed its content is only in memory. */
export interface BatchEntry {
  readonly records: number
  /** Bytes and columns of its page; 0 for media, whose bytes are blobs, and in a closed batch. */
  readonly pageBytes: number
  readonly pageColumns: number
  /** Null once the journal has it. */
  upload: AdmittedUpload | null
  /** Number of its journal entry, null while there is none. */
  journalNumber: number | null
  /** Settles, never rejects, when a journal write is over; null before there is one. */
  journaling: Promise<void> | null
  /** From when it is asked to be journaled until that is on disk or has failed. */
  isJournaling: boolean
}

/** How an attempt to process a batch went. */
export type AttemptResult = 'processed' | 'failed'

/** Whole uploads of a session that become one block, or the atoms of one commit. */
export class Batch {
  readonly entries: BatchEntry[] = []
  records = 0
  pageBytes = 0
  pageColumns = 0
  closed = false
  attempts = 0
  /** Arrival of the upload that closed it, else the moment it was closed: processing time counts from here. */
  processingFromMs = 0
  delayTimer: NodeJS.Timeout | null = null
  /** Resolves with the result of the first attempt. */
  readonly firstAttempt: Promise<AttemptResult>
  /** Resolves when the batch's records are atoms, or nothing is left of it. */
  readonly settled: Promise<void>
  resolveFirstAttempt!: (result: AttemptResult) => void
  resolveSettled!: () => void
  isSettled = false
  /**
   * Its atoms stand in a transaction that is under way or done. Kept beside `isSettled`, because the
   * next transaction may be put together before the promise of this one has been heard.
   */
  applied = false

  constructor(readonly number: number) {
    this.firstAttempt = new Promise((resolve) => {
      this.resolveFirstAttempt = resolve
    })
    this.settled = new Promise((resolve) => {
      this.resolveSettled = resolve
    })
  }

  add(entry: BatchEntry): void {
    this.entries.push(entry)
    this.records += entry.records
    this.pageBytes += entry.pageBytes
    this.pageColumns += entry.pageColumns
  }

  remove(entry: BatchEntry): void {
    const at = this.entries.indexOf(entry)
    if (at === -1) return
    this.entries.splice(at, 1)
    this.records -= entry.records
    this.pageBytes -= entry.pageBytes
    this.pageColumns -= entry.pageColumns
  }

  settle(): void {
    this.isSettled = true
    this.resolveFirstAttempt('processed')
    this.resolveSettled()
  }
}
