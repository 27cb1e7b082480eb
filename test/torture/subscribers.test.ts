import assert from 'node:assert/strict'
import { test } from 'node:test'
import { temporaryFolder } from '../support/server.ts'
import { subscribersFault } from './subscribers.ts'

test('of a thousand subscribers those that do not read are cut, all others get everything', async (t) => {
  const folder = await temporaryFolder(t)
  const report = await subscribersFault.inflict({
    runs: subscribersFault.runs.test,
    thorough: false,
    seed: 1,
    folder,
    signal: t.signal,
    say: (line) => t.diagnostic(line),
  })
  t.diagnostic(report.measured)
  assert.deepEqual(report.failures, [])
  assert.equal(report.runs, subscribersFault.runs.test)
})
