import { setTimeout as delay } from 'node:timers/promises'
import type { Fault, FaultOrder, FaultReport } from './fault.ts'
import type { Random } from './random.ts'
import type { Trial } from './trial.ts'
import { count, runTrials, type Totals } from './trials.ts'

const exitTimeoutMs = 10_000

export const stopFault: Fault = {
  name: 'SIGTERM under load',
  holds: '0 lost, exit 0 within 10 s',
  runs: { test: 3, torture: 50 },
  inflict,
}

async function inflict(order: FaultOrder): Promise<FaultReport> {
  let exitMsMax = 0
  const bringDown = async (trial: Trial, random: Random, signal: AbortSignal) => {
    await delay(random.float(100, 1_500), undefined, { signal })
    const exit = await trial.server?.stop()
    trial.leave()
    trial.launch()
    await trial.serve()
    if (exit === undefined) return ['there was no server to stop']
    exitMsMax = Math.max(exitMsMax, exit.afterMs)
    const isClean = exit.code === 0 && exit.signal === null && exit.afterMs < exitTimeoutMs
    const how = exit.signal ?? `code ${exit.code}`
    return isClean ? [] : [`it ended with ${how} after ${Math.round(exit.afterMs)} ms`]
  }
  // 1000 ends a session's WebSocket, 1001 one whose server goes; 1006 is one whose client was still
  // sending when the server's end of the connection had closed.
  const measured = ({ items, uploads, socketCloses }: Totals) => {
    const closes = [...socketCloses].sort().map(([code, times]) => `${count(times)} with ${code}`)
    return [
      `${count(items)} items in ${count(uploads)} uploads acknowledged, all read back;`,
      `exit within ${Math.round(exitMsMax)} ms; WebSockets closed: ${closes.join(', ') || 'none'}`,
    ].join(' ')
  }
  return runTrials(order, { bringDown, measured })
}
