import { setImmediate as nextTurn } from 'node:timers/promises'
import { valuesOf } from '../codecs/telemetry/page-format.ts'
import { invalidParameter, type Refusal, retryLater, sessionNotFound } from '../contracts/errors.ts'
import type {
  AggregateResult,
  AggregateTask,
  CombineResult,
  IntervalPart,
  ReadFormat,
} from '../contracts/tasks.ts'
import { limits } from '../limits.ts'
import type { WorkerPool } from '../pool/pool.ts'
import type { AtomEntry, SessionRow, Store } from '../store/interfaces.ts'
import { Gate } from './gate.ts'
import { hex } from './session-report.ts'

export interface AggregateQuery {
  /** Milliseconds since the epoch with fraction; `fromMs` inclusive, `toMs` exclusive. */
  readonly fromMs: number | null
  readonly toMs: number | null
  readonly fields: readonly string[] | null
  /** Whole milliseconds, at most `limits.downsampleMsMax`. */
  readonly intervalMs: number
  readonly format: ReadFormat
}

/** Where a scan stands. `next` is the atom that is to be taken next, null at the end. */
interface Scan {
  readonly session: SessionRow
  readonly query: AggregateQuery
  readonly signal: AbortSignal
  readonly atoms: Iterator<AtomEntry>
  next: AtomEntry | null
}

type Load = Pick<AggregateTask, 'buffer' | 'blocks'>

/**
 * Aggregates the numbers of a whole session by intervals of time. The main thread only packs blocks out of
 * the store into buffers, in short turns; workers aggregate them and put the parts together, in the order
 * of the commits, so that the same records always give the same text. All requests share the tasks, each
 * in its turn. What is committed after a request came is not in its answer.
 */
export class RecordAggregator {
  readonly #store: Store
  readonly #pool: WorkerPool
  readonly #tasksMax: number
  readonly #tasks: Gate
  readonly #loading = new Gate(1)
  readonly #running = new Gate(limits.aggregatesAtOnceMax)
  #open = 0
  #turnEndsMs = 0
  /**
   * Come back with the results, and are kept while anything runs. They are not resizable, large as they
   * are: V8 reads typed arrays over such buffers several times slower.
   */
  readonly #buffers: ArrayBuffer[] = []

  constructor({ store, pool, workers }: { store: Store; pool: WorkerPool; workers: number }) {
    this.#store = store
    this.#pool = pool
    // One more than there are workers, so that the next lies ready when one is done.
    this.#tasksMax = workers + 1
    this.#tasks = new Gate(this.#tasksMax)
  }

  /**
   * The text of the intervals, as CombineResult has it; null where `signal` has fired. Rejects with Refusal
   * `INVALID_PARAMETER` where the reply would be too large, `SATURATED` where too many wait,
   * `SESSION_NOT_FOUND` where the session was removed meanwhile, and as the pool does.
   */
  async aggregate(
    session: SessionRow,
    query: AggregateQuery,
    signal: AbortSignal,
  ): Promise<Uint8Array | null> {
    if (session.type !== 'telemetry') return new Uint8Array(0)
    if (this.#running.waiting >= limits.aggregatesWaitingMax) throw retryLater('SATURATED')
    const leave = await this.#running.enter()
    this.#open += 1
    try {
      return await this.#aggregate(session, query, signal)
    } finally {
      this.#open -= 1
      if (this.#open === 0) this.#buffers.length = 0
      leave()
    }
  }

  async #aggregate(
    session: SessionRow,
    query: AggregateQuery,
    signal: AbortSignal,
  ): Promise<Uint8Array | null> {
    const rows = this.#store.atoms.scan(session.number, session.atomRowsDropped)
    const scan: Scan = { session, query, signal, atoms: rows[Symbol.iterator](), next: null }
    advance(scan)
    const parts = new IntervalParts(this.#pool, query)
    const pending: Promise<IntervalPart | null>[] = []
    try {
      while (scan.next !== null && !signal.aborted) {
        await this.#begin(scan, pending)
        if (pending.length > this.#tasksMax) await parts.add((await pending.shift()) ?? null)
      }
      while (pending.length > 0 && !signal.aborted) {
        await parts.add((await pending.shift()) ?? null)
      }
    } finally {
      await Promise.allSettled(pending)
    }
    if (signal.aborted) return null
    if (this.#store.sessions.stored(session.number) === null) throw sessionNotFound(session.id)
    return parts.text()
  }

  /** Hands the next blocks to a worker, once it is this request's turn; puts what comes of it last. */
  async #begin(scan: Scan, pending: Promise<IntervalPart | null>[]): Promise<void> {
    const leave = await this.#tasks.enter()
    let load: Load | null
    try {
      const loaded = await this.#loading.enter()
      load = await this.#load(scan).finally(loaded)
    } catch (error) {
      leave()
      throw error
    }
    if (load === null) {
      leave()
      return
    }
    const { fromMs, toMs, fields, intervalMs } = scan.query
    const task = { kind: 'aggregate', ...load, fromMs, toMs, fields, intervalMs } as const
    const part = this.#pool.run<'aggregate'>(task).then((result) => this.#taken(result))
    // Whoever waits for it hears of a failure; until then nobody does.
    part.finally(leave).catch(() => undefined)
    pending.push(part)
  }

  #taken({ buffer, part }: AggregateResult): IntervalPart | null {
    this.#keep(buffer)
    return part
  }

  #keep(buffer: ArrayBuffer): void {
    if (buffer.byteLength === limits.aggregateTaskBytes) this.#buffers.push(buffer)
  }

  /** The next blocks that may hold rows of the range, as many as a task takes; null where none is left. */
  async #load(scan: Scan): Promise<Load | null> {
    const { query, session, signal } = scan
    let buffer = this.#buffers.pop() ?? new ArrayBuffer(limits.aggregateTaskBytes)
    const blocks: number[] = []
    let bytes = 0
    let values = 0
    while (
      scan.next !== null &&
      values < limits.aggregateTaskValuesMax &&
      blocks.length < 4 * limits.aggregateTaskBlocksMax
    ) {
      if (performance.now() > this.#turnEndsMs) {
        await nextTurn()
        this.#turnEndsMs = performance.now() + limits.aggregateTurnMs
        if (signal.aborted) break
      }
      const atom: AtomEntry = scan.next
      const isBefore = query.fromMs !== null && atom.toMs < query.fromMs
      if (isBefore || (query.toMs !== null && atom.fromMs >= query.toMs)) {
        advance(scan)
        continue
      }
      if (bytes + atom.byteLength > buffer.byteLength) {
        if (bytes > 0) break
        this.#keep(buffer)
        buffer = new ArrayBuffer(atom.byteLength)
      }
      const block = this.#block(session, atom)
      advance(scan)
      if (block === null) continue
      new Uint8Array(buffer, bytes).set(block)
      values += valuesOf(block)
      blocks.push(bytes, block.byteLength, atom.fromMs, atom.toMs)
      bytes += (block.byteLength + 7) & ~7
    }
    if (blocks.length > 0 && !signal.aborted) return { buffer, blocks: Float64Array.from(blocks) }
    this.#keep(buffer)
    return null
  }

  /** Null where retention has taken the block since its row was read. */
  #block(session: SessionRow, atom: AtomEntry): Uint8Array | null {
    const bytes = this.#store.blobs.get(session.tenant, atom.hash)
    if (bytes !== null) return bytes
    const row = this.#store.sessions.stored(session.number)
    if (row === null || atom.seq < row.atomRowsDropped) return null
    throw new Error(`block ${hex(atom.hash)} is missing from the store`)
  }
}

/** Steps on, as far as the session's rows went when the request came. */
function advance(scan: Scan): void {
  const { done, value } = scan.atoms.next()
  scan.next = done === true || value.seq >= scan.session.atomRows ? null : value
}

/** The parts of one request, in order. Where many wait they become one, so that they never fill memory. */
class IntervalParts {
  readonly #pool: WorkerPool
  readonly #query: AggregateQuery
  #parts: IntervalPart[] = []
  #cells = 0

  constructor(pool: WorkerPool, query: AggregateQuery) {
    this.#pool = pool
    this.#query = query
  }

  async add(part: IntervalPart | null): Promise<void> {
    if (part === null) throw tooLarge()
    this.#hold(part)
    const isRoom =
      this.#parts.length < limits.aggregatePartsHeldMax &&
      this.#cells < limits.aggregateCellsHeldMax
    if (isRoom) return
    const result = await this.#combine(null)
    if (result.kind !== 'part') throw tooLarge()
    this.#hold(result.part)
  }

  async text(): Promise<Uint8Array> {
    if (this.#parts.length === 0) return new Uint8Array(0)
    const result = await this.#combine(this.#query.format)
    if (result.kind !== 'text') throw tooLarge()
    return result.bytes
  }

  #hold(part: IntervalPart): void {
    this.#parts.push(part)
    this.#cells += part.intervals.length + part.places.length / 2
  }

  #combine(format: ReadFormat | null): Promise<CombineResult> {
    const parts = this.#parts
    this.#parts = []
    this.#cells = 0
    const { intervalMs } = this.#query
    return this.#pool.run({ kind: 'combine', parts, intervalMs, format })
  }
}

function tooLarge(): Refusal {
  return invalidParameter(
    'downsample',
    'a longer interval, or a shorter range by from and to, or fewer fields: of all intervals and ' +
      `their fields there may be ${limits.downsampleCellsMax}, in ` +
      `${limits.downsampleTextBytesMax} bytes`,
  )
}
