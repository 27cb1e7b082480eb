import type { StoredEvent } from '../contracts/events.ts'
import type { SessionStatusName } from '../contracts/http.ts'
import type { SchemaDefinition } from '../contracts/schema.ts'
import type { RejectedChunk, SessionType } from '../contracts/tasks.ts'
import type {
  Activity,
  ApiKeyRow,
  AtomEntry,
  BatchRetry,
  DeadLetterRow,
  IdempotencyRow,
  JobRow,
  JobStatus,
  JournalEntry,
  MemoryChange,
  MemoryRow,
  PendingBuffer,
  RejectedEntry,
  SessionRow,
  TenantCounts,
} from './entities.ts'

export * from './entities.ts'

/**
 * What the rest of the program knows of the store. No LMDB type stands here: a replicated engine will
 * implement the same interfaces, and test/store/conformance runs against each engine.
 *
 * Reads are synchronous and see what is committed. Writes go through `Store.commit` alone: the engine
 * gathers all units that wait, applies them in order in one transaction, flushes it, and only then
 * resolves them and hands their events on (group commit).
 */

/** What a unit may do to the store. Valid only while the unit runs; everything in it is synchronous. */
export interface Transaction {
  readonly nowMs: number
  /**
   * The row for changing: what the unit changes in it is stored with the transaction and dropped if
   * the transaction fails. Throws if the session is unknown.
   */
  session(number: number): SessionRow
  /** Adds a session; gives it its number. */
  createSession(row: Omit<SessionRow, 'number'>): SessionRow
  /**
   * Adds a row to the session's atom table, carries the hash chain on and counts its atoms in the
   * session row (`atomRows`, `atomsCreated`, `chain`). Gives its seq.
   */
  appendAtom(session: SessionRow, atom: Omit<AtomEntry, 'seq'>): number
  /**
   * Stores bytes under their hash for the session's tenant, or counts one more user of those that are
   * there: each call is one occurrence, which `releaseBlob` takes back. The engine reads the bytes on
   * another thread: they must neither change nor be transferred until the commit is settled.
   */
  putBlob(tenant: number, hash: Uint8Array, bytes: Uint8Array): void
  /** One occurrence less; the last one takes the bytes with it. */
  releaseBlob(tenant: number, hash: Uint8Array): void
  /** A page's bytes must stay as they are until the commit is settled, as in `putBlob`. */
  putJournal(entry: JournalEntry): void
  deleteJournal(session: number, batch: number, number: number): void
  /** Removes all entries of a batch with the blob occurrences that they own. */
  dropJournal(session: SessionRow, batch: number): void
  /** What was rejected of one upload. */
  appendRejected(session: SessionRow, batch: number, chunks: readonly RejectedChunk[]): void
  /** Gives the event its number and stores it; it is published after the flush. */
  appendEvent(
    tenant: number,
    session: number | null,
    name: string,
    data: Readonly<Record<string, unknown>>,
  ): StoredEvent
  /**
   * Stores a `user.activity` event that tells of what the unit does, and counts an operation of the
   * tenant.
   */
  appendActivity(tenant: number, activity: Activity): StoredEvent
  /** Counts a search, which is an operation too. */
  countSearch(tenant: number): void
  /** Adds a memory; gives it its number. */
  createMemory(row: Omit<MemoryRow, 'number'>): MemoryRow
  /** A copy, as the group sees it; null where it is unknown. */
  memory(tenant: number, number: number): MemoryRow | null
  /** In the place of the memory with this tenant and number, which must be there. */
  putMemory(row: MemoryRow): void
  deleteMemory(tenant: number, number: number): void
  /**
   * Registers a schema, true; once more with the same definition does nothing, false. Throws Refusal
   * `SCHEMA_EXISTS` where the name and version stand for another one, also one of the same group, and
   * `SCHEMA_LIMIT_REACHED` where the tenant has `limits.schemasMax`.
   */
  putSchema(tenant: number, definition: SchemaDefinition): boolean
  putApiKey(key: ApiKeyRow): void
  /** An event tells of the key as it is now: `ApiKeys.untold` gives it no more until it is revoked. */
  tellApiKey(key: ApiKeyRow): void

  /** The retry of a batch as the group sees it. */
  retry(session: number, batch: number): BatchRetry | null
  putRetry(retry: BatchRetry): void
  deleteRetry(session: number, batch: number): void
  /** Adds a dead letter and gives it its number. `journal.pending` passes its batch over from then on. */
  putDeadLetter(row: Omit<DeadLetterRow, 'number'>): DeadLetterRow
  /** By public id, as the group sees it; null where unknown or of another tenant. */
  deadLetter(tenant: number, id: string): DeadLetterRow | null
  deleteDeadLetter(row: DeadLetterRow): void
  /** Adds a job and gives it its number. */
  createJob(row: Omit<JobRow, 'number'>): JobRow
  /** The row for changing, as `session`. Throws where it is unknown. */
  job(number: number): JobRow
  /**
   * Keeps a buffer until its audio is cut; the occurrence of its blob, which the caller has put, is the
   * row's from now on. Gives it its number.
   */
  appendPending(session: SessionRow, buffer: Omit<PendingBuffer, 'session' | 'number'>): number
  /**
   * Removes a session's pending buffers up to this number, from another one on where that is given, each
   * with its occurrence of a blob.
   */
  dropPending(session: SessionRow, throughNumber: number, fromNumber?: number): void
  /** What a session's codec knows of what came before, null once it is to know nothing. */
  putStreamState(session: SessionRow, state: Uint8Array | null): void
  putIdempotency(row: IdempotencyRow): void
  /** Removes up to `limit` answers that were given before `beforeMs`, oldest first; gives how many. */
  dropIdempotency(beforeMs: number, limit: number): number

  /**
   * Retention. Removes a tenant's oldest event, which must be `event`; the session it belongs to, where
   * it is still there, notes the number.
   */
  dropEvent(event: StoredEvent): void
  /**
   * Removes a session's oldest atom rows for as long as they are of this batch, up to `rowsMax`; gives
   * how many.
   */
  dropAtoms(session: SessionRow, batch: number, rowsMax?: number): number
  /** Removes a session's `count` oldest rejected records, and what else stands in a chunk of theirs. */
  dropRejected(session: SessionRow, count: number): void
  /**
   * Removes an ended session with all that belongs to it, `rowsMax` rows at a time: from the first call
   * on nobody finds it, and true is given with the last.
   */
  dropSession(session: SessionRow, rowsMax: number): boolean
  /** Removes a tenant's ended jobs that were created before `beforeMs`, oldest first, up to `limit`. */
  dropJobs(tenant: number, beforeMs: number, limit: number): number
}

export interface CommitOptions {
  /** About how many bytes the unit writes: a group is closed at `limits.commitBytesMax`. */
  readonly bytes?: number
  /** It is a removal: the events that tell of it have the room that is kept for them in a full store. */
  readonly removes?: boolean
}

/**
 * Some of the rows that a list selects. A call looks at `limits.listScanRowsMax` rows at most, or
 * `limits.deadLetterScanRowsMax`: a page may hold fewer rows than its limit, none even, and still have a
 * next one.
 */
export interface Page<T> {
  readonly rows: readonly T[]
  /** Where the next page goes on: its `before` or `after`, null at the end. */
  readonly next: number | null
}

export interface SessionFilter {
  readonly status?: SessionStatusName
  readonly type?: SessionType
}

export interface Sessions {
  /** By the public id. Null where unknown or of another tenant. */
  find(tenant: number, id: string): SessionRow | null
  get(number: number): SessionRow | null
  /**
   * As `get`, but as the other tables are read in this turn: between a commit and its end `get` still
   * gives the row from before it.
   */
  stored(number: number): SessionRow | null
  /** Newest first. `before` is `next` of the page before. */
  list(
    tenant: number,
    filter: SessionFilter,
    limit: number,
    before: number | null,
  ): Page<SessionRow>
  /** Sessions that have not ended, of all tenants, oldest first, for recovery at start. */
  open(): SessionRow[]
  /** Open sessions that were created before `createdBeforeMs`, oldest first. */
  openBefore(createdBeforeMs: number, limit: number): SessionRow[]
  /** Sessions whose removal has begun and is not done, which nothing else here gives. */
  dropping(): SessionRow[]
}

export interface Atoms {
  /** Rows with `seq >= from`, in order. */
  list(session: number, from: number, limit: number): AtomEntry[]
  /** Same, lazily, for scans; the caller breaks out. */
  scan(session: number, from: number): Iterable<AtomEntry>
}

export interface Blobs {
  /** A copy of the bytes in a buffer of its own, or null. */
  get(tenant: number, hash: Uint8Array): Uint8Array | null
  has(tenant: number, hash: Uint8Array): boolean
}

export interface Journal {
  /** Number and records of a batch's entries, in order, without their content. */
  heads(session: number, batch: number): { number: number; records: number; job: number | null }[]
  /** A session's entries of one batch, in order, copied out. */
  batch(session: number, batch: number): JournalEntry[]
  /** Why and when a batch is tried again, null where it has not failed. */
  retry(session: number, batch: number): BatchRetry | null
  /** Session and batch numbers of everything that waits, dead letters left out, in order. */
  pending(): { session: number; batch: number; records: number; firstNumber: number }[]
}

export interface Events {
  /** Events of a session with `number > after`, in order. */
  ofSession(tenant: number, session: number, after: number, limit: number): StoredEvent[]
  /** Events of a tenant with `number > after`, in order. */
  ofTenant(tenant: number, after: number, limit: number): StoredEvent[]
  /** The number of the tenant's last event, 0 where there is none. */
  last(tenant: number): number
  /** A tenant's oldest events with the time of their commit, for retention. */
  oldest(tenant: number, limit: number): { event: StoredEvent; atMs: number }[]
  /** The number of the tenant's oldest event that is retained, or else of its next one. */
  first(tenant: number): number
}

export interface DeadLetterFilter {
  /** Internal number of a session. */
  readonly session?: number
  readonly code?: string
}

export interface DeadLetters {
  /** By the public id. Null where unknown or of another tenant. */
  find(tenant: number, id: string): DeadLetterRow | null
  /** Newest first. `before` is `next` of the page before. */
  list(
    tenant: number,
    filter: DeadLetterFilter,
    limit: number,
    before: number | null,
  ): Page<DeadLetterRow>
  /** Oldest first. `after` is `next` of the page before. */
  oldest(
    tenant: number,
    filter: DeadLetterFilter,
    limit: number,
    after: number | null,
  ): Page<DeadLetterRow>
}

export interface JobFilter {
  readonly status?: JobStatus
  readonly session?: number
}

export interface Jobs {
  /** By the public id. Null where unknown or of another tenant. */
  find(tenant: number, id: string): JobRow | null
  get(number: number): JobRow | null
  /** Newest first. `before` is `next` of the page before. */
  list(tenant: number, filter: JobFilter, limit: number, before: number | null): Page<JobRow>
  /** Jobs on files that have not ended, of all tenants, oldest first, for recovery at start. */
  openMedia(): JobRow[]
}

/** Sessions whose frames are selected or whose audio is cut: what they hold between two batches. */
export interface Streams {
  /** As the last `putStreamState` gave it, copied out; null where there is none. */
  state(session: number): Uint8Array | null
  /** The buffers that wait to be cut, in order. */
  pending(session: number): PendingBuffer[]
}

export interface Idempotency {
  get(session: number, keyDigest: Uint8Array): IdempotencyRow | null
}

/** What a tenant takes of the store. */
export interface TenantUsage {
  readonly tenant: number
  /** Keys and values of its blobs, atoms, events and rejected records. */
  readonly bytes: number
}

export interface Rejected {
  list(session: number, from: number, limit: number): RejectedEntry[]
}

export interface Schemas {
  get(tenant: number, name: string, version: string): SchemaDefinition | null
  /** In order of name and version, those that come after the given one; read as the caller goes on. */
  list(
    tenant: number,
    after: { readonly name: string; readonly version: string } | null,
  ): Iterable<SchemaDefinition>
  count(tenant: number): number
}

/** What a list of memories selects: the type, and all of the tags. */
export interface MemoryFilter {
  readonly type?: string | undefined
  readonly tags?: readonly string[] | undefined
}

export interface Memories {
  get(tenant: number, number: number): MemoryRow | null
  /** How many the filter selects; null where they have to be walked, as with more than one facet. */
  count(tenant: number, filter: MemoryFilter): number | null
  /**
   * Numbers of a tenant's memories that the filter selects, newest first, as far as about `keysMax` looks
   * at keys lead, so that a caller can bound a turn. `before` is `next` of the step before.
   */
  numbers(
    tenant: number,
    filter: MemoryFilter,
    keysMax: number,
    before: number | null,
  ): Page<number>
  /** Of all tenants, in order of tenant and number, those behind `after`. */
  scan(after: { readonly tenant: number; readonly number: number } | null): Iterable<MemoryRow>
}

/** A key that was made (`isNew`) or revoked, or both, since an event told of it last. */
export interface UntoldKey {
  readonly key: ApiKeyRow
  readonly isNew: boolean
}

export interface ApiKeys {
  /** Those that are new or revoked, and no event tells of it yet. */
  untold(): UntoldKey[]
  byDigest(digest: Uint8Array): ApiKeyRow | null
  list(): ApiKeyRow[]
  /** Changes whenever a key is added or revoked, by whichever process. */
  version(): number
}

/** Why nothing can be promised any more. What was acknowledged before is on disk. */
export interface StoreFailure {
  /** The file that could not be written. */
  readonly path: string
  readonly error: unknown
  /** The commit has not come back: its thread is still in it, and leaving in order waits for threads. */
  readonly isStuck: boolean
}

export interface StoreStatistics {
  /** Bytes of the store's file in use. */
  usedBytes: number
  maxBytes: number
  commits: number
  units: number
}

export interface Store {
  readonly sessions: Sessions
  readonly atoms: Atoms
  readonly blobs: Blobs
  readonly journal: Journal
  readonly events: Events
  readonly rejected: Rejected
  readonly schemas: Schemas
  readonly apiKeys: ApiKeys
  readonly deadLetters: DeadLetters
  readonly jobs: Jobs
  readonly streams: Streams
  readonly idempotency: Idempotency
  readonly memories: Memories
  counts(tenant: number): TenantCounts
  /** Of every tenant that has stored anything. */
  usage(): TenantUsage[]
  /** 32 random bytes made at creation: the key of tickets. */
  readonly secret: Uint8Array
  /**
   * Runs `unit` in the next transaction and resolves with its result once that is on disk. Units
   * resolve in the order of their commits. A unit that throws is rejected alone with its error.
   * Rejects with Refusal `STORE_FULL` where there is no room, `SATURATED` where too many units or
   * bytes wait, `SHUTTING_DOWN` after close, else with what the disk said, and then every later commit
   * with the same. Of a unit that is rejected nothing is stored.
   */
  commit<T>(unit: (transaction: Transaction) => T, options?: CommitOptions): Promise<T>
  /** Called with the events of each transaction after its flush, in order. One listener. */
  onEvents(listener: (events: readonly StoredEvent[]) => void): void
  /**
   * Called with the jobs that each transaction has created or changed, each once and as it is stored,
   * after its flush. The rows are copies. One listener.
   */
  onJobs(listener: (jobs: readonly JobRow[]) => void): void
  /**
   * Called with the memories that each transaction has changed, each once and as it is stored, after its
   * flush and before its units resolve. One listener.
   */
  onMemories(listener: (changes: readonly MemoryChange[]) => void): void
  /**
   * Called once, where a commit fails for anything but want of room and before anybody is told of it:
   * a listener that ends the process leaves nothing behind that speaks for the store. One listener.
   */
  onFailure(listener: (failure: StoreFailure) => void): void
  /** Whether a group of units is on its way to disk, so that what is committed now waits for its end. */
  readonly isWriting: boolean
  /**
   * Called when the next group is about to go, also where there is none yet: what is committed then goes
   * with it. One listener.
   */
  onBeforeWrite(listener: () => void): void
  /** Writes are refused for want of room, and none has been freed since. Cheap to ask, statistics are not. */
  readonly isFull: boolean
  statistics(): StoreStatistics
  /** Commits what waits, then closes. Idempotent. */
  close(): Promise<void>
}

export interface StoreOptions {
  /** Folder of the database, created where missing. */
  readonly path: string
  /** `commit` leaves the flush to the kernel: a power cut can then cost the store itself. */
  readonly durability: 'flush' | 'commit'
  /** Bound of the bytes in use. The file may be larger by pages that were freed and wait for use. */
  readonly maxBytes: number
  /** Bytes of the units that wait for their transaction; `limits.commitQueueBytesMax` unless told. */
  readonly queueBytesMax?: number
  /**
   * True, the default, for the server: the folder is refused while another server has it. False for
   * a tool beside a running server: it may put API keys and nothing else.
   */
  readonly exclusive?: boolean
  /** Milliseconds since the epoch; the system's clock unless a test brings its own. */
  readonly now?: () => number
}
