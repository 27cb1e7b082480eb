import { MediaError, type MediaErrorCode } from '../../contracts/media.ts'
import type { MediaResult, MediaTask } from '../../contracts/tasks.ts'
import type { MediaOptions, MediaSource } from '../ffmpeg/source.ts'
import { MediaFault, type MediaFaultReason } from '../media-fault.ts'
import { cutAudio } from './audio.ts'
import { ChunkSender, type MediaLink } from './chunks.ts'
import { requireDecoder } from './source.ts'
import { takeFrames } from './video.ts'

/**
 * Takes a spooled file apart and sends what it is made of, from the checkpoint on. Never rejects for what
 * is in the file; all good atoms before a fault are sent before it resolves.
 */
export async function runMediaTask(task: MediaTask, link: MediaLink): Promise<MediaResult> {
  const sender = new ChunkSender(link, task.checkpoint)
  const aborter = new AbortController()
  link.onCommand((command) => {
    if (command.kind === 'stored') {
      sender.answered()
      return
    }
    sender.stop()
    aborter.abort()
  })
  const { signal } = aborter
  try {
    const position = await perform(task, { signal, deadlineMs: task.deadlineMs }, { link, sender })
    if (signal.aborted) return { kind: 'cancelled', position }
    sender.finish()
    return { kind: 'done', position }
  } catch (error) {
    if (signal.aborted) return { kind: 'cancelled', position: task.checkpoint.position }
    sender.finish()
    return failed(error)
  } finally {
    sender.stop()
  }
}

function perform(
  task: MediaTask,
  options: MediaOptions,
  out: { link: MediaLink; sender: ChunkSender },
): Promise<number> {
  const { path, byteLength, type, ffmpeg } = task
  const { container, kind } = type
  const source: MediaSource | null =
    ffmpeg === null ? null : { path, byteLength, container, ffmpeg }
  if (kind === 'audio') return cutAudio(task, source, options, out)
  return takeFrames(task, requireDecoder(source), options, out)
}

/** Of a WAV file that is not what it claims to be. */
const faultCodes: Readonly<Record<MediaFaultReason, MediaErrorCode>> = {
  empty: 'MEDIA_NOT_RECOGNISED',
  'wrong-format': 'MEDIA_NOT_RECOGNISED',
  truncated: 'MEDIA_NOT_RECOGNISED',
  malformed: 'MEDIA_NOT_RECOGNISED',
  'trailing-bytes': 'MEDIA_NOT_RECOGNISED',
  unsupported: 'MEDIA_NOT_RECOGNISED',
  'out-of-range': 'MEDIA_LIMIT_EXCEEDED',
}

function failed(error: unknown): MediaResult {
  if (error instanceof MediaError) {
    const { code, message, details, position } = error
    return { kind: 'failed', code, message, details, position }
  }
  if (error instanceof MediaFault) {
    const { message, reason } = error
    return {
      kind: 'failed',
      code: faultCodes[reason],
      message: 'The file is not a WAV file that can be cut',
      details: message,
      position: null,
    }
  }
  if (error instanceof Error && 'code' in error && error.code === 'ENOENT') {
    return {
      kind: 'failed',
      code: 'SPOOL_MISSING',
      message: 'The uploaded file is no longer there',
      details: 'Upload it again',
      position: null,
    }
  }
  throw error
}
