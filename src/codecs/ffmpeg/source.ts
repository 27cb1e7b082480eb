import type { FfmpegBinary, MediaContainer } from '../../contracts/media.ts'

/** A spooled file, and the ffmpeg that is to read it. */
export interface MediaSource {
  readonly path: string
  readonly byteLength: number
  /** What its content type says that it is. */
  readonly container: MediaContainer
  readonly ffmpeg: FfmpegBinary
}

/** What ends the work on a file before its end. */
export interface MediaOptions {
  readonly signal: AbortSignal
  /** From now on; past it everything is ended with MEDIA_TIMEOUT. */
  readonly deadlineMs: number
}
