import { UploadReply } from '../../contracts/http.ts'
import { Reply, route } from '../route.ts'
import { findSession, SessionParams } from './session-params.ts'

export const uploadData = route({
  method: 'POST',
  path: '/api/streaming/sessions/:sessionId/upload',
  summary: 'Upload records, frames or buffers; a 200 means that they are on disk',
  scope: 'ingest',
  params: SessionParams,
  body: 'upload',
  replies: { 200: UploadReply, 202: UploadReply },
  errors: [
    'SESSION_NOT_FOUND',
    'SESSION_STATE_CONFLICT',
    'MALFORMED_MSGPACK',
    'BATCH_SIZE_EXCEEDED',
    'INVALID_RECORDS',
    'STORE_FULL',
  ],
  handle: async ({ params }, context) => {
    const session = findSession(context, context.tenant, params.sessionId)
    if (context.upload === null) throw new Error('an upload route without its body')
    const { status, reply } = await context.uploads.upload(session, context.upload)
    return new Reply(status, reply)
  },
})
