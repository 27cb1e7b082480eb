import { test } from 'node:test'
import { within } from '../support/waiting.ts'
import { openDoor, ownKey, rawConnection } from './door.ts'

test('a subscriber that does not read is cut', { timeout: 60_000 }, async (t) => {
  const door = await openDoor(t)
  const session = await door.sessions.start(0, { sessionType: 'telemetry' })
  const connection = await rawConnection(t, door.port)
  connection.socket.pause()
  connection.socket.write(
    `GET /api/streaming/sessions/${session.id}/events HTTP/1.1\r\nHost: a\r\n` +
      `X-API-Key: ${ownKey}\r\n\r\n`,
  )
  // More than the kernel's buffers on both sides hold.
  const filler = 'x'.repeat(60_000)
  for (let round = 0; round < 40; round++) {
    await door.store.commit((transaction) => {
      for (let index = 0; index < 10; index++) {
        transaction.appendEvent(0, session.number, 'progress', { filler })
      }
    })
  }
  const gone = (async () => {
    for (;;) {
      const { values } = await door.metrics.subscribers.get()
      if (values.find((value) => value.labels.kind === 'sse')?.value === 0) return
      await new Promise((resolve) => setTimeout(resolve, 100))
    }
  })()
  await within(gone, 'the cut', 30_000)
})
