import assert from 'node:assert/strict'
import { type ErrorCode, Refusal } from '../../src/contracts/errors.ts'

/** Runs what must throw a Refusal with this code, and gives it for a closer look. */
export function refusalOf(run: () => unknown, code: ErrorCode): Refusal {
  try {
    run()
  } catch (error) {
    assert.ok(error instanceof Refusal, `not a Refusal: ${String(error)}`)
    assert.equal(error.code, code, error.message)
    return error
  }
  assert.fail(`nothing was thrown; expected ${code}`)
}
