import { MediaError } from '../../contracts/media.ts'
import { limits } from '../../limits.ts'
import { DecoderProcess } from './child.ts'
import { composeArguments } from './command.ts'
import { detailsOf, faultOf, unrecognised } from './fault.ts'
import { FrameIndex, type Packet } from './frame-index.ts'
import { checkSignature } from './signature.ts'
import type { MediaOptions, MediaSource } from './source.ts'

export interface VideoInfo {
  readonly codec: string
  /** As a frame is shown: a rotation of the container's is applied. */
  readonly width: number
  readonly height: number
  /** Source frames that the container holds, as far as it can be read. */
  readonly frames: number
  readonly keyframes: number
  readonly durationMs: number
  /** For people: `h264 640×360, 1189 frames, 39.9 s`. */
  readonly description: string
  /** Numbers of the keyframes. */
  readonly index: FrameIndex
  /** One tick of the stream's time base, in milliseconds. */
  readonly tickMs: number
  /** The first frame that the container does not hold whole, and what the decoder says of it. */
  readonly fault: { readonly frame: number; readonly details: string } | null
}

/** Flags of a packet: key, corrupt, and shown to nobody because of an edit list. */
const KEY = 1
const CORRUPT = 2
const DISCARD = 4
/** What ffmpeg prints for a time that is not known: the least 64-bit integer. */
const noTime = -(2 ** 63)

/**
 * Goes over the packets of a video once, without decoding: 0.15 s for 24,000. Throws MediaError:
 * MEDIA_NOT_RECOGNISED where the file is not of its container or has no video, MEDIA_LIMIT_EXCEEDED,
 * MEDIA_TIMEOUT; and the signal's reason once it has aborted.
 */
export async function probeVideo(source: MediaSource, options: MediaOptions): Promise<VideoInfo> {
  const { isCutOff } = await checkSignature(source)
  const reader = new PacketReader(source.container)
  const parameters = composeArguments(source, {
    input: [],
    // On the log, packets stand in order with what the demuxer says of them.
    output: ['-map', '0:V:0', '-c', 'copy', '-flush_packets', '1', '-f', 'framecrc'],
    target: 'pipe:2',
  })
  const decoder = await DecoderProcess.start(source, parameters, options, (line) =>
    reader.readLine(line),
  )
  try {
    while ((await decoder.read()) !== null);
    const { index } = reader
    index.settle()
    if (index.frames === 0 || reader.width * reader.height === 0) {
      throw unrecognised('video', decoder.lastWords)
    }
    // Of what is cut off in these, the last frame is not whole either, or hardly ever.
    const givesTornFrames = source.container === 'avi' || source.container === 'mpegts'
    if (isCutOff) index.addFault(givesTornFrames ? index.frames - 1 : index.frames)
    if (decoder.hasFailed && index.faultFrame === null) decoder.checkExit()
    return describe(reader, decoder.lastWords)
  } finally {
    await decoder.stop()
  }
}

function describe(reader: PacketReader, lastWords: readonly string[]): VideoInfo {
  const { index, codec, tickMs, lastDuration } = reader
  const [width, height] = reader.isOnItsSide
    ? [reader.height, reader.width]
    : [reader.width, reader.height]
  const durationMs = Math.max(0, (index.lastPts - index.firstPts + lastDuration) * tickMs)
  const seconds = (durationMs / 1_000).toFixed(1)
  const fault = index.faultFrame
  return {
    codec,
    width,
    height,
    frames: index.frames,
    keyframes: index.keyframes,
    durationMs,
    description: `${codec} ${width}×${height}, ${index.frames} frames, ${seconds} s`,
    index,
    tickMs,
    fault:
      fault === null
        ? null
        : { frame: fault, details: detailsOf(lastWords, 'the file ends before its end') },
  }
}

class PacketReader {
  readonly index = new FrameIndex()
  codec = 'unknown'
  width = 0
  height = 0
  tickMs = 1
  lastDuration = 0
  isOnItsSide = false
  #isInVideo = false
  readonly #container: string

  constructor(container: string) {
    this.#container = container
  }

  readLine(line: string): void {
    if (line.startsWith('0,')) this.#readPacket(line)
    else if (line.startsWith('#')) this.#readHeader(line)
    else this.#readLog(line)
  }

  /** `0, dts, pts, duration, size, crc[, F=flags][, side data]`. Only what is no plain key bears flags. */
  #readPacket(line: string): void {
    const [, dtsText, ptsText, durationText] = line.split(',', 4)
    const [pts, dts] = [Number(ptsText), Number(dtsText)]
    const flagText = /F=0x([0-9a-f]+)/i.exec(line)?.[1]
    const flags = flagText === undefined ? KEY : Number.parseInt(flagText, 16)
    if ((flags & DISCARD) !== 0) return
    const known = pts === noTime ? dts : pts
    const packet: Packet = {
      pts: known,
      dts: dts === noTime ? known : dts,
      isPtsAssumed: pts === noTime,
      isKey: (flags & KEY) !== 0,
      isCorrupt: (flags & CORRUPT) !== 0,
    }
    this.index.add(packet)
    this.lastDuration = Number(durationText)
    if (this.index.frames > limits.mediaFramesMax) {
      const details = `more than ${limits.mediaFramesMax} frames`
      throw new MediaError('MEDIA_LIMIT_EXCEEDED', 'The video has too many frames', details)
    }
  }

  #readHeader(line: string): void {
    const [, name, value = ''] = /^#(\w+) 0: (.*)$/.exec(line) ?? []
    if (name === 'codec_id') this.codec = value
    if (name === 'tb') {
      const [numerator = 1, denominator = 1] = value.split('/').map(Number)
      this.tickMs = (1_000 * numerator) / denominator
    }
    if (name !== 'dimensions') return
    const [width = 0, height = 0] = value.split('x').map(Number)
    this.width = width
    this.height = height
    if (width * height > limits.imagePixelsMax || Math.max(width, height) > limits.imageSideMax) {
      const details = `${width}×${height}; ${limits.imagePixelsMax} pixels are allowed`
      throw new MediaError('MEDIA_LIMIT_EXCEEDED', 'The pictures have too many pixels', details)
    }
  }

  #readLog(line: string): void {
    if (/Stream #\d+:\d+/.test(line)) this.#isInVideo = /: Video: /.test(line)
    const rotation = /rotation of (-?\d+(\.\d+)?) degrees/.exec(line)?.[1]
    if (rotation !== undefined && this.#isInVideo) {
      this.isOnItsSide = Math.abs(Math.abs(Number(rotation)) % 180) === 90
    }
    if (faultOf(line, this.#container) === 'next-packet' && this.index.frames > 0) {
      this.index.addFault()
    }
  }
}
