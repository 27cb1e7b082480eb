import { type Static, Type } from '@sinclair/typebox'

/** What every event of a session bears. `timestamp` is RFC 3339. */
const common = { sessionId: Type.String(), timestamp: Type.String({ format: 'date-time' }) }
const counts = {
  totalRecords: Type.Integer(),
  totalAtoms: Type.Integer(),
  durationMs: Type.Integer(),
}

const JobOfFile = Type.String({ description: 'of the job on a file that the atoms come from' })

/** Event name to the schema of its data. The same object is SSE data and, with `type`, a WebSocket message. */
export const sessionEvents = {
  'session-started': Type.Object(common),
  'batch-received': Type.Object({
    ...common,
    batchId: Type.String(),
    recordCount: Type.Integer(),
    jobId: Type.Optional(JobOfFile),
  }),
  'batch-processed': Type.Object({
    ...common,
    batchId: Type.String(),
    atomsCreated: Type.Integer(),
    processingTimeMs: Type.Integer(),
    jobId: Type.Optional(JobOfFile),
  }),
  'records-rejected': Type.Object({
    ...common,
    batchId: Type.String(),
    rejectedCount: Type.Integer(),
  }),
  progress: Type.Object({
    ...common,
    totalRecordsReceived: Type.Integer(),
    totalAtomsCreated: Type.Integer(),
    elapsedMs: Type.Integer(),
  }),
  error: Type.Object({
    ...common,
    errorCode: Type.String(),
    message: Type.String(),
    batchId: Type.Union([Type.String(), Type.Null()]),
    attempt: Type.Integer({ minimum: 1 }),
    deadLetterId: Type.Union([Type.String(), Type.Null()], {
      description: 'of the dead letter that the batch has become; null where it is tried again',
    }),
    jobId: Type.Optional(Type.String({ description: 'of the job that failed' })),
  }),
  'session-paused': Type.Object(common),
  'session-resumed': Type.Object(common),
  'session-completed': Type.Object({ ...common, ...counts }),
  'session-failed': Type.Object({ ...common, ...counts, message: Type.String() }),
  'session-cancelled': Type.Object({ ...common, ...counts }),
  /** Never stored: retention has dropped what the session had in this range, both ends included. */
  gap: Type.Object({ ...common, fromEventId: Type.String(), toEventId: Type.String() }),
} as const

export type SessionEventName = keyof typeof sessionEvents
export type SessionEventData<N extends SessionEventName> = Static<(typeof sessionEvents)[N]>

/** After one of these the stream of a session ends. */
export const terminalEvents: ReadonlySet<string> = new Set([
  'session-completed',
  'session-failed',
  'session-cancelled',
])

/** An event as it is stored and delivered. `number` counts per tenant and is the N of `event_N`. */
export interface StoredEvent {
  readonly tenant: number
  readonly number: number
  /** Internal number of the session it belongs to, null where it belongs to none. */
  readonly session: number | null
  readonly name: string
  /** JSON text of the data, written once. */
  readonly data: string
}
