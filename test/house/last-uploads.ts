import assert from 'node:assert/strict'
import type { TestServer } from '../support/server.ts'
import { within } from '../support/waiting.ts'

const lines = 8
const uploadsMax = 20_000

/** What a server acknowledged before it was gone. */
export interface LastUploads {
  readonly acknowledged: readonly number[]
  /** Ends the sessions on the server that came after it and compares what they hold. */
  assertKept(again: TestServer): Promise<void>
}

/**
 * Uploads one record after the other on several connections until the server has ended. Two sessions
 * take turns: uploads of one are processed at once, those of the other wait in the journal.
 * `onAcknowledged` is told how many were acknowledged so far.
 */
export async function uploadUntilGone(
  server: TestServer,
  onAcknowledged: (count: number) => void = () => {},
): Promise<LastUploads> {
  const { client } = server
  const sessionIds = await Promise.all(
    [1, 10_000].map(async (batchSize) => {
      const started = await client.start({ sessionType: 'telemetry', batchSize })
      return started.sessionId
    }),
  )
  const acknowledged: number[] = []
  let next = 0
  const uploadInTurn = async (): Promise<void> => {
    while (server.running && next < uploadsMax) {
      const number = next
      next += 1
      const sessionId = sessionIds[number % sessionIds.length] ?? ''
      const record = { timestamp: Date.UTC(2025, 0, 20) + number, values: { number } }
      const reply = await client
        .raw('POST', client.session(sessionId, 'upload'), { json: { records: [record] } })
        .catch(() => null)
      if (reply === null) continue
      assert([200, 202, 503, 507].includes(reply.status), reply.text)
      if (reply.status >= 300) continue
      acknowledged.push(number)
      onAcknowledged(acknowledged.length)
    }
  }
  await Promise.all(Array.from({ length: lines }, uploadInTurn))
  await within(server.exited, 'the end of the server')
  assert(acknowledged.length > 0)
  return {
    acknowledged,
    assertKept: (again) => assertKept(again, sessionIds, acknowledged),
  }
}

async function assertKept(
  { client }: TestServer,
  sessionIds: readonly string[],
  acknowledged: readonly number[],
): Promise<void> {
  const kept = new Set<unknown>()
  for (const sessionId of sessionIds) {
    // What was queued becomes atoms.
    const { status } = await client.end(sessionId)
    assert.equal(status, 'completed')
    for (const { values } of await client.records(sessionId, { limit: 10_000 })) {
      assert(!kept.has(values.number), `record ${values.number} is there twice`)
      kept.add(values.number)
    }
  }
  assert.deepEqual(
    acknowledged.filter((number) => !kept.has(number)),
    [],
  )
}
