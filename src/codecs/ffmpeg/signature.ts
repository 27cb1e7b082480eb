import { type FileHandle, open } from 'node:fs/promises'
import { type MediaContainer, MediaError } from '../../contracts/media.ts'
import { isCutOff } from './cut-off.ts'
import type { MediaSource } from './source.ts'

const headBytes = 4_096

const containerNames: Readonly<Record<MediaContainer, string>> = {
  mov: 'an MP4 or QuickTime file',
  matroska: 'a Matroska or WebM file',
  mpegts: 'an MPEG transport stream',
  mjpeg: 'a stream of JPEG images',
  avi: 'an AVI file',
  wav: 'a WAV file',
  mp3: 'an MP3 file',
  aac: 'an AAC stream (ADTS)',
  ogg: 'an Ogg file',
  flac: 'a FLAC file',
}

/** Boxes that a QuickTime or MP4 file may begin with. */
const firstBoxes = /^(ftyp|moov|mdat|free|skip|wide|pnot|styp|sidx|uuid|moof)$/

export interface FileHead {
  /** The length that the file itself tells is more than there is. */
  readonly isCutOff: boolean
}

/**
 * Refuses a file whose first bytes are not of its container before ffmpeg is even started: playlists
 * and other texts that name further files never get to it. Throws MediaError with
 * MEDIA_NOT_RECOGNISED or SPOOL_MISSING.
 */
export async function checkSignature(source: MediaSource): Promise<FileHead> {
  try {
    const file = await open(source.path, 'r')
    try {
      return await checkFile(file, source)
    } finally {
      await file.close()
    }
  } catch (error) {
    if (error instanceof MediaError) throw error
    const details = error instanceof Error ? error.message : String(error)
    throw new MediaError('SPOOL_MISSING', 'The uploaded file is no longer there', details)
  }
}

async function checkFile(file: FileHandle, source: MediaSource): Promise<FileHead> {
  const { buffer, bytesRead } = await file.read(Buffer.alloc(headBytes), 0, headBytes, 0)
  const head = buffer.subarray(0, bytesRead)
  if (signatures[source.container](head)) return { isCutOff: await isCutOff(file, source, head) }
  const expected = containerNames[source.container]
  throw new MediaError('MEDIA_NOT_RECOGNISED', `The file is not ${expected}`, describe(head))
}

const signatures: Readonly<Record<MediaContainer, (head: Buffer) => boolean>> = {
  mov: (head) => firstBoxes.test(head.toString('latin1', 4, 8)),
  matroska: (head) => head.length > 4 && head.readUInt32BE(0) === 0x1a45dfa3,
  mpegts: isTransportStream,
  mjpeg: (head) => head[0] === 0xff && head[1] === 0xd8 && head[2] === 0xff,
  avi: (head) =>
    head.toString('latin1', 0, 4) === 'RIFF' && head.toString('latin1', 8, 12) === 'AVI ',
  wav: (head) => /^(RIFF|RF64)....WAVE/s.test(head.toString('latin1', 0, 12)),
  mp3: (head) => head.toString('latin1', 0, 3) === 'ID3' || isMpegAudio(head, 0xe0, false),
  aac: (head) => head.toString('latin1', 0, 3) === 'ID3' || isMpegAudio(head, 0xf0, true),
  ogg: (head) => head.toString('latin1', 0, 4) === 'OggS',
  flac: (head) => /^(fLaC|ID3)/.test(head.toString('latin1', 0, 4)),
}

/** Packets of 188 bytes, or of 192 with a time in front of each; a short file may have only one. */
function isTransportStream(head: Buffer): boolean {
  return [
    { packet: 188, sync: 0 },
    { packet: 192, sync: 4 },
  ].some(({ packet, sync }) => {
    let packets = 0
    for (let at = sync; at < head.length; at += packet, packets += 1) {
      if (head[at] !== 0x47) return false
    }
    return packets > 0
  })
}

/** The sync word of an MPEG audio frame; layer bits are 0 in ADTS and never 0 in MP1 to MP3. */
function isMpegAudio(head: Buffer, mask: number, isAdts: boolean): boolean {
  const second = head[1] ?? 0
  if (head[0] !== 0xff || (second & mask) !== mask) return false
  return ((second & 0x06) === 0) === isAdts
}

function describe(head: Buffer): string {
  if (head.length === 0) return 'it is empty'
  if (/^\s*(#EXTM3U|ffconcat|<|\[playlist\])/.test(head.toString('latin1', 0, 64))) {
    return 'it is a text that names other files'
  }
  return `it begins with the bytes ${head.toString('hex', 0, 12)}`
}
