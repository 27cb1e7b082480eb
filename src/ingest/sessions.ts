import { randomBytes } from 'node:crypto'
import { checkDefinition } from '../codecs/telemetry/schema.ts'
import { invalidBody, Refusal, retryLater, sessionNotFound } from '../contracts/errors.ts'
import {
  type EndSession,
  hasEnded,
  type SessionStatusName,
  type StartSession,
} from '../contracts/http.ts'
import type { DecodeSettings } from '../contracts/tasks.ts'
import { limits } from '../limits.ts'
import type { SessionFilter, SessionRow, Transaction } from '../store/interfaces.ts'
import { Batcher, type BatcherServices } from './batcher.ts'
import { Gate } from './gate.ts'
import { appendSessionEvent, sessionTotals } from './session-events.ts'
import { requireMove, stateConflict } from './session-state.ts'

/** What a session that this process works on holds beside its stored row. */
interface LiveSession {
  readonly batcher: Batcher
  /** Why uploads are refused, null while they are welcome. Set before the move is stored. */
  refusing: SessionStatusName | null
  /** The end that is under way: shared by all who ask for one. */
  finishing: Promise<SessionRow> | null
  /** What the session becomes when its queue is worked off. */
  target: 'completed' | 'cancelled'
}

/** The state machine of all sessions. Every method that takes an id refuses foreign ids as unknown ones. */
export class SessionService {
  readonly #services: BatcherServices
  readonly #live = new Map<number, LiveSession>()
  #stopped = false

  constructor(services: Omit<BatcherServices, 'assembling'>) {
    this.#services = { ...services, assembling: new Gate(limits.batchesAssembledMax) }
  }

  /** Works off what an earlier process left: queued batches, and sessions that were completing. */
  recover(): void {
    const { store, log } = this.#services
    const pending = store.journal.pending()
    for (const { session, batch } of pending) {
      const row = store.sessions.get(session)
      if (row !== null) this.#liveSession(row).batcher.recover(batch)
    }
    for (const row of store.sessions.open()) {
      if (row.status !== 'completing') continue
      this.#finish(row, 'completed').catch((error: unknown) => {
        log.error({ err: error, sessionId: row.id }, 'a session could not be completed')
      })
    }
    if (pending.length > 0) log.info({ batches: pending.length }, 'journal is being worked off')
  }

  /** Throws SESSION_NOT_FOUND. */
  find(tenant: number, sessionId: string): SessionRow {
    const row = this.#services.store.sessions.find(tenant, sessionId)
    if (row === null) throw sessionNotFound(sessionId)
    return row
  }

  list(tenant: number, filter: SessionFilter, limit: number, before: number | null): SessionRow[] {
    return this.#services.store.sessions.list(tenant, filter, limit, before)
  }

  async start(tenant: number, request: StartSession): Promise<SessionRow> {
    const decode = this.#decodeSettings(tenant, request)
    const metadata = request.metadata ?? {}
    if (Buffer.byteLength(JSON.stringify(metadata)) > limits.metadataBytesMax) {
      throw invalidBody('metadata', `at most ${limits.metadataBytesMax} bytes of JSON`)
    }
    return this.#services.store.commit((transaction) => {
      const row = transaction.createSession({
        id: `stream-session-${randomBytes(16).toString('hex')}`,
        tenant,
        type: request.sessionType,
        name:
          request.sessionName ??
          `${request.sessionType} ${new Date(transaction.nowMs).toISOString()}`,
        status: 'initializing',
        metadata,
        batchSize: request.batchSize ?? limits.batchSizeDefault,
        maxBatchDelayMs: request.maxBatchDelayMs ?? limits.batchDelayMsDefault,
        maxConcurrentBatches: request.maxConcurrentBatches ?? limits.concurrentBatchesDefault,
        retry: {
          maxRetries: request.retry?.maxRetries ?? limits.retriesDefault,
          retryDelayMs: request.retry?.retryDelayMs ?? limits.retryDelayMsDefault,
          retryBackoffMultiplier:
            request.retry?.retryBackoffMultiplier ?? limits.retryBackoffMultiplierDefault,
        },
        decode,
        createdAtMs: transaction.nowMs,
        lastActivityAtMs: transaction.nowMs,
        endedAtMs: null,
        bytesReceived: 0,
        recordsReceived: 0,
        recordsRejected: 0,
        recordsQueued: 0,
        atomsCreated: 0,
        batchesReceived: 0,
        batchesProcessed: 0,
        processingTimeMs: 0,
        nextBatch: 1,
        atomRows: 0,
        rejectedRows: 0,
        journalEntries: 0,
        chain: new Uint8Array(32),
      })
      requireMove(row, 'active')
      row.status = 'active'
      appendSessionEvent(transaction, row, 'session-started', {})
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
    const status = live?.refusing ?? row.status
    if (status !== 'active') {
      throw stateConflict(row.id, status, `The session is ${status} and takes no uploads`)
    }
    return this.#liveSession(row).batcher
  }

  /** Number of the batch that the session's next upload goes into. */
  currentBatch(row: SessionRow): number {
    return this.#live.get(row.number)?.batcher.currentBatch ?? row.nextBatch
  }

  async pause(tenant: number, sessionId: string): Promise<SessionRow> {
    const row = this.find(tenant, sessionId)
    requireMove(row, 'paused')
    const live = this.#liveSession(row)
    const before = live.refusing
    live.refusing ??= 'paused'
    try {
      return await this.#move(row, 'paused', (transaction, session) =>
        appendSessionEvent(transaction, session, 'session-paused', {}),
      )
    } catch (error) {
      if (live.refusing === 'paused') live.refusing = before
      throw error
    }
  }

  async resume(tenant: number, sessionId: string): Promise<SessionRow> {
    const row = this.find(tenant, sessionId)
    if (row.status !== 'paused') requireMove(row, 'active')
    const resumed = await this.#move(row, 'active', (transaction, session) =>
      appendSessionEvent(transaction, session, 'session-resumed', {}),
    )
    const live = this.#live.get(row.number)
    if (live?.refusing === 'paused') live.refusing = null
    return resumed
  }

  /**
   * Takes no more uploads, works off what is queued (a 200 was given for it) and cancels the session.
   * Resolves with a row that is still `completing` where that takes longer than an end may by default.
   */
  async cancel(tenant: number, sessionId: string): Promise<SessionRow> {
    const row = this.find(tenant, sessionId)
    requireMove(row, 'cancelled')
    const ended = await this.#finishWithin(row, 'cancelled', limits.endTimeoutMsDefault)
    // An end that was already being stored won the race.
    if (hasEnded(ended.status) && ended.status !== 'cancelled') requireMove(ended, 'cancelled')
    return ended
  }

  /**
   * Ends a session. Resolves with its final row, or with one that is `completing` where the caller does
   * not wait or waits in vain. Asked again, and by several at once, it gives the same final row.
   */
  async end(tenant: number, sessionId: string, request: EndSession): Promise<SessionRow> {
    const row = this.find(tenant, sessionId)
    if (row.status === 'completed' || row.status === 'failed') return row
    if (row.status !== 'completing') requireMove(row, 'completing')
    const waits = request.waitForCompletion ?? true
    const timeoutMs = waits ? (request.timeoutMs ?? limits.endTimeoutMsDefault) : 0
    return this.#finishWithin(row, 'completed', timeoutMs)
  }

  /** Ends all timers; queued data stays in the journal. */
  close(): void {
    this.#stopped = true
    for (const live of this.#live.values()) live.batcher.stop()
    this.#live.clear()
  }

  async #finishWithin(
    row: SessionRow,
    target: LiveSession['target'],
    timeoutMs: number,
  ): Promise<SessionRow> {
    const finishing = this.#finish(row, target)
    let timer: NodeJS.Timeout | undefined
    const timeout = new Promise<null>((resolve) => {
      timer = setTimeout(() => resolve(null), timeoutMs)
    })
    try {
      const ended = await Promise.race([finishing, timeout])
      if (ended !== null) return ended
    } finally {
      clearTimeout(timer)
    }
    finishing.catch((error: unknown) => {
      this.#services.log.error({ err: error, sessionId: row.id }, 'a session could not be ended')
    })
    return this.#completingRow(row)
  }

  #finish(row: SessionRow, target: LiveSession['target']): Promise<SessionRow> {
    const live = this.#liveSession(row)
    if (target === 'cancelled') live.target = target
    live.refusing = 'completing'
    live.finishing ??= this.#drainAndEnd(row, live).catch((error: unknown) => {
      // The stored status decides again what the session takes.
      live.finishing = null
      live.refusing = null
      live.target = 'completed'
      throw error
    })
    return live.finishing
  }

  async #drainAndEnd(row: SessionRow, live: LiveSession): Promise<SessionRow> {
    if (!live.batcher.isIdle && row.status !== 'completing') {
      await this.#move(row, 'completing', () => undefined)
    }
    await live.batcher.drain()
    const ended = await this.#services.store.commit((transaction) => {
      const session = transaction.session(row.number)
      if (session.status !== 'completing') requireMove(session, 'completing')
      session.status = live.target
      session.endedAtMs = transaction.nowMs
      session.lastActivityAtMs = transaction.nowMs
      const totals = sessionTotals(session)
      appendSessionEvent(transaction, session, `session-${live.target}`, totals)
      return session
    })
    this.#live.delete(row.number)
    return ended
  }

  /** The row of a session whose end is under way, once that is stored. */
  async #completingRow(row: SessionRow): Promise<SessionRow> {
    return this.#services.store.commit((transaction) => {
      const session = transaction.session(row.number)
      if (!hasEnded(session.status)) session.status = 'completing'
      return session
    })
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
      return session
    })
  }

  #liveSession(row: SessionRow): LiveSession {
    let live = this.#live.get(row.number)
    if (live === undefined) {
      live = {
        batcher: new Batcher(this.#services, row),
        refusing: row.status === 'active' ? null : row.status,
        finishing: null,
        target: 'completed',
      }
      this.#live.set(row.number, live)
    }
    return live
  }

  #decodeSettings(tenant: number, request: StartSession): DecodeSettings {
    if (request.schema !== undefined && request.sessionType !== 'telemetry') {
      throw invalidBody('schema', 'only with sessionType "telemetry"')
    }
    if (request.verify !== undefined && request.sessionType !== 'video') {
      throw invalidBody('verify', 'only with sessionType "video"')
    }
    return {
      sessionType: request.sessionType,
      onInvalid: request.onInvalid ?? 'reject-records',
      verify: request.verify ?? 'structure',
      schema: this.#schemaText(tenant, request.schema),
    }
  }

  #schemaText(tenant: number, schema: StartSession['schema']): string | null {
    if (schema === undefined) return null
    if ('fields' in schema) {
      checkDefinition(schema)
      return JSON.stringify({ fields: schema.fields, additionalFields: schema.additionalFields })
    }
    const { name, version } = schema
    const registered = this.#services.store.schemas.get(tenant, name, version)
    if (registered === null) {
      throw new Refusal('SCHEMA_NOT_FOUND', {
        fields: { schemaName: name, schemaVersion: version },
      })
    }
    return JSON.stringify({
      fields: registered.fields,
      additionalFields: registered.additionalFields,
    })
  }
}
