import { Type } from '@sinclair/typebox'
import { invalidParameter, sessionNotFound } from '../../contracts/errors.ts'
import { limits } from '../../limits.ts'
import type { Page, SessionRow } from '../../store/interfaces.ts'
import type { Services } from '../services.ts'

export const SessionParams = Type.Object({
  sessionId: Type.String({ description: 'the session, as start gave it' }),
})

/** What an id of ours can look like; anything else is unknown without a look into the store. */
const idPattern = /^stream-session-[0-9A-Za-z_-]{1,64}$/

/** Throws Refusal `SESSION_NOT_FOUND` for unknown, foreign and malformed ids alike. */
export function findSession(services: Services, tenant: number, sessionId: string): SessionRow {
  if (!idPattern.test(sessionId)) throw sessionNotFound(sessionId)
  return services.sessions.find(tenant, sessionId)
}

export function sessionExists(
  params: Readonly<Record<string, string>>,
  tenant: number,
  services: Services,
): void {
  findSession(services, tenant, params.sessionId ?? '')
}

export const PageQuery = {
  limit: Type.Optional(Type.Integer({ minimum: 1, maximum: limits.pageLimitMax })),
  cursor: Type.Optional(Type.String({ description: 'nextCursor of the page before' })),
}

/** `nextCursor` of a list whose pages the store names. */
export const nextCursorOf = ({ next }: Page<unknown>) => (next === null ? null : String(next))

/** `cursor` of the same, null where none is given. Throws Refusal `INVALID_PARAMETER`. */
export function listCursor(cursor: string | undefined): number | null {
  return cursor === undefined ? null : numberCursor(cursor)
}

/**
 * A cursor that is a number of ours, 0 where none is given. Throws Refusal `INVALID_PARAMETER`.
 */
export function numberCursor(cursor: string | undefined): number {
  if (cursor === undefined) return 0
  if (!/^\d{1,15}$/.test(cursor)) throw invalidParameter('cursor', 'nextCursor of the page before')
  return Number(cursor)
}
