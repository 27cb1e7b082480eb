import assert from 'node:assert/strict'
import { setTimeout as delay } from 'node:timers/promises'
import { type Client, chainOf } from '../support/client.ts'

const recordsPerUpload = 20
/** Every second upload closes a batch of two, so that the workers merge for it too. */
const batchSize = 2 * recordsPerUpload
const senders = 2
const pauseMs = 5

/** A tenant that does nothing wrong, uploads all the while and expects a 200 for everything. */
export class Bystander {
  uploads = 0
  slowestMs = 0
  readonly failures: string[] = []
  readonly #client: Client
  readonly #stop = new AbortController()
  #sessionId = ''
  #sending: Promise<unknown> = Promise.resolve()

  constructor(client: Client) {
    this.#client = client
  }

  async start(): Promise<void> {
    const session = await this.#client.start({
      sessionName: 'bystander',
      sessionType: 'telemetry',
      batchSize,
      maxBatchDelayMs: 3_600_000,
    })
    this.#sessionId = session.sessionId
    this.#sending = Promise.all(Array.from({ length: senders }, () => this.#send()))
  }

  /** Ends the uploads and compares what the session holds with what was acknowledged. */
  async stop(): Promise<void> {
    this.#stop.abort()
    await this.#sending
    const ended = await this.#client.end(this.#sessionId)
    assert.equal(ended.status, 'completed')
    const numbers = (await this.#client.records(this.#sessionId)).map(({ values }) => values.n)
    numbers.sort((left, right) => Number(left) - Number(right))
    const expected = Array.from({ length: this.uploads * recordsPerUpload }, (_, n) => n)
    if (this.failures.length === 0) assert.deepEqual(numbers, expected)
    assert.equal(chainOf(await this.#client.atoms(this.#sessionId)), ended.finalHash)
  }

  async #send(): Promise<void> {
    while (!this.#stop.signal.aborted && this.failures.length === 0) {
      const first = this.uploads * recordsPerUpload
      this.uploads += 1
      const records = Array.from({ length: recordsPerUpload }, (_, index) => ({
        timestamp: Date.UTC(2025, 0, 1) + first + index,
        values: { n: first + index },
      }))
      const path = this.#client.session(this.#sessionId, 'upload')
      const sentMs = performance.now()
      const reply = await this.#client.raw('POST', path, { json: { records } })
      this.slowestMs = Math.max(this.slowestMs, performance.now() - sentMs)
      if (reply.status !== 200) this.failures.push(`a bystander got ${reply.status}: ${reply.text}`)
      await delay(pauseMs)
    }
  }
}
