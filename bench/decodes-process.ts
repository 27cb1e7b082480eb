import { once } from 'node:events'
import { Worker } from 'node:worker_threads'
// glibc unloads libvips with the first thread that ends unless the main one has loaded it before.
import 'sharp'
import type { DecodesRequest } from './decodes.ts'
import type { DecodesTimes } from './decodes-thread.ts'
import { sum } from './statistics.ts'

/** All threads begin once the last of them is ready. */
async function decode({ threads: count, ...times }: DecodesRequest): Promise<number> {
  const module = new URL('./decodes-thread.js', import.meta.url)
  const threads = Array.from({ length: count }, () => new Worker(module))
  try {
    await Promise.all(threads.map((thread) => once(thread, 'message')))
    const rates = threads.map(async (thread) => {
      thread.postMessage(times satisfies DecodesTimes)
      const [perSecond] = (await once(thread, 'message')) as [number]
      return perSecond
    })
    return sum(await Promise.all(rates), (perSecond) => perSecond)
  } finally {
    await Promise.all(threads.map((thread) => thread.terminate()))
  }
}

process.on('message', async (request: DecodesRequest) => {
  try {
    process.send?.({ ok: true, result: await decode(request) })
  } catch (error) {
    process.send?.({ ok: false, error: error instanceof Error ? error.message : String(error) })
  }
})
process.on('disconnect', () => process.exit())
// A Ctrl-C reaches the whole group; the parent decides what becomes of this process.
process.on('SIGINT', () => undefined)
