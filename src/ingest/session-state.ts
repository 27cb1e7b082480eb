import { Refusal } from '../contracts/errors.ts'
import type { SessionStatusName } from '../contracts/http.ts'
import type { SessionRow } from '../store/interfaces.ts'

/** Every legal move of a session; any other is 409. */
const moves: Readonly<Record<SessionStatusName, readonly SessionStatusName[]>> = {
  initializing: ['active'],
  active: ['paused', 'completing', 'failed', 'cancelled'],
  paused: ['active', 'completing', 'failed', 'cancelled'],
  completing: ['completed', 'failed', 'cancelled'],
  completed: [],
  failed: [],
  cancelled: [],
}

/** Throws SESSION_STATE_CONFLICT, naming the state, where the session may not move to `to`. */
export function requireMove(row: SessionRow, to: SessionStatusName): void {
  if (!moves[row.status].includes(to)) {
    throw stateConflict(row.id, row.status, `The session is ${row.status} and cannot become ${to}`)
  }
}

export function stateConflict(
  sessionId: string,
  status: SessionStatusName,
  message: string,
): Refusal {
  return new Refusal('SESSION_STATE_CONFLICT', { message, fields: { sessionId, status } })
}
