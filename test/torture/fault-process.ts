import type { FaultReport } from './fault.ts'
import { faults } from './faults.ts'
import type { FromFault, ToFault } from './messages.ts'

/**
 * Inflicts one fault in a process of its own, so that its memory, its handles and whatever it starts
 * end with it.
 */

const aborter = new AbortController()
// A terminal's Ctrl-C reaches the whole group; the stop comes as a message.
process.on('SIGINT', () => {})
process.on('disconnect', () => aborter.abort())
process.on('message', (message: ToFault) => {
  if (message.kind === 'stop') aborter.abort()
  else void inflict(message)
})

async function inflict({ name, order }: Extract<ToFault, { kind: 'order' }>): Promise<void> {
  try {
    const fault = faults.find((one) => one.name === name)
    if (fault === undefined) throw new Error(`there is no fault ${name}`)
    const report: FaultReport = await fault.inflict({
      ...order,
      signal: aborter.signal,
      say: (text) => tell({ kind: 'line', text }),
    })
    tell({ kind: 'report', report })
  } catch (error) {
    const message = error instanceof Error ? (error.stack ?? error.message) : String(error)
    tell({ kind: 'failed', message })
  }
}

function tell(message: FromFault): void {
  if (process.connected) process.send?.(message)
}
