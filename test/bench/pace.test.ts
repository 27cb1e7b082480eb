import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { drive, type Sender } from '../../bench/pace.ts'

function countingSender(send: () => Promise<void>): Sender & { prepared: number; sent: number } {
  return {
    prepared: 0,
    sent: 0,
    prepare() {
      this.prepared++
    },
    async send() {
      assert.equal(this.prepared, this.sent + 1, 'each upload is prepared once, before it is sent')
      this.sent++
      await send()
    },
  }
}

test('a saturating run ends at its count, with a sample for every upload', async () => {
  const senders = [1, 2, 3].map(() => countingSender(() => sleep(1)))
  const pace = { kind: 'saturate', warmUpMs: 0, measureMs: 60_000, uploadsMax: 20 } as const
  const { samples, measuredMs } = await drive(senders, pace)
  assert.equal(samples.length, 20)
  assert.equal(
    senders.reduce((sum, sender) => sum + sender.sent, 0),
    20,
  )
  assert(measuredMs > 0 && measuredMs < 60_000)
})

test('a saturating run ends at its time and leaves its warm-up out', async () => {
  const sender = countingSender(() => sleep(5))
  const pace = { kind: 'saturate', warmUpMs: 100, measureMs: 100, uploadsMax: 1e6 } as const
  const { samples, measuredMs } = await drive([sender], pace)
  assert.equal(Math.round(measuredMs), 100)
  assert(samples.length > 0 && samples.length < sender.sent)
})

test('an upload that had to wait for a slow one counts from when it was due', async () => {
  let calls = 0
  // The first upload blocks the only connection while the next four become due.
  const sender = countingSender(() => (calls++ === 0 ? sleep(200) : Promise.resolve()))
  const pace = { kind: 'paced', warmUpMs: 0, uploadsPerSecond: 50, uploads: 5 } as const
  const { samples } = await drive([sender], pace)
  assert.equal(samples.length, 5)
  const second = samples[1]?.latencyMs ?? 0
  assert(second > 100, `due at 40 ms, sent at about 220 ms, counted ${second} ms`)
})

test('a paced run that queues without end is given up, and what was not sent counts', async () => {
  const sender = countingSender(() => sleep(200))
  const pace = { kind: 'paced', warmUpMs: 0, uploadsPerSecond: 50, uploads: 200 } as const
  const { samples, unsentMs, measuredMs } = await drive([sender], pace)
  assert(samples.length < 20 && measuredMs < 4_000, `${samples.length} in ${measuredMs} ms`)
  const waits = [...samples.map(({ latencyMs }) => latencyMs), ...unsentMs]
  assert(waits.length >= 100 && waits.length <= 200, `${waits.length} uploads were due`)
  assert(unsentMs.every((ms) => ms > 0 && ms < measuredMs))
})

test('a paced run that stands still for less than half of its time is sent to its end', async () => {
  let calls = 0
  const sender = countingSender(() => (calls++ === 5 ? sleep(150) : Promise.resolve()))
  const pace = { kind: 'paced', warmUpMs: 0, uploadsPerSecond: 50, uploads: 25 } as const
  const { samples, unsentMs } = await drive([sender], pace)
  assert.deepEqual([samples.length, unsentMs.length], [25, 0])
})

test('a failed upload fails the run', async () => {
  const sender = countingSender(() => Promise.reject(new Error('refused')))
  const pace = { kind: 'paced', warmUpMs: 0, uploadsPerSecond: 1_000, uploads: 2 } as const
  await assert.rejects(drive([sender], pace), /refused/)
})

test('the warm-up of a paced run is sent and not counted', async () => {
  const sender = countingSender(() => sleep(1))
  const pace = { kind: 'paced', warmUpMs: 30, uploadsPerSecond: 1_000, uploads: 3 } as const
  const { samples } = await drive([sender], pace)
  assert.equal(samples.length, 3)
  assert(sender.sent > 3)
})
