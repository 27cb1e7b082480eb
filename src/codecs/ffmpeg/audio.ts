import { MediaError } from '../../contracts/media.ts'
import { limits } from '../../limits.ts'
import { DecoderProcess } from './child.ts'
import { composeArguments } from './command.ts'
import { detailsOf, faultOf, sampleFault, unrecognised } from './fault.ts'
import { checkSignature } from './signature.ts'
import type { MediaOptions, MediaSource } from './source.ts'

export interface AudioInfo {
  readonly codec: string
  readonly sampleRate: number
  readonly channels: number
  /** Of the PCM: 24 where a lossless source has more than 16. */
  readonly bitDepth: 16 | 24
  /** Of each channel, by the duration that the container tells; null where it tells none. */
  readonly samples: number | null
  /** The container counts them, so that one that is cut off is seen; elsewhere they are estimated. */
  readonly isCounted: boolean
  /** The file is shorter than it tells. */
  readonly isCutOff: boolean
  /** For people: `flac 96000 Hz, 2 channels, 24 bit, 11.0 s`. */
  readonly description: string
}

const lossless = /^(flac|alac|wavpack|tta|truehd|mlp|pcm_(s24|s32|f32|f64)\w*)$/
/**
 * Containers that tell the length of their one stream in front. MP3 does where its encoder has left a Xing
 * header. MP4 is not among them: its duration is that of the longest stream and of what is silent before.
 */
const countsSamples: readonly string[] = ['flac', 'mp3']
/** By how much an estimate from a duration may be off: of 10 ms and of an encoder's padding. */
const durationToleranceMs = 200

/**
 * What the first audio stream of a file is, by decoding its first frame. Throws MediaError:
 * MEDIA_NOT_RECOGNISED where the file is not of its container or has no audio that can be decoded,
 * MEDIA_LIMIT_EXCEEDED, MEDIA_TIMEOUT; and the signal's reason once it has aborted.
 */
export async function probeAudio(source: MediaSource, options: MediaOptions): Promise<AudioInfo> {
  const { isCutOff } = await checkSignature(source)
  let duration: number | null = null
  let stream: string | null = null
  let isCounted = countsSamples.includes(source.container)
  const parameters = composeArguments(source, {
    input: [],
    output: [
      ...['-map', '0:a:0', '-vn', '-sn', '-dn', '-frames:a', '1'],
      ...['-c:a', 'pcm_s16le', '-bitexact', '-f', 'wav'],
    ],
    target: 'pipe:1',
  })
  const decoder = await DecoderProcess.start(source, parameters, options, (line) => {
    const [, hours, minutes, seconds] = /Duration: (\d+):(\d+):([\d.]+)/.exec(line) ?? []
    if (seconds !== undefined && duration === null) {
      duration = Number(hours) * 3_600 + Number(minutes) * 60 + Number(seconds)
    }
    if (/Estimating duration from bitrate/.test(line)) isCounted = false
    stream ??= /Stream #0:\d+.*?: Audio: (.*)$/.exec(line)?.[1] ?? null
  })
  try {
    const header = await readHeader(decoder)
    if (header === null || stream === null) throw unrecognised('audio', decoder.lastWords)
    return { ...describe(header, stream, duration), isCounted, isCutOff }
  } finally {
    await decoder.stop()
  }
}

/** Channels and rate stand in ffmpeg's WAV header as numbers; on its log channels have names. */
async function readHeader(decoder: DecoderProcess): Promise<Buffer | null> {
  let header = Buffer.alloc(0)
  for (;;) {
    const chunk = await decoder.read()
    if (chunk === null) return header.length >= 28 ? header : null
    if (header.length < 28) header = Buffer.concat([header, chunk])
  }
}

function describe(
  header: Buffer,
  stream: string,
  duration: number | null,
): Omit<AudioInfo, 'isCounted' | 'isCutOff'> {
  const channels = header.readUInt16LE(22)
  const sampleRate = header.readUInt32LE(24)
  const codec = /^\w+/.exec(stream)?.[0] ?? 'unknown'
  const isDeep = lossless.test(codec) && /\b(s32p?|fltp?|dblp?|24 bit)\b/.test(stream)
  const bitDepth = isDeep ? 24 : 16
  const samples = duration === null ? null : Math.round(duration * sampleRate)
  const { audioChannelsMax, sampleRateHzMin, sampleRateHzMax, mediaSamplesMax } = limits
  const refuse = (message: string, details: string): never => {
    throw new MediaError('MEDIA_LIMIT_EXCEEDED', message, details)
  }
  if (channels < 1 || channels > audioChannelsMax) {
    refuse('The audio has too many channels', `${channels}; ${audioChannelsMax} are allowed`)
  }
  if (sampleRate < sampleRateHzMin || sampleRate > sampleRateHzMax) {
    const allowed = `${sampleRateHzMin} to ${sampleRateHzMax} Hz are allowed`
    refuse('The sample rate is out of range', `${sampleRate} Hz; ${allowed}`)
  }
  if ((samples ?? 0) > mediaSamplesMax) {
    refuse('The audio is too long', `${samples} samples; ${mediaSamplesMax} are allowed`)
  }
  const length = duration === null ? '' : `, ${(duration as number).toFixed(1)} s`
  const plural = channels === 1 ? 'channel' : 'channels'
  return {
    codec,
    sampleRate,
    channels,
    bitDepth,
    samples,
    description: `${codec} ${sampleRate} Hz, ${channels} ${plural}, ${bitDepth} bit${length}`,
  }
}

/**
 * The first audio stream as interleaved little-endian PCM of `info.bitDepth`, in chunks of whole
 * samples, while ffmpeg decodes: whoever stops pulling makes it stand still, and `return()` ends it.
 * Neither rate nor channels are changed. Throws MediaError: ATOMIZATION_ERROR after the last good
 * sample where one cannot be decoded or the file ends before its end, MEDIA_LIMIT_EXCEEDED past
 * `limits.mediaSamplesMax`, MEDIA_TIMEOUT, DECODER_FAILED; and the signal's reason once it has aborted.
 */
export async function* decodePcm(
  source: MediaSource,
  info: AudioInfo,
  options: MediaOptions,
): AsyncGenerator<Uint8Array, void, void> {
  let decoder: DecoderProcess | null = null
  const log = new SampleLog(source.container, info, () => decoder?.lastWords ?? [])
  const format = info.bitDepth === 24 ? 's24le' : 's16le'
  const parameters = composeArguments(source, {
    input: ['-err_detect:a', 'crccheck+explode'],
    output: [
      ...['-map', '0:a:0', '-vn', '-sn', '-dn'],
      // The log then tells the samples of each frame that has been decoded, in step with its faults.
      ...['-af', `aselect='1+0*print(pts,24)+0*print(samples_n)',${shape(info)}`],
      ...['-c:a', `pcm_${format}`, '-f', format],
    ],
    target: 'pipe:1',
  })
  const sampleBytes = (info.channels * info.bitDepth) / 8
  let given = 0
  try {
    decoder = await DecoderProcess.start(source, parameters, options, (line) => log.readLine(line))
    for await (const chunk of wholeSamples(decoder, sampleBytes)) {
      // What came after a fault may already have been written, but what came before is all written.
      while (log.samples < given + chunk.length / sampleBytes && log.fault === null) {
        if ((await decoder.readLog()) === null) break
      }
      const left = log.fault === null ? chunk.length : (log.fault - given) * sampleBytes
      const good = chunk.subarray(0, Math.max(0, Math.min(chunk.length, left)))
      given += good.length / sampleBytes
      if (given > limits.mediaSamplesMax) {
        const details = `more than ${limits.mediaSamplesMax} samples`
        throw new MediaError('MEDIA_LIMIT_EXCEEDED', 'The audio is too long', details, given)
      }
      if (good.length > 0) yield good
      if (good.length < chunk.length) break
    }
    endOf(info, decoder, log, given)
  } catch (error) {
    throw withPosition(error, given)
  } finally {
    await decoder?.stop()
  }
}

/** Pins what a decoder may change in the middle of a stream. */
function shape({ sampleRate, bitDepth }: AudioInfo): string {
  return `aformat=sample_rates=${sampleRate}:sample_fmts=${bitDepth === 24 ? 's32' : 's16'}`
}

function endOf(info: AudioInfo, decoder: DecoderProcess, log: SampleLog, given: number): void {
  log.end()
  if (log.fault !== null) {
    throw sampleFault(given, log.details ?? 'the audio cannot be decoded')
  }
  if (given === 0) throw unrecognised('audio that can be decoded', decoder.lastWords)
  decoder.checkExit()
  if (info.isCutOff)
    throw sampleFault(given, `the file ends after ${given} samples, before its end`)
  const tolerance = (info.sampleRate * durationToleranceMs) / 1_000
  if (info.isCounted && given + tolerance < (info.samples ?? 0)) {
    const details = `the file ends after ${given} of ${info.samples} samples`
    throw sampleFault(given, details)
  }
}

function withPosition(error: unknown, position: number): unknown {
  if (!(error instanceof MediaError) || error.position !== null) return error
  return new MediaError(error.code, error.message, error.details, position)
}

/** The decoder's output in pieces of whole samples, each in memory that nothing else writes to. */
async function* wholeSamples(
  decoder: DecoderProcess,
  sampleBytes: number,
): AsyncGenerator<Uint8Array, void, void> {
  let rest: Uint8Array = new Uint8Array(0)
  for (let chunk = await decoder.read(); chunk !== null; chunk = await decoder.read()) {
    if (chunk.length === 0) continue
    const bytes = rest.length === 0 ? Buffer.from(chunk) : Buffer.concat([rest, chunk])
    const whole = bytes.length - (bytes.length % sampleBytes)
    rest = Uint8Array.from(bytes.subarray(whole))
    if (whole > 0) yield bytes.subarray(0, whole)
  }
}

/** Counts the samples of the frames that have been decoded, up to the first fault. */
class SampleLog {
  /** Of each channel. */
  samples = 0
  /** The first sample that is not good; null while all are. */
  fault: number | null = null
  /** What the decoder said then. */
  details: string | null = null
  readonly #container: string
  readonly #gapSamples: number
  readonly #isOggOpus: boolean
  readonly #words: () => readonly string[]
  /** The demuxer looked ahead before the first sample and has found a loss, nobody knows where. */
  #isSuspect = false
  #nextPts = Number.NaN
  /** Packets in a row that may be the header of a further link. */
  #headers = 0

  constructor(container: string, info: AudioInfo, words: () => readonly string[]) {
    this.#container = container
    this.#words = words
    this.#gapSamples = info.sampleRate / 100
    this.#isOggOpus = container === 'ogg' && info.codec === 'opus'
  }

  readLine(line: string): void {
    if (this.fault !== null) return
    const [, level, text] = /^\[(info|warning)\] (-?(?:nan|\d+\.0+))$/.exec(line) ?? []
    if (level === 'warning') this.#readTime(Number(text))
    else if (level === 'info') this.#readCount(Number(text))
    else if (faultOf(line, this.#container) !== null && this.#isLoss(line)) {
      this.details ??= detailsOf(this.#words(), 'the audio cannot be decoded')
      if (this.samples > 0 && this.#isOggOpus && this.#headers < 2) this.#headers += 1
      else if (this.samples > 0) this.fault = this.samples
      else this.#isSuspect = true
    }
  }

  /** Nothing comes any more. */
  end(): void {
    if (this.#headers > 0) this.fault ??= this.samples
    if (this.samples === 0 && this.#isSuspect) this.fault ??= 0
  }

  /** In ticks of a sample. */
  #readTime(pts: number): void {
    if (this.#headers > 0 && !this.#isNextLink(pts)) this.fault = this.samples
    this.#headers = 0
    const isGap = Math.abs(pts - this.#nextPts) > this.#gapSamples
    if (this.#isSuspect && isGap) this.fault = this.samples
    this.#nextPts = pts
  }

  /**
   * RFC 7845 3: a file may be a chain of streams, each with two packets of header and times of its own.
   * ffmpeg's demuxer gives those two to the decoder, which refuses them and goes on with what follows.
   */
  #isNextLink(pts: number): boolean {
    const isNext = this.#headers === 2 && pts < this.#nextPts - this.#gapSamples
    if (isNext) this.details = null
    return isNext
  }

  #readCount(samples: number): void {
    this.samples += samples
    this.#nextPts += samples
  }

  /** Decoders that bear the name of their container complain of what ffmpeg then repeats, if it is a loss. */
  #isLoss(line: string): boolean {
    return !/^\[(mp3|aac|flac)/.test(line)
  }
}
