import assert from 'node:assert/strict'
import { test } from 'node:test'
import { temporaryFolder } from '../support/server.ts'
import { straceMissing } from '../support/strace.ts'
import { faultsOf, flushFault, traceUploads } from './flush.ts'
import { proveFlush } from './flush-proof.ts'
import { faultTest } from './in-test.ts'

const mark = 'mark0000007z'
const request = `7 recvfrom(20<socket:[1]>, "POST / HTTP/1.1\\r\\n\\r\\n${mark}", 512, 0, NULL, NULL) = 90`
const write = `8 pwrite64(5</d/data.mdb>, "\\2\\0${mark}", 4096, 8192) = 4096`
const flushBegins = '8 fdatasync(5</d/data.mdb> <unfinished ...>'
const flushEnds = '8 <... fdatasync resumed>) = 0'
const root = '8 pwrite64(6</d/data.mdb>, "\\0", 128, 40) = 128'
const reply = '7 sendto(20<socket:[1]>, "HTTP/1.1 200 OK\\r\\n\\r\\n{}", 90, 0, NULL, 0) = 90'
const opening = [
  '7 openat(AT_FDCWD</>, "/d/data.mdb", O_RDWR|O_CREAT, 0664) = 5</d/data.mdb>',
  '7 openat(AT_FDCWD</>, "/d/data.mdb", O_WRONLY|O_DSYNC|O_CLOEXEC) = 6</d/data.mdb>',
]

test('a trace proves an upload only where write, flush, root page and reply follow in this order', () => {
  const inOrder = [request, write, flushBegins, flushEnds, root, reply]
  const proof = proveFlush([...opening, ...inOrder])
  assert.deepEqual(proof, { acknowledged: [mark], early: [], flushes: 1 })
  const wrong = [
    [request, reply, write, flushBegins, flushEnds, root],
    [request, write, reply, flushBegins, flushEnds, root],
    [request, write, flushBegins, reply, flushEnds, root],
    [request, write, flushBegins, flushEnds, reply, root],
    [request, write, root, reply],
    [request, flushBegins, write, flushEnds, root, reply],
    [request, flushBegins, flushEnds, write, root, reply],
    [
      request,
      write,
      flushBegins,
      '8 <... fdatasync resumed>) = -1 EIO (Input/output error)',
      root,
      reply,
    ],
    [request, write, flushBegins, root, flushEnds, reply],
    [request, reply],
  ]
  for (const lines of wrong) {
    const { acknowledged, early } = proveFlush([...opening, ...lines])
    assert.deepEqual(
      { acknowledged, early },
      { acknowledged: [mark], early: [mark] },
      lines.join('\n'),
    )
  }
})

test('a trace ties a reply to the uploads of its own connection, a refusal to none', () => {
  const other = reply.replace('20<', '21<')
  assert.deepEqual(proveFlush([...opening, request, other]).acknowledged, [])
  const refusal = reply.replace('200 OK', '503 Busy')
  assert.deepEqual(proveFlush([...opening, request, refusal, reply]).acknowledged, [])
  const ack = `7 sendto(20<socket:[1]>, "\\201~{\\"type\\":\\"ack\\",\\"id\\":\\"${mark}\\"}", 60, 0, NULL, 0) = 60`
  assert.deepEqual(proveFlush([...opening, ack]).early, [mark])
})

faultTest('no reply leaves before its data is on disk, and many uploads share a flush', flushFault)

test('the same proof fails a server that leaves the flush to the kernel', async (t) => {
  const missing = straceMissing()
  if (missing !== null) return t.skip(missing)
  const folder = await temporaryFolder(t)
  const load = { way: 'journaled', uploadsEach: 1, durability: 'commit' } as const
  const { proof, told } = await traceUploads(folder, load)
  assert.equal(proof.early.length, told.size)
  assert.match(faultsOf(proof, told).join(), /left before their flush/)
})
