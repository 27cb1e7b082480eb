import type { StoredEvent } from '../contracts/events.ts'
import type { SessionStatusName } from '../contracts/http.ts'
import type { SchemaDefinition } from '../contracts/schema.ts'
import type { DecodeSettings, RejectedRecord, SessionType } from '../contracts/tasks.ts'

/**
 * What the rest of the program knows of the store. No LMDB type stands here: a replicated engine will
 * implement the same interfaces, and test/store/conformance runs against each engine.
 *
 * Reads are synchronous and see what is committed. Writes go through `Store.commit` alone: the engine
 * gathers all units that wait, applies them in order in one transaction, flushes it, and only then
 * resolves them and hands their events on (group commit).
 */

/** Retry settings with the defaults filled in. */
export interface RetryPolicy {
  maxRetries: number
  retryDelayMs: number
  retryBackoffMultiplier: number
}

/** One session as it is stored. `number` is internal, rising, and never shown; `id` is unguessable. */
export interface SessionRow {
  number: number
  id: string
  tenant: number
  type: SessionType
  name: string
  status: SessionStatusName
  metadata: Record<string, unknown>
  batchSize: number
  maxBatchDelayMs: number
  maxConcurrentBatches: number
  retry: RetryPolicy
  decode: DecodeSettings
  createdAtMs: number
  lastActivityAtMs: number
  endedAtMs: number | null
  /** Wire bytes of all acknowledged uploads. */
  bytesReceived: number
  recordsReceived: number
  recordsRejected: number
  /** In the journal, not yet atoms. */
  recordsQueued: number
  atomsCreated: number
  batchesReceived: number
  batchesProcessed: number
  /** Sum over processed batches. */
  processingTimeMs: number
  /** The number that the next batch opened gets. Batches may be processed out of their order. */
  nextBatch: number
  /** Rows of the atom table and of the rejected table: the next one's `seq`. */
  atomRows: number
  rejectedRows: number
  /** Journal entries ever written: the next one's number. */
  journalEntries: number
  /** The hash chain so far, 32 bytes; 32 zero bytes at first. */
  chain: Uint8Array
}

/** One row of a session's atom table: a telemetry block or one occurrence of a blob. */
export interface AtomEntry {
  seq: number
  kind: 'block' | 'frame' | 'buffer'
  /** 32 bytes. */
  hash: Uint8Array
  byteLength: number
  /** Atoms that this row stands for: the records of a block, else 1. */
  atoms: number
  /** Time range, milliseconds since the epoch with fraction, both inclusive. */
  fromMs: number
  toMs: number
  batch: number
  metadata: Record<string, unknown>
}

/** A queued upload: valid, flushed, not yet atoms. Media bytes already stand as blobs. */
export interface JournalEntry {
  session: number
  /** Number within the session, rising. */
  number: number
  batch: number
  records: number
  content: { kind: 'page'; bytes: Uint8Array } | { kind: 'media'; items: JournalMediaItem[] }
}
export interface JournalMediaItem {
  hash: Uint8Array
  byteLength: number
  metadata: Record<string, unknown>
}

export interface RejectedEntry extends RejectedRecord {
  seq: number
  batch: number
  atMs: number
}

export const scopes = [
  'sessions:read',
  'sessions:write',
  'ingest',
  'jobs:read',
  'jobs:write',
  'dlq',
  'memories:read',
  'memories:write',
  'events:read',
  'admin',
] as const
export type Scope = (typeof scopes)[number]

/** An API key. Only its digest is stored. */
export interface ApiKeyRow {
  /** Public name of the key, `key_…`. */
  id: string
  /** SHA-256 of the key, 32 bytes. */
  digest: Uint8Array
  tenant: number
  user: string
  scopes: Scope[]
  createdAtMs: number
  revokedAtMs: number | null
}

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
   * Stores bytes under their hash for the session's tenant unless they are there. The engine reads
   * them on another thread: they must neither change nor be transferred until the commit is settled.
   */
  putBlob(tenant: number, hash: Uint8Array, bytes: Uint8Array): void
  /** A page's bytes must stay as they are until the commit is settled, as in `putBlob`. */
  putJournal(entry: JournalEntry): void
  deleteJournal(session: number, batch: number, number: number): void
  appendRejected(session: SessionRow, batch: number, rejected: readonly RejectedRecord[]): void
  /** Gives the event its number and stores it; it is published after the flush. */
  appendEvent(
    tenant: number,
    session: number | null,
    name: string,
    data: Readonly<Record<string, unknown>>,
  ): StoredEvent
  /**
   * Registers a schema, true; once more with the same definition does nothing, false. Throws Refusal
   * `SCHEMA_EXISTS` where the name and version stand for another one, also one of the same group.
   */
  putSchema(tenant: number, definition: SchemaDefinition): boolean
  putApiKey(key: ApiKeyRow): void
}

export interface CommitOptions {
  /** About how many bytes the unit writes: a group is closed at `limits.commitBytesMax`. */
  readonly bytes?: number
}

export interface SessionFilter {
  readonly status?: SessionStatusName
  readonly type?: SessionType
}

export interface Sessions {
  /** By the public id. Null where unknown or of another tenant. */
  find(tenant: number, id: string): SessionRow | null
  get(number: number): SessionRow | null
  /** Newest first. `before` is the number of the last session of the page before. */
  list(tenant: number, filter: SessionFilter, limit: number, before: number | null): SessionRow[]
  /** Sessions that have not ended, of all tenants, for recovery at start. */
  open(): SessionRow[]
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
  heads(session: number, batch: number): { number: number; records: number }[]
  /** A session's entries of one batch, in order, copied out. */
  batch(session: number, batch: number): JournalEntry[]
  /** Session and batch numbers of everything that waits, in order. */
  pending(): { session: number; batch: number; records: number; firstNumber: number }[]
}

export interface Events {
  /** Events of a session with `number > after`, in order. */
  ofSession(tenant: number, session: number, after: number, limit: number): StoredEvent[]
  /** Events of a tenant with `number > after`, in order. */
  ofTenant(tenant: number, after: number, limit: number): StoredEvent[]
  /** The number of the tenant's last event, 0 where there is none. */
  last(tenant: number): number
}

export interface Rejected {
  list(session: number, from: number, limit: number): RejectedEntry[]
}

export interface Schemas {
  get(tenant: number, name: string, version: string): SchemaDefinition | null
  list(tenant: number): SchemaDefinition[]
}

export interface ApiKeys {
  byDigest(digest: Uint8Array): ApiKeyRow | null
  list(): ApiKeyRow[]
  /** Changes whenever a key is added or revoked, by whichever process. */
  version(): number
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
  /** 32 random bytes made at creation: the key of tickets. */
  readonly secret: Uint8Array
  /**
   * Runs `unit` in the next transaction and resolves with its result once that is on disk. Units
   * resolve in the order of their commits. A unit that throws is rejected alone with its error.
   * Rejects with Refusal `STORE_FULL` where there is no room, `SATURATED` where too many units wait,
   * `SHUTTING_DOWN` after close, else with what the disk said, and then every later commit with the
   * same. Of a unit that is rejected nothing is stored.
   */
  commit<T>(unit: (transaction: Transaction) => T, options?: CommitOptions): Promise<T>
  /** Called with the events of each transaction after its flush, in order. One listener. */
  onEvents(listener: (events: readonly StoredEvent[]) => void): void
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
  /**
   * True, the default, for the server: the folder is refused while another server has it. False for
   * a tool beside a running server: it may put API keys and nothing else.
   */
  readonly exclusive?: boolean
}
