import { join } from 'node:path'
import { allRoutes } from '../../src/transport/http/routes.ts'
import { CleanUps } from './clean-ups.ts'
import { Matrix } from './exposure-matrix.ts'
import { createWorld } from './exposure-world.ts'
import type { Fault, FaultOrder, FaultReport } from './fault.ts'

/** Of hundreds of failures with one cause, the first few tell it. */
const failuresShownMax = 20

/**
 * A tenant with every kind of key asks for every thing of another one, through every route of the
 * route table; a new route is in it by itself.
 */
export const exposureFault: Fault = {
  name: 'tenant × endpoint × scope × id matrix',
  holds: 'foreign equals unknown byte for byte, 401 and 403 exactly by scope, nothing changed',
  runs: { test: 1, torture: 1 },
  inflict,
}

async function inflict(order: FaultOrder): Promise<FaultReport> {
  const failures: string[] = []
  let measured = 'nothing'
  let runs = 0
  while (runs < order.runs && !order.signal.aborted) {
    const matrix = await inflictOnce(join(order.folder, `run-${runs + 1}`), order.signal)
    failures.push(...matrix.failures)
    measured = matrix.measured
    if (order.signal.aborted) break
    runs += 1
    order.say(`run ${runs}: ${measured}, ${failures.length} failures`)
  }
  return { runs, measured, failures: failures.slice(0, failuresShownMax) }
}

async function inflictOnce(folder: string, signal: AbortSignal) {
  const cleanUps = new CleanUps()
  try {
    const world = await createWorld(cleanUps, folder)
    const routes = allRoutes('test')
    const matrix = new Matrix(world, routes)
    cleanUps.after(() => matrix.close())
    await matrix.run(signal)
    const extent = `${routes.length} routes × ${world.keys.size + 1} keys`
    const measured = `${extent}: ${matrix.requests} requests, ${matrix.compared} replies compared`
    return { failures: matrix.failures, measured }
  } finally {
    await cleanUps.run()
  }
}
