import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Refusal } from '../../src/contracts/errors.ts'
import { hasEnded, type SessionStatusName } from '../../src/contracts/http.ts'
import { requireMove } from '../../src/ingest/session-state.ts'
import type { SessionRow } from '../../src/store/interfaces.ts'

const names: readonly SessionStatusName[] = [
  'initializing',
  'active',
  'paused',
  'completing',
  'completed',
  'failed',
  'cancelled',
]
const legal = new Set([
  'initializing>active',
  'active>paused',
  'paused>active',
  'active>completing',
  'paused>completing',
  'completing>completed',
  'active>failed',
  'paused>failed',
  'completing>failed',
  'active>cancelled',
  'paused>cancelled',
  'completing>cancelled',
])

test('the legal moves are those of the contract, every other one is a 409 that names the state', () => {
  for (const from of names) {
    for (const to of names) {
      const row = { id: 'stream-session-x', status: from } as SessionRow
      if (legal.has(`${from}>${to}`)) {
        requireMove(row, to)
        continue
      }
      assert.throws(
        () => requireMove(row, to),
        (error) =>
          error instanceof Refusal &&
          error.code === 'SESSION_STATE_CONFLICT' &&
          error.status === 409 &&
          error.detail.fields?.status === from &&
          error.message.includes(from),
        `${from} to ${to}`,
      )
    }
  }
})

test('a session has ended where no move leads on', () => {
  assert.deepEqual(names.filter(hasEnded), ['completed', 'failed', 'cancelled'])
})
