import { connect, type Socket } from 'node:net'
import { type CrowdMessage, type CrowdOrder, type CrowdReport, foldNumber } from './crowd.ts'

/**
 * The process of a crowd: thousands of subscribers on bare sockets. It looks for the ids of
 * events in the bytes as they come and parses nothing else, so that the crowd takes less of the
 * machine than the server that it is to wear out.
 */

const openingAtOnceMax = 100
const latencyMsMax = 60_000
/** One for all: a subscriber is done with it before the next one gets it. */
const readBuffer = Buffer.allocUnsafe(64 * 1024)
const timestampMark = Buffer.from('"timestamp":"')
const marks = { sse: Buffer.from('id: event_'), websocket: Buffer.from('"eventId":"event_') }
/** An empty pong, masked with zeros. */
const pong = Buffer.from([0x8a, 0x80, 0, 0, 0, 0])
const pingByte = 0x89

const latencies = new Uint32Array(latencyMsMax + 1)
const members: Member[] = []
let lastTime = { text: '', ms: 0 }

class Member {
  events = 0
  last = 0
  digest = 0
  isClosed = false
  #rest = ''

  constructor(
    readonly isStalled: boolean,
    private readonly mark: Buffer,
  ) {}

  take(bytes: Buffer): void {
    const chunk = this.#rest === '' ? bytes : Buffer.concat([Buffer.from(this.#rest), bytes])
    this.#rest = ''
    let isFirst = true
    for (let at = 0; ; ) {
      const found = chunk.indexOf(this.mark, at)
      if (found < 0) {
        this.#rest = beginning(chunk, this.mark)
        return
      }
      let number = 0
      for (at = found + this.mark.length; at < chunk.length; at += 1) {
        const digit = (chunk[at] as number) - 48
        if (digit < 0 || digit > 9) break
        number = number * 10 + digit
      }
      if (at === chunk.length) {
        this.#rest = chunk.toString('latin1', found)
        return
      }
      this.#count(number)
      if (isFirst) noteLatency(chunk, found)
      isFirst = false
    }
  }

  #count(number: number): void {
    this.events += 1
    this.last = number
    this.digest = foldNumber(this.digest, number)
  }
}

/** The end of `chunk` where a mark may begin that the next chunk carries on. */
function beginning(chunk: Buffer, mark: Buffer): string {
  for (let length = Math.min(mark.length - 1, chunk.length); length > 0; length -= 1) {
    const end = chunk.subarray(chunk.length - length)
    if (end.equals(mark.subarray(0, length))) return end.toString('latin1')
  }
  return ''
}

/** From the commit of the chunk's first event, as it says itself, to now. */
function noteLatency(chunk: Buffer, from: number): void {
  const found = chunk.indexOf(timestampMark, from)
  if (found < 0) return
  const start = found + timestampMark.length
  const text = chunk.toString('latin1', start, start + 24)
  if (text !== lastTime.text) lastTime = { text, ms: Date.parse(text) }
  const slot = Math.max(0, Math.min(latencyMsMax, Date.now() - lastTime.ms))
  if (Number.isInteger(slot)) latencies[slot] = (latencies[slot] ?? 0) + 1
}

function head(order: CrowdOrder): string {
  const { path, host, port, key, transport } = order
  const upgrade =
    transport === 'sse'
      ? 'Accept: text/event-stream\r\n'
      : 'Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n' +
        'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n'
  return `GET ${path} HTTP/1.1\r\nHost: ${host}:${port}\r\nX-API-Key: ${key}\r\n${upgrade}\r\n`
}

/** Resolves once the server has answered, or for one that does not read, once it is asked. */
function join(order: CrowdOrder): Promise<void> {
  const member = new Member(order.isStalled, marks[order.transport])
  members.push(member)
  return new Promise((resolve, reject) => {
    let socket: Socket | null = null
    const take = (count: number): boolean => {
      const bytes = readBuffer.subarray(0, count)
      if (bytes[0] === pingByte) socket?.write(pong)
      member.take(bytes)
      resolve()
      return true
    }
    const { host, port } = order
    socket = connect({ host, port, onread: { buffer: readBuffer, callback: take } })
    if (order.isStalled) socket.pause()
    socket.on('connect', () => {
      socket?.write(head(order), () => {
        if (order.isStalled) resolve()
      })
    })
    socket.on('error', () => {})
    socket.on('close', () => {
      member.isClosed = true
      reject(new Error('the server closed the connection'))
    })
  })
}

async function open(order: CrowdOrder): Promise<void> {
  let left = order.count
  const joinAll = async (): Promise<void> => {
    while (left > 0) {
      left -= 1
      await join(order)
    }
  }
  await Promise.all(Array.from({ length: openingAtOnceMax }, joinAll))
}

function report(): CrowdReport {
  const seen = new Map<string, { events: number; last: number; digest: number; members: number }>()
  let closed = 0
  for (const { events, last, digest, isStalled, isClosed } of members) {
    if (isStalled) continue
    if (isClosed) closed += 1
    const name = `${events}/${last}/${digest}`
    const same = seen.get(name) ?? { events, last, digest, members: 0 }
    same.members += 1
    seen.set(name, same)
  }
  return {
    closed,
    seen: [...seen.values()],
    latencies: [...latencies.entries()].filter(([, n]) => n),
  }
}

function say(message: CrowdMessage): void {
  process.send?.(message)
}

if (process.send !== undefined) {
  process.on('message', (message: CrowdOrder | 'report') => {
    if (message === 'report') {
      say({ kind: 'report', report: report() })
      return
    }
    open(message).then(
      () => say({ kind: 'opened' }),
      (error) => say({ kind: 'failed', message: String(error) }),
    )
  })
  // Whoever started it has gone.
  process.on('disconnect', () => process.exit())
}
