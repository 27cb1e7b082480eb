import { MediaError } from '../../contracts/media.ts'

/** Whether the packet that was read last is bad, the one to be read next, or the next frame. */
export type LogFault = 'decoding' | 'next-packet' | 'next-frame' | null

/**
 * Whether a line tells that something of the file is lost. ffmpeg itself says when a decoder has
 * refused a packet, which with `-err_detect explode` each does that notices an error; decoders that
 * conceal errors say so, and the demuxers say under their own names. What decoders say besides does not end a job: H.264 decoders complain of
 * streams that are sound.
 */
export function faultOf(line: string, container: string): LogFault {
  if (line.startsWith('[info]')) return null
  if (/\[(warning|fatal)\] .*corrupt decoded frame in stream/.test(line)) return 'next-frame'
  if (decoderRefused.test(line) || concealed.test(line)) return 'decoding'
  if (container === 'mjpeg' && mjpegFault.test(line)) return 'decoding'
  if (corruptPacket.test(line)) return 'next-packet'
  if (/\[error\]/.test(line) && line.startsWith(`[${container}`)) {
    // The demuxer of MJPEG files bears the name of the decoder, and only the latter complains.
    return container === 'mjpeg' ? null : 'next-packet'
  }
  return null
}

const decoderRefused =
  /\[(warning|error|fatal)\] .*(Error while decoding stream|Error submitting (a )?packet to)/
/** H.264 and its elders patch a frame over, H.265 goes on with the next part of it. */
const concealed =
  /\] concealing \d+ DC, \d+ AC|\[warning\] Error parsing NAL unit|decode_slice_header error/
const corruptPacket = /\[(warning|fatal)\] .*corrupt input packet in stream/
/** A file that holds nothing but images: one without its end marker has been cut off. */
const mjpegFault = /EOI missing|overread|error count|error y=|bad vlc/

/** A frame that cannot be taken out, counted from 1 as people do. */
export function frameFault(frame: number, details: string): MediaError {
  return new MediaError(
    'ATOMIZATION_ERROR',
    `Failed to parse video frame ${frame + 1}`,
    details,
    frame,
  )
}

/** The same of audio, by samples of each channel. */
export function sampleFault(sample: number, details: string): MediaError {
  const message = `Failed to parse audio sample ${sample + 1}`
  return new MediaError('ATOMIZATION_ERROR', message, details, sample)
}

/** What the decoder said last; without a word of it, `otherwise`. */
export function detailsOf(lastWords: readonly string[], otherwise: string): string {
  const words = [...new Set(lastWords)].slice(-3).join('; ')
  return words === '' ? otherwise : words
}

/** Where ffmpeg could make nothing of a file: why, as far as its log tells. */
export function unrecognised(what: string, lastWords: readonly string[]): MediaError {
  const text = lastWords.join('\n')
  if (/No such file or directory/.test(text)) {
    return new MediaError('SPOOL_MISSING', 'The uploaded file is no longer there', text)
  }
  const details = detailsOf(lastWords, 'the decoder found nothing in it')
  if (/exceeds specified max pixel count|Picture size \d+x\d+ is invalid/.test(text)) {
    return new MediaError('MEDIA_LIMIT_EXCEEDED', 'The pictures have too many pixels', details)
  }
  if (/moov atom not found/.test(text)) {
    const message = 'The file has no index (moov): it is cut off or no MP4'
    return new MediaError('MEDIA_NOT_RECOGNISED', message, details)
  }
  return new MediaError('MEDIA_NOT_RECOGNISED', `There is no ${what} in the file`, details)
}
