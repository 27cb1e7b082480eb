import { Type } from '@sinclair/typebox'
import { invalidParameter } from '../../contracts/errors.ts'
import { JobStarted, UploadReply } from '../../contracts/http.ts'
import { limits } from '../../limits.ts'
import { Reply, route } from '../route.ts'
import { startedReply } from './jobs.ts'
import { findSession, SessionParams } from './session-params.ts'

export const uploadData = route({
  method: 'POST',
  path: '/api/streaming/sessions/:sessionId/upload',
  summary: 'Upload records, frames or buffers; a 200 means that they are on disk',
  scope: 'ingest',
  params: SessionParams,
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
  ],
  handle: async ({ params }, context) => {
    const session = findSession(context, context.tenant, params.sessionId)
    const { upload, headers } = context
    if (upload === null) throw new Error('an upload route without its body')
    const isAsync = prefersAsync(headers.get('prefer'))
    const answer = await context.uploads.upload(session, upload, {
      idempotencyKey: idempotencyKey(headers.get('idempotency-key')),
      asJob: isAsync ? { uploadMs: upload.receivingMs } : null,
    })
    if (answer.kind === 'reply') return new Reply(answer.status, answer.reply)
    const started = startedReply(context, answer.jobId, answer.sessionId)
    const applied = { 'Preference-Applied': 'respond-async' }
    return new Reply(started.status, started.body, { ...started.headers, ...applied })
  },
})

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
