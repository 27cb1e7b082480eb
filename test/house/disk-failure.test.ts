import assert from 'node:assert/strict'
import { join } from 'node:path'
import { test } from 'node:test'
import { startServer, type TestServer, temporaryFolder } from '../support/server.ts'
import { strace, straceMissing, traceOf } from '../support/strace.ts'
import { uploadUntilGone } from './last-uploads.ts'

/**
 * What the server writes with; each thread's first calls are of the start and of some uploads. LMDB
 * reports a write of pages that was refused through a buffer that is too short (lmdb 3.5.6), so there
 * the C library may abort the process before our own line is out.
 */
const failures = [
  { what: 'a flush of the data fails', inject: 'fdatasync:error=EIO:when=9', mayAbort: false },
  { what: 'a write of pages fails', inject: 'writev:error=EIO:when=15', mayAbort: true },
  { what: 'a write of a page fails', inject: 'pwrite64:error=EIO:when=15', mayAbort: true },
  // No room for a page of data is a full disk; for the root page it leaves LMDB in a panic. With every
  // twelfth write the root page has its turn, whether a commit writes two, three, four or six.
  { what: 'the root page has no room', inject: 'pwrite64:error=ENOSPC:when=15+12', mayAbort: true },
]

for (const { what, inject, mayAbort } of failures) {
  test(`the server ends at once with 1 where ${what}, and nothing acknowledged is lost`, async (t) => {
    const missing = straceMissing()
    if (missing !== null) return t.skip(missing)
    const folder = await temporaryFolder(t)
    const dataDir = join(folder, 'data')
    const output = join(folder, 'trace')
    const calls = ['fdatasync', 'writev', 'pwrite64', 'sendto']
    const under = strace({ output, calls, inject, stringBytes: 64 })
    const server = await startServer(t, { dataDir, under })
    const { pid } = server
    const uploads = await uploadUntilGone(server)
    const { exitCode, signalCode } = server.child
    if (!(mayAbort && signalCode === 'SIGABRT')) {
      assert.equal(exitCode, 1, `${signalCode} ${server.errors}`)
      assertOneFatalLine(server)
    }

    const trace = await traceOf(output, pid)
    const last = trace.findLastIndex((line) => line.includes('INJECTED'))
    assert.ok(last >= 0)
    // What the group before has flushed may be answered yet: one upload of a connection, and never its next.
    const promises = trace.slice(last).filter((line) => line.includes('HTTP/1.1 20'))
    const sockets = promises.map((line) => /sendto\((\d+)/.exec(line)?.[1] ?? line)
    assert.deepEqual(sockets, [...new Set(sockets)], 'nothing is promised after the failure')
    await uploads.assertKept(await startServer(t, { dataDir }))
  })
}

function assertOneFatalLine(server: TestServer): void {
  const [fact, ...others] = server.log.filter(({ level }) => level === 'fatal')
  assert.deepEqual(others, [])
  assert.equal(fact?.msg, 'the store failed')
  assert.equal(fact.path, join(server.dataDir, 'store', 'data.mdb'))
  assert.match(String(fact.advice), /start again/)
  assert.ok(!server.log.some(({ msg }) => msg === 'stopping' || msg === 'stopped'))
}
