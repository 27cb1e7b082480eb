import { createHash } from 'node:crypto'
import { get, type IncomingMessage } from 'node:http'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { WebSocket } from 'ws'
import { startServer, type TestServer } from '../support/server.ts'
import { EventParser, eventNumber, isTerminal, openEvents } from '../support/sse.ts'
import { within } from '../support/waiting.ts'
import { CleanUps } from './clean-ups.ts'
import type { Fault, FaultOrder, FaultReport } from './fault.ts'
import { Random } from './random.ts'

const sseReaders = 6
const socketReaders = 2
const uploaders = 6
/**
 * Of so many runs one cuts all readers at once: the server is killed or stopped, and started
 * again.
 */
const runsPerRestart = 16
/** A connection is cut after so many bytes or milliseconds, whichever comes first. */
const cutBytesMax = 4_000
const cutDelayMsMax = 400
const retryDelayMs = 20
const endTimeoutMs = 60_000

/**
 * Readers of a session under load are cut again and again, in the middle of an event too, and go
 * on from the last id that they have, also over kills and stops of the server. What each has seen
 * in the end is compared with the log as one reader gets it who was never cut.
 */
export const resumeFault: Fault = {
  name: 'resume',
  holds: 'no gap, no duplicate, or an explicit gap event',
  runs: { test: 50, torture: 1_000 },
  inflict: inflictResume,
}

/** An event as it was seen; `digest` is of its name and data. */
export interface SeenEvent {
  readonly number: number
  readonly digest: string
  /** Of a `gap` event: the numbers that it tells of, both ends included. */
  readonly gap: { readonly from: number; readonly to: number } | null
}

async function inflictResume(order: FaultOrder): Promise<FaultReport> {
  const cleanUps = new CleanUps()
  const trial = new Trial(order, cleanUps)
  try {
    return await trial.run()
  } finally {
    await cleanUps.run()
  }
}

class Trial {
  readonly random: Random
  runs = 0
  restarts = 0
  midEventCuts = 0
  /** What a client never does: an answer that nobody expects, for instance. */
  readonly failures: string[] = []
  #server!: TestServer
  #path = ''
  #sessionId = ''

  constructor(
    readonly order: FaultOrder,
    private readonly cleanUps: CleanUps,
  ) {
    this.random = new Random(order.seed)
  }

  get isOver(): boolean {
    return this.runs >= this.order.runs || this.order.signal.aborted
  }

  get headers(): Readonly<Record<string, string>> {
    return this.#server.client.headers
  }

  url(query: string, end: 'events' | 'ws' = 'events'): string {
    return `${this.#server.url}${this.#path}/${end}${query}`
  }

  /** One more cut of one reader. */
  count(isMidEvent: boolean): void {
    this.runs += 1
    if (isMidEvent) this.midEventCuts += 1
  }

  async run(): Promise<FaultReport> {
    await this.#start()
    const session = await this.#server.client.start({ sessionType: 'telemetry', batchSize: 1 })
    this.#sessionId = session.sessionId
    this.#path = `/api/streaming/sessions/${session.sessionId}`
    const readers = [
      ...Array.from({ length: sseReaders }, (_, index) => new SseReader(this, index)),
      ...Array.from({ length: socketReaders }, (_, index) => new SocketReader(this, index)),
    ]
    const reading = readers.map((reader) => reader.readAll())
    const load = Array.from({ length: uploaders }, () => this.#upload())
    await Promise.all([this.#restart(), ...load])
    const { runs } = this
    await this.#end()
    await within(Promise.all(reading), 'the end of every reader', endTimeoutMs)
    const log = await this.#log()
    for (const reader of readers) {
      const wrong = differenceFrom(log, reader.seen)
      if (wrong !== null) this.failures.push(`seed ${this.order.seed}, ${reader.name}: ${wrong}`)
    }
    return {
      runs: Math.min(runs, this.order.runs),
      measured:
        `${readers.length} readers of ${log.length} events, ${this.midEventCuts} cuts in mid-event, ` +
        `${this.restarts} restarts`,
      failures: this.failures,
    }
  }

  async #start(): Promise<void> {
    const key = `resume-key-${this.order.seed}-0123456789`
    const env = { ATOMSTREAM_API_KEY: key }
    const dataDir = join(this.order.folder, 'resume')
    this.#server = await startServer(this.cleanUps, { dataDir, env })
  }

  /** Restarts the server at random moments, until there were enough runs. */
  async #restart(): Promise<void> {
    let next = this.random.int(1, runsPerRestart)
    while (!this.isOver) {
      await delay(retryDelayMs)
      if (this.runs < next) continue
      const signal = this.random.chance(0.5) ? 'SIGKILL' : 'SIGTERM'
      await this.#server.kill(signal)
      await this.#start()
      this.restarts += 1
      this.runs += 1
      this.order.say(`${this.runs} runs, server restarted after ${signal}`)
      next = this.runs + this.random.int(1, 2 * runsPerRestart)
    }
  }

  /**
   * A server that is down is tried again: what is uploaded twice is not what is looked at here.
   */
  async #upload(): Promise<void> {
    for (let first = 0; !this.isOver; first += 1) {
      try {
        const records = [{ timestamp: Date.UTC(2025, 0, 1) + first, values: { n: first } }]
        await this.#server.client.upload(this.#sessionId, { records })
        await delay(this.random.int(0, 5))
      } catch {
        await delay(retryDelayMs)
      }
    }
  }

  async #end(): Promise<void> {
    await this.#server.client.end(this.#sessionId)
  }

  async #log(): Promise<SeenEvent[]> {
    const reader = await openEvents(this.url(''), this.headers)
    const events = await reader.whole()
    return events.map(({ id, name, data }) => seenEvent(eventNumber({ id }), name, data))
  }
}

/** A client that is cut and comes back with the id of the last event that it has. */
abstract class Reader {
  readonly seen: SeenEvent[] = []
  #isDone = false

  constructor(
    protected readonly trial: Trial,
    readonly name: string,
  ) {}

  protected get isDone(): boolean {
    return this.#isDone
  }

  protected get lastId(): string | null {
    const last = this.seen[this.seen.length - 1]
    return last === undefined ? null : `event_${last.number}`
  }

  async readAll(): Promise<void> {
    while (!this.#isDone && !this.trial.order.signal.aborted) {
      const wasCut = await this.connect().catch(() => null)
      if (wasCut === null) await delay(retryDelayMs)
    }
  }

  /** Rejects or gives null where there is no server; true once the connection is cut or ended. */
  protected abstract connect(): Promise<true | null>

  protected take(id: string, name: string, data: Record<string, unknown>): void {
    this.seen.push(seenEvent(eventNumber({ id }), name, data))
    if (isTerminal({ id, name, data })) this.#isDone = true
  }

  protected unexpected(what: string): void {
    this.trial.failures.push(`seed ${this.trial.order.seed}, ${this.name}: ${what}`)
    this.#isDone = true
  }

  /** When to cut; never, once there were enough runs. */
  protected budget(): { bytes: number; ms: number } {
    const { random, isOver } = this.trial
    if (isOver) return { bytes: Number.POSITIVE_INFINITY, ms: endTimeoutMs }
    return { bytes: random.int(1, cutBytesMax), ms: random.int(0, cutDelayMsMax) }
  }
}

class SseReader extends Reader {
  constructor(trial: Trial, index: number) {
    super(trial, `SSE reader ${index}`)
  }

  protected async connect(): Promise<true | null> {
    const { random, headers } = this.trial
    const id = this.lastId
    const inQuery = random.chance(0.5)
    const url = this.trial.url(id !== null && inQuery ? `?lastEventId=${id}` : '')
    const resume: Record<string, string> = id !== null && !inQuery ? { 'Last-Event-ID': id } : {}
    const reply = await new Promise<IncomingMessage>((resolve, reject) => {
      get(url, { headers: { ...headers, ...resume }, agent: false }, resolve).on('error', reject)
    })
    if (reply.statusCode === 503) {
      reply.resume()
      return null
    }
    if (reply.statusCode !== 200) {
      reply.resume()
      this.unexpected(`${reply.statusCode} after ${id}`)
      return true
    }
    await this.#read(reply)
    return true
  }

  async #read(reply: IncomingMessage): Promise<void> {
    const { bytes, ms } = this.budget()
    const parser = new EventParser()
    let leftBytes = bytes
    let isMidEvent = false
    const cut = (): void => {
      if (reply.destroyed) return
      reply.destroy()
      if (!this.isDone) this.trial.count(isMidEvent)
    }
    const timer = setTimeout(cut, ms)
    reply.setEncoding('latin1')
    reply.on('data', (text: string) => {
      if (reply.destroyed) return
      // What came with the rest of the piece is lost with the connection.
      const part = text.slice(0, leftBytes)
      leftBytes -= part.length
      isMidEvent = !part.endsWith('\n\n')
      for (const { id, name, data } of parser.push(part)) this.take(id, name, data)
      if (leftBytes <= 0) cut()
    })
    reply.on('error', () => {})
    await new Promise((resolve) => reply.once('close', resolve))
    clearTimeout(timer)
  }
}

class SocketReader extends Reader {
  constructor(trial: Trial, index: number) {
    super(trial, `WebSocket reader ${index}`)
  }

  protected async connect(): Promise<true | null> {
    const id = this.lastId
    const url = this.trial.url(id === null ? '' : `?lastEventId=${id}`, 'ws')
    const socket = new WebSocket(url, { headers: this.trial.headers })
    const { bytes, ms } = this.budget()
    let leftBytes = bytes
    let isOpen = false
    const cut = (): void => {
      if (socket.readyState >= WebSocket.CLOSING) return
      socket.terminate()
      if (isOpen && !this.isDone) this.trial.count(false)
    }
    const timer = setTimeout(cut, ms)
    socket.on('open', () => {
      isOpen = true
    })
    socket.on('message', (text: Buffer) => {
      if (socket.readyState !== WebSocket.OPEN) return
      const { type, eventId, ...data } = JSON.parse(text.toString()) as Record<string, unknown>
      this.take(String(eventId), String(type), data)
      leftBytes -= text.length
      if (leftBytes <= 0) cut()
    })
    socket.on('error', () => {})
    await new Promise((resolve) => socket.once('close', resolve))
    clearTimeout(timer)
    return isOpen ? true : null
  }
}

function seenEvent(number: number, name: string, data: Record<string, unknown>): SeenEvent {
  const text = `${name} ${JSON.stringify(data)}`
  const digest = createHash('sha256').update(text).digest('base64').slice(0, 16)
  if (name !== 'gap') return { number, digest, gap: null }
  const from = eventNumber({ id: String(data.fromEventId) })
  return { number, digest, gap: { from, to: eventNumber({ id: String(data.toEventId) }) } }
}

/**
 * The first thing in which a reader's events differ from the log, less what it was told is gone.
 */
export function differenceFrom(
  log: readonly SeenEvent[],
  seen: readonly SeenEvent[],
): string | null {
  const gaps = seen.flatMap(({ gap }) => gap ?? [])
  const isTold = ({ number }: SeenEvent) =>
    gaps.some(({ from, to }) => from <= number && number <= to)
  const expected = log.filter((event) => event.gap === null && !isTold(event))
  const events = seen.filter(({ gap }) => gap === null)
  for (let index = 0; index < Math.max(expected.length, events.length); index += 1) {
    const [should, is] = [expected[index], events[index]]
    if (should?.number === is?.number && should?.digest === is?.digest) continue
    const shouldText = should === undefined ? 'the end' : `event_${should.number}`
    const isText = is === undefined ? 'the end' : `event_${is.number}`
    return `${shouldText} should be the ${index + 1}th event and ${isText} is`
  }
  return null
}
