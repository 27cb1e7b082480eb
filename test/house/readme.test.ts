import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { settingRows } from '../../src/config.ts'
import { startServer, temporaryFolder } from '../support/server.ts'

const root = fileURLToPath(new URL('../../..', import.meta.url))
const program = fileURLToPath(new URL('../../src/main.js', import.meta.url))
const readme = readFileSync(join(root, 'README.md'), 'utf8')

/** The key that README tells the reader to start with. */
const key = 'walk-through-key-1'
const examplePattern = /<!-- example -->\n```sh\n([\s\S]*?)```/g

/** Runs all examples in one shell, as a reader pastes them one by one; gives each one's output. */
async function runExamples(url: string, folder: string): Promise<string[]> {
  const examples = [...readme.matchAll(examplePattern)].map((match) => match[1] ?? '')
  const mark = '=== next example ==='
  const script = examples
    .join(`\necho '${mark}'\n`)
    .replaceAll('http://127.0.0.1:8080', url)
    // The build that is under test, whichever folder it stands in.
    .replaceAll('scripts/atomstream.mjs', program)
  const child = spawn('bash', ['-euo', 'pipefail', '-c', script], {
    cwd: root,
    env: {
      PATH: process.env.PATH,
      HOME: folder,
      TMPDIR: folder,
      ATOMSTREAM_DATA_DIR: join(folder, 'data'),
    },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let output = ''
  let errors = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    output += text
  })
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    errors += text
  })
  const code = await new Promise((resolve) => child.once('close', resolve))
  assert.equal(code, 0, `${output}\n${errors}`)
  return output.split(`${mark}\n`)
}

test('every example in README works when pasted against a fresh server', async (t) => {
  const folder = await temporaryFolder(t)
  const server = await startServer(t, {
    dataDir: join(folder, 'data'),
    // As `npm start` runs it: the default rate limit carries the whole walk-through.
    env: { ATOMSTREAM_API_KEY: key, ATOMSTREAM_RATE_LIMIT: null },
  })
  const outputs = await runExamples(server.url, folder)
  const whole = outputs.join('')
  assert(!whole.includes('"requestId"'), whole)

  const expected: readonly [string, RegExp][] = [
    ['health', /"status":"healthy"/],
    ['start', /^stream-session-\S+$/m],
    ['upload', /"recordsProcessed":2/],
    ['rejected count', /"recordsRejected":1/],
    ['what is wrong', /"field":"temperature","value":"invalid","expectedType":"float"/],
    ['JSON', /"records":\[\{"timestamp":"2025-01-20T10:30:00[^}]*"values":\{"temperature":21\.5/],
    ['NDJSON', /^\{"timestamp":"2025-01-20T10:31:00[^\n]*\}$/m],
    ['CSV', /^timestamp,[^\n]*temperature/m],
    ['status', /"totalRecordsReceived":5/],
    ['events', /^event: session-started\nid: event_1\n/m],
    ['WebSocket', /"type":"ack","id":"a"/],
    ['bytes', /^same bytes: [0-9a-f]{64}$/m],
    ['job', /"kind":"media"[^\n]*"status":"completed"[^\n]*"atomsCreated":2/],
    ['frames', /"kind":"frame"[^\n]*"mode":"scene-changes"[^\n]*"frameNumber":25/],
    ['segments', /\[ 0, 40000, 'silence'/],
    ['memory', /"id":"mem_0{15}1"[^\n]*"metadata":\{"user_id":"user123","line":4,"checked":true\}/],
    [
      'search',
      /"results":\[\{"id":"mem_0{15}1"[^\n]*"score":[\d.]+\}\],"total":1,"execution_time":/,
    ],
    ['stream', /^event: memory.created\nid: event_\d+\ndata: [^\n]*"content":"Heard live"/m],
    ['keys', /^\{"id":"key_[^\n]*"revokedAt":/m],
  ]
  for (const [what, pattern] of expected) assert.match(whole, pattern, what)
  assert.equal(whole.match(/"status":"completed","finalStatistics"/g)?.length, 5)

  const chain = outputs.find((output) => output.startsWith('finalHash ')) ?? ''
  const [computed, told] = chain.trim().split('\n')
  assert.match(told ?? '', /^[0-9a-f]{64}$/)
  assert.equal(computed, `finalHash ${told}`)

  // event_2 tells who started the session, which is not in the session's own log.
  const resumed = outputs.filter((output) => /^id: ?event_3$/m.test(output))
  assert(
    resumed.some((output) => !/^id: ?event_1$/m.test(output)),
    'a resumed stream',
  )
})

test('the settings table in README is that of the program', () => {
  const table = [
    '| variable | flag | default | unit | what it is |',
    '|---|---|---|---|---|',
    ...settingRows.map(
      ({ variable, flag, standard, unit, description }) =>
        `| \`${variable}\` | \`${flag}\` | ${standard} | ${unit} | ${description} |`,
    ),
  ].join('\n')
  assert(readme.includes(`\n${table}\n`), `README.md should hold:\n${table}`)
})
