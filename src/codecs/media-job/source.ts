import { MediaError } from '../../contracts/media.ts'
import type { MediaSource } from '../ffmpeg/source.ts'

/** Throws MediaError where there is no ffmpeg to decode the file with. */
export function requireDecoder(source: MediaSource | null): MediaSource {
  if (source !== null) return source
  throw new MediaError(
    'DECODER_MISSING',
    'This server has no ffmpeg to decode the file with',
    'Install ffmpeg or set ATOMSTREAM_FFMPEG',
  )
}
