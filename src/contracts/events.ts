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

const Instant = Type.String({ format: 'date-time' })
const Members = Type.Record(Type.String(), Type.Unknown())
const NameOrNull = Type.Union([Type.String(), Type.Null()])
const Percentage = Type.Number({ minimum: 0, maximum: 100, description: 'percent' })
const ServiceStatus = Type.Union([
  Type.Literal('healthy'),
  Type.Literal('degraded'),
  Type.Literal('unavailable'),
])

/** A memory as events show it. */
const document = {
  id: Type.String(),
  content: Type.String(),
  title: NameOrNull,
  type: NameOrNull,
  metadata: Members,
  tags: Type.Array(Type.String()),
}

/** Events of a tenant that belong to no session: name to the schema of the data. */
export const tenantEvents = {
  'memory.created': Type.Object({
    ...document,
    created_at: Instant,
    created_by: Type.String(),
  }),
  'memory.updated': Type.Object({
    ...document,
    updated_at: Instant,
    updated_by: Type.String(),
    changes: Type.Object(
      {
        content: Type.Boolean(),
        title: Type.Boolean(),
        type: Type.Boolean(),
        metadata: Type.Boolean(),
        tags: Type.Boolean(),
      },
      { description: 'what is not as it was before' },
    ),
  }),
  'memory.deleted': Type.Object({
    id: Type.String(),
    metadata: Type.Record(Type.String(), Type.Unknown(), {
      description: 'as it was, so that filters find it',
    }),
    deleted_at: Instant,
    deleted_by: Type.String(),
    reason: Type.String(),
  }),
  'search.performed': Type.Object({
    query: Type.String(),
    results_count: Type.Integer(),
    execution_time: Type.Number({ description: 'milliseconds' }),
    user_id: Type.String(),
    timestamp: Instant,
    filters: Members,
  }),
  'user.activity': Type.Object({
    user_id: Type.String(),
    action: Type.String(),
    resource_type: Type.String(),
    resource_id: Type.String(),
    metadata: Members,
    timestamp: Instant,
  }),
  'system.health': Type.Object({
    status: ServiceStatus,
    timestamp: Instant,
    metrics: Type.Object({
      cpu_usage: Percentage,
      memory_usage: Percentage,
      response_time: Type.Number({ description: 'milliseconds' }),
      error_rate: Percentage,
    }),
    services: Type.Object({ api: ServiceStatus, database: ServiceStatus, search: ServiceStatus }),
  }),
  'analytics.update': Type.Object({
    total_memories: Type.Integer(),
    total_searches: Type.Integer(),
    total_operations: Type.Integer(),
    active_users: Type.Integer(),
    avg_response_time: Type.Number({ description: 'milliseconds' }),
    success_rate: Percentage,
    generated_at: Instant,
  }),
} as const

export type TenantEventName = keyof typeof tenantEvents
export type TenantEventData<N extends TenantEventName> = Static<(typeof tenantEvents)[N]>

/** Of one connection to `/api/v1/stream`, never stored. */
export const connectionEvents = {
  heartbeat: Type.Object({
    timestamp: Instant,
    status: ServiceStatus,
    connection_id: Type.String(),
  }),
  error: Type.Object({
    code: Type.Union([
      Type.Literal('CONNECTION_ERROR'),
      Type.Literal('AUTH_ERROR'),
      Type.Literal('RATE_LIMITED'),
    ]),
    message: Type.String(),
    retry_after: Type.Integer({ description: 'milliseconds' }),
  }),
} as const

export type ConnectionEventName = keyof typeof connectionEvents
export type ConnectionEventData<N extends ConnectionEventName> = Static<
  (typeof connectionEvents)[N]
>

export type SessionEventName = keyof typeof sessionEvents
export type SessionEventData<N extends SessionEventName> = Static<(typeof sessionEvents)[N]>

/** What a subscriber to a tenant may ask for by name. A gap is told of unasked. */
export const selectableEvents: readonly string[] = [
  ...Object.keys(tenantEvents),
  ...Object.keys(sessionEvents).filter((name) => name !== 'gap'),
]

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
