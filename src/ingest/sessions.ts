import { type Alarm, settledWithin } from '../clock.ts'
import type { Actor } from '../contracts/actor.ts'
import { Refusal, retryLater, sessionNotFound } from '../contracts/errors.ts'
import {
  type EndSession,
  hasEnded,
  type SessionStatusName,
  type StartSession,
} from '../contracts/http.ts'
import { limits } from '../limits.ts'
import type { JobRow, Page, SessionFilter, SessionRow, Transaction } from '../store/interfaces.ts'
import { tellSession } from './activity.ts'
import { Batcher, type BatcherServices } from './batcher.ts'
import { Gate } from './gate.ts'
import { newSession, sessionSettings } from './new-session.ts'
import { type Ending, endSession, storeEnding } from './session-end.ts'
import { appendSessionEvent } from './session-events.ts'
import { requireMove, stateConflict } from './session-state.ts'

/** What a session that this process works on holds beside its stored row. */
interface LiveSession {
  readonly batcher: Batcher
  /** Why uploads are refused, null while they are welcome. Set before the move is stored. */
  refusing: SessionStatusName | null
  /** The end that is under way: shared by all who ask for one. */
  finishing: Promise<SessionRow> | null
  /** Jobs on files that hold a batch number of it: it must not be forgotten meanwhile. */
  holders: number
}

/** The state machine of all sessions. Every method that takes an id refuses foreign ids as unknown ones. */
export class SessionService {
  readonly #services: BatcherServices
  readonly #live = new Map<number, LiveSession>()
  /** Sessions of each tenant that have not ended. */
  readonly #openCounts = new Map<number, number>()
  #cancelListener: (session: number) => void = () => {}
  #refusingListener: (session: number) => void = () => {}
  #jobEndListeners: (() => void)[] = []
  #stopped = false
  #sweep: Alarm | null = null

  constructor(services: Omit<BatcherServices, 'assembling'>) {
    this.#services = { ...services, assembling: new Gate(limits.batchesAssembledMax) }
    for (const { tenant } of services.store.sessions.open()) this.#countOpen(tenant, 1)
  }

  /**
   * Works off what an earlier process left: queued batches, and sessions that were completing. From
   * then on sessions end by themselves when their time is over.
   */
  recover(): void {
    const { store, log } = this.#services
    const pending = store.journal.pending()
    for (const { session, batch } of pending) {
      const row = store.sessions.get(session)
      if (row !== null) this.#liveSession(row).batcher.recover(batch)
    }
    for (const row of store.sessions.open()) {
      if (row.status !== 'completing') continue
      this.#finishUnasked(row, row.ending ?? 'completed')
    }
    this.#sweepSessions()
    if (pending.length > 0) log.info({ batches: pending.length }, 'journal is being worked off')
  }

  /** Throws SESSION_NOT_FOUND. */
  find(tenant: number, sessionId: string): SessionRow {
    const row = this.#services.store.sessions.find(tenant, sessionId)
    if (row === null) throw sessionNotFound(sessionId)
    return row
  }

  list(
    tenant: number,
    filter: SessionFilter,
    limit: number,
    before: number | null,
  ): Page<SessionRow> {
    return this.#services.store.sessions.list(tenant, filter, limit, before)
  }

  /**
   * Throws SESSION_LIMIT_REACHED, INVALID_BODY and SCHEMA_NOT_FOUND, and what the store throws.
   */
  async start(actor: Actor, request: StartSession): Promise<SessionRow> {
    const { tenant } = actor
    if ((this.#openCounts.get(tenant) ?? 0) >= limits.openSessionsMax) {
      throw new Refusal('SESSION_LIMIT_REACHED', {
        fields: { maxOpenSessions: limits.openSessionsMax },
      })
    }
    this.#countOpen(tenant, 1)
    try {
      return await this.#start(actor, request)
    } catch (error) {
      this.#countOpen(tenant, -1)
      throw error
    }
  }

  #countOpen(tenant: number, by: 1 | -1): void {
    const count = (this.#openCounts.get(tenant) ?? 0) + by
    if (count === 0) this.#openCounts.delete(tenant)
    else this.#openCounts.set(tenant, count)
  }

  #start(actor: Actor, request: StartSession): Promise<SessionRow> {
    const { store } = this.#services
    const { tenant } = actor
    const settings = sessionSettings(store.schemas, tenant, request)
    return store.commit((transaction) => {
      const row = transaction.createSession(newSession(tenant, settings, transaction.nowMs))
      requireMove(row, 'active')
      row.status = 'active'
      appendSessionEvent(transaction, row, 'session-started', {})
      tellSession(transaction, actor, 'create', row)
      return row
    })
  }

  /**
   * The batches of a session that takes uploads; throws SESSION_STATE_CONFLICT where it does not.
   * Asked again right before an upload enters its batch, because decoding takes a while.
   */
  batcherForUpload(session: SessionRow): Batcher {
    const row = this.#services.store.sessions.get(session.number)
    if (row === null) throw sessionNotFound(session.id)
    if (this.#stopped) throw retryLater('SHUTTING_DOWN')
    const live = this.#live.get(row.number)
    if (this.#isOver(row) && !hasEnded(row.status) && live?.finishing == null) {
      this.#finishUnasked(row, row.ending ?? 'completed')
    }
    const status = this.#live.get(row.number)?.refusing ?? row.status
    if (status !== 'active') {
      throw stateConflict(row.id, status, `The session is ${status} and takes no uploads`)
    }
    return this.#liveSession(row).batcher
  }

  /**
   * Keeps the batches of a session in memory for a job that adds atoms of its own; the session does not
   * end before the job has. To be released once.
   */
  hold(session: SessionRow): { readonly batcher: Batcher; release(): void } {
    const live = this.#liveSession(session)
    live.holders += 1
    const release = () => {
      live.holders -= 1
    }
    return { batcher: live.batcher, release }
  }

  /** Called when a session is being cancelled: its jobs on files are to be cancelled too. One listener. */
  onCancel(listener: (session: number) => void): void {
    this.#cancelListener = listener
  }

  /** Called before a session, active until then, takes no more uploads for now or for ever. One listener. */
  onRefusing(listener: (session: number) => void): void {
    this.#refusingListener = listener
  }

  /** A job on a file has ended: sessions that wait for theirs look again. */
  jobEnded(): void {
    for (const listener of this.#jobEndListeners.splice(0)) listener()
  }

  /** Takes back what a job on journaled batches waits for. */
  async cancelJob(actor: Actor, job: JobRow): Promise<void> {
    for (const [session, { batcher }] of [...this.#live]) {
      if (job.session === null || job.session === session) await batcher.cancelJob(actor, job)
    }
  }

  /** Puts dead letters to work again that have just become batches of the journal. */
  redrive(session: number, batch: number): void {
    const row = this.#services.store.sessions.get(session)
    if (row !== null && !this.#stopped) this.#liveSession(row).batcher.recover(batch)
  }

  /** Number of the batch that the session's next upload goes into. */
  currentBatch(row: SessionRow): number {
    return this.#live.get(row.number)?.batcher.currentBatch ?? row.nextBatch
  }

  async pause(actor: Actor, sessionId: string): Promise<SessionRow> {
    const row = this.find(actor.tenant, sessionId)
    requireMove(row, 'paused')
    const live = this.#liveSession(row)
    this.#refusingListener(row.number)
    const before = live.refusing
    live.refusing ??= 'paused'
    try {
      return await this.#move(row, 'paused', (transaction, session) => {
        appendSessionEvent(transaction, session, 'session-paused', {})
        tellSession(transaction, actor, 'pause', session)
      })
    } catch (error) {
      if (live.refusing === 'paused') live.refusing = before
      throw error
    }
  }

  async resume(actor: Actor, sessionId: string): Promise<SessionRow> {
    const row = this.find(actor.tenant, sessionId)
    if (row.status !== 'paused') requireMove(row, 'active')
    const resumed = await this.#move(row, 'active', (transaction, session) => {
      appendSessionEvent(transaction, session, 'session-resumed', {})
      tellSession(transaction, actor, 'resume', session)
    })
    const live = this.#live.get(row.number)
    if (live?.refusing === 'paused') live.refusing = null
    return resumed
  }

  /**
   * Takes no more uploads, works off what is queued (a 200 was given for it) and cancels the session.
   * Resolves with a row that is still `completing` where that takes longer than an end may by default.
   */
  async cancel(actor: Actor, sessionId: string): Promise<SessionRow> {
    const row = this.find(actor.tenant, sessionId)
    requireMove(row, 'cancelled')
    const ended = await this.#finishWithin(row, 'cancelled', actor, limits.endTimeoutMsDefault)
    // An end that was already being stored won the race.
    if (hasEnded(ended.status) && ended.status !== 'cancelled') requireMove(ended, 'cancelled')
    return ended
  }

  /**
   * Ends a session. Resolves with its final row, or with one that is `completing` where the caller does
   * not wait or waits in vain. Asked again, and by several at once, it gives the same final row.
   */
  async end(actor: Actor, sessionId: string, request: EndSession): Promise<SessionRow> {
    const row = this.find(actor.tenant, sessionId)
    if (row.status === 'completed' || row.status === 'failed') return row
    if (row.status !== 'completing') requireMove(row, 'completing')
    const waits = request.waitForCompletion ?? true
    const timeoutMs = waits ? (request.timeoutMs ?? limits.endTimeoutMsDefault) : 0
    return this.#finishWithin(row, 'completed', actor, timeoutMs)
  }

  /** Ends all timers; queued data stays in the journal. */
  close(): void {
    this.#stopped = true
    this.#sweep?.cancel()
    this.jobEnded()
    for (const live of this.#live.values()) live.batcher.stop()
    this.#live.clear()
  }

  async #finishWithin(
    row: SessionRow,
    ending: Ending,
    actor: Actor,
    timeoutMs: number,
  ): Promise<SessionRow> {
    const finishing = this.#finish(row, ending, actor)
    const ended = await settledWithin(this.#services.clock, finishing, timeoutMs)
    if (ended !== null) return ended
    finishing.catch((error: unknown) => this.#endFailed(row, error))
    await this.#storeEnding(row, ending, actor)
    return this.#services.store.sessions.get(row.number) ?? row
  }

  #finishUnasked(row: SessionRow, ending: Ending): void {
    this.#finish(row, ending, null).catch((error: unknown) => this.#endFailed(row, error))
  }

  #endFailed(row: SessionRow, error: unknown): void {
    if (this.#stopped) return
    this.#services.log.error({ err: error, sessionId: row.id }, 'a session could not be ended')
  }

  #finish(row: SessionRow, ending: Ending, actor: Actor | null): Promise<SessionRow> {
    const live = this.#liveSession(row)
    this.#refusingListener(row.number)
    live.refusing = 'completing'
    // A cancel that comes while an end is under way takes it over; an end takes over nothing.
    const isTakenOver = live.finishing !== null && ending === 'cancelled'
    if (isTakenOver) this.#cancelListener(row.number)
    const stored = isTakenOver ? this.#storeEnding(row, ending, actor) : Promise.resolve()
    live.finishing ??= this.#drainAndEnd(row, live, ending, actor).catch((error: unknown) => {
      // The stored status decides again what the session takes.
      live.finishing = null
      live.refusing = null
      this.#endLater(row)
      throw error
    })
    const { finishing } = live
    return stored.then(() => finishing)
  }

  async #drainAndEnd(
    row: SessionRow,
    live: LiveSession,
    ending: Ending,
    actor: Actor | null,
  ): Promise<SessionRow> {
    // What it leads to is stored before the wait: a crash amid a cancel must not complete it.
    const { store } = this.#services
    const hasJobs = () => (store.sessions.get(row.number)?.openJobs ?? 0) > 0
    if (!live.batcher.isIdle || hasJobs()) await this.#storeEnding(row, ending, actor)
    for (;;) {
      await live.batcher.drain()
      while (hasJobs() && !this.#stopped) {
        // Again each time: a file may have been taken just then.
        if (ending === 'cancelled') this.#cancelListener(row.number)
        await this.#nextJobEnd()
      }
      if (this.#stopped) throw retryLater('SHUTTING_DOWN')
      await this.#flush(live)
      const ended = await store.commit((transaction) =>
        endSession(transaction, row.number, ending, actor),
      )
      if (ended === null) {
        // A dead letter was redriven, and its batch is on its way to the batcher, or a job began just then.
        await this.#delay(limits.storeRetryDelayMs)
        if (this.#stopped) throw retryLater('SHUTTING_DOWN')
        continue
      }
      this.#live.delete(row.number)
      this.#countOpen(row.tenant, -1)
      return ended
    }
  }

  async #flush({ batcher }: LiveSession): Promise<void> {
    try {
      await batcher.flush()
    } catch (error) {
      if (!(await batcher.flushFailed(error))) throw error
    }
  }

  #nextJobEnd(): Promise<void> {
    return new Promise((resolve) => {
      this.#jobEndListeners.push(resolve)
    })
  }

  /** Who was told that the session is completing relies on its end, also where that failed once. */
  #endLater({ number }: SessionRow): void {
    const { store, clock } = this.#services
    clock.after(limits.storeRetryDelayMs, () => {
      const row = store.sessions.get(number)
      const isDue = row?.status === 'completing' && !this.#stopped
      if (isDue) this.#finishUnasked(row, row.ending ?? 'completed')
    })
  }

  #delay(delayMs: number): Promise<void> {
    return new Promise((resolve) => {
      this.#services.clock.after(delayMs, resolve)
    })
  }

  #storeEnding({ number }: SessionRow, ending: Ending, actor: Actor | null): Promise<void> {
    return this.#services.store.commit((transaction) =>
      storeEnding(transaction, number, ending, actor),
    )
  }

  /** Ends what is over, and forgets what is at rest: a batcher is made again when it is needed. */
  #sweepSessions(): void {
    const { store, clock, log } = this.#services
    const bornBeforeMs = clock.now() - limits.sessionTtlMs
    const finishing = [...this.#live.values()].filter((live) => live.finishing !== null).length
    // Those whose end is under way may be the oldest: they must not take the others' places.
    const due = store.sessions
      .openBefore(bornBeforeMs, limits.sessionSweepMax + finishing)
      .filter(({ number }) => !this.#live.get(number)?.finishing)
    for (const row of due) {
      log.info({ sessionId: row.id }, 'session has reached its age and ends')
      this.#finishUnasked(row, row.ending ?? 'completed')
    }
    for (const [number, live] of this.#live) {
      const isAtRest = live.batcher.isIdle && live.holders === 0
      if (isAtRest && live.finishing === null) this.#live.delete(number)
    }
    const isFull = due.length >= limits.sessionSweepMax
    const delayMs = isFull ? limits.sessionSweepAgainMs : limits.sessionSweepMs
    this.#sweep = clock.after(delayMs, () => this.#sweepSessions())
  }

  #isOver({ createdAtMs }: SessionRow): boolean {
    return createdAtMs + limits.sessionTtlMs <= this.#services.clock.now()
  }

  #move(
    row: SessionRow,
    to: SessionStatusName,
    andThen: (transaction: Transaction, session: SessionRow) => void,
  ): Promise<SessionRow> {
    return this.#services.store.commit((transaction) => {
      const session = transaction.session(row.number)
      requireMove(session, to)
      session.status = to
      session.lastActivityAtMs = transaction.nowMs
      andThen(transaction, session)
      // A copy, because later units of the same transaction may move it on.
      return { ...session }
    })
  }

  #liveSession(row: SessionRow): LiveSession {
    let live = this.#live.get(row.number)
    if (live === undefined) {
      live = {
        batcher: new Batcher(this.#services, row),
        refusing: row.status === 'active' ? null : row.status,
        finishing: null,
        holders: 0,
      }
      this.#live.set(row.number, live)
    }
    return live
  }
}
