import { type Static, Type } from '@sinclair/typebox'
import { limits } from '../limits.ts'
import { InvalidRecord } from './errors.ts'
import { FrameExtraction, Segmentation } from './media.ts'
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
    frameExtraction: Type.Optional(FrameExtraction),
    segmentation: Type.Optional(Segmentation),
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
  /** As it holds, with the defaults filled in. */
  frameExtraction: Type.Optional(Type.Record(Type.String(), Type.Unknown())),
  segmentation: Type.Optional(Type.Record(Type.String(), Type.Unknown())),
  statistics: Type.Object({
    totalRecordsReceived: Count,
    totalBatchesReceived: Count,
    totalAtomsCreated: Count,
    totalRecordsQueued: Count,
    totalRecordsProcessed: Count,
    totalRecordsCancelled: Count,
    totalRecordsRejected: Count,
    totalRecordsDeadLettered: Count,
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

/** A call looks at so many rows at most, and what a filter takes of them may be few. */
const ListCursor = Type.Union([Type.String(), Type.Null()], {
  description:
    'cursor of the next page, null at the end; a page may hold fewer rows than its limit, ' +
    'none even, and still name one',
})

export const SessionList = Type.Object({
  sessions: Type.Array(SessionStatus),
  nextCursor: ListCursor,
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

export const IntervalPage = Type.Object(
  {
    intervals: Type.Array(
      Type.Object({
        start: Timestamp,
        fields: Type.Record(
          Type.String(),
          Type.Object({
            min: Type.Number(),
            max: Type.Number(),
            mean: Type.Number({ description: 'arithmetic mean of the numbers' }),
            count: Type.Integer({ minimum: 1, description: 'numbers, not records' }),
          }),
        ),
      }),
      { maxItems: limits.downsampleCellsMax },
    ),
  },
  {
    description:
      'with downsample: the intervals that hold records, the earliest first, each once and with the ' +
      'fields that have numbers in it; strings, booleans and null are not aggregated',
  },
)

export const AtomRow = Type.Object({
  seq: Count,
  kind: Type.Union([
    Type.Literal('block'),
    Type.Literal('frame'),
    Type.Literal('buffer'),
    Type.Literal('segment'),
  ]),
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

const FailedAttempt = Type.Object({
  attempt: Type.Integer({ minimum: 1 }),
  failedAt: Timestamp,
  errorCode: Type.String(),
  message: Type.String(),
})
const deadLetter = {
  deadLetterId: Type.String(),
  sessionId: Type.String(),
  batchId: Type.String(),
  recordCount: Count,
  errorCode: Type.String(),
  message: Type.String(),
  attempts: Type.Integer({
    minimum: 1,
    description: 'made so far, those before a redrive included',
  }),
  firstFailedAt: Timestamp,
  deadLetteredAt: Timestamp,
}
export const DeadLetter = Type.Object(deadLetter)
export type DeadLetter = Static<typeof DeadLetter>

export const DeadLetterList = Type.Object({
  deadLetters: Type.Array(DeadLetter),
  nextCursor: ListCursor,
})

/** A page of what the batch holds: records as they were sent, or frames and buffers by their hashes. */
export const DeadLetterPayload = Type.Object({
  kind: Type.Union([Type.Literal('records'), Type.Literal('frames'), Type.Literal('buffers')]),
  records: Type.Optional(
    Type.Array(
      Type.Object({ timestamp: Timestamp, values: Type.Record(Type.String(), RecordValue) }),
    ),
  ),
  items: Type.Optional(
    Type.Array(Type.Object({ hash: Type.String(), bytes: Count, metadata: Metadata })),
  ),
  /** Set where the payload itself cannot be read. */
  unreadable: Type.Optional(Type.String()),
  nextCursor: Type.Union([Type.String(), Type.Null()]),
})
export type DeadLetterPayload = Static<typeof DeadLetterPayload>

export const DeadLetterDetail = Type.Object({
  ...deadLetter,
  history: Type.Array(FailedAttempt),
  payload: DeadLetterPayload,
})
export type DeadLetterDetail = Static<typeof DeadLetterDetail>

/** Which dead letters to redrive: all that match every member that is given. */
export const RedriveSelection = Type.Object(
  {
    deadLetterIds: Type.Optional(
      Type.Array(Type.String({ minLength: 1, maxLength: 128 }), {
        minItems: 1,
        maxItems: limits.redriveSelectionMax,
      }),
    ),
    sessionId: Type.Optional(Type.String({ minLength: 1, maxLength: 128 })),
    errorCode: Type.Optional(Type.String({ minLength: 1, maxLength: 128 })),
    all: Type.Optional(Type.Literal(true)),
  },
  {
    additionalProperties: false,
    minProperties: 1,
    description: 'an object with deadLetterIds, sessionId, errorCode or all: true',
  },
)
export type RedriveSelection = Static<typeof RedriveSelection>

export const JobStatusName = Type.Union([
  Type.Literal('queued'),
  Type.Literal('in-progress'),
  Type.Literal('completed'),
  Type.Literal('failed'),
  Type.Literal('cancelled'),
])

export const JobStarted = Type.Object({
  jobId: Type.String(),
  sessionId: Type.Union([Type.String(), Type.Null()], {
    description: 'null where the job works on several sessions',
  }),
  status: JobStatusName,
  statusUrl: Type.Optional(Type.String()),
})
export type JobStarted = Static<typeof JobStarted>

const JobStepName = Type.Union([
  Type.Literal('upload'),
  Type.Literal('validation'),
  Type.Literal('atomization'),
  Type.Literal('indexing'),
  Type.Literal('completion'),
])
const JobPhase = Type.Object({
  status: Type.Union([
    Type.Literal('pending'),
    Type.Literal('in-progress'),
    Type.Literal('completed'),
    Type.Literal('failed'),
    Type.Literal('cancelled'),
  ]),
  durationMs: Type.Optional(Count),
  percentComplete: Type.Optional(Type.Number({ minimum: 0, maximum: 100 })),
  estimatedRemainingMs: Type.Optional(Count),
})

/** What was kept of a job that failed or was cancelled. */
const PartialResult = Type.Object({
  atomsCreated: Count,
  itemsProcessed: Count,
  /** Of a video: frames count from 1 here, as the document shows it. */
  lastSuccessfulFrame: Type.Optional(Count),
  lastSuccessfulSample: Type.Optional(Count),
})

const JobItemUnit = Type.Union(
  [Type.Literal('records'), Type.Literal('frames'), Type.Literal('samples')],
  { description: 'of a file: frames of its source, or samples of each channel' },
)

/** A job as it stands; which members it has depends on its status. */
export const JobStatusReply = Type.Object({
  jobId: Type.String(),
  kind: Type.Union([Type.Literal('upload'), Type.Literal('redrive'), Type.Literal('media')]),
  sessionId: Type.Union([Type.String(), Type.Null()]),
  status: JobStatusName,
  currentPhase: JobStepName,
  phaseProgress: Type.Record(JobStepName, JobPhase),
  progress: Type.Optional(
    Type.Object({
      currentStep: JobStepName,
      totalSteps: Count,
      percentComplete: Type.Number({ minimum: 0, maximum: 100 }),
      itemsProcessed: Count,
      totalItems: Type.Union([Count, Type.Null()], {
        description: 'null where a file does not tell',
      }),
      itemUnit: JobItemUnit,
      estimatedTimeRemainingMs: Type.Union([Count, Type.Null()]),
    }),
  ),
  result: Type.Optional(
    Type.Object({ atomsCreated: Count, totalDurationMs: Count, finalHash: Type.String() }),
  ),
  error: Type.Optional(
    Type.Object({
      code: Type.String(),
      message: Type.String(),
      details: Type.String(),
      failedAt: Timestamp,
    }),
  ),
  partialResult: Type.Optional(PartialResult),
  startedAt: Timestamp,
  lastUpdatedAt: Timestamp,
  completedAt: Type.Optional(Timestamp),
  failedAt: Type.Optional(Timestamp),
  cancelledAt: Type.Optional(Timestamp),
  statusUrl: Type.String(),
})
export type JobStatusReply = Static<typeof JobStatusReply>

export const JobCancelled = Type.Object({
  jobId: Type.String(),
  status: JobStatusName,
  cancelledAt: Timestamp,
  partialResult: PartialResult,
})
export type JobCancelled = Static<typeof JobCancelled>

export const JobList = Type.Object({
  jobs: Type.Array(JobStatusReply),
  nextCursor: ListCursor,
})

export const TicketRequest = Type.Object(
  { resource: Type.String({ minLength: 1, maxLength: 512, pattern: '^/' }) },
  { additionalProperties: false },
)
export const TicketReply = Type.Object({ ticket: Type.String(), expiresAt: Timestamp })

export const Health = Type.Object({
  status: Type.Literal('healthy'),
  /** `full`: writes are refused with 507 for want of room, reads go on. */
  store: Type.Union([Type.Literal('writable'), Type.Literal('full')]),
  version: Type.String(),
  uptimeMs: Count,
})
