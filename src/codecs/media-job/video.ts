import type { FrameSettings } from '../../contracts/media.ts'
import type { MediaItem, MediaTask } from '../../contracts/tasks.ts'
import { limits } from '../../limits.ts'
import { type ExtractedFrame, extractFrames } from '../ffmpeg/frames.ts'
import { probeVideo } from '../ffmpeg/probe.ts'
import type { MediaOptions, MediaSource } from '../ffmpeg/source.ts'
import { formatInstant } from '../telemetry/timestamp.ts'
import type { ChunkSender, MediaLink } from './chunks.ts'

/** Sends the frames of a video as atoms and gives how many of the source were looked at. */
export async function takeFrames(
  task: MediaTask,
  source: MediaSource,
  options: MediaOptions,
  { link, sender }: { link: MediaLink; sender: ChunkSender },
): Promise<number> {
  const settings = task.settings as FrameSettings
  const startedAtMs = performance.now()
  const info = await probeVideo(source, options)
  link.post({ kind: 'validated', itemsTotal: info.frames, description: info.description })
  let position = task.checkpoint.position
  const frames = extractFrames(source, info, settings, {
    ...options,
    deadlineMs: options.deadlineMs - (performance.now() - startedAtMs),
    skip: task.checkpoint.emitted,
    onPosition: (reached) => {
      position = Math.max(position, reached)
      sender.position(position)
    },
  })
  for await (const frame of frames) {
    position = Math.max(position, frame.sourceFrame + 1)
    await sender.add(frame.bytes, metadataOf(frame, settings, task.beginsAtMs), position)
  }
  // The frames that no atom was left to be taken from were worked off in an earlier run.
  return Math.max(position, info.frames)
}

function metadataOf(
  { sourceFrame, ptsMs, score, width, height }: ExtractedFrame,
  { mode, sceneThreshold, compressionQuality }: FrameSettings,
  beginsAtMs: number,
): MediaItem['metadata'] {
  return {
    mode,
    frameNumber: sourceFrame,
    ptsMs: Math.round(ptsMs * 1_000) / 1_000,
    timestamp: formatInstant(beginsAtMs + ptsMs),
    ...(score === null ? {} : { score, threshold: sceneThreshold }),
    width,
    height,
    format: 'jpeg',
    quality: compressionQuality ?? limits.compressionQualityDefault,
  }
}
