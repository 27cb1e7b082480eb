/**
 * What is wrong with the bytes of a frame or buffer: `empty` no bytes; `wrong-format` another
 * format or none we know; `truncated` bytes are missing at the end; `malformed` the format's own
 * rules are broken; `unsupported` valid, but a variant that we refuse; `out-of-range` valid, but
 * past a bound of ours; `trailing-bytes` more follows after the end.
 */
export type MediaFaultReason =
  | 'empty'
  | 'wrong-format'
  | 'truncated'
  | 'malformed'
  | 'unsupported'
  | 'out-of-range'
  | 'trailing-bytes'

/**
 * The bytes of a frame or buffer are not what they claim to be. `byteOffset` is where it shows.
 */
export class MediaFault extends Error {
  constructor(
    readonly reason: MediaFaultReason,
    readonly byteOffset: number,
    message: string,
  ) {
    super(byteOffset === 0 ? message : `${message} (at byte ${byteOffset})`)
    this.name = 'MediaFault'
  }
}

/** First bytes by which a foreign file is known; `offset` 8 is the form type of a RIFF file. */
const magics: readonly { readonly name: string; readonly offset: number; readonly text: string }[] =
  [
    { name: 'a PNG image', offset: 0, text: '\x89PNG' },
    { name: 'a GIF image', offset: 0, text: 'GIF8' },
    { name: 'a WebP image', offset: 8, text: 'WEBP' },
    { name: 'an AVI video', offset: 8, text: 'AVI ' },
    { name: 'a WAV file', offset: 8, text: 'WAVE' },
    { name: 'a BMP image', offset: 0, text: 'BM' },
    { name: 'a TIFF image', offset: 0, text: 'II*\0' },
    { name: 'a TIFF image', offset: 0, text: 'MM\0*' },
    { name: 'a JPEG image', offset: 0, text: '\xff\xd8\xff' },
    { name: 'a JPEG XL image', offset: 0, text: '\xff\x0a' },
    { name: 'a JPEG XL image', offset: 4, text: 'JXL ' },
    { name: 'a JPEG 2000 image', offset: 4, text: 'jP  ' },
    { name: 'an ISO media file (MP4, HEIC or AVIF)', offset: 4, text: 'ftyp' },
    { name: 'a Matroska or WebM file', offset: 0, text: '\x1aE\xdf\xa3' },
    { name: 'an MP3 file', offset: 0, text: 'ID3' },
    { name: 'an Ogg file', offset: 0, text: 'OggS' },
    { name: 'a FLAC file', offset: 0, text: 'fLaC' },
    { name: 'an AIFF file', offset: 8, text: 'AIFF' },
    { name: 'gzip data', offset: 0, text: '\x1f\x8b' },
    { name: 'a PDF document', offset: 0, text: '%PDF' },
  ]

/**
 * Names a file of another kind by its magic, so that the client sees what it has sent; null if
 * unknown.
 */
export function nameByMagic(bytes: Uint8Array): string | null {
  const head = Buffer.from(bytes.subarray(0, 16)).toString('latin1')
  return magics.find(({ offset, text }) => head.startsWith(text, offset))?.name ?? null
}
