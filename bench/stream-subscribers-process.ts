import { connect, type Socket } from 'node:net'
import {
  type Collected,
  type CollectRequest,
  type ExpectRequest,
  mark,
  monotonicMs,
  numberDigits,
  type SubscribeRequest,
  type SubscriberReply,
  type SubscriberRequest,
} from './stream-messages.ts'

/**
 * The process of the subscribers: bare sockets, one buffer for all reads, and of the bytes only the
 * number after each mark is looked at. What it takes of the machine it takes from both servers.
 */

const openingAtOnceMax = 100
const openTimeoutMs = 30_000
const mismatchesMax = 5
/** One for all: a subscriber is done with it before the next one gets it. */
const readBuffer = Buffer.allocUnsafe(256 * 1024)
const markBytes = Buffer.from(mark)
const wholeBytes = mark.length + numberDigits
const zero = 48

const subscribers: Subscriber[] = []
let expected: ExpectRequest = { kind: 'expect', messages: 0, keepsArrivals: false }
let deliveries = 0
let bytes = 0
let lastAtMs = 0
/** How many subscribers have a message. */
let haveIt = new Uint32Array(0)
let completeAtMs = new Float64Array(0)
let arrivedAtMs = new Float64Array(0)
let onAll: (() => void) | null = null

class Subscriber {
  count = 0
  /** With the count and the sum of the squares it tells that each number came once. */
  sum = 0
  squares = 0
  isClosed = false
  #rest: Buffer | null = null

  constructor(readonly index: number) {}

  take(chunk: Buffer): void {
    bytes += chunk.length
    const text = this.#rest === null ? chunk : Buffer.concat([this.#rest, chunk])
    this.#rest = null
    const nowMs = monotonicMs()
    let at = 0
    for (;;) {
      const found = text.indexOf(markBytes, at)
      if (found < 0) break
      const start = found + mark.length
      at = start + numberDigits
      if (at > text.length) {
        this.#rest = Buffer.from(text.subarray(found))
        return
      }
      let number = 0
      for (let i = start; i < at; i += 1) number = number * 10 + (text[i] as number) - zero
      this.#got(number, nowMs)
    }
    // An event ends with a line end, so only one that is cut may end with part of a mark.
    if (text[text.length - 1] === 0x0a) return
    this.#rest = Buffer.from(text.subarray(Math.max(at, text.length - wholeBytes + 1)))
  }

  #got(number: number, nowMs: number): void {
    // Of a run before this one, or of the warm-up.
    if (number >= expected.messages) return
    this.count += 1
    this.sum += number
    this.squares += number * number
    deliveries += 1
    const have = (haveIt[number] as number) + 1
    haveIt[number] = have
    if (expected.keepsArrivals) arrivedAtMs[number * subscribers.length + this.index] = nowMs
    if (have < subscribers.length) return
    completeAtMs[number] = nowMs
    lastAtMs = nowMs
    if (deliveries >= expected.messages * subscribers.length) onAll?.()
  }
}

function expect(request: ExpectRequest): void {
  expected = request
  deliveries = 0
  bytes = 0
  lastAtMs = 0
  haveIt = new Uint32Array(request.messages)
  completeAtMs = new Float64Array(request.messages)
  arrivedAtMs = new Float64Array(request.keepsArrivals ? request.messages * subscribers.length : 0)
  for (const subscriber of subscribers) {
    subscriber.count = 0
    subscriber.sum = 0
    subscriber.squares = 0
  }
}

/** Resolves once the server has answered. */
function open({ host, port, head }: SubscribeRequest): Promise<void> {
  const subscriber = new Subscriber(subscribers.length)
  subscribers.push(subscriber)
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error('a subscriber got no answer')), openTimeoutMs)
    const take = (count: number): boolean => {
      const chunk = readBuffer.subarray(0, count)
      if (isOpen) {
        subscriber.take(chunk)
        return true
      }
      isOpen = true
      clearTimeout(timer)
      const status = chunk.toString('latin1', 0, 12)
      if (status === 'HTTP/1.1 200') resolve()
      else reject(new Error(`a subscriber was answered ${chunk.toString('latin1', 0, 500)}`))
      return true
    }
    let isOpen = false
    const socket: Socket = connect({ host, port, onread: { buffer: readBuffer, callback: take } })
    socket.on('connect', () => socket.write(head))
    socket.on('error', reject)
    socket.on('close', () => {
      subscriber.isClosed = true
      reject(new Error('the server closed a connection'))
    })
  })
}

async function subscribe(request: SubscribeRequest): Promise<void> {
  let left = request.count
  const openAll = async (): Promise<void> => {
    while (left > 0) {
      left -= 1
      await open(request)
    }
  }
  await Promise.all(Array.from({ length: openingAtOnceMax }, openAll))
}

async function collect({ timeoutMs }: CollectRequest): Promise<Collected> {
  if (deliveries < expected.messages * subscribers.length) {
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, timeoutMs)
      onAll = () => {
        clearTimeout(timer)
        resolve()
      }
    })
    onAll = null
  }
  const result = { deliveries, bytes, lastAtMs, completeAtMs, arrivedAtMs }
  return { ...result, mismatches: mismatches() }
}

function mismatches(): string[] {
  const { messages } = expected
  const sum = (messages * (messages - 1)) / 2
  const squares = (sum * (2 * messages - 1)) / 3
  const wrong = subscribers.filter(
    (one) => one.isClosed || one.count !== messages || one.sum !== sum || one.squares !== squares,
  )
  return wrong
    .slice(0, mismatchesMax)
    .map(
      ({ index, count, isClosed }) =>
        `subscriber ${index} got ${count} of ${messages} messages${isClosed ? ' and was cut' : ''}`,
    )
    .concat(wrong.length > mismatchesMax ? [`so did ${wrong.length} subscribers`] : [])
}

async function answer(request: SubscriberRequest): Promise<Collected | null> {
  switch (request.kind) {
    case 'subscribe':
      await subscribe(request)
      return null
    case 'expect':
      expect(request)
      return null
    case 'collect':
      return collect(request)
  }
}

process.on('message', async (request: SubscriberRequest) => {
  let reply: SubscriberReply
  try {
    reply = { ok: true, result: await answer(request) }
  } catch (error) {
    reply = { ok: false, error: error instanceof Error ? error.message : String(error) }
  }
  process.send?.(reply)
})
process.on('disconnect', () => process.exit())
// A Ctrl-C reaches the whole group; the parent decides what becomes of this process.
process.on('SIGINT', () => undefined)
