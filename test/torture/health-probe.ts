import { setTimeout as delay } from 'node:timers/promises'
import { workerData } from 'node:worker_threads'

/** In a thread of its own, so that the load beside it cannot be taken for the server's slowness. */
const { url, slowest } = workerData as { url: string; slowest: SharedArrayBuffer }
const slowestMs = new Float64Array(slowest)

for (;;) {
  const beganMs = performance.now()
  const reply = await fetch(`${url}/health`)
  await reply.arrayBuffer()
  const tookMs = reply.ok ? performance.now() - beganMs : Number.POSITIVE_INFINITY
  slowestMs[0] = Math.max(slowestMs[0] ?? 0, tookMs)
  await delay(100)
}
