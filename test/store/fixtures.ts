import { createHash } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import type { FrameSettings, SegmentSettings } from '../../src/contracts/media.ts'
import type {
  AtomEntry,
  BatchRetry,
  DeadLetterRow,
  IdempotencyRow,
  JobRow,
  JournalEntry,
  MediaFile,
  SessionRow,
} from '../../src/store/interfaces.ts'

/** A folder for one test, removed when the test ends. */
export async function temporaryFolder(t: TestContext): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'atomstream-store-'))
  t.after(() => rm(path, { recursive: true, force: true }))
  return path
}

export const frames: FrameSettings = {
  mode: 'interval',
  frameRateFps: 12.5,
  resolution: { width: 320, height: 240 },
  compressionQuality: 70,
  interval: 30,
  sceneThreshold: 0.3,
}

export const segments: SegmentSettings = {
  mode: 'silence',
  silenceThresholdDb: -40.5,
  minSilenceDurationMs: 300,
  minSegmentDurationMs: 1_000,
  maxSegmentDurationMs: 30_000,
  energyThresholdDb: 12,
  speechAggressiveness: 2,
}

export function newSession(
  id: string,
  changes: Partial<SessionRow> = {},
): Omit<SessionRow, 'number'> {
  return {
    id,
    tenant: 1,
    type: 'telemetry',
    name: `session ${id}`,
    status: 'active',
    metadata: { device: 'sensor-1', nested: { floor: 3 } },
    batchSize: 1_000,
    maxBatchDelayMs: 5_000,
    maxConcurrentBatches: 5,
    retry: { maxRetries: 3, retryDelayMs: 1_000, retryBackoffMultiplier: 1.5 },
    decode: {
      sessionType: 'telemetry',
      onInvalid: 'reject-records',
      verify: 'structure',
      schema: '{"fields":[]}',
    },
    frameExtraction: null,
    segmentation: null,
    createdAtMs: 1_750_000_000_000.5,
    lastActivityAtMs: 1_750_000_000_001,
    endedAtMs: null,
    bytesReceived: 0,
    recordsReceived: 0,
    recordsRejected: 0,
    recordsQueued: 0,
    recordsProcessed: 0,
    recordsCancelled: 0,
    openJobs: 0,
    atomsCreated: 0,
    batchesReceived: 0,
    batchesProcessed: 0,
    processingTimeMs: 0,
    nextBatch: 0,
    atomRows: 0,
    rejectedRows: 0,
    journalEntries: 0,
    chain: new Uint8Array(32),
    recordsDead: 0,
    deadLetters: 0,
    ending: null,
    final: null,
    eventsDroppedThrough: 0,
    atomRowsDropped: 0,
    rejectedRowsDropped: 0,
    chainDropped: new Uint8Array(32),
    ...changes,
  }
}

export function sha256(...parts: readonly (Uint8Array | string)[]): Uint8Array {
  const hash = createHash('sha256')
  for (const part of parts) hash.update(part)
  return new Uint8Array(hash.digest())
}

/** Bytes that nothing else holds, and their name. */
export function blobOf(text: string, byteLength = 100): { bytes: Uint8Array; hash: Uint8Array } {
  const bytes = new Uint8Array(byteLength)
  let block = sha256(text)
  for (let offset = 0; offset < byteLength; offset += block.byteLength) {
    bytes.set(block.subarray(0, byteLength - offset), offset)
    block = sha256(block)
  }
  return { bytes, hash: sha256(bytes) }
}

export function atomOf(hash: Uint8Array, batch = 0): Omit<AtomEntry, 'seq'> {
  return {
    kind: 'frame',
    hash,
    byteLength: 100,
    atoms: 1,
    fromMs: 1_750_000_000_000.25,
    toMs: 1_750_000_000_001,
    batch,
    metadata: { frameNumber: batch, keyframe: true, note: null },
  }
}

export function newRetry(
  session: number,
  batch: number,
  changes: Partial<BatchRetry> = {},
): BatchRetry {
  return {
    session,
    batch,
    failures: 1,
    nextAttemptAtMs: 1_750_000_000_000.5,
    history: [{ attempt: 1, atMs: 5, code: 'WORKER_FAILED', message: 'it left: "Grüße"' }],
    redrive: null,
    ...changes,
  }
}

export function newDeadLetter(
  session: number,
  batch: number,
  changes: Partial<DeadLetterRow> = {},
): Omit<DeadLetterRow, 'number'> {
  return {
    id: `dlq-${session}-${batch}`,
    tenant: 1,
    session,
    batch,
    records: 10,
    code: 'WORKER_FAILED',
    message: 'a worker left',
    history: newRetry(session, batch).history,
    firstFailedAtMs: 5,
    deadAtMs: 9,
    ...changes,
  }
}

export function newJob(id: string, changes: Partial<JobRow> = {}): Omit<JobRow, 'number'> {
  return {
    id,
    tenant: 1,
    session: null,
    kind: 'upload',
    status: 'queued',
    step: 'atomization',
    stepDurationsMs: { upload: 3, validation: 4 },
    stepStartedAtMs: 1_001.5,
    stepItemsBefore: 0,
    itemUnit: 'records',
    itemsTotal: 10,
    itemsProcessed: 0,
    atomsCreated: 0,
    batchesLeft: 1,
    chain: new Uint8Array(32),
    createdAtMs: 1_000,
    startedAtMs: 1_001,
    updatedAtMs: 1_002,
    endedAtMs: null,
    error: null,
    media: null,
    ...changes,
  }
}

/** A job on a file that is at its beginning. */
export function newMediaJob(id: string, changes: Partial<JobRow> = {}): Omit<JobRow, 'number'> {
  return newJob(id, {
    session: 7,
    kind: 'media',
    step: 'validation',
    stepDurationsMs: { upload: 3 },
    itemUnit: 'samples',
    itemsTotal: null,
    batchesLeft: 0,
    media: mediaFile,
    ...changes,
  })
}

export const mediaFile: MediaFile = {
  spoolId: `spool-${'0'.repeat(32)}`,
  type: { kind: 'audio', container: 'wav' },
  contentType: 'audio/wav',
  bytes: 5 * 1024 ** 3,
  hash: sha256('file'),
  beginsAtMs: 1_750_000_000_000.5,
  settings: segments,
  checkpoint: { emitted: 0, position: 0 },
  runs: 0,
  description: null,
}

export function newAnswer(
  session: number,
  key: string,
  changes: Partial<IdempotencyRow> = {},
): IdempotencyRow {
  return {
    session,
    keyDigest: sha256(key),
    fingerprint: sha256(`body of ${key}`),
    createdAtMs: 1_000,
    status: 200,
    answer: JSON.parse('{"recordsReceived":3,"__proto__":{"a":[1,null]}}') as Record<
      string,
      unknown
    >,
    ...changes,
  }
}

/** A journaled media upload whose items are these blobs. */
export function mediaEntry(
  session: number,
  batch: number,
  number: number,
  blobs: readonly { readonly hash: Uint8Array; readonly bytes: Uint8Array }[],
): JournalEntry {
  return {
    session,
    batch,
    number,
    records: blobs.length,
    job: null,
    content: {
      kind: 'media',
      items: blobs.map(({ hash, bytes }, index) => ({
        hash,
        byteLength: bytes.byteLength,
        metadata: { frameNumber: index },
      })),
    },
  }
}
