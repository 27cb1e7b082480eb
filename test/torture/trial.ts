import { randomBytes } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import { createKey, launchServer, type TestServer } from '../support/server.ts'
import { within } from '../support/waiting.ts'
import { auditSession } from './audit.ts'
import { Cargo } from './cargo.ts'
import { CleanUps } from './clean-ups.ts'
import type { Tenant } from './ledger.ts'
import { MixedLoad } from './load.ts'
import type { Random } from './random.ts'

/** Every restart must serve within this time. */
const serveTimeoutMs = 5_000
/** Uploads and ends that are still open when the load stops must be answered within this time. */
const drainTimeoutMs = 60_000
const pollMs = 5

/**
 * One data folder, a server on it that is brought down again and again, and clients that go on all the
 * while. Between the loads everything is read back.
 */
export class Trial {
  readonly failures: string[] = []
  acknowledgedUploads = 0
  acknowledgedItems = 0
  refusedUploads = 0
  sessions = 0
  askedAgain = 0
  restartMsMax = 0
  readonly socketCloses = new Map<number, number>()
  readonly #cleanUps = new CleanUps()
  readonly #dataDir: string
  readonly #random: Random
  readonly #stop: AbortSignal
  readonly #tenants: Tenant[] = [{ number: 0, key: `trial-${randomBytes(16).toString('hex')}` }]
  #cargo: Cargo | null = null
  #load: MixedLoad | null = null
  #launchedAtMs = 0
  server: TestServer | null = null

  constructor(dataDir: string, random: Random, stop: AbortSignal) {
    this.#dataDir = dataDir
    this.#random = random
    this.#stop = stop
  }

  /** Starts a server on the folder, without waiting for it. */
  launch(): TestServer {
    const env = { ATOMSTREAM_API_KEY: this.#tenants[0]?.key ?? '', ATOMSTREAM_WORKERS: '2' }
    this.#launchedAtMs = performance.now()
    this.server = launchServer(this.#cleanUps, this.#dataDir, { env })
    return this.server
  }

  /** Waits until the launched server serves, and lets the clients at it. */
  async serve(): Promise<void> {
    const server = this.#running()
    await server.listening()
    while ((await server.client.get('/health')).status !== 200) await delay(pollMs)
    const tookMs = performance.now() - this.#launchedAtMs
    this.restartMsMax = Math.max(this.restartMsMax, tookMs)
    if (tookMs > serveTimeoutMs) {
      this.failures.push(`it took ${Math.round(tookMs)} ms to serve again`)
    }
    if (this.#tenants.length === 1) {
      const { key } = await createKey(this.#dataDir, { tenant: 1, scopes: allScopes })
      this.#tenants.push({ number: 1, key })
    }
    this.#load?.door.open(server.url)
  }

  /** The server is about to go: clients look for it again, once it is back. */
  leave(): void {
    this.#load?.door.shut()
  }

  /** Clients begin on the server that serves. */
  async startLoad(): Promise<void> {
    this.#load = new MixedLoad({
      tenants: this.#tenants,
      random: this.#random.fork(),
      stop: this.#stop,
    })
    this.#load.door.open(this.#running().url)
    await this.#load.start()
  }

  get isLoaded(): boolean {
    return this.#load !== null
  }

  /** Stops the load and compares all of its sessions with what its clients were told. */
  async audit(): Promise<void> {
    const load = this.#load
    if (load === null) return
    await within(load.drain(), 'an answer to every upload and end', drainTimeoutMs)
    this.#cargo ??= await Cargo.make()
    for (const ledger of load.ledgers) {
      this.#stop.throwIfAborted()
      this.failures.push(...(await auditSession(this.#running().url, ledger, this.#cargo)))
      this.refusedUploads += ledger.with('refused').length
    }
    this.failures.push(...load.complaints)
    this.acknowledgedUploads += load.acknowledgedUploads
    this.acknowledgedItems += load.acknowledgedItems
    this.sessions += load.ledgers.length
    this.askedAgain += load.askedAgain
    for (const [code, count] of load.socketCloses) {
      this.socketCloses.set(code, (this.socketCloses.get(code) ?? 0) + count)
    }
    load.door.close()
    this.#load = null
  }

  close(): Promise<void> {
    // Its clients, where there are any left, wait for the signal that stops the trial.
    this.leave()
    return this.#cleanUps.run()
  }

  #running(): TestServer {
    if (this.server === null) throw new Error('no server was launched')
    return this.server
  }
}

const allScopes = [
  'sessions:read',
  'sessions:write',
  'ingest',
  'jobs:read',
  'jobs:write',
  'events:read',
].join(',')
