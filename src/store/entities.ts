import type { SessionStatusName } from '../contracts/http.ts'
import type {
  FrameSettings,
  MediaCheckpoint,
  MediaType,
  SegmentSettings,
} from '../contracts/media.ts'
import type { DecodeSettings, RejectedRecord, SessionType } from '../contracts/tasks.ts'

/** The rows of the store as the rest of the program knows them. */

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
  /** What pushed frames become atoms, null for each; and how frames are taken out of files. */
  frameExtraction: FrameSettings | null
  /** How pushed buffers are cut, null where each is an atom of its own; and how files are. */
  segmentation: SegmentSettings | null
  createdAtMs: number
  lastActivityAtMs: number
  endedAtMs: number | null
  /** Wire bytes of all acknowledged uploads. */
  bytesReceived: number
  recordsReceived: number
  recordsRejected: number
  /** In the journal, not yet worked off. */
  recordsQueued: number
  /**
   * Worked off: each is an atom, or, where frames are selected or audio is cut, has been looked at.
   * Received = processed + queued + rejected + dead + cancelled, at every moment.
   */
  recordsProcessed: number
  /** Queued by uploads whose jobs were cancelled. */
  recordsCancelled: number
  /** Media jobs that have not ended. */
  openJobs: number
  atomsCreated: number
  batchesReceived: number
  batchesProcessed: number
  /** Sum over processed batches. */
  processingTimeMs: number
  /** The number that the next batch opened gets. Batches may be processed out of their order. */
  nextBatch: number
  /** Rows of the atom table, and records of the rejected table: the next one's `seq`. */
  atomRows: number
  rejectedRows: number
  /** Journal entries ever written: the next one's number. */
  journalEntries: number
  /** The hash chain so far, 32 bytes; 32 zero bytes at first. */
  chain: Uint8Array
  /** Records in the dead letter queue, or dropped from it by hand. */
  recordsDead: number
  /** Dead letters that remain in the queue. */
  deadLetters: number
  /** What an end that is under way leads to; stored, so that a crash does not change it. */
  ending: 'completed' | 'cancelled' | 'failed' | null
  /** The answer to every `end`, fixed by the first: a batch that is redriven later does not change it. */
  final: SessionTotals | null
  /** What retention has dropped: the highest event number, and how much of the tables' beginnings. */
  eventsDroppedThrough: number
  atomRowsDropped: number
  rejectedRowsDropped: number
  /** The hash chain before the oldest atom row that is retained. */
  chainDropped: Uint8Array
}

/** What a session had come to when it ended. */
export interface SessionTotals {
  recordsReceived: number
  batchesReceived: number
  atomsCreated: number
  chain: Uint8Array
}

/** One row of a session's atom table: a telemetry block or one occurrence of a blob. */
export interface AtomEntry {
  seq: number
  kind: 'block' | 'frame' | 'buffer' | 'segment'
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
  /** Number of the job that waits for it, null where its upload did not ask for one. */
  job: number | null
  content: JournalPage | { kind: 'media'; items: JournalMediaItem[] }
}
export interface JournalPage {
  kind: 'page'
  bytes: Uint8Array
  /** SHA-256 of `bytes`, 32 bytes. */
  hash: Uint8Array
}
export interface JournalMediaItem {
  hash: Uint8Array
  byteLength: number
  metadata: Record<string, unknown>
}

/**
 * A buffer of a session whose audio is cut, kept until every sample of it stands in a segment. It owns
 * one occurrence of its blob.
 */
export interface PendingBuffer {
  session: number
  /** Rising within the session. */
  number: number
  /** 32 bytes. */
  hash: Uint8Array
  byteLength: number
  /** Which run of audio without a gap it belongs to, and where in it, in samples of each channel. */
  run: number
  startSample: number
  samples: number
}

/** One failed attempt at turning a batch into atoms. */
export interface FailedAttempt {
  /** From 1; it goes on where a dead letter is redriven. */
  attempt: number
  atMs: number
  code: string
  message: string
}

/** A batch that waits for its next attempt: it has failed, or it is a dead letter that is redriven. */
export interface BatchRetry {
  session: number
  batch: number
  /** Failures since it was queued or redriven. */
  failures: number
  nextAttemptAtMs: number
  /** Oldest first, `limits.attemptHistoryMax` at most. */
  history: FailedAttempt[]
  /** The dead letter that it was, and the job that redrives it. */
  redrive: { deadLetterId: string; job: number } | null
}

/** A batch that was given up: its uploads stay in the journal until it is redriven or dropped. */
export interface DeadLetterRow {
  /** Internal, rising within the tenant. */
  number: number
  /** Public: `dlq-…`, unguessable. */
  id: string
  tenant: number
  session: number
  batch: number
  records: number
  /** Why it was given up. */
  code: string
  message: string
  history: FailedAttempt[]
  firstFailedAtMs: number
  deadAtMs: number
}

export type JobStatus = 'queued' | 'in-progress' | 'completed' | 'failed' | 'cancelled'
export const jobSteps = ['upload', 'validation', 'atomization', 'indexing', 'completion'] as const
export type JobStep = (typeof jobSteps)[number]

/** Work that goes on after its reply. */
export interface JobRow {
  /** Internal, rising over all tenants. */
  number: number
  /** Public: `job-…`, unguessable. */
  id: string
  tenant: number
  /** Null where it works on several sessions. */
  session: number | null
  kind: 'upload' | 'redrive' | 'media'
  status: JobStatus
  /** The step it is at. */
  step: JobStep
  /** Milliseconds that each step that is over took. */
  stepDurationsMs: Partial<Record<JobStep, number>>
  /** When the step it is at began, and how many items were done then: its speed is since then. */
  stepStartedAtMs: number
  stepItemsBefore: number
  /** What items are: records to be turned into atoms, or what a file holds of each channel or picture. */
  itemUnit: 'records' | 'frames' | 'samples'
  /** Null where a file does not tell. */
  itemsTotal: number | null
  itemsProcessed: number
  atomsCreated: number
  /** Batches that are neither atoms nor dead letters yet. */
  batchesLeft: number
  /** SHA-256 chain over the digests of its atoms so far, as of a session. */
  chain: Uint8Array
  createdAtMs: number
  startedAtMs: number
  updatedAtMs: number
  endedAtMs: number | null
  error: { code: string; message: string; details: string } | null
  /** The file it works on, null where it works on journaled batches. */
  media: MediaFile | null
}

/** A file in the spool, and how far the job on it has come. */
export interface MediaFile {
  /** Its name in the spool, which gives it its place there. */
  readonly spoolId: string
  readonly type: MediaType
  readonly contentType: string
  readonly bytes: number
  /** SHA-256 of the file, 32 bytes. */
  readonly hash: Uint8Array
  /** When its first frame or sample was taken, milliseconds since the epoch. */
  readonly beginsAtMs: number
  readonly settings: FrameSettings | SegmentSettings
  readonly checkpoint: MediaCheckpoint
  /** Starts of the job since its checkpoint last moved. */
  readonly runs: number
  /** What the decoder found the file to hold: `h264 640×360`, `pcm 16 bit, 16000 Hz, 1 channel`. */
  readonly description: string | null
}

/** The first answer to an upload with an Idempotency-Key, within its session. */
export interface IdempotencyRow {
  session: number
  /** SHA-256 of the key, 32 bytes. */
  keyDigest: Uint8Array
  /** What tells this upload from another, 32 bytes. */
  fingerprint: Uint8Array
  createdAtMs: number
  /** HTTP status and JSON value of the answer. */
  status: number
  answer: Record<string, unknown>
}

/** A document of a tenant. */
export interface MemoryRow {
  readonly tenant: number
  /** Rising within the tenant, never given twice. */
  readonly number: number
  content: string
  title: string | null
  type: string | null
  tags: string[]
  metadata: Record<string, unknown>
  readonly createdAtMs: number
  readonly createdBy: string
  updatedAtMs: number
  updatedBy: string
}

/** What a commit has made of a memory: null where it is deleted. */
export interface MemoryChange {
  readonly tenant: number
  readonly number: number
  readonly row: MemoryRow | null
}

/** What somebody did, for the event that tells of it. */
export interface Activity {
  readonly user: string
  /** `create`, `update`, `delete`, `pause`, … */
  readonly action: string
  readonly resourceType: 'session' | 'job' | 'schema' | 'memory' | 'key' | 'dead_letter'
  readonly resourceId: string
  readonly metadata?: Readonly<Record<string, unknown>>
}

/** Counted in the transactions that they tell of. */
export interface TenantCounts {
  readonly memories: number
  readonly searches: number
  /** Changes that `appendActivity` has told of, and searches. */
  readonly operations: number
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
