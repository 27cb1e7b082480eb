import assert from 'node:assert/strict'
import { test } from 'node:test'
import { temporaryFolder } from '../support/server.ts'
import type { Fault } from './fault.ts'

const testSeed = 1

/** A test that inflicts the fault as often as `npm test` does; `name` says what must hold. */
export function faultTest(name: string, fault: Fault): void {
  test(name, async (t) => {
    const report = await fault.inflict({
      runs: fault.runs.test,
      thorough: false,
      seed: testSeed,
      folder: await temporaryFolder(t),
      signal: t.signal,
      say: (line) => t.diagnostic(line),
    })
    if (report.notRun !== undefined) return t.skip(report.notRun)
    t.diagnostic(report.measured)
    assert.deepEqual(report.failures, [])
    assert.equal(report.runs, fault.runs.test)
  })
}
