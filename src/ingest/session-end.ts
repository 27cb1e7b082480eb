import type { SessionRow, Transaction } from '../store/interfaces.ts'
import { appendSessionEvent, sessionTotals } from './session-events.ts'
import { requireMove } from './session-state.ts'

/** What an end leads to, before dead letters are counted. */
export type Ending = 'completed' | 'cancelled' | 'failed'

/**
 * Ends a session whose batches are settled: cancelled where that was asked for, failed where a dead
 * letter of it remains, else completed. Null, and nothing is done, where a dead letter was redriven or a
 * job on a file was begun since: there is something to be worked off again.
 */
export function endSession(
  transaction: Transaction,
  sessionNumber: number,
  ending: Ending,
): SessionRow | null {
  const session = transaction.session(sessionNumber)
  if (session.recordsQueued > 0 || session.openJobs > 0) return null
  if (session.status !== 'completing') requireMove(session, 'completing')
  session.status = statusAtEnd(session, session.ending ?? ending)
  session.ending = null
  session.endedAtMs = transaction.nowMs
  session.lastActivityAtMs = transaction.nowMs
  session.final = {
    recordsReceived: session.recordsReceived,
    batchesReceived: session.batchesReceived,
    atomsCreated: session.atomsCreated,
    chain: session.chain,
  }
  const totals = sessionTotals(session)
  switch (session.status) {
    case 'failed':
      appendSessionEvent(transaction, session, 'session-failed', {
        ...totals,
        message:
          session.deadLetters === 0
            ? 'The last of its audio could not be cut'
            : `${session.deadLetters} of its batches stand in the dead letter queue`,
      })
      break
    case 'cancelled':
      appendSessionEvent(transaction, session, 'session-cancelled', totals)
      break
    default:
      appendSessionEvent(transaction, session, 'session-completed', totals)
  }
  // A copy, because later units of the same transaction may change it.
  return { ...session }
}

function statusAtEnd(session: SessionRow, ending: Ending): Ending {
  if (ending !== 'completed') return ending
  return session.deadLetters > 0 ? 'failed' : 'completed'
}
