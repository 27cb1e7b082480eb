import { setImmediate as nextTurn } from 'node:timers/promises'
import fc from 'fast-check'
import { messageAgrees, packedAgrees, scanAgrees } from '../support/scan-oracle.ts'
import { packedBytes } from '../support/telemetry-packed.ts'
import { messageBytes, telemetryBytes } from '../support/telemetry-texts.ts'
import type { Fault, FaultOrder, FaultReport } from './fault.ts'
import { partSeed } from './random.ts'
import { count } from './trials.ts'

/** Bodies that are made at a time. */
const bodiesAtATime = 2_000
const failuresShownMax = 20
const schema = JSON.stringify({
  fields: [
    { name: 'temperature', type: 'float', required: true, validation: { min: -1e6 } },
    { name: 'a', type: 'string', validation: { maxLength: 4 } },
  ],
})

/** Most of them are uploads in JSON, which has the most forms. */
const kinds = [
  { bodies: telemetryBytes, agrees: scanAgrees },
  { bodies: messageBytes, agrees: messageAgrees },
  { bodies: telemetryBytes, agrees: scanAgrees },
  { bodies: packedBytes, agrees: packedAgrees },
] as const

export const scanFault: Fault = {
  name: 'telemetry scanned',
  holds: 'whatever the scanner gives, the parsers and the checks of records give, byte for byte',
  runs: { test: 10_000, torture: 1_000_000 },
  inflict,
}

async function inflict({ runs, seed, signal }: FaultOrder): Promise<FaultReport> {
  const failures: string[] = []
  let done = 0
  let scanned = 0
  let part = 0
  while (done < runs && !signal.aborted && failures.length < failuresShownMax) {
    const partOfSeed = partSeed(seed, done)
    const numRuns = Math.min(bodiesAtATime, runs - done)
    const { bodies, agrees } = kinds[part % kinds.length] ?? kinds[0]
    part += 1
    for (const bytes of fc.sample(bodies, { numRuns, seed: partOfSeed })) {
      try {
        if (agrees(bytes, done % 3 === 0 ? schema : null)) scanned += 1
      } catch (error) {
        const why = error instanceof Error ? error.message : String(error)
        failures.push(`body ${done} of seed ${seed}: ${why}`)
      }
      done += 1
    }
    await nextTurn()
  }
  // Else nothing was shown.
  if (scanned * 10 < done) failures.push(`only ${count(scanned)} of ${count(done)} were scanned`)
  const measured = `${count(done)} bodies, ${count(scanned)} of them scanned`
  return { runs: done, measured, failures: failures.slice(0, failuresShownMax) }
}
