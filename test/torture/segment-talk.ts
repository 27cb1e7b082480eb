import { connect } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'

/** Bytes that a client sends at once, and what it then waits for: replies, or a WebSocket's ack. */
export interface Step {
  readonly bytes: Buffer
  readonly replies: number | 'ack'
}

/** The step whose bytes go in two segments, and how many of them in the first. */
export interface Cut {
  readonly step: number
  readonly position: number
}

const answerTimeoutMs = 10_000

/**
 * Goes through the steps on a connection of its own and gives all that was answered, without what differs
 * from one time to the next.
 */
export async function converse(
  url: string,
  steps: readonly Step[],
  cut: (Cut & { readonly gapMs: number }) | null,
): Promise<string> {
  const { hostname, port } = new URL(url)
  const socket = connect({ host: hostname, port: Number(port), noDelay: true })
  let received = ''
  let isOver = false
  let wake = (): void => {}
  socket.on('data', (chunk) => {
    received += chunk.toString('latin1')
    wake()
  })
  const end = (): void => {
    isOver = true
    wake()
  }
  socket.on('error', end)
  socket.on('close', end)
  const late = setTimeout(end, answerTimeoutMs)
  const answers: string[] = []
  try {
    for (const [index, { bytes, replies }] of steps.entries()) {
      const position = cut?.step === index ? cut.position : 0
      if (cut !== null && position > 0) {
        socket.write(bytes.subarray(0, position))
        await delay(cut.gapMs)
      }
      socket.write(bytes.subarray(position))
      let answer = takeAnswer(received, replies)
      while (answer === null && !isOver) {
        await new Promise<void>((resolve) => {
          wake = resolve
        })
        answer = takeAnswer(received, replies)
      }
      if (answer === null) return answers.join('') + masked(received)
      answers.push(answer)
      received = ''
    }
    return answers.join('')
  } finally {
    clearTimeout(late)
    socket.destroy()
  }
}

/** The masked answers of a step once all have come, null before. */
function takeAnswer(received: string, replies: number | 'ack'): string | null {
  if (replies === 'ack') return messagesOf(received).find((text) => text.includes('"ack"')) ?? null
  let at = 0
  for (let count = 0; count < replies; count += 1) {
    const end = replyEnd(received, at)
    if (end === null) return null
    at = end
  }
  return masked(received.slice(0, at))
}

/** Where the reply that begins at `from` ends; null where it is not whole. */
function replyEnd(text: string, from: number): number | null {
  const headEnd = text.indexOf('\r\n\r\n', from)
  if (headEnd < 0) return null
  const head = text.slice(from, headEnd)
  const length = /^content-length: *(\d+)/im.exec(head)?.[1]
  // The library's own refusals bear no length and end with the connection.
  if (length === undefined && !/^HTTP\/1\.1 (101|204)/.test(head)) return null
  const end = headEnd + 4 + Number(length ?? 0)
  return text.length >= end ? end : null
}

/** The texts of whole frames from a server, which masks nothing; masked here as replies are. */
function messagesOf(received: string): string[] {
  const bytes = Buffer.from(received, 'latin1')
  const texts: string[] = []
  let at = 0
  while (at + 2 <= bytes.length) {
    const short = (bytes[at + 1] ?? 0) & 0x7f
    const headBytes = short === 126 ? 4 : 2
    if (short === 127 || at + headBytes > bytes.length) break
    const length = short === 126 ? bytes.readUInt16BE(at + 2) : short
    if (at + headBytes + length > bytes.length) break
    texts.push(masked(bytes.toString('utf8', at + headBytes, at + headBytes + length)))
    at += headBytes + length
  }
  return texts
}

/** A text message as a client sends it, masked with zeros. */
export function frameOf(text: string): Buffer {
  const payload = Buffer.from(text)
  const head = Buffer.alloc(8)
  head[0] = 0x81
  head[1] = 0x80 | 126
  head.writeUInt16BE(payload.length, 2)
  return Buffer.concat([head, payload])
}

/** Takes out ids, times and what counts the requests before. */
function masked(text: string): string {
  return text
    .replace(/^(date|x-request-id|content-length|x-ratelimit-\w+):.*\r\n/gim, '')
    .replace(/stream-session-[\w-]+/g, 'SESSION')
    .replace(/batch-\d+/g, 'BATCH')
    .replace(/\d{4}-\d\d-\d\d[T ][\d:.]+Z/g, 'TIME')
    .replace(/"(requestId|\w+Ms)":("[^"]*"|[\d.]+)/g, '"$1":0')
}
