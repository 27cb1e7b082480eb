import { parentPort } from 'node:worker_threads'
import sharp from 'sharp'
import { createMediaSource } from './bodies.ts'

export interface DecodesTimes {
  readonly warmUpMs: number
  readonly measureMs: number
}

// As the server has it: every frame is another image, and the threads are the parallelism.
sharp.cache(false)
sharp.concurrency(1)

const source = await createMediaSource({ kind: 'small-frames', encoding: 'msgpack', records: 8 })
let number = 0

/** The options of the server's codec, and the picture as raw pixels: the least that asks for all of it. */
async function decode(): Promise<void> {
  const image = sharp(source.item(number++), { failOn: 'warning', sequentialRead: true })
  await image.raw().toBuffer()
}

async function decodesPerSecond(forMs: number): Promise<number> {
  const begin = performance.now()
  let decoded = 0
  do {
    await decode()
    decoded++
  } while (performance.now() - begin < forMs)
  return (decoded * 1_000) / (performance.now() - begin)
}

parentPort?.once('message', async ({ warmUpMs, measureMs }: DecodesTimes) => {
  await decodesPerSecond(warmUpMs)
  parentPort?.postMessage(await decodesPerSecond(measureMs))
})
await decode()
parentPort?.postMessage(null)
