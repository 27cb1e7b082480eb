import { createServer } from 'node:net'

/**
 * A server that reads uploads and does nothing with them, as a process of its own: what the load
 * process reaches against it is the most that the bench could show. Sends its port to its parent.
 */
const records = Number(process.argv[2])
const body = JSON.stringify({
  sessionId: 'sink',
  recordsReceived: records,
  recordsProcessed: records,
  recordsQueued: 0,
  recordsRejected: 0,
  batchId: 'batch-0',
  processingTimeMs: 0,
  status: 'active',
})
const reply = `HTTP/1.1 200 OK\r\ncontent-length: ${body.length}\r\n\r\n${body}`

const server = createServer({ noDelay: true }, (socket) => {
  let head = ''
  let bodyBytesLeft = 0
  socket.on('data', (chunk) => {
    let at = 0
    while (at < chunk.length) {
      if (bodyBytesLeft === 0) {
        const end = chunk.indexOf('\r\n\r\n', at)
        head += chunk.toString('latin1', at, end === -1 ? chunk.length : end)
        if (end === -1) return
        bodyBytesLeft = Number(/content-length: (\d+)/.exec(head)?.[1])
        head = ''
        at = end + 4
      }
      const taken = Math.min(bodyBytesLeft, chunk.length - at)
      at += taken
      bodyBytesLeft -= taken
      if (bodyBytesLeft === 0) socket.write(reply)
    }
  })
  // The load process closes its connections without ceremony.
  socket.on('error', () => socket.destroy())
})
server.listen(0, '127.0.0.1', () => {
  const address = server.address()
  if (address !== null && typeof address === 'object') process.send?.(address.port)
})
process.on('disconnect', () => process.exit())
