import type { Actor } from '../contracts/actor.ts'
import type { JobRow, SessionRow, Transaction } from '../store/interfaces.ts'

/**
 * Who changed what, told in the transaction of the change itself. What nobody asked for, as a
 * session that ends by its age, has no actor and is told of by its own events alone.
 */

export function tellSession(
  transaction: Transaction,
  actor: Actor | null,
  action: 'create' | 'pause' | 'resume' | 'cancel' | 'end',
  { id, type, name }: SessionRow,
): void {
  if (actor === null) return
  transaction.appendActivity(actor.tenant, {
    user: actor.user,
    action,
    resourceType: 'session',
    resourceId: id,
    metadata: { type, name },
  })
}

/** `sessionId`: the session that it works on, null where it works on several. */
export function tellJob(
  transaction: Transaction,
  actor: Actor | null,
  action: 'create' | 'cancel',
  { id, kind }: JobRow,
  sessionId: string | null,
): void {
  if (actor === null) return
  transaction.appendActivity(actor.tenant, {
    user: actor.user,
    action,
    resourceType: 'job',
    resourceId: id,
    metadata: sessionId === null ? { kind } : { kind, sessionId },
  })
}
