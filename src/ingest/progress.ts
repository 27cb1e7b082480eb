import type { Alarm, Clock } from '../clock.ts'
import { limits } from '../limits.ts'
import type { Logger } from '../log.ts'
import type { SessionRow, Store, Transaction } from '../store/interfaces.ts'
import { appendSessionEvent } from './session-events.ts'
import { durationMs } from './session-report.ts'

/**
 * The `progress` event of a session: at most one a second, and one after the last change. It rides in
 * the transaction of a batch where one is due then, else an alarm writes it.
 */
export class ProgressReporter {
  readonly #store: Store
  readonly #clock: Clock
  readonly #log: Logger
  readonly #session: number
  #lastMs: number
  #alarm: Alarm | null = null

  constructor(services: { store: Store; clock: Clock; log: Logger }, session: SessionRow) {
    this.#store = services.store
    this.#clock = services.clock
    this.#log = services.log
    this.#session = session.number
    this.#lastMs = this.#clock.now()
  }

  /** Inside a transaction that changed the session's totals. */
  report(transaction: Transaction): void {
    const session = transaction.session(this.#session)
    // A late alarm must not put anything behind the terminal event.
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
    if (this.#alarm !== null) return
    const waitMs = this.#lastMs + limits.progressIntervalMs - this.#clock.now()
    this.#alarm = this.#clock.after(Math.max(0, waitMs), () => {
      this.#alarm = null
      this.#store
        .commit((transaction) => this.report(transaction))
        .catch((error: unknown) => {
          this.#log.warn({ message: String(error) }, 'progress event not stored')
        })
    })
  }

  stop(): void {
    this.#alarm?.cancel()
    this.#alarm = null
  }
}
