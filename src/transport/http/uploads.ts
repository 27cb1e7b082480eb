import { Type } from '@sinclair/typebox'
import { invalidBody, invalidParameter } from '../../contracts/errors.ts'
import { JobStarted, UploadReply } from '../../contracts/http.ts'
import { mediaTypes } from '../../contracts/media.ts'
import type { UploadAnswer } from '../../ingest/batch.ts'
import { limits } from '../../limits.ts'
import { supportedTypes, unsupportedType } from '../content-type.ts'
import { type FileBody, Reply, type RequestContext, route, type UploadBody } from '../route.ts'
import { instant } from './instant.ts'
import { startedReply } from './jobs.ts'
import { findSession, SessionParams } from './session-params.ts'

export const uploadData = route({
  method: 'POST',
  path: '/api/streaming/sessions/:sessionId/upload',
  summary:
    'Upload records, frames or buffers, where a 200 means that they are on disk, or a media file, ' +
    'which becomes a job',
  scope: 'ingest',
  params: SessionParams,
  query: Type.Object({
    timestamp: Type.Optional(
      Type.String({
        description:
          'of a media file: when it begins, RFC 3339 or milliseconds since the epoch; else it ' +
          'begins when it arrives',
      }),
    ),
  }),
  headers: Type.Object({
    'Idempotency-Key': Type.Optional(
      Type.String({
        minLength: 1,
        maxLength: limits.idempotencyKeyCharsMax,
        description:
          'sent again with the same body within 24 hours, it gets the first answer again',
      }),
    ),
    Prefer: Type.Optional(
      Type.String({ description: 'respond-async: be given a job once the upload is journaled' }),
    ),
  }),
  body: 'upload',
  fileTypes: Object.keys(mediaTypes),
  replies: { 200: UploadReply, 202: Type.Union([UploadReply, JobStarted]) },
  errors: [
    'SESSION_NOT_FOUND',
    'SESSION_STATE_CONFLICT',
    'IDEMPOTENCY_CONFLICT',
    'MALFORMED_MSGPACK',
    'BATCH_SIZE_EXCEEDED',
    'INVALID_RECORDS',
    'STORE_FULL',
    'WORKER_FAILED',
    'DECODER_MISSING',
  ],
  requireFile: ({ params, query }, context) => {
    const session = findSession(context, context.tenant, params.sessionId)
    const { type } = context.file
    if (type.kind !== session.type) throw unsupportedType(supportedTypes(session.type))
    instant('timestamp', query.timestamp)
    const key = idempotencyKey(context.headers.get('idempotency-key'))
    context.mediaJobs.requireWelcome(session, type, key)
  },
  handle: async ({ params, query }, context) => {
    const { upload } = context
    if (upload === null) throw new Error('an upload route without its body')
    return upload.kind === 'file'
      ? acceptFile(context, params.sessionId, upload, query.timestamp)
      : acceptRecords(context, params.sessionId, upload, query.timestamp)
  },
})

async function acceptRecords(
  context: RequestContext,
  sessionId: string,
  upload: UploadBody,
  timestamp: string | undefined,
): Promise<Reply> {
  const { headers } = context
  const session = findSession(context, context.tenant, sessionId)
  if (timestamp !== undefined) {
    throw invalidParameter('timestamp', 'to be given with a media file: records bear their own')
  }
  const isAsync = prefersAsync(headers.get('prefer'))
  const answer = await context.uploads.upload(session, upload, {
    idempotencyKey: idempotencyKey(headers.get('idempotency-key')),
    asJob: isAsync ? { actor: context.principal, uploadMs: upload.receivingMs } : null,
  })
  return answerReply(context, answer)
}

/** Whatever goes wrong, the file goes too: only a job keeps it. */
async function acceptFile(
  context: RequestContext,
  sessionId: string,
  file: FileBody,
  timestamp: string | undefined,
): Promise<Reply> {
  const { spooled, contentType, type, arrivedAtMs } = file
  try {
    if (spooled.bytes === 0) throw invalidBody('body', 'a media file, not nothing')
    const session = findSession(context, context.tenant, sessionId)
    const answer = await context.mediaJobs.accept(session, {
      actor: context.principal,
      spooled,
      contentType,
      type,
      arrivedAtMs,
      beginsAtMs: instant('timestamp', timestamp) ?? arrivedAtMs,
      uploadMs: file.receivingMs,
      idempotencyKey: idempotencyKey(context.headers.get('idempotency-key')),
    })
    return answerReply(context, answer)
  } catch (error) {
    await context.spool.remove(spooled.id)
    throw error
  }
}

function answerReply(context: RequestContext, answer: UploadAnswer): Reply {
  if (answer.kind === 'reply') return new Reply(answer.status, answer.reply)
  const started = startedReply(context, answer.jobId, answer.sessionId)
  // Of a file this is so unasked.
  const isApplied = prefersAsync(context.headers.get('prefer'))
  const headers = isApplied
    ? { ...started.headers, 'Preference-Applied': 'respond-async' }
    : started.headers
  return new Reply(started.status, started.body, headers)
}

/** Throws Refusal `INVALID_PARAMETER`. */
function idempotencyKey(header: string | undefined): string | null {
  if (header === undefined) return null
  if (/^[!-~]+$/.test(header) && header.length <= limits.idempotencyKeyCharsMax) return header
  throw invalidParameter(
    'Idempotency-Key',
    `1 to ${limits.idempotencyKeyCharsMax} visible ASCII characters`,
  )
}

/** RFC 7240: preferences stand in a list, may bear parameters, and what is unknown is ignored. */
function prefersAsync(header: string | undefined): boolean {
  const preferences = header?.split(',') ?? []
  return preferences.some((text) => text.split(';')[0]?.trim().toLowerCase() === 'respond-async')
}
