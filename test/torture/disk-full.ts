import { mkdtemp } from 'node:fs/promises'
import { join } from 'node:path'
import { CleanUps } from './clean-ups.ts'
import { DiskFullTrial } from './disk-full-trial.ts'
import type { Fault, FaultOrder, FaultReport } from './fault.ts'
import { SmallDisk } from './small-disk.ts'

const MiB = 1024 * 1024
/** The reserve that uploads leave, and some seconds of them. */
const diskBytes = 48 * MiB
const storeBytesMin = 64 * MiB

/**
 * A disk that another program fills to the last byte and frees, and that uploads fill and that then
 * grows; where no small disk can be mounted, a store at its bound.
 */
export const diskFullFault: Fault = {
  name: 'disk full',
  holds: '507 on writes while reads go on, no acknowledged loss, heals without a restart',
  runs: { test: 1, torture: 20 },
  inflict: inflictDiskFull,
}

async function inflictDiskFull(order: FaultOrder): Promise<FaultReport> {
  const failures: string[] = []
  let acknowledged = 0
  let refused = 0
  let runs = 0
  let isDisk = true
  while (runs < order.runs && !order.signal.aborted) {
    const seed = order.seed + runs
    runs += 1
    const scope = new CleanUps()
    try {
      const folder = await mkdtemp(join(order.folder, 'disk-full-'))
      const disk = await SmallDisk.mount(scope, folder, diskBytes)
      isDisk = disk !== null
      const trial = new DiskFullTrial(scope, folder, disk, seed)
      if (disk === null) await trial.fillBound(storeBytesMin)
      else await trial.fillDisk(disk, diskBytes * 2)
      acknowledged += trial.acknowledged
      refused += trial.refused
      order.say(`run ${runs}: ${trial.acknowledged} acknowledged, ${trial.refused} refused`)
    } catch (error) {
      failures.push(`run ${runs}, seed ${seed}: ${error instanceof Error ? error.stack : error}`)
    } finally {
      await scope.run()
    }
  }
  const kind = isDisk ? 'a disk of 48 MiB' : 'a store of 64 MiB, as no disk could be mounted'
  const measured = `${kind}: ${acknowledged} uploads acknowledged, ${refused} refused, 0 lost`
  return { runs, measured, failures }
}
