import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { temporaryFolder } from '../support/server.ts'
import { within } from '../support/waiting.ts'

const root = fileURLToPath(new URL('../../..', import.meta.url))

test('SIGTERM to npm start stops the server', async (t) => {
  const dataDir = await temporaryFolder(t)
  const { PATH, HOME } = process.env
  const npm = spawn('npm', ['start', '--silent'], {
    cwd: root,
    env: { PATH, HOME, ATOMSTREAM_PORT: '0', ATOMSTREAM_DATA_DIR: dataDir },
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const lines: string[] = []
  const output = createInterface({ input: npm.stdout })
  const listening = new Promise<void>((resolve) => {
    output.on('line', (line) => {
      lines.push(line)
      if (line.includes('"msg":"listening"')) resolve()
    })
  })
  // Its end, not npm's: the server holds the other end of the pipe for as long as it lives.
  const ended = new Promise((resolve) => output.once('close', resolve))
  await within(listening, 'the server to listen', 60_000)
  npm.kill('SIGTERM')
  await within(ended, 'the server to stop', 10_000)
  assert.match(lines.at(-1) ?? '', /"exitCode":0,"msg":"stopped"/)
})
