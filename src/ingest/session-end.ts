import type { Actor } from '../contracts/actor.ts'
import { hasEnded } from '../contracts/http.ts'
import type { SessionRow, Transaction } from '../store/interfaces.ts'
import { tellSession } from './activity.ts'
import { appendSessionEvent, sessionTotals } from './session-events.ts'
import { requireMove } from './session-state.ts'

/** What an end leads to, before dead letters are counted. */
export type Ending = 'completed' | 'cancelled' | 'failed'

/**
 * The session is completing from now on, and to this end; an end does not undo a cancel. `actor`
 * has asked for it, null where nobody has: of several who did, the one whose request is stored first
 * is told of.
 */
export function storeEnding(
  transaction: Transaction,
  sessionNumber: number,
  ending: Ending,
  actor: Actor | null,
): void {
  const session = transaction.session(sessionNumber)
  if (hasEnded(session.status)) return
  const isTakenOver = ending === 'cancelled' && session.ending !== 'cancelled'
  if (session.status !== 'completing' || isTakenOver)
    tellEnding(transaction, session, ending, actor)
  if (session.status !== 'completing') requireMove(session, 'completing')
  session.status = 'completing'
  if (session.ending === null || ending === 'cancelled') session.ending = ending
  session.lastActivityAtMs = transaction.nowMs
}

/**
 * Ends a session whose batches are settled: cancelled where that was asked for, failed where a dead
 * letter of it remains, else completed. Null, and nothing is done, where a dead letter was redriven or a
 * job on a file was begun since: there is something to be worked off again. `actor` as in
 * `storeEnding`.
 */
export function endSession(
  transaction: Transaction,
  sessionNumber: number,
  ending: Ending,
  actor: Actor | null,
): SessionRow | null {
  const session = transaction.session(sessionNumber)
  if (session.recordsQueued > 0 || session.openJobs > 0) return null
  const isToldOf = session.status === 'completing'
  if (!isToldOf) requireMove(session, 'completing')
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
  if (!isToldOf) tellEnding(transaction, session, ending, actor)
  // A copy, because later units of the same transaction may change it.
  return { ...session }
}

function tellEnding(
  transaction: Transaction,
  session: SessionRow,
  ending: Ending,
  actor: Actor | null,
): void {
  tellSession(transaction, actor, ending === 'cancelled' ? 'cancel' : 'end', session)
}

function statusAtEnd(session: SessionRow, ending: Ending): Ending {
  if (ending !== 'completed') return ending
  return session.deadLetters > 0 ? 'failed' : 'completed'
}
