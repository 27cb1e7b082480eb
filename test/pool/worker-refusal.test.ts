import assert from 'node:assert/strict'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import {
  type FaultMark,
  faultsFolderVariable,
  longValues,
  markText,
  taskTimeoutVariable,
} from '../support/faulty-mark.ts'
import { startServer, type TestServer, temporaryFolder } from '../support/server.ts'

const program = join(import.meta.dirname, '../support/faulty-server.js')

async function startFaulty(t: TestContext): Promise<TestServer> {
  const env = {
    ATOMSTREAM_WORKERS: '1',
    [faultsFolderVariable]: await temporaryFolder(t),
    [taskTimeoutVariable]: '1000',
  }
  return startServer(t, { program, env })
}

/** A session that processes each upload at once. */
async function startSession(server: TestServer): Promise<string> {
  const settings = { sessionName: 'marked', sessionType: 'telemetry', maxBatchDelayMs: 0 } as const
  return (await server.client.start(settings)).sessionId
}

function marked(task: FaultMark['task'], times: FaultMark['times']): { records: unknown[] } {
  const mark = markText({ task, fault: 'throw', times, name: task })
  return { records: [{ timestamp: 0, values: { fault: mark, ...longValues() } }] }
}

test('an upload whose worker fails is refused as one to send again, and leaves nothing', async (t) => {
  const server = await startFaulty(t)
  const { client } = server
  const sessionId = await startSession(server)
  const path = client.session(sessionId, 'upload')
  const reply = await client.raw('POST', path, { json: marked('decode', 1) })
  const { message } = reply.refused(503, 'WORKER_FAILED')
  assert.match(String(message), /nothing of it was kept/)
  assert.equal(reply.headers.get('retry-after'), '1')
  assert.equal((await client.records(sessionId)).length, 0)
  await client.upload(sessionId, marked('decode', 1))
  assert.equal((await client.records(sessionId)).length, 1)
})

test('reading back is refused where the worker fails, and the log has it', async (t) => {
  const server = await startFaulty(t)
  const { client } = server
  const sessionId = await startSession(server)
  await client.upload(sessionId, marked('read', 2))
  const path = client.session(sessionId, 'records')
  const reply = await client.get(path)
  const { requestId } = reply.refused(503, 'WORKER_FAILED')
  const line = server.log.find((fact) => fact.msg === 'request failed')
  assert.equal(line?.requestId, requestId)
  const [atom] = await client.atoms(sessionId)
  ;(await client.get(`/api/atoms/${atom?.hash}/0`)).refused(503, 'WORKER_FAILED')
  assert.equal((await client.records(sessionId)).length, 1)
})
