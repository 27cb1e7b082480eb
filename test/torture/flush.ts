import { mkdtemp } from 'node:fs/promises'
import { join } from 'node:path'
import { startServer } from '../support/server.ts'
import { strace, straceMissing, traceOf } from '../support/strace.ts'
import { CleanUps } from './clean-ups.ts'
import type { Fault, FaultOrder, FaultReport } from './fault.ts'
import { loadServer, type Way, ways } from './flush-load.ts'
import { type FlushProof, markOf, proveFlush, tracedCalls } from './flush-proof.ts'

const connections = 200
const acknowledgedPerFlushMin = 20
/** Long enough for a group of small uploads in one write. */
const stringBytes = 1_048_576

/**
 * Holds what kill -9 cannot show, because the page cache outlives the process: that a reply never leaves
 * before its data is on disk. Many connections upload at once, by each of the ways in which an upload is
 * acknowledged: from the journal, as atoms, and over a WebSocket.
 */
export const flushFault: Fault = {
  name: 'flush',
  holds:
    'no reply is written before a flush that follows its data; ' +
    `at ${connections} connections ${acknowledgedPerFlushMin} acknowledgements a flush at least`,
  runs: { test: 1, torture: 10 },
  inflict: inflictFlush,
}

async function inflictFlush(order: FaultOrder): Promise<FaultReport> {
  const missing = straceMissing()
  if (missing !== null) return { runs: 0, measured: '', failures: [], notRun: missing }
  const uploadsEach = order.thorough ? 12 : 3
  const failures: string[] = []
  const ratios: number[] = []
  let acknowledged = 0
  let runs = 0
  while (runs < order.runs && !order.signal.aborted) {
    runs += 1
    for (const way of ways) {
      const { proof, told } = await traceUploads(order.folder, { way, uploadsEach })
      const failed = faultsOf(proof, told)
      failures.push(...failed.map((failure) => `run ${runs}, ${way}: ${failure}`))
      acknowledged += told.size
      ratios.push(told.size / Math.max(1, proof.flushes))
      order.say(`run ${runs}, ${way}: ${told.size} acknowledged by ${proof.flushes} flushes`)
    }
  }
  const least = Math.min(...ratios).toFixed(0)
  const measured = `${acknowledged} acknowledgements, ${least} or more a flush`
  return { runs, measured, failures }
}

/** What a trace shows that must not be; `told` are the marks that clients saw acknowledged. */
export function faultsOf(proof: FlushProof, told: ReadonlySet<string>): string[] {
  const failures: string[] = []
  const seen = new Set(proof.acknowledged)
  const missed = [...told].filter((mark) => !seen.has(mark))
  // Else the trace would prove nothing of them.
  if (missed.length > 0) failures.push(`the trace lacks ${missed.length} acknowledgements`)
  if (proof.early.length > 0) {
    failures.push(`${proof.early.length} replies left before their flush, ${proof.early[0]} first`)
  }
  if (told.size < proof.flushes * acknowledgedPerFlushMin) {
    failures.push(`${proof.flushes} flushes for ${told.size} acknowledgements`)
  }
  return failures
}

export interface TracedLoad {
  readonly way: Way
  readonly uploadsEach: number
  readonly durability?: 'flush' | 'commit'
}

/** Serves the load in a traced server of its own and takes the trace apart. */
export async function traceUploads(
  folder: string,
  { way, uploadsEach, durability = 'flush' }: TracedLoad,
): Promise<{ proof: FlushProof; told: ReadonlySet<string> }> {
  const scope = new CleanUps()
  try {
    const own = await mkdtemp(join(folder, 'flush-'))
    const output = join(own, 'trace')
    const server = await startServer(scope, {
      dataDir: join(own, 'data'),
      env: { ATOMSTREAM_DURABILITY: durability },
      under: strace({ output, calls: tracedCalls, stringBytes }),
    })
    const told = await loadServer(scope, server, { way, connections, uploadsEach, markOf })
    const { pid } = server
    // Nothing that the end of the server flushes may count.
    await server.kill('SIGKILL')
    return { proof: proveFlush(await traceOf(output, pid)), told }
  } finally {
    await scope.run()
  }
}
