import { limits } from '../limits.ts'
import type { Logger } from '../log.ts'
import type { SessionRow, Store, Transaction } from '../store/interfaces.ts'
import { appendSessionEvent } from './session-events.ts'
import { durationMs } from './session-report.ts'

/**
 * The `progress` event of a session: at most one a second, and one after the last change. It rides in
 * the transaction of a batch where one is due then, else a timer writes it.
 */
export class ProgressReporter {
  readonly #store: Store
  readonly #log: Logger
  readonly #session: number
  #lastMs: number
  #timer: NodeJS.Timeout | null = null

  constructor(services: { store: Store; log: Logger }, session: SessionRow) {
    this.#store = services.store
    this.#log = services.log
    this.#session = session.number
    this.#lastMs = Date.now()
  }

  /** Inside a transaction that changed the session's totals. */
  report(transaction: Transaction): void {
    const session = transaction.session(this.#session)
    // A late timer must not put anything behind the terminal event.
    if (session.endedAtMs !== null) return
    if (transaction.nowMs - this.#lastMs < limits.progressIntervalMs) {
      this.changed()
      return
    }
    this.#lastMs = transaction.nowMs
    this.stop()
    appendSessionEvent(transaction, session, 'progress', {
      totalRecordsReceived: session.recordsReceived,
      totalAtomsCreated: session.atomsCreated,
      elapsedMs: Math.round(durationMs(session, transaction.nowMs)),
    })
  }

  /** The totals changed outside of such a transaction. */
  changed(): void {
    if (this.#timer !== null) return
    const waitMs = Math.max(0, this.#lastMs + limits.progressIntervalMs - Date.now())
    this.#timer = setTimeout(() => {
      this.#timer = null
      this.#store
        .commit((transaction) => this.report(transaction))
        .catch((error: unknown) => {
          this.#log.warn({ message: String(error) }, 'progress event not stored')
        })
    }, waitMs)
    this.#timer.unref()
  }

  stop(): void {
    if (this.#timer !== null) clearTimeout(this.#timer)
    this.#timer = null
  }
}
