import { execFileSync } from 'node:child_process'
import { join } from 'node:path'
import { test } from 'node:test'
import { temporaryFolder } from '../support/server.ts'
import { diskFullFault } from './disk-full.ts'
import { faultTest } from './in-test.ts'
import { SmallDisk } from './small-disk.ts'

faultTest('on a full disk writes are refused, reads go on and nothing is lost', diskFullFault)

test('on a disk that the store has filled, removals get through and give room again', async (t) => {
  const disk = await SmallDisk.mount(t, await temporaryFolder(t), 48 * 1024 * 1024)
  if (disk === null) return t.skip('no disk can be mounted: that needs root')
  const [program = '', ...under] = disk.under
  const child = join(import.meta.dirname, 'full-store.js')
  execFileSync(program, [...under, process.execPath, child, join(disk.path, 'store')])
})
