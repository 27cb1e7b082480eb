import assert from 'node:assert/strict'
import { join } from 'node:path'
import { AtomPage, Health, type SessionStatus } from '../../src/contracts/http.ts'
import type { Client, Started } from '../support/client.ts'
import { seededRandom } from '../support/data.ts'
import { type ServerOptions, startServer, type TestServer } from '../support/server.ts'
import { openEvents } from '../support/sse.ts'
import { eventually } from '../support/waiting.ts'
import { openSocket } from '../support/websocket.ts'
import type { CleanUps } from './clean-ups.ts'
import type { SmallDisk } from './small-disk.ts'

const recordsEach = 16
const paddingBytes = 40_000
/** The queued batch closes while the disk is full. */
const queuedDelayMs = 1_500

/** One server on a store that runs out of room. Whatever does not hold throws. */
export class DiskFullTrial {
  readonly #scope: CleanUps
  readonly #options: ServerOptions
  readonly #random: () => number
  #server!: TestServer
  #session!: Started
  #next = 0
  readonly #acknowledged: number[] = []
  refused = 0

  constructor(scope: CleanUps, folder: string, disk: SmallDisk | null, seed: number) {
    this.#scope = scope
    this.#random = seededRandom(seed)
    const dataDir = join(disk?.path ?? folder, 'data')
    const env = { ATOMSTREAM_API_KEY: 'key-of-the-full-disk' }
    this.#options = { dataDir, env, ...(disk === null ? {} : { under: disk.under }) }
  }

  /** Uploads that were acknowledged. */
  get acknowledged(): number {
    return this.#acknowledged.length
  }

  /** Full by another program, freed; full by uploads, restarted, grown. */
  async fillDisk(disk: SmallDisk, grownBytes: number): Promise<void> {
    await this.#start({})
    const { client } = this
    for (let count = 0; count < 8; count += 1) await this.#upload(client)
    const queued = await client.start({
      sessionType: 'telemetry',
      batchSize: 10_000,
      maxBatchDelayMs: queuedDelayMs,
    })
    await client.upload(queued.sessionId, { records: this.#records(7, 10) })
    disk.fill()
    await this.#expectFull(client)
    await this.#expectNoWrites(client)
    await this.#expectWaiting(queued.sessionId)
    disk.free()
    await this.#expectHealed(client)
    const processed = async () => {
      const { statistics } = await client.status(queued.sessionId)
      return statistics.totalAtomsCreated === recordsEach || undefined
    }
    await eventually(processed, 'the batch that waited for room')

    await this.#uploadUntilFull()
    await this.#expectFull(client)
    await this.#restart({})
    await this.#uploadUntilFull()
    await this.#expectFull(this.client)
    disk.grow(grownBytes)
    await this.#expectHealed(this.client)
    await this.#expectAll()
  }

  /** Full by uploads up to the bound of the store, restarted, given a wider bound. */
  async fillBound(bytesMax: number): Promise<void> {
    const env = { ATOMSTREAM_STORE_BYTES_MAX: `${bytesMax}` }
    await this.#start(env)
    await this.#uploadUntilFull()
    await this.#expectFull(this.client)
    await this.#restart(env)
    await this.#uploadUntilFull()
    await this.#expectFull(this.client)
    await this.#restart({})
    await this.#expectHealed(this.client)
    await this.#expectAll()
  }

  get client(): Client {
    return this.#server.client
  }

  async #start(env: Readonly<Record<string, string>>): Promise<void> {
    await this.#serve(env)
    const settings = { sessionType: 'telemetry', batchSize: 3 * recordsEach } as const
    this.#session = await this.client.start({ ...settings, maxBatchDelayMs: 3_600_000 })
  }

  async #serve(env: Readonly<Record<string, string>>): Promise<void> {
    const options = { ...this.#options, env: { ...this.#options.env, ...env } }
    this.#server = await startServer(this.#scope, options)
  }

  /** In order or not, as chance has it. */
  async #restart(env: Readonly<Record<string, string>>): Promise<void> {
    if (this.#random() < 0.5) {
      assert.equal((await this.#server.stop()).code, 0)
    } else {
      await this.#server.kill('SIGKILL')
    }
    await this.#serve(env)
  }

  #records(number: number, padding: number): unknown[] {
    const pad = () =>
      Math.floor(this.#random() * 2 ** 32)
        .toString(36)
        .padEnd(padding, 'x')
    return Array.from({ length: recordsEach }, (_, index) => ({
      timestamp: Date.UTC(2025, 0, 20) + number * recordsEach + index,
      values: { number, pad: pad() },
    }))
  }

  /** Whether it was taken; else it was refused for want of room. */
  async #upload(client: Client, padding = paddingBytes): Promise<boolean> {
    const number = this.#next
    this.#next += 1
    const { sessionId } = this.#session
    const json = { records: this.#records(number, padding) }
    const reply = await client.raw('POST', client.session(sessionId, 'upload'), { json })
    if (reply.status === 200 || reply.status === 202) {
      this.#acknowledged.push(number)
      return true
    }
    reply.refused(507, 'STORE_FULL')
    this.refused += 1
    return false
  }

  /** Smaller and smaller, until not even a small one fits. */
  async #uploadUntilFull(): Promise<void> {
    for (let padding = paddingBytes; padding >= 10; padding = Math.floor(padding / 4)) {
      let taken = true
      while (taken) {
        const four = Array.from({ length: 4 }, () => this.#upload(this.client, padding))
        taken = (await Promise.all(four)).includes(true)
      }
    }
  }

  /** Every write is refused, changes of state too, and nothing changes by it. */
  async #expectNoWrites(client: Client): Promise<void> {
    const { sessionId } = this.#session
    const before = await client.status(sessionId)
    assert.equal(before.status, 'active')
    const path = '/api/streaming/sessions'
    const refusals = [
      client.raw('POST', `${path}/start`, { json: { sessionType: 'telemetry' } }),
      ...['pause', 'cancel', 'end'].map((move) =>
        client.raw('POST', client.session(sessionId, move), { json: {} }),
      ),
    ]
    for (const reply of await Promise.all(refusals)) reply.refused(507, 'STORE_FULL')
    assert.deepEqual(withoutDuration(await client.status(sessionId)), withoutDuration(before))
    assert.equal((await client.get('/health')).as(Health).store, 'full')
    assert.equal((await client.get(path)).status, 200)
  }

  /** An upload is refused, over HTTP and over a WebSocket, and every read is served. */
  async #expectFull(client: Client): Promise<void> {
    assert.equal(await this.#upload(client), false)
    const { sessionId, sseUrl, websocketUrl } = this.#session
    const path = (url: string) => new URL(new URL(url).pathname, this.#server.url).href
    const socket = await openSocket(path(websocketUrl).replace('http', 'ws'), client.headers)
    socket.send({ type: 'telemetry', id: 'full', records: this.#records(0, paddingBytes) })
    const { type, code } = await socket.answer('full')
    assert.deepEqual({ type, code }, { type: 'rejected', code: 'STORE_FULL' })
    socket.socket.terminate()

    const reader = await openEvents(path(sseUrl), client.headers)
    await reader.event('session-started')
    await reader.cut()
    assert.equal((await client.get('/health')).as(Health).status, 'healthy')
    assert.equal((await client.status(sessionId)).status, 'active')
    const atoms = await client.get(client.session(sessionId, 'atoms'), { limit: 1 })
    for (const { hash } of atoms.as(AtomPage).atoms) await client.atomBytes(hash)
    const records = await client.get(client.session(sessionId, 'records'), { limit: 1 })
    assert.equal(records.status, 200)
  }

  /** A batch that was queued before stays queued; it is neither lost nor given up. */
  async #expectWaiting(sessionId: string): Promise<void> {
    await this.#server.output.waitFor(
      (line) => line.includes('"batch failed"') && line.includes(sessionId),
      'the attempt at the batch that waits',
    )
    const { statistics, status } = await this.client.status(sessionId)
    assert.equal(status, 'active')
    assert.equal(statistics.totalAtomsCreated, 0)
    assert.equal(statistics.totalRecordsReceived, recordsEach)
  }

  async #expectHealed(client: Client): Promise<void> {
    await eventually(async () => (await this.#upload(client)) || undefined, 'room for an upload')
    assert.equal((await client.get('/health')).as(Health).store, 'writable')
    const { sessionId } = this.#session
    for (const move of ['pause', 'resume']) {
      const reply = await client.raw('POST', client.session(sessionId, move), { json: {} })
      assert.equal(reply.status, 200, reply.text)
    }
  }

  /** Each acknowledged upload is there whole and once, and nothing of a refused one. */
  async #expectAll(): Promise<void> {
    const { client } = this
    const { sessionId } = this.#session
    await client.end(sessionId)
    const counts = new Map<number, number>()
    for (const { values } of await client.records(sessionId, { fields: 'number', limit: 10_000 })) {
      const number = Number(values.number)
      counts.set(number, (counts.get(number) ?? 0) + 1)
    }
    const expected = this.#acknowledged.sort((one, other) => one - other)
    assert.deepEqual(
      [...counts.keys()].sort((one, other) => one - other),
      expected,
    )
    for (const [number, count] of counts) assert.equal(count, recordsEach, `upload ${number}`)
  }
}

/** What does not change by itself. */
function withoutDuration({ statistics, ...rest }: SessionStatus): unknown {
  return { ...rest, statistics: { ...statistics, sessionDurationMs: 0 } }
}
