import type { Alarm, Clock } from '../clock.ts'
import { type SessionEventData, type StoredEvent, terminalEvents } from '../contracts/events.ts'
import { limits } from '../limits.ts'
import type { Logger } from '../log.ts'
import type { Metrics } from '../metrics.ts'
import type { SessionRow, Store, Transaction } from '../store/interfaces.ts'

export interface RetentionServices {
  readonly store: Store
  readonly clock: Clock
  readonly log: Logger
  readonly metrics: Metrics
}

/** 0 keeps for ever, and without bound. */
export interface RetentionPolicy {
  readonly hours: number
  /** Of each tenant, as `Store.usage` counts. */
  readonly bytes: number
}

/** An event that is to go, and what it takes along. */
interface Removal {
  readonly event: StoredEvent
  readonly takes:
    | { readonly kind: 'nothing' }
    | { readonly kind: 'atoms'; readonly batch: number }
    | { readonly kind: 'rejected'; readonly count: number }
    | { readonly kind: 'session' }
}

const hourMs = 3_600_000
/** What the store counts of an event beside its name and data: three keys and a head. */
const eventRowBytes = 70
/** The same of an atom with its blob beside metadata and bytes. */
const atomRowBytes = 130

/**
 * Drops what is too old or too much, tenant by tenant, from the oldest event on, a bounded part a
 * transaction. An event goes in the transaction in which the last of what it tells of goes: a
 * batch's atoms, rejected records, at its end the whole session. So after a crash the oldest event
 * says where to go on. What is queued, tried again or a dead letter of an open session is no atom
 * yet and stays.
 */
export class Retention {
  readonly #services: RetentionServices
  readonly #policy: RetentionPolicy
  #alarm: Alarm | null = null
  #working: Promise<void> | null = null
  #closed = false

  constructor(services: RetentionServices, policy: RetentionPolicy) {
    this.#services = services
    this.#policy = policy
  }

  /** Looks at once, and then every `limits.retentionIntervalMs`. */
  start(): void {
    if (this.#closed || this.#working !== null) return
    this.#working = this.#look().finally(() => {
      this.#working = null
      if (this.#closed) return
      this.#alarm = this.#services.clock.after(limits.retentionIntervalMs, () => this.start())
    })
  }

  /** Resolves when the transaction under way is settled. Idempotent. */
  async close(): Promise<void> {
    this.#closed = true
    this.#alarm?.cancel()
    await this.#working
  }

  /** Never rejects: what could not be dropped now is tried again the next time. */
  async #look(): Promise<void> {
    try {
      await this.#finishSessions()
      await this.#dropAnswers()
      if (this.#policy.hours > 0 || this.#policy.bytes > 0) await this.#dropOld()
    } catch (error) {
      if (!this.#closed) this.#services.log.warn({ err: error }, 'retention could not go on')
    }
  }

  /**
   * Sessions that an earlier process began to drop, though nothing else may be dropped any more.
   */
  async #finishSessions(): Promise<void> {
    const { store } = this.#services
    for (const { number } of store.sessions.dropping()) {
      let isGone = false
      while (!isGone && !this.#closed) {
        isGone = await store.commit((transaction) =>
          transaction.dropSession(transaction.session(number), limits.retentionUnitRows),
        )
      }
    }
  }

  async #dropAnswers(): Promise<void> {
    const { store, clock } = this.#services
    const beforeMs = clock.now() - limits.idempotencyTtlMs
    let dropped: number = limits.retentionUnitRows
    while (dropped === limits.retentionUnitRows && !this.#closed) {
      dropped = await store.commit((transaction) =>
        transaction.dropIdempotency(beforeMs, limits.retentionUnitRows),
      )
    }
  }

  /** A unit of each tenant in turn, so that none waits for another's backlog. */
  async #dropOld(): Promise<void> {
    const { store } = this.#services
    let isBusy = true
    while (isBusy) {
      isBusy = false
      for (const { tenant, bytes } of store.usage()) {
        if (this.#closed) return
        if (await this.#dropUnit(tenant, bytes)) isBusy = true
      }
    }
  }

  /** Drops a bounded part of what a tenant has to lose. False where that is nothing for now. */
  async #dropUnit(tenant: number, usedBytes: number): Promise<boolean> {
    const { store, metrics } = this.#services
    const { removals, keptFromMs } = this.#plan(tenant, usedBytes)
    if (removals.length === 0) return false
    const dropped = await store.commit((transaction) => {
      transaction.dropJobs(tenant, keptFromMs, limits.retentionUnitRows)
      return dropAll(transaction, removals)
    })
    metrics.retentionEvents.inc(dropped)
    return true
  }

  /**
   * The tenant's oldest events as far as they have to go, and as far as one transaction takes
   * them.
   */
  #plan(tenant: number, usedBytes: number): Plan {
    const { store, clock } = this.#services
    const { hours, bytes } = this.#policy
    const bornBeforeMs = hours === 0 ? 0 : clock.now() - hours * hourMs
    let excessBytes = bytes === 0 ? 0 : usedBytes - bytes
    const isDue = (atMs: number) => atMs < bornBeforeMs || excessBytes > 0
    const plan = new Plan(store)
    const [first] = store.events.oldest(tenant, 1)
    if (first === undefined || !isDue(first.atMs)) return plan
    let rows = 0
    for (const { event, atMs } of store.events.oldest(tenant, limits.retentionUnitRows)) {
      plan.keptFromMs = atMs
      if (!isDue(atMs) || rows >= limits.retentionUnitRows) break
      const step = plan.add(event)
      if (step === null) break
      rows += step.rows
      excessBytes -= step.bytes
    }
    return plan
  }
}

/** What one transaction is to drop, in order. */
class Plan {
  readonly removals: Removal[] = []
  /**
   * The time of the first event that stays, or else of the last one that goes: older jobs go too.
   */
  keptFromMs = 0
  readonly #store: Store
  /** Where each session's atoms go on behind those that are planned to go. */
  readonly #nextAtoms = new Map<number, number>()

  constructor(store: Store) {
    this.#store = store
  }

  /**
   * Plans to drop an event and gives about what that frees: of a blob that others use the bytes
   * stay, and then another transaction goes on. Null where it has to wait.
   */
  add(event: StoredEvent): { rows: number; bytes: number } | null {
    const session = event.session === null ? null : this.#session(event.session)
    const takes = session === null ? { kind: 'nothing' as const } : takenBy(event, session)
    if (takes === null) return null
    this.removals.push({ event, takes })
    const own = { rows: 1, bytes: eventRowBytes + event.name.length + event.data.length }
    switch (takes.kind) {
      case 'nothing':
        return own
      case 'rejected':
        return { rows: 1 + takes.count, bytes: own.bytes }
      case 'session':
        return { rows: limits.retentionUnitRows, bytes: own.bytes }
      case 'atoms':
        return this.#addAtoms(session as SessionRow, takes.batch, own)
    }
  }

  #addAtoms(
    session: SessionRow,
    batch: number,
    own: { rows: number; bytes: number },
  ): { rows: number; bytes: number } {
    let { rows, bytes } = own
    const from = this.#nextAtoms.get(session.number) ?? session.atomRowsDropped
    for (const atom of this.#store.atoms.scan(session.number, from)) {
      if (atom.batch !== batch || rows >= limits.retentionUnitRows) break
      rows += 1
      bytes += atomRowBytes + JSON.stringify(atom.metadata).length + atom.byteLength
      this.#nextAtoms.set(session.number, atom.seq + 1)
    }
    return { rows, bytes }
  }

  /** Also one whose removal has begun. */
  #session(number: number): SessionRow | null {
    const { sessions } = this.#store
    return sessions.get(number) ?? sessions.dropping().find((row) => row.number === number) ?? null
  }
}

/** What goes with an event of a session that is there; null where it has to wait. */
function takenBy(event: StoredEvent, session: SessionRow): Removal['takes'] | null {
  if (terminalEvents.has(event.name)) {
    // A dead letter of it was redriven: soon it is atoms, or a dead letter again.
    return session.recordsQueued > 0 ? null : { kind: 'session' }
  }
  if (event.name === 'batch-processed') {
    const { batchId } = JSON.parse(event.data) as SessionEventData<'batch-processed'>
    // `batch-007` is 7.
    return { kind: 'atoms', batch: Number(batchId.slice('batch-'.length)) }
  }
  if (event.name === 'records-rejected') {
    const { rejectedCount } = JSON.parse(event.data) as SessionEventData<'records-rejected'>
    return { kind: 'rejected', count: rejectedCount }
  }
  return { kind: 'nothing' }
}

/** Gives how many events went; the rest waits for what its event takes along. */
function dropAll(transaction: Transaction, removals: readonly Removal[]): number {
  let rows: number = limits.retentionUnitRows
  let dropped = 0
  for (const { event, takes } of removals) {
    if (takes.kind !== 'nothing' && event.session !== null) {
      const session = transaction.session(event.session)
      if (takes.kind === 'session') {
        // A dead letter may have been redriven since it was planned.
        if (session.recordsQueued > 0) break
        if (!transaction.dropSession(session, limits.retentionUnitRows)) break
      } else if (takes.kind === 'rejected') {
        transaction.dropRejected(session, takes.count)
      } else {
        rows -= transaction.dropAtoms(session, takes.batch, rows)
        if (rows <= 0) break
      }
    }
    transaction.dropEvent(event)
    dropped += 1
  }
  return dropped
}
