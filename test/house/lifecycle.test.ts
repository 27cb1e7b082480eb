import assert from 'node:assert/strict'
import { join } from 'node:path'
import { test } from 'node:test'
import { runCommand, startServer, temporaryFolder } from '../support/server.ts'

test('Ctrl-C under npm, which delivers the signal twice, still stops in order', async (t) => {
  const server = await startServer(t)
  server.child.kill('SIGINT')
  const exit = await server.kill('SIGINT')
  assert.equal(exit.code, 0)
  assert.deepEqual(
    server.log.map((fact) => fact.msg),
    ['listening', 'stopping', 'stopped'],
  )
})

test('a port that is taken ends the start with 1 and one fatal line', async (t) => {
  const server = await startServer(t)
  const { port } = new URL(server.url)
  const other = await temporaryFolder(t)
  const { code, stdout } = await runCommand(join(other, 'data'), [
    '--port',
    port,
    '--api-key=lifecycle-test-key',
  ])
  assert.equal(code, 1)
  const facts = stdout.trim().split('\n')
  assert.equal(facts.length, 1, stdout)
  assert.match(facts[0] ?? '', /"level":"fatal".*"msg":"failed to start"/)
})

test('a second server on the same data folder is refused, and the first serves on', async (t) => {
  const server = await startServer(t)
  const { code, stdout } = await runCommand(server.dataDir, ['--port', '0'])
  assert.equal(code, 1)
  assert.match(stdout, /"level":"fatal".*"msg":"failed to start"/)
  assert.equal((await fetch(`${server.url}/health`)).status, 200)
})

test('the first start without any key prints one that works, the next prints none', async (t) => {
  const dataDir = await temporaryFolder(t)
  const options = { dataDir, env: { ATOMSTREAM_API_KEY: null } }
  const first = await startServer(t, options)
  const [key] = /as_[A-Za-z0-9_-]{43}/.exec(first.output.items.join('\n')) ?? []
  assert(key !== undefined)
  await first.stop()
  const second = await startServer(t, options)
  assert.doesNotMatch(second.output.items.join('\n'), /as_/)
  const reply = await fetch(`${second.url}/api/streaming/sessions`, {
    headers: { 'X-API-Key': key },
  })
  assert.equal(reply.status, 200)
})
