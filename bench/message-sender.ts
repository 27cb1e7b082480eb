import assert from 'node:assert/strict'
import { limits } from '../src/limits.ts'
import type { Api } from './api.ts'
import { createRecordSource } from './bodies.ts'
import type { LoadResults, SaturatingPace } from './messages.ts'
import { readBack } from './read-back.ts'
import { summariseLatency } from './statistics.ts'
import { frameHeadBytes, frameText, WebSocketConnection } from './web-socket-client.ts'

/** The server tells a client to slow down from half its bound on. */
const windowMessages = Math.floor(limits.webSocketPendingMessagesMax / 4)
/** Messages that one write carries. */
const burstMessages = 128
const answersTimeoutMs = 30_000
/**
 * More than an id ever differs from the oldest one that is not acknowledged: the message that
 * closes a batch waits until that is processed, while others are acknowledged as queued.
 */
const slots = 8 * limits.webSocketPendingMessagesMax
/** Read back together: the numbers of one run follow each other. */
const comparedRecords = 1_000

const head = '{"type":"telemetry","id":'
const acknowledged = Buffer.from('{"type":"ack","id":')
const rejected = Buffer.from('{"type":"rejected"')
const zero = '0'.charCodeAt(0)

export interface MessageRun {
  readonly batchSize: number
  readonly pace: SaturatingPace
}

/**
 * Sends single-record messages over one WebSocket without waiting for their answers, as long as
 * fewer than `windowMessages` are unanswered. Rejects where a message is rejected, is acknowledged
 * twice, or never.
 */
export async function sendMessages(
  api: Api,
  { batchSize, pace }: MessageRun,
  nextNumber: () => number,
  random: () => number,
): Promise<LoadResults['messages']> {
  const settings = { sessionType: 'telemetry', sessionName: 'bench messages', batchSize }
  const session = await api.start(settings)
  const sender = new MessageSender(nextNumber, pace)
  const result = await sender.run(new URL(session.websocketUrl), api.apiKey)
  const { first, count } = result
  const whole = Math.max(1, Math.floor(count / comparedRecords))
  const uploadRecords = Math.min(count, comparedRecords)
  const latency = summariseLatency(result.latenciesMs)
  const perSecond = (result.latenciesMs.length * 1_000) / result.measuredMs
  return {
    recordsPerSecond: perSecond,
    bytesPerSecond: (perSecond * result.bodyBytes) / count,
    latency,
    acknowledgedUploads: count,
    acknowledgedRecords: count,
    readBack: await readBack(
      api,
      {
        sessionId: session.sessionId,
        records: count,
        bodyBytes: result.bodyBytes,
        firsts: Array.from({ length: whole }, (_, index) => first + index * uploadRecords),
        uploadRecords,
        media: null,
        isReordered: true,
      },
      random,
    ),
  }
}

interface Sent {
  readonly first: number
  readonly count: number
  readonly bodyBytes: number
  readonly latenciesMs: readonly number[]
  readonly measuredMs: number
}

class MessageSender {
  readonly #source = createRecordSource({ kind: 'telemetry', encoding: 'json', records: 1 })
  /** By an id's place: the id that is under way there, or -1; and when it was sent. */
  readonly #underWay = new Float64Array(slots).fill(-1)
  readonly #sentAtMs = new Float64Array(slots)
  readonly #latenciesMs: number[] = []
  #connection: WebSocketConnection | undefined
  #first = -1
  #sent = 0
  #answered = 0
  #bodyBytes = 0
  #beginMs = 0
  #endMs = 0
  #lastMs = 0
  #settle: ((failure: Error | null) => void) | undefined

  constructor(
    private readonly nextNumber: () => number,
    private readonly pace: SaturatingPace,
  ) {}

  async run(url: URL, apiKey: string): Promise<Sent> {
    const done = new Promise<void>((resolve, reject) => {
      this.#settle = (failure) => (failure === null ? resolve() : reject(failure))
    })
    // What fails before somebody waits for it fails the opening too.
    done.catch(() => undefined)
    this.#connection = await WebSocketConnection.open(url, apiKey, {
      onText: (bytes, start, end) => this.#answer(bytes, start, end),
      onRead: () => this.#goOn(),
      onFailure: (reason) => this.#settle?.(reason),
    })
    this.#beginMs = performance.now() + this.pace.warmUpMs
    this.#endMs = this.#beginMs + this.pace.measureMs
    const timer = setTimeout(
      () => this.#settle?.(new Error(`${this.#sent - this.#answered} messages got no answer`)),
      this.pace.warmUpMs + this.pace.measureMs + answersTimeoutMs,
    )
    try {
      this.#goOn()
      await done
    } finally {
      clearTimeout(timer)
      this.#connection.close()
    }
    const isCutShort = this.#sent >= this.pace.uploadsMax
    return {
      first: this.#first,
      count: this.#answered,
      bodyBytes: this.#bodyBytes,
      latenciesMs: this.#latenciesMs,
      measuredMs: (isCutShort ? this.#lastMs : this.#endMs) - this.#beginMs,
    }
  }

  /** Sends what the window has room for, whole bursts at a time; ends after the last answer. */
  #goOn(): void {
    // The session's first events may come before anything is sent.
    if (this.#endMs === 0) return
    const now = performance.now()
    const isOver = now >= this.#endMs || this.#sent >= this.pace.uploadsMax
    if (!isOver) {
      while (this.#sent - this.#answered <= windowMessages - burstMessages) {
        const left = this.pace.uploadsMax - this.#sent
        if (left <= 0) break
        this.#send(Math.min(burstMessages, left), now)
      }
    } else if (this.#answered === this.#sent) this.#settle?.(null)
  }

  #send(count: number, now: number): void {
    const messageBytesMax = frameHeadBytes + head.length + 10 + this.#source.bytesMax
    const target = Buffer.allocUnsafe(count * messageBytesMax)
    let at = 0
    for (let i = 0; i < count; i++) at = this.#message(target, at, now)
    this.#connection?.write(target.subarray(0, at))
  }

  #message(target: Buffer, frameAt: number, now: number): number {
    const id = this.#sent++
    const number = this.nextNumber()
    if (id === 0) this.#first = number
    assert.equal(number, this.#first + id)
    const slot = id % slots
    if (this.#underWay[slot] !== -1) throw new Error('a message waits for its answer too long')
    this.#underWay[slot] = id
    this.#sentAtMs[slot] = now
    const payloadAt = frameAt + frameHeadBytes
    // The body's opening brace gives way to the comma after the id.
    const bodyAt = payloadAt + target.write(`${head}${id}`, payloadAt, 'latin1')
    const bodyBytes = this.#source.write(target, bodyAt, number)
    target.write(',', bodyAt, 'latin1')
    const end = bodyAt + bodyBytes
    frameText(target, payloadAt, end - payloadAt)
    this.#bodyBytes += end - payloadAt
    return end
  }

  /** Most messages are acknowledgements, whose id is read without parsing the rest. */
  #answer(bytes: Buffer, start: number, end: number): void {
    if (!beginsWith(bytes, start, acknowledged)) {
      if (!beginsWith(bytes, start, rejected)) return
      throw new Error(`a message was rejected: ${bytes.toString('utf8', start, end)}`)
    }
    let id = 0
    for (let at = start + acknowledged.length; at < end; at++) {
      const digit = (bytes[at] as number) - zero
      if (digit < 0 || digit > 9) break
      id = id * 10 + digit
    }
    const slot = id % slots
    if (this.#underWay[slot] !== id) throw new Error(`message ${id} was acknowledged twice`)
    this.#underWay[slot] = -1
    this.#answered++
    const now = performance.now()
    if (now < this.#beginMs || now > this.#endMs) return
    this.#lastMs = now
    this.#latenciesMs.push(now - (this.#sentAtMs[slot] as number))
  }
}

function beginsWith(bytes: Buffer, start: number, prefix: Buffer): boolean {
  for (let i = 0; i < prefix.length; i++) if (bytes[start + i] !== prefix[i]) return false
  return true
}
