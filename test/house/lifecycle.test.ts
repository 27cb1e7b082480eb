import assert from 'node:assert/strict'
import { join } from 'node:path'
import { test } from 'node:test'
import { runCommand, startServer, temporaryFolder } from '../support/server.ts'
import { uploadUntilGone } from './last-uploads.ts'

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

const fatal = [
  { signal: 'SIGUSR2', origin: 'uncaughtException', message: 'an uncaught error' },
  { signal: 'SIGPIPE', origin: 'unhandledRejection', message: 'an unhandled rejection' },
] as const

for (const { signal, origin, message } of fatal) {
  test(`${message} in the main thread stops a busy server with 1, and nothing is lost`, async (t) => {
    const dataDir = await temporaryFolder(t)
    const NODE_OPTIONS = `--import ${new URL('fatal-error.js', import.meta.url).href}`
    const server = await startServer(t, { dataDir, env: { NODE_OPTIONS } })
    let signalledMs = 0
    const uploads = await uploadUntilGone(server, (acknowledged) => {
      if (acknowledged !== 200) return
      signalledMs = performance.now()
      server.child.kill(signal)
    })
    assert.equal(server.child.exitCode, 1)
    const afterMs = performance.now() - signalledMs
    assert.ok(afterMs < 10_000, `${afterMs} ms`)
    const [fact, ...others] = server.log.filter(({ level }) => level === 'fatal')
    assert.deepEqual(others, [])
    assert.deepEqual({ msg: fact?.msg, origin: fact?.origin }, { msg: 'fatal', origin })
    assert.match(JSON.stringify(fact?.err), new RegExp(message))
    assert.equal(server.log.at(-1)?.msg, 'stopped')
    await uploads.assertKept(await startServer(t, { dataDir }))
  })
}
