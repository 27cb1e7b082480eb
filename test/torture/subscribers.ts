import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { openStore } from '../../src/store/store.ts'
import { startServer, type TestServer } from '../support/server.ts'
import { eventNumber, openEvents } from '../support/sse.ts'
import { eventually } from '../support/waiting.ts'
import { CleanUps } from './clean-ups.ts'
import { Crowd, type CrowdOrder, type CrowdReport, foldNumber } from './crowd.ts'
import type { Fault, FaultOrder, FaultReport } from './fault.ts'

const membersQuick = 1_000
const membersThorough = 10_000
const cutWithinMs = 20_000
const deliveryP99MsMax = 1_000
const slopeKiBMax = 12
/**
 * A log that the readers skip and the others ask for: more than the kernel's buffers hold for a
 * connection that nobody reads, 4 MiB at the sender and 6 MiB at the receiver.
 */
const logEvents = 24_000
const logFillerChars = 500
/**
 * Between uploads of one record, which make two or three events each; longer for ten times as
 * many.
 */
const uploadIntervalMs = { quick: 100, thorough: 300 }
const settleMs = 10_000
const arrivalTimeoutMs = 30_000

const transports = ['sse', 'websocket'] as const
type Group = CrowdReport['seen'][number]
type Transport = (typeof transports)[number]

/**
 * Thousands of subscribers of one session, one in a hundred of which never reads a byte, by SSE
 * and then by WebSocket.
 */
export const subscribersFault: Fault = {
  name: 'subscribers',
  holds:
    `those not reading are cut within ${cutWithinMs / 1_000} s, all others get everything; ` +
    `at ${membersThorough} p99 < ${deliveryP99MsMax} ms and ${slopeKiBMax} KiB each at most`,
  runs: { test: 1, torture: 1 },
  inflict: inflictSubscribers,
}

async function inflictSubscribers(order: FaultOrder): Promise<FaultReport> {
  const failures: string[] = []
  const measured: string[] = []
  let runs = 0
  while (runs < order.runs && !order.signal.aborted) {
    runs += 1
    const trials = transports.map((transport) => new Trial(order, transport, runs))
    // Both at once take more files than a process may have, where there are 10,000 of each.
    if (order.thorough) for (const trial of trials) await trial.run()
    else await Promise.all(trials.map((trial) => trial.run()))
    for (const trial of trials) {
      failures.push(...trial.failures.map((failure) => `run ${runs}, ${failure}`))
      measured.push(trial.measured.join(', '))
    }
  }
  return { runs, measured: measured.join('; '), failures }
}

/** Subscribers of one kind, on a server of their own. */
class Trial {
  readonly failures: string[] = []
  readonly measured: string[] = []
  readonly #cleanUps = new CleanUps()
  readonly #crowd = new Crowd()
  #server!: TestServer
  #sessionId = ''
  /** The last event that was there before anyone came. */
  #logEnd = 0
  /** Readers that came together, and the event that they asked to go on from. */
  readonly #joined: { readonly after: number; readonly readers: number }[] = []

  constructor(
    private readonly order: FaultOrder,
    private readonly transport: Transport,
    private readonly round: number,
  ) {}

  async run(): Promise<void> {
    this.#cleanUps.after(() => this.#crowd.close())
    try {
      await this.#prepare()
      await this.#gather(membersQuick)
      if (this.order.thorough) {
        const before = await this.#settledKiB()
        const readersBefore = this.#readers
        await this.#gather(membersThorough - membersQuick)
        const slopeKiB = ((await this.#settledKiB()) - before) / (this.#readers - readersBefore)
        this.measured.push(`${slopeKiB.toFixed(1)} KiB each`)
        if (slopeKiB > slopeKiBMax) this.#fail(`${slopeKiB} KiB each`)
      }
      await this.#server.client.end(this.#sessionId)
      await this.#judge()
    } finally {
      await this.#cleanUps.run()
    }
  }

  get #readers(): number {
    return this.#joined.reduce((sum, { readers }) => sum + readers, 0)
  }

  #fail(what: string): void {
    this.failures.push(`${this.transport}: ${what}`)
  }

  /** A session with a long log, on a server that has just started. */
  async #prepare(): Promise<void> {
    const dataDir = join(this.order.folder, `${this.transport}-${this.round}`)
    const first = await startServer(this.#cleanUps, { dataDir })
    const settings = { sessionType: 'telemetry', batchSize: 1 } as const
    this.#sessionId = (await first.client.start(settings)).sessionId
    await first.stop()
    const options = { durability: 'commit', maxBytes: 1 << 30, exclusive: true } as const
    const store = openStore({ path: join(dataDir, 'store'), ...options })
    const session = store.sessions.find(0, this.#sessionId)
    if (session === null) throw new Error('the session is gone')
    const data = { sessionId: session.id, filler: 'x'.repeat(logFillerChars) }
    await store.commit((transaction) => {
      for (let count = 0; count < logEvents; count += 1) {
        transaction.appendEvent(0, session.number, 'progress', data)
      }
    })
    this.#logEnd = store.events.last(0)
    await store.close()
    this.#server = await startServer(this.#cleanUps, { dataDir })
  }

  /** More subscribers, and events for them until those of them that do not read are cut. */
  async #gather(members: number): Promise<void> {
    const stalled = members / 100
    const readers = members - stalled
    // What the readers before them have had is no event of theirs: its age would count as delay.
    const { seen } = await this.#crowd.report()
    const after = Math.max(this.#logEnd, ...seen.map(({ last }) => last))
    await this.#crowd.open(this.#order(readers, after))
    this.#joined.push({ after, readers })
    const sinceMs = performance.now()
    await this.#crowd.open(this.#order(stalled, null))
    for (let sent = 0; ; sent += 1) {
      const records = [{ timestamp: Date.UTC(2025, 0, 1) + sent, values: { n: sent } }]
      await this.#server.client.upload(this.#sessionId, { records })
      const tookMs = performance.now() - sinceMs
      const subscribers = await this.#gauge('atomstream_subscribers', this.transport)
      if (subscribers < this.#readers) {
        this.#fail(`${subscribers} connections of ${this.#readers} readers`)
        return
      }
      if (subscribers === this.#readers) {
        this.measured.push(`${stalled} cut in ${(tookMs / 1_000).toFixed(1)} s`)
        return
      }
      if (tookMs > cutWithinMs) {
        this.#fail(`${subscribers - this.#readers} not cut after ${cutWithinMs} ms`)
        return
      }
      this.order.signal.throwIfAborted()
      await delay(uploadIntervalMs[this.order.thorough ? 'thorough' : 'quick'])
    }
  }

  /** `after` is null for those that do not read: they ask for the long log. */
  #order(count: number, after: number | null): CrowdOrder {
    const { hostname, port } = new URL(this.#server.url)
    const end = this.transport === 'sse' ? 'events' : 'ws'
    const query = after === null ? '' : `?lastEventId=event_${after}`
    return {
      transport: this.transport,
      host: hostname,
      port: Number(port),
      path: this.#server.client.session(this.#sessionId, `${end}${query}`),
      key: this.#server.key,
      count,
      isStalled: after === null,
    }
  }

  async #gauge(name: string, kind: string): Promise<number> {
    const { text } = await this.#server.client.get('/metrics')
    const value = new RegExp(`^${name}\\{kind="${kind}"\\} (\\d+)$`, 'm').exec(text)?.[1]
    return Number(value ?? 0)
  }

  /**
   * Anonymous memory, which is that of the database's file left out: the least over some seconds.
   */
  async #settledKiB(): Promise<number> {
    let least = Number.POSITIVE_INFINITY
    for (const endMs = performance.now() + settleMs; performance.now() < endMs; ) {
      await delay(500)
      const status = await readFile(`/proc/${this.#server.pid}/status`, 'utf8')
      least = Math.min(least, Number(/^RssAnon:\s+(\d+) kB$/m.exec(status)?.[1]))
    }
    return least
  }

  async #judge(): Promise<void> {
    const report = await eventually(
      async () => {
        const now = await this.#crowd.report()
        return now.closed === this.#readers ? now : undefined
      },
      'the end of every stream',
      arrivalTimeoutMs,
    )
    const path = this.#server.client.session(this.#sessionId, 'events')
    const { headers, url } = this.#server.client
    const log = await openEvents(`${url}${path}`, headers, `event_${this.#logEnd}`)
    const numbers = (await log.whole()).map(eventNumber)
    for (const { after, readers } of this.#joined) {
      const expected = numbers.filter((number) => number > after)
      const digest = expected.reduce(foldNumber, 0)
      const isWhole = (group: Group) => group.digest === digest && group.events === expected.length
      const whole = report.seen.find(isWhole)?.members ?? 0
      if (whole !== readers) {
        this.#fail(`${readers - whole} of ${readers} did not get every event in order`)
      }
    }
    const p99Ms = percentile(report, 0.99)
    this.measured.push(
      `${numbers.length} events to ${this.#readers} by ${this.transport}, ` +
        `p50 ${percentile(report, 0.5)} ms, p99 ${p99Ms} ms`,
    )
    if (this.order.thorough && p99Ms >= deliveryP99MsMax) this.#fail(`p99 of ${p99Ms} ms`)
  }
}

/** Milliseconds within which this part of the writes arrived, NaN where there were none. */
function percentile({ latencies }: CrowdReport, part: number): number {
  const total = latencies.reduce((sum, [, count]) => sum + count, 0)
  let seen = 0
  for (const [ms, count] of latencies) {
    seen += count
    if (seen >= part * total) return ms
  }
  return Number.NaN
}
