import { parentPort, workerData } from 'node:worker_threads'
import { extractFrames } from '../../src/codecs/ffmpeg/frames.ts'
import { probeVideo } from '../../src/codecs/ffmpeg/probe.ts'
import type { FrameSettings } from '../../src/contracts/media.ts'
import type { MediaMessage, MediaTask } from '../../src/contracts/tasks.ts'

/**
 * The thread of a media task that commits the fault that stands in place of the path; with the path of a
 * file it hangs once its decoder has given a frame.
 */
const { path, byteLength, type, ffmpeg, settings, deadlineMs } = workerData as MediaTask
const options = { signal: new AbortController().signal, deadlineMs }

switch (path) {
  case 'exit':
    process.exit(7)
    break
  case 'throw':
    throw new Error('this thread throws on purpose')
  case 'heap': {
    const hoard: number[][] = []
    for (;;) hoard.push(new Array<number>(1_000_000).fill(0.5))
  }
  case 'throw when told':
    parentPort?.on('message', () => {
      throw new Error('this thread throws as soon as it is told something')
    })
    tell()
    break
  case 'hang':
    tell()
    for (;;);
  default:
    if (ffmpeg !== null)
      await hangWithDecoder({ path, byteLength, container: type.container, ffmpeg })
}

async function hangWithDecoder(source: Parameters<typeof probeVideo>[0]): Promise<void> {
  const info = await probeVideo(source, options)
  const more = { ...options, skip: 0, onPosition: () => {} }
  const frames = extractFrames(source, info, settings as FrameSettings, more)
  await frames.next()
  tell()
  for (;;);
}

function tell(): void {
  parentPort?.postMessage({ kind: 'progress', position: 1 } satisfies MediaMessage)
}
