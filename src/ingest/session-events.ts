import type { SessionEventData, SessionEventName } from '../contracts/events.ts'
import type { SessionRow, Transaction } from '../store/interfaces.ts'
import { durationMs, isoTime } from './session-report.ts'

/** Stores an event of a session; `sessionId` and `timestamp` are added to every one. */
export function appendSessionEvent<N extends SessionEventName>(
  transaction: Transaction,
  session: SessionRow,
  name: N,
  data: Omit<SessionEventData<N>, 'sessionId' | 'timestamp'>,
): void {
  transaction.appendEvent(session.tenant, session.number, name, {
    sessionId: session.id,
    ...data,
    timestamp: isoTime(transaction.nowMs),
  })
}

/** Totals of an ended session, for its terminal event. */
export function sessionTotals(session: SessionRow): {
  totalRecords: number
  totalAtoms: number
  durationMs: number
} {
  return {
    totalRecords: session.recordsReceived,
    totalAtoms: session.atomsCreated,
    durationMs: Math.round(durationMs(session, session.endedAtMs ?? session.lastActivityAtMs)),
  }
}
