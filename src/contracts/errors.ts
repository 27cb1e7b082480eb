import { type Static, type TObject, type TSchema, Type } from '@sinclair/typebox'
import { limits } from '../limits.ts'

/**
 * The one catalogue of everything a client can be told is wrong. `status` is the HTTP status, `error`
 * the short title that the documents print, `message` and `suggestion` the defaults of the body;
 * `fields` are further members of the body beside `error`, `code`, `message` and `requestId`.
 */
export interface ErrorEntry {
  readonly status: number
  readonly error: string
  readonly message: string
  readonly suggestion?: string
  readonly fields?: TObject
}

/** One value that failed validation, as the documents show it. `value` is cut to 200 characters. */
export const InvalidRecord = Type.Object({
  recordIndex: Type.Integer({ minimum: 0, description: 'position in the upload, from 0' }),
  field: Type.String(),
  value: Type.Unknown({ description: 'the offending value, shortened where it is long' }),
  expectedType: Type.String(),
  message: Type.String(),
})
export type InvalidRecord = Static<typeof InvalidRecord>

const sessionFields = Type.Object({
  sessionId: Type.String(),
  suggestions: Type.Array(Type.String()),
})
const fieldFields = Type.Object({ field: Type.String(), expected: Type.String() })

const catalogue = {
  /** The body is not JSON. */
  MALFORMED_JSON: {
    status: 400,
    error: 'Malformed JSON',
    message: 'The body is not valid JSON',
    suggestion: 'Send one JSON value as RFC 8259 defines it',
  },
  /** The body is not msgpack. */
  MALFORMED_MSGPACK: {
    status: 400,
    error: 'Malformed msgpack',
    message: 'The body is not one complete msgpack value',
    suggestion: 'Send one msgpack map, complete and without trailing bytes',
  },
  /** JSON text must be UTF-8. */
  INVALID_UTF8: {
    status: 400,
    error: 'Invalid UTF-8',
    message: 'The body holds bytes that are not UTF-8',
    suggestion: 'Encode the text as UTF-8',
  },
  /** Deeper than any document we define; refused before anything recursive sees it. */
  NESTING_TOO_DEEP: {
    status: 400,
    error: 'Nesting too deep',
    message: 'The body nests arrays or objects too deeply',
    suggestion: 'Send flat records',
    fields: Type.Object({ maxDepth: Type.Integer() }),
  },
  /** `Content-Encoding: gzip` that is not gzip. */
  MALFORMED_ENCODING: {
    status: 400,
    error: 'Malformed content encoding',
    message: 'The body is not what Content-Encoding claims',
    suggestion: 'Compress the body with gzip or leave Content-Encoding out',
  },
  /** A path, query or header value that is wrong, unknown or missing. */
  INVALID_PARAMETER: {
    status: 400,
    error: 'Invalid parameter',
    message: 'A request parameter is not valid',
    fields: fieldFields,
  },
  /** Framing that two readers could take differently. */
  INVALID_FRAMING: {
    status: 400,
    error: 'Invalid message framing',
    message: 'Content-Length and Transfer-Encoding must agree and stand once',
    suggestion: 'Send exactly one Content-Length, or Transfer-Encoding: chunked',
  },
  UNAUTHORIZED: {
    status: 401,
    error: 'Unauthorized',
    message: 'A valid API key is required',
    suggestion: 'Send Authorization: Bearer KEY or X-API-Key: KEY',
  },
  SCOPE_MISSING: {
    status: 403,
    error: 'Forbidden',
    message: 'The API key lacks the scope that this request needs',
    suggestion: 'Create a key with this scope',
    fields: Type.Object({ requiredScope: Type.String() }),
  },
  TENANT_MISMATCH: {
    status: 403,
    error: 'Forbidden',
    message: 'tenantId does not belong to this API key',
    suggestion: 'Leave tenantId out: it is taken from the key',
  },
  ORIGIN_FORBIDDEN: {
    status: 403,
    error: 'Forbidden',
    message: 'This Origin may not use the server from a browser',
    suggestion: 'Add the origin to ATOMSTREAM_CORS_ORIGINS',
  },
  ROUTE_NOT_FOUND: {
    status: 404,
    error: 'Not found',
    message: 'No such endpoint',
    suggestion: 'See /openapi.json for all endpoints',
  },
  SESSION_NOT_FOUND: {
    status: 404,
    error: 'Session not found',
    message: 'No active session found with this ID',
    fields: sessionFields,
  },
  ATOM_NOT_FOUND: {
    status: 404,
    error: 'Atom not found',
    message: 'No atom found with this hash',
    suggestion: 'Take hashes from the atoms or records of a session',
    fields: Type.Object({ hash: Type.String() }),
  },
  SCHEMA_NOT_FOUND: {
    status: 404,
    error: 'Schema not found',
    message: 'No schema is registered under this name and version',
    suggestion: 'Register it with POST /api/streaming/schemas',
    fields: Type.Object({ schemaName: Type.String(), schemaVersion: Type.String() }),
  },
  DEAD_LETTER_NOT_FOUND: {
    status: 404,
    error: 'Dead letter not found',
    message: 'No dead letter found with this ID',
    suggestion: 'It may have been redriven or dropped; see GET /api/streaming/dlq',
    fields: Type.Object({ deadLetterId: Type.String() }),
  },
  MEMORY_NOT_FOUND: {
    status: 404,
    error: 'Memory not found',
    message: 'No memory found with this ID',
    suggestion: 'See GET /api/v1/memories',
    fields: Type.Object({ memoryId: Type.String() }),
  },
  JOB_NOT_FOUND: {
    status: 404,
    error: 'Job not found',
    message: 'No job found with this ID',
    suggestion: 'See GET /api/streaming/jobs',
    fields: Type.Object({ jobId: Type.String() }),
  },
  METHOD_NOT_ALLOWED: {
    status: 405,
    error: 'Method not allowed',
    message: 'This endpoint does not take this method',
    fields: Type.Object({ allowed: Type.Array(Type.String()) }),
  },
  NOT_ACCEPTABLE: {
    status: 406,
    error: 'Not acceptable',
    message: 'None of the types in Accept can be produced here',
    fields: Type.Object({ available: Type.Array(Type.String()) }),
  },
  SESSION_STATE_CONFLICT: {
    status: 409,
    error: 'Session state conflict',
    message: 'The session is not in a state that allows this',
    suggestion: 'Read its status and decide again',
    fields: Type.Object({ sessionId: Type.String(), status: Type.String() }),
  },
  SESSION_LIMIT_REACHED: {
    status: 409,
    error: 'Session limit reached',
    message: 'The tenant has as many open sessions as it may',
    suggestion: 'End sessions that are no longer used',
    fields: Type.Object({ maxOpenSessions: Type.Integer() }),
  },
  /** A job that has ended stays as it is. */
  JOB_STATE_CONFLICT: {
    status: 409,
    error: 'Job state conflict',
    message: 'The job has ended',
    suggestion: 'Read its status',
    fields: Type.Object({ jobId: Type.String(), status: Type.String() }),
  },
  /** An Idempotency-Key stands for one upload for 24 hours. */
  IDEMPOTENCY_CONFLICT: {
    status: 409,
    error: 'Idempotency conflict',
    message: 'This idempotency key was used for another upload of the session',
    suggestion: 'Send the same upload again, or this one under a key of its own',
  },
  SCHEMA_EXISTS: {
    status: 409,
    error: 'Schema exists',
    message: 'This name and version is registered with another definition',
    suggestion: 'Register the change under a new version',
    fields: Type.Object({ schemaName: Type.String(), schemaVersion: Type.String() }),
  },
  SCHEMA_LIMIT_REACHED: {
    status: 409,
    error: 'Schema limit reached',
    message: 'This tenant has as many registered schemas as it may',
    suggestion: 'Use a registered schema, or give one inline when a session starts',
    fields: Type.Object({ maxSchemas: Type.Integer() }),
  },
  BODY_TOO_LARGE: {
    status: 413,
    error: 'Body too large',
    message: 'The body is larger than this server takes',
    suggestion: 'Split data into smaller uploads',
    fields: Type.Object({ maxBytes: Type.Integer() }),
  },
  BATCH_SIZE_EXCEEDED: {
    status: 413,
    error: 'Batch size exceeded',
    message: 'Batch exceeds maximum allowed size',
    suggestion: 'Split data into smaller batches',
    fields: Type.Object({ maxBatchSize: Type.Integer(), receivedBatchSize: Type.Integer() }),
  },
  UNSUPPORTED_MEDIA_TYPE: {
    status: 415,
    error: 'Unsupported media type',
    message: 'This endpoint does not take this Content-Type',
    fields: Type.Object({ supported: Type.Array(Type.String()) }),
  },
  UNSUPPORTED_ENCODING: {
    status: 415,
    error: 'Unsupported content encoding',
    message: 'This endpoint does not take this Content-Encoding',
    fields: Type.Object({ supported: Type.Array(Type.String()) }),
  },
  /** The body parses but a member of it is wrong. */
  INVALID_BODY: {
    status: 422,
    error: 'Invalid data format',
    message: 'A member of the body is not valid',
    fields: fieldFields,
  },
  /** Records, frames or buffers that fail validation: all of them, or any under `reject-batch`. */
  INVALID_RECORDS: {
    status: 422,
    error: 'Invalid data format',
    message: 'Records failed validation and nothing was kept',
    suggestion: 'Fix invalid records and resubmit batch',
    fields: Type.Object({ batchId: Type.String(), invalidRecords: Type.Array(InvalidRecord) }),
  },
  RATE_LIMIT_EXCEEDED: {
    status: 429,
    error: 'Rate limit exceeded',
    message: 'Too many requests to streaming API',
    fields: Type.Object({
      limit: Type.Integer(),
      window: Type.String(),
      retryAfter: Type.Integer({ description: 'seconds' }),
    }),
  },
  /** A bug of ours: logged with the same requestId. */
  INTERNAL: {
    status: 500,
    error: 'Internal error',
    message: 'The server failed to handle this request',
    suggestion: 'Report it with the requestId',
  },
  SATURATED: {
    status: 503,
    error: 'Saturated',
    message: 'The server has as much work as it may hold',
    suggestion: 'Send again after Retry-After seconds',
    fields: Type.Object({ retryAfter: Type.Integer({ description: 'seconds' }) }),
  },
  /** There is no ffmpeg, so only WAV files can be taken. */
  DECODER_MISSING: {
    status: 503,
    error: 'Decoder missing',
    message: 'This server has no ffmpeg to decode the file with',
    suggestion: 'Install ffmpeg or set ATOMSTREAM_FFMPEG',
    fields: Type.Object({ retryAfter: Type.Integer({ description: 'seconds' }) }),
  },
  SHUTTING_DOWN: {
    status: 503,
    error: 'Shutting down',
    message: 'The server is stopping and takes no new work',
    suggestion: 'Send again after Retry-After seconds',
    fields: Type.Object({ retryAfter: Type.Integer({ description: 'seconds' }) }),
  },
  /** The thread died, threw, ran out of memory or hung on this upload alone. */
  WORKER_FAILED: {
    status: 503,
    error: 'Worker failed',
    message: 'The worker that checked this upload failed; nothing of it was kept',
    suggestion: 'Send again after Retry-After seconds',
    fields: Type.Object({ retryAfter: Type.Integer({ description: 'seconds' }) }),
  },
  /** The index of memories is being built: after a start, or after its thread failed. */
  SEARCH_NOT_READY: {
    status: 503,
    error: 'Search not ready',
    message: 'The search index is being built',
    suggestion: 'Send again after Retry-After seconds',
    fields: Type.Object({ retryAfter: Type.Integer({ description: 'seconds' }) }),
  },
  STORE_FULL: {
    status: 507,
    error: 'Insufficient storage',
    message: 'The store has no room for this; nothing of it was kept',
    suggestion: 'Free disk space or raise the bound of the store',
  },
} as const satisfies Record<string, ErrorEntry>

export type ErrorCode = keyof typeof catalogue
export const errorCatalogue: Readonly<Record<ErrorCode, ErrorEntry>> = catalogue

/** What a refused request is told beside the catalogue's own words. */
export interface RefusalDetail {
  /** Replaces the catalogue's message. */
  readonly message?: string
  /** Further members of the body, as the catalogue's `fields` declare them. */
  readonly fields?: Readonly<Record<string, unknown>>
  readonly headers?: Readonly<Record<string, string>>
}

/** Something in operation went wrong in a way that the catalogue names. Crosses threads as data. */
export class Refusal extends Error {
  readonly detail: RefusalDetail

  constructor(
    readonly code: ErrorCode,
    detail: RefusalDetail = {},
  ) {
    super(detail.message ?? errorCatalogue[code].message)
    this.name = 'Refusal'
    this.detail = detail
  }

  get status(): number {
    return errorCatalogue[this.code].status
  }

  /** The JSON body of the reply, `requestId` included. */
  body(requestId: string): Record<string, unknown> {
    const entry = errorCatalogue[this.code]
    return {
      error: entry.error,
      code: this.code,
      ...this.detail.fields,
      message: this.message,
      ...(entry.suggestion === undefined ? {} : { suggestion: entry.suggestion }),
      requestId,
    }
  }
}

/** The schema of one error's body, for OpenAPI. */
export function errorBodySchema(code: ErrorCode): TSchema {
  const entry = errorCatalogue[code]
  return Type.Object({
    error: Type.Literal(entry.error),
    code: Type.Literal(code),
    message: Type.String(),
    requestId: Type.String(),
    ...(entry.suggestion === undefined ? {} : { suggestion: Type.String() }),
    ...entry.fields?.properties,
  })
}

/** The server cannot take this now; the client may come again. */
export function retryLater(
  code: 'SATURATED' | 'SHUTTING_DOWN' | 'WORKER_FAILED' | 'DECODER_MISSING' | 'SEARCH_NOT_READY',
  retryAfterS: number = limits.retryAfterS,
): Refusal {
  return new Refusal(code, { fields: { retryAfter: retryAfterS } })
}

export function sessionNotFound(sessionId: string): Refusal {
  return new Refusal('SESSION_NOT_FOUND', {
    fields: {
      sessionId,
      suggestions: [
        'Verify session ID is correct',
        'Check if session expired (max 24 hours)',
        'Start a new session',
      ],
    },
  })
}

export function invalidParameter(field: string, expected: string): Refusal {
  return new Refusal('INVALID_PARAMETER', {
    message: `${field}: expected ${expected}`,
    fields: { field, expected },
  })
}

export function invalidBody(field: string, expected: string): Refusal {
  return new Refusal('INVALID_BODY', {
    message: `${field}: expected ${expected}`,
    fields: { field, expected },
  })
}
