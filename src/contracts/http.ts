import { type Static, Type } from '@sinclair/typebox'
import { limits } from '../limits.ts'
import { InvalidRecord } from './errors.ts'
import { InlineSchema } from './schema.ts'

const Timestamp = Type.String({ format: 'date-time', description: 'RFC 3339, UTC' })
const Count = Type.Integer({ minimum: 0 })
const Metadata = Type.Record(Type.String(), Type.Unknown())

export const SessionType = Type.Union([
  Type.Literal('telemetry'),
  Type.Literal('video'),
  Type.Literal('audio'),
])
export const SessionStatusName = Type.Union([
  Type.Literal('initializing'),
  Type.Literal('active'),
  Type.Literal('paused'),
  Type.Literal('completing'),
  Type.Literal('completed'),
  Type.Literal('failed'),
  Type.Literal('cancelled'),
])
export type SessionStatusName = Static<typeof SessionStatusName>

/** No move leads on from these. */
export function hasEnded(status: SessionStatusName): boolean {
  return status === 'completed' || status === 'failed' || status === 'cancelled'
}

export const RetrySettings = Type.Object(
  {
    maxRetries: Type.Optional(Type.Integer({ minimum: 0, maximum: limits.retriesMax })),
    retryDelayMs: Type.Optional(Type.Integer({ minimum: 0, maximum: limits.retryDelayMsMax })),
    retryBackoffMultiplier: Type.Optional(
      Type.Number({ minimum: 1, maximum: limits.retryBackoffMultiplierMax }),
    ),
  },
  { additionalProperties: false },
)

export const StartSession = Type.Object(
  {
    sessionType: SessionType,
    sessionName: Type.Optional(
      Type.String({ minLength: 1, maxLength: limits.sessionNameCharsMax }),
    ),
    metadata: Type.Optional(Metadata),
    batchSize: Type.Optional(Type.Integer({ minimum: 1, maximum: limits.batchSizeMax })),
    maxBatchDelayMs: Type.Optional(Type.Integer({ minimum: 0, maximum: limits.batchDelayMsMax })),
    maxConcurrentBatches: Type.Optional(
      Type.Integer({ minimum: 1, maximum: limits.concurrentBatchesMax }),
    ),
    tenantId: Type.Optional(Type.Integer({ minimum: 0 })),
    retry: Type.Optional(RetrySettings),
    schema: Type.Optional(
      Type.Union([
        Type.Object(
          { name: Type.String({ minLength: 1 }), version: Type.String({ minLength: 1 }) },
          { additionalProperties: false },
        ),
        InlineSchema,
      ]),
    ),
    onInvalid: Type.Optional(
      Type.Union([Type.Literal('reject-records'), Type.Literal('reject-batch')]),
    ),
    verify: Type.Optional(Type.Union([Type.Literal('structure'), Type.Literal('pixels')])),
  },
  { additionalProperties: false },
)
export type StartSession = Static<typeof StartSession>

export const SessionStarted = Type.Object({
  sessionId: Type.String(),
  sessionType: SessionType,
  sessionName: Type.String(),
  status: SessionStatusName,
  createdAt: Timestamp,
  uploadUrl: Type.String(),
  statusUrl: Type.String(),
  sseUrl: Type.String(),
  websocketUrl: Type.String(),
})

/** `recordsReceived = recordsProcessed + recordsQueued + recordsRejected`, all of this upload. */
export const UploadReply = Type.Object({
  sessionId: Type.String(),
  recordsReceived: Count,
  recordsProcessed: Count,
  recordsQueued: Count,
  recordsRejected: Count,
  batchId: Type.String(),
  processingTimeMs: Count,
  status: SessionStatusName,
  invalidRecords: Type.Optional(
    Type.Array(InvalidRecord, { maxItems: limits.invalidRecordsShownMax }),
  ),
})
export type UploadReply = Static<typeof UploadReply>

export const SessionStatus = Type.Object({
  sessionId: Type.String(),
  sessionType: SessionType,
  sessionName: Type.String(),
  status: SessionStatusName,
  metadata: Metadata,
  statistics: Type.Object({
    totalRecordsReceived: Count,
    totalBatchesReceived: Count,
    totalAtomsCreated: Count,
    totalRecordsQueued: Count,
    totalRecordsRejected: Count,
    averageBatchProcessingTimeMs: Type.Number({ minimum: 0 }),
    dataReceivedBytes: Count,
    sessionDurationMs: Count,
  }),
  finalHash: Type.Optional(Type.String()),
  createdAt: Timestamp,
  lastActivityAt: Timestamp,
  completedAt: Type.Optional(Timestamp),
})
export type SessionStatus = Static<typeof SessionStatus>

export const SessionList = Type.Object({
  sessions: Type.Array(SessionStatus),
  nextCursor: Type.Union([Type.String(), Type.Null()]),
})

export const EndSession = Type.Object(
  {
    waitForCompletion: Type.Optional(Type.Boolean()),
    timeoutMs: Type.Optional(Type.Integer({ minimum: 0, maximum: limits.endTimeoutMsMax })),
  },
  { additionalProperties: false },
)
export type EndSession = Static<typeof EndSession>

export const SessionEnded = Type.Object({
  sessionId: Type.String(),
  status: SessionStatusName,
  finalStatistics: Type.Object({
    totalRecordsReceived: Count,
    totalBatchesReceived: Count,
    totalAtomsCreated: Count,
    totalDurationMs: Count,
    averageThroughputRecordsPerSecond: Type.Number({ minimum: 0 }),
  }),
  finalHash: Type.Optional(Type.String()),
  completedAt: Type.Optional(Timestamp),
})
export type SessionEnded = Static<typeof SessionEnded>

/** A value of a telemetry record. */
export const RecordValue = Type.Union([Type.String(), Type.Number(), Type.Boolean(), Type.Null()])

export const RecordRow = Type.Object({
  timestamp: Timestamp,
  values: Type.Record(Type.String(), RecordValue),
  address: Type.String({ description: 'blockHash/index' }),
})
export const RecordPage = Type.Object({
  records: Type.Array(RecordRow),
  nextCursor: Type.Union([Type.String(), Type.Null()]),
})

export const AtomRow = Type.Object({
  seq: Count,
  kind: Type.Union([Type.Literal('block'), Type.Literal('frame'), Type.Literal('buffer')]),
  hash: Type.String({ description: 'SHA-256 of the bytes, hex' }),
  bytes: Count,
  metadata: Metadata,
})
export type AtomRow = Static<typeof AtomRow>
export const AtomPage = Type.Object({
  atoms: Type.Array(AtomRow),
  nextCursor: Type.Union([Type.String(), Type.Null()]),
})

export const RejectedPage = Type.Object({
  rejected: Type.Array(
    Type.Intersect([
      InvalidRecord,
      Type.Object({
        batchId: Type.String(),
        rejectedAt: Timestamp,
        record: Type.String({ description: 'JSON text of the record, shortened' }),
      }),
    ]),
  ),
  nextCursor: Type.Union([Type.String(), Type.Null()]),
})

export const TicketRequest = Type.Object(
  { resource: Type.String({ minLength: 1, maxLength: 512, pattern: '^/' }) },
  { additionalProperties: false },
)
export const TicketReply = Type.Object({ ticket: Type.String(), expiresAt: Timestamp })

export const Health = Type.Object({
  status: Type.Literal('healthy'),
  version: Type.String(),
  uptimeMs: Count,
})
