import { Type } from '@sinclair/typebox'
import {
  EndSession,
  SessionEnded,
  SessionList,
  SessionStarted,
  SessionStatus,
  SessionStatusName,
  SessionType,
  StartSession,
} from '../../contracts/http.ts'
import { isoTime, sessionEnded, sessionStatus } from '../../ingest/session-report.ts'
import { limits } from '../../limits.ts'
import { Reply, route } from '../route.ts'
import { requireOwnTenant } from './own-tenant.ts'
import { findSession, listCursor, nextCursorOf, SessionParams } from './session-params.ts'

const base = '/api/streaming/sessions'

export const startSession = route({
  method: 'POST',
  path: `${base}/start`,
  summary: 'Start a session',
  scope: 'sessions:write',
  body: StartSession,
  replies: { 200: SessionStarted },
  errors: ['TENANT_MISMATCH', 'SCHEMA_NOT_FOUND', 'SESSION_LIMIT_REACHED', 'STORE_FULL'],
  handle: async ({ body }, { tenant, principal, sessions, baseUrl }) => {
    requireOwnTenant(body, tenant)
    const row = await sessions.start(principal, body)
    const url = `${baseUrl}${base}/${row.id}`
    return {
      sessionId: row.id,
      sessionType: row.type,
      sessionName: row.name,
      status: row.status,
      createdAt: isoTime(row.createdAtMs),
      uploadUrl: `${url}/upload`,
      statusUrl: `${url}/status`,
      sseUrl: `${url}/events`,
      websocketUrl: `${url.replace(/^http/, 'ws')}/ws`,
    }
  },
})

export const listSessions = route({
  method: 'GET',
  path: base,
  summary: 'List sessions, newest first',
  scope: 'sessions:read',
  query: Type.Object({
    status: Type.Optional(SessionStatusName),
    type: Type.Optional(SessionType),
    limit: Type.Optional(Type.Integer({ minimum: 1, maximum: limits.sessionsPageLimitMax })),
    cursor: Type.Optional(Type.String({ description: 'nextCursor of the page before' })),
  }),
  replies: { 200: SessionList },
  errors: [],
  handle: ({ query }, { tenant, sessions }) => {
    const limit = query.limit ?? limits.sessionsPageLimitDefault
    const filter = {
      ...(query.status === undefined ? {} : { status: query.status }),
      ...(query.type === undefined ? {} : { type: query.type }),
    }
    const page = sessions.list(tenant, filter, limit, listCursor(query.cursor))
    return {
      sessions: page.rows.map((row) => sessionStatus(row)),
      nextCursor: nextCursorOf(page),
    }
  },
})

export const readSessionStatus = route({
  method: 'GET',
  path: `${base}/:sessionId/status`,
  summary: 'Status and statistics of a session',
  scope: 'sessions:read',
  params: SessionParams,
  replies: { 200: SessionStatus },
  errors: ['SESSION_NOT_FOUND'],
  handle: ({ params }, context) =>
    sessionStatus(findSession(context, context.tenant, params.sessionId)),
})

function moveRoute(move: 'pause' | 'resume' | 'cancel', summary: string) {
  return route({
    method: 'POST',
    path: `${base}/:sessionId/${move}`,
    summary,
    scope: 'sessions:write',
    params: SessionParams,
    replies: { 200: SessionStatus },
    errors: ['SESSION_NOT_FOUND', 'SESSION_STATE_CONFLICT', 'STORE_FULL'],
    handle: async ({ params }, context) => {
      const { id } = findSession(context, context.tenant, params.sessionId)
      return sessionStatus(await context.sessions[move](context.principal, id))
    },
  })
}

export const pauseSession = moveRoute('pause', 'Pause a session: it takes no uploads until resumed')
export const resumeSession = moveRoute('resume', 'Resume a paused session')
export const cancelSession = moveRoute('cancel', 'Cancel a session')

export const endSession = route({
  method: 'POST',
  path: `${base}/:sessionId/end`,
  summary: 'End a session: what is queued is processed first',
  scope: 'sessions:write',
  params: SessionParams,
  body: EndSession,
  bodyOptional: true,
  replies: { 200: SessionEnded, 202: SessionEnded },
  errors: ['SESSION_NOT_FOUND', 'SESSION_STATE_CONFLICT', 'STORE_FULL'],
  handle: async ({ params, body }, context) => {
    const { id } = findSession(context, context.tenant, params.sessionId)
    const row = await context.sessions.end(context.principal, id, body)
    return new Reply(row.status === 'completing' ? 202 : 200, sessionEnded(row))
  },
})
