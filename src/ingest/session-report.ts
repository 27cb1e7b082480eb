import { hasEnded, type SessionEnded, type SessionStatus } from '../contracts/http.ts'
import type { SessionRow } from '../store/interfaces.ts'

/** `batch-001`: counts per session, three digits at least. */
export function batchName(batch: number): string {
  return `batch-${String(batch).padStart(3, '0')}`
}

/**
 * The status reply. Received = processed + queued + rejected + dead-lettered + cancelled, at every
 * moment; each processed record is an atom where frames are not selected and audio is not cut.
 */
export function sessionStatus(row: SessionRow, nowMs = Date.now()): SessionStatus {
  const ended = hasEnded(row.status)
  return {
    sessionId: row.id,
    sessionType: row.type,
    sessionName: row.name,
    status: row.status,
    metadata: row.metadata,
    ...streamSettings(row),
    statistics: {
      totalRecordsReceived: row.recordsReceived,
      totalBatchesReceived: row.batchesReceived,
      totalAtomsCreated: row.atomsCreated,
      totalRecordsQueued: row.recordsQueued,
      totalRecordsProcessed: row.recordsProcessed,
      totalRecordsCancelled: row.recordsCancelled,
      totalRecordsRejected: row.recordsRejected,
      totalRecordsDeadLettered: row.recordsDead,
      averageBatchProcessingTimeMs:
        row.batchesProcessed === 0 ? 0 : round2(row.processingTimeMs / row.batchesProcessed),
      dataReceivedBytes: row.bytesReceived,
      sessionDurationMs: durationMs(row, nowMs),
    },
    ...(ended ? { finalHash: hex(row.chain) } : {}),
    createdAt: isoTime(row.createdAtMs),
    lastActivityAt: isoTime(row.lastActivityAtMs),
    ...(row.endedAtMs === null ? {} : { completedAt: isoTime(row.endedAtMs) }),
  }
}

/** In the words of the request that set them, with the defaults. */
function streamSettings({ frameExtraction, segmentation }: SessionRow) {
  const shown: Pick<SessionStatus, 'frameExtraction' | 'segmentation'> = {}
  if (frameExtraction !== null) {
    const { mode, ...others } = frameExtraction
    shown.frameExtraction = { frameExtractionMode: mode, ...others }
  }
  if (segmentation !== null) {
    const { mode, ...others } = segmentation
    shown.segmentation = { segmentationMode: mode, ...others }
  }
  return shown
}

/**
 * The reply to `end`, the same ever after: what is redriven later shows in the status alone. While the
 * session is completing it has no final hash yet.
 */
export function sessionEnded(row: SessionRow, nowMs = Date.now()): SessionEnded {
  const totalDurationMs = durationMs(row, nowMs)
  const { recordsReceived, batchesReceived, atomsCreated, chain } = row.final ?? row
  return {
    sessionId: row.id,
    status: row.status,
    finalStatistics: {
      totalRecordsReceived: recordsReceived,
      totalBatchesReceived: batchesReceived,
      totalAtomsCreated: atomsCreated,
      totalDurationMs,
      averageThroughputRecordsPerSecond:
        totalDurationMs === 0 ? 0 : round2((recordsReceived * 1000) / totalDurationMs),
    },
    ...(row.endedAtMs === null
      ? {}
      : { finalHash: hex(chain), completedAt: isoTime(row.endedAtMs) }),
  }
}

export function durationMs(row: SessionRow, nowMs: number): number {
  return Math.max(0, (row.endedAtMs ?? nowMs) - row.createdAtMs)
}

let formatted = { ms: Number.NaN, text: '' }

/** The same instant is asked for again and again: all events of a commit bear one. */
export function isoTime(ms: number): string {
  if (formatted.ms !== ms) formatted = { ms, text: new Date(ms).toISOString() }
  return formatted.text
}

export function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('hex')
}

function round2(value: number): number {
  return Math.round(value * 100) / 100
}
