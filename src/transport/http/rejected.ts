import { Type } from '@sinclair/typebox'
import { RejectedPage } from '../../contracts/http.ts'
import { batchName, isoTime } from '../../ingest/session-report.ts'
import { limits } from '../../limits.ts'
import { route } from '../route.ts'
import { findSession, numberCursor, PageQuery, SessionParams } from './session-params.ts'

export const listRejected = route({
  method: 'GET',
  path: '/api/streaming/sessions/:sessionId/rejected',
  summary: 'Records that failed validation, each with its reason',
  scope: 'sessions:read',
  params: SessionParams,
  query: Type.Object(PageQuery),
  replies: { 200: RejectedPage },
  errors: ['SESSION_NOT_FOUND'],
  handle: ({ params, query }, context) => {
    const session = findSession(context, context.tenant, params.sessionId)
    const limit = Math.min(query.limit ?? limits.pageLimitDefault, limits.rejectedPageMax)
    const entries = context.store.rejected.list(
      session.number,
      numberCursor(query.cursor),
      limit + 1,
    )
    const next = entries[limit]
    return {
      rejected: entries.slice(0, limit).map(({ seq: _, batch, atMs, ...record }) => ({
        ...record,
        batchId: batchName(batch),
        rejectedAt: isoTime(atMs),
      })),
      nextCursor: next === undefined ? null : String(next.seq),
    }
  },
})
