import { setTimeout as delay } from 'node:timers/promises'
import { hasEnded, type StartSession } from '../../src/contracts/http.ts'
import type { RawReply, RequestOptions } from '../support/client.ts'
import { Cargo, type CargoKind } from './cargo.ts'
import { Door } from './door.ts'
import { Ledger, type Tenant, type Upload } from './ledger.ts'
import type { Random } from './random.ts'
import { type Answer, HttpSender, type Sender, SocketSender } from './senders.ts'

const retryDelayMs = 20
const kinds: readonly CargoKind[] = ['telemetry', 'video', 'audio']
/** Uploads under way in a session: over HTTP, each on a connection of its own, and over one WebSocket. */
const httpWriters = 2
const socketWriters = 3
/** Answers that say "again, please": nothing was kept. */
const againCodes = new Set(['SATURATED', 'SHUTTING_DOWN', 'WORKER_FAILED'])

interface LoadOptions {
  readonly tenants: readonly Tenant[]
  readonly random: Random
  readonly stop: AbortSignal
}

/**
 * Mixed load on a server that comes and goes: two tenants, sessions of all kinds, uploads that queue
 * and uploads that close batches, over HTTP and WebSocket, sessions paused, resumed, ended and
 * cancelled while uploads are under way. What gets no answer is sent again under its key until it does.
 */
export class MixedLoad {
  readonly door: Door
  readonly ledgers: Ledger[] = []
  /** Answers that no client should get, and closes of WebSockets, by their code. */
  readonly complaints: string[] = []
  readonly socketCloses = new Map<number, number>()
  /** Attempts that got no answer, or were told to come again. */
  askedAgain = 0
  readonly #tenants: readonly Tenant[]
  readonly #random: Random
  readonly #stop: AbortSignal
  #cargo: Cargo | null = null
  #lives: Promise<void>[] = []
  #draining = false

  constructor({ tenants, random, stop }: LoadOptions) {
    this.#tenants = tenants
    this.#random = random
    this.#stop = stop
    this.door = new Door(stop)
  }

  async start(): Promise<void> {
    this.#cargo = await Cargo.make()
    for (const tenant of this.#tenants) {
      for (const kind of kinds) this.#lives.push(this.#live(tenant, kind, this.#random.fork()))
    }
    // A failure is heard by drain; until then it must not count as unhandled.
    for (const life of this.#lives) life.catch(() => {})
  }

  /** No new uploads; resolves when every upload is answered and every session has ended. */
  async drain(): Promise<void> {
    this.#draining = true
    await Promise.all(this.#lives)
    this.#lives = []
  }

  get acknowledgedUploads(): number {
    return this.ledgers.reduce((sum, ledger) => sum + ledger.with('acknowledged').length, 0)
  }

  get acknowledgedItems(): number {
    return this.ledgers.reduce((sum, ledger) => sum + ledger.acknowledgedItems, 0)
  }

  get #isOver(): boolean {
    return this.#draining || this.#stop.aborted
  }

  /** One session of the kind after the other. */
  async #live(tenant: Tenant, kind: CargoKind, random: Random): Promise<void> {
    while (!this.#isOver) {
      const ledger = await this.#startSession(tenant, kind, random)
      this.ledgers.push(ledger)
      await this.#liveSession(ledger, random)
    }
  }

  async #liveSession(ledger: Ledger, random: Random): Promise<void> {
    const cargo = this.#cargo
    if (cargo === null) throw new Error('the load was not started')
    const parts = () => ({ door: this.door, cargo, ledger, random: random.fork() })
    const http = new HttpSender(parts())
    const socket = new SocketSender(parts(), (code) => this.#socketClosed(code))
    const life = { isOver: false }
    // Who got no answer asks again by the other way: a session that has ended closes its WebSockets.
    const ways = [
      ...Array.from({ length: httpWriters }, () => [http, socket] as const),
      ...Array.from({ length: socketWriters }, () => [socket, http] as const),
    ]
    const writers = ways.map((senders) => this.#write(ledger, senders, random.fork(), life))
    try {
      await this.#conduct(ledger, random)
      const endsUnderLoad = random.chance(0.5)
      if (!endsUnderLoad) {
        life.isOver = true
        await Promise.all(writers)
      }
      await this.#finish(ledger, random.chance(0.2) ? 'cancel' : 'end')
      life.isOver = true
      await Promise.all(writers)
    } finally {
      socket.close()
    }
  }

  /** Lets the session live for a while, pausing it now and then. */
  async #conduct(ledger: Ledger, random: Random): Promise<void> {
    const endAtMs = performance.now() + random.float(500, 5_000)
    while (!this.#isOver && performance.now() < endAtMs) {
      await delay(random.float(50, 700))
      if (!random.chance(0.3)) continue
      await this.#reach(ledger, 'pause', (status) => status === 'paused')
      await delay(random.float(0, 60))
      await this.#reach(ledger, 'resume', (status) => status === 'active')
    }
  }

  async #write(
    ledger: Ledger,
    senders: readonly [Sender, Sender],
    random: Random,
    life: { readonly isOver: boolean },
  ): Promise<void> {
    const batchSize = ledger.settings.batchSize ?? 1
    while (!this.#isOver && !life.isOver) {
      const count = random.chance(0.15) ? random.int(1, batchSize + 20) : random.int(1, 8)
      const upload = ledger.take(count)
      await this.#deliver(ledger, upload, senders)
      if (upload.outcome === 'refused') return
      if (random.chance(0.2)) await delay(random.float(0, 20))
    }
  }

  /** Sends the upload until it is acknowledged or refused; again by the other way, if need be. */
  async #deliver(
    ledger: Ledger,
    upload: Upload,
    senders: readonly [Sender, Sender],
  ): Promise<void> {
    for (let attempt = 0; upload.outcome === 'open'; attempt += 1) {
      const answer = await senders[attempt % 2 === 0 ? 0 : 1].send(upload)
      this.#stop.throwIfAborted()
      if (answer === null) this.askedAgain += 1
      else this.#judge(ledger, upload, answer)
      if (upload.outcome === 'open') await delay(retryDelayMs)
    }
  }

  #judge(ledger: Ledger, upload: Upload, { status, body }: Answer): void {
    const { code } = body
    if (typeof body.jobId === 'string') {
      ledger.jobs.add(body.jobId)
      upload.outcome = 'acknowledged'
    } else if (code === undefined) {
      const kept = Number(body.recordsProcessed) + Number(body.recordsQueued)
      if (body.recordsReceived !== upload.count || kept !== upload.count) {
        this.complaints.push(`an upload of ${upload.count} got ${JSON.stringify(body)}`)
      }
      upload.outcome = 'acknowledged'
    } else if (againCodes.has(String(code)) && (status === null || status === 503)) {
      this.askedAgain += 1
    } else {
      // A paused session takes it later; one that has ended, never.
      if (code === 'SESSION_STATE_CONFLICT' && body.status === 'paused') return
      upload.outcome = 'refused'
      if (code === 'SESSION_STATE_CONFLICT') return
      this.complaints.push(`an upload got ${status ?? 'rejected'} ${JSON.stringify(body)}`)
    }
  }

  #socketClosed(code: number): void {
    this.socketCloses.set(code, (this.socketCloses.get(code) ?? 0) + 1)
  }

  async #startSession(tenant: Tenant, kind: CargoKind, random: Random): Promise<Ledger> {
    const settings: StartSession = {
      sessionType: kind,
      batchSize: random.pick(kind === 'telemetry' ? [5, 50, 500, 5_000] : [2, 10, 40]),
      maxBatchDelayMs: random.pick([0, 20, 300, 3_600_000]),
      maxConcurrentBatches: random.int(1, 5),
    }
    const reply = await this.#ask(tenant, 'POST', '/api/streaming/sessions/start', {
      json: settings,
    })
    const { sessionId } = reply.json as { sessionId?: unknown }
    if (reply.status !== 200 || typeof sessionId !== 'string') {
      throw new Error(`no session was started: ${reply.status} ${reply.text}`)
    }
    return new Ledger(tenant, kind, sessionId, settings)
  }

  /** Ends or cancels the session, whatever state it is in, and notes its final hash. */
  async #finish(ledger: Ledger, move: 'end' | 'cancel'): Promise<void> {
    await this.#reach(ledger, move, hasEnded)
    const { status, finalHash } = await this.#status(ledger)
    if (typeof finalHash !== 'string') throw new Error(`a session is ${status} without a hash`)
    ledger.finalHash = finalHash
  }

  /** Asks for the move until the session is where it leads to. */
  async #reach(
    ledger: Ledger,
    move: 'pause' | 'resume' | 'end' | 'cancel',
    isReached: (status: SessionStatusText) => boolean,
  ): Promise<void> {
    for (;;) {
      const reply = await this.#ask(ledger.tenant, 'POST', `${ledger.path}/${move}`)
      const { status } = reply.status === 409 ? await this.#status(ledger) : (reply.json as Status)
      if (isReached(status)) return
      if (![200, 202, 409].includes(reply.status)) {
        this.complaints.push(`${move} got ${reply.status} ${reply.text}`)
        return
      }
      await delay(retryDelayMs)
    }
  }

  async #status(ledger: Ledger): Promise<Status> {
    const reply = await this.#ask(ledger.tenant, 'GET', `${ledger.path}/status`)
    if (reply.status !== 200) throw new Error(`status got ${reply.status} ${reply.text}`)
    return reply.json as Status
  }

  /** Asks until there is an answer other than "again, please". */
  async #ask(
    tenant: Tenant,
    method: string,
    path: string,
    options: RequestOptions = {},
  ): Promise<RawReply> {
    for (;;) {
      const reply = await this.door.attempt(tenant.key, method, path, options)
      this.#stop.throwIfAborted()
      if (reply !== null && reply.status !== 503) return reply
      this.askedAgain += 1
      await delay(retryDelayMs)
    }
  }
}

type SessionStatusText = Parameters<typeof hasEnded>[0]
interface Status {
  readonly status: SessionStatusText
  readonly finalHash?: string
}
