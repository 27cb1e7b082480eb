import { type FrameSettings, MediaError } from '../../contracts/media.ts'
import { limits } from '../../limits.ts'
import { frameRateOption, logsInOrder } from './binary.ts'
import { DecoderProcess } from './child.ts'
import { composeArguments } from './command.ts'
import { frameFault, unrecognised } from './fault.ts'
import { FrameLog, type TakenFrame } from './frame-log.ts'
import { JpegSplitter, type SplitJpeg } from './jpeg-splitter.ts'
import { KeyframePlan } from './keyframe-plan.ts'
import { KeyframeSearch } from './keyframe-search.ts'
import type { VideoInfo } from './probe.ts'
import type { MediaOptions, MediaSource } from './source.ts'

/**
 * Decoders that give frames later than their packets. Told to explode they drop, with the bad packet, the
 * good frame that was due then. They conceal what is bad instead and say so.
 */
const holdsFramesBack = /^(h264|hevc|mpeg1video|mpeg2video|mpeg4|vc1|wmv3)$/

export interface ExtractOptions extends MediaOptions {
  /** Frames that were emitted before: neither encoded nor yielded again. */
  readonly skip: number
  /** Source frames worked off so far: those yielded, and those between them that were looked at. */
  readonly onPosition: (position: number) => void
}

export interface ExtractedFrame {
  /** A JPEG in a buffer of its own. */
  readonly bytes: Uint8Array
  /** From 0, in the order of presentation. */
  readonly sourceFrame: number
  /** Since the first frame. */
  readonly ptsMs: number
  /** How much it differs from the one before, 0 to 1; null but for `scene-changes`. */
  readonly score: number | null
  readonly width: number
  readonly height: number
}

/**
 * The frames of a video as JPEGs, in order, while ffmpeg decodes: whoever stops pulling makes it stand
 * still, and `return()` ends it. The same file and settings give the same bytes, whatever `skip` is.
 * Throws MediaError: ATOMIZATION_ERROR after the last good frame where one cannot be decoded or the
 * file ends before its end, MEDIA_NOT_RECOGNISED where there is not one frame, MEDIA_TIMEOUT,
 * DECODER_FAILED; and the signal's reason once it has aborted.
 */
export async function* extractFrames(
  source: MediaSource,
  info: VideoInfo,
  settings: FrameSettings,
  options: ExtractOptions,
): AsyncGenerator<ExtractedFrame, void, void> {
  const isOfKeyframes = settings.mode === 'keyframes' && !info.index.isAllKeyframes
  let isPlanned = isOfKeyframes && info.index.isDecodableByKeyframes
  let given: readonly number[] = []
  // A line for each packet takes a tenth of the time, so packets are told only after a fault.
  let tellsPackets = false
  const endsAt = performance.now() + options.deadlineMs
  let { skip } = options
  for (;;) {
    const deadlineMs = endsAt - performance.now()
    const plan = isPlanned ? new KeyframePlan(info, settings.frameRateFps, skip) : null
    if (plan?.isDone === true) break
    const search =
      isOfKeyframes && plan === null
        ? new KeyframeSearch(info, settings.frameRateFps, skip, given)
        : null
    const job = { source, info, settings, options: { ...options, skip, deadlineMs }, plan, search }
    const pass = onePass({ ...job, tellsPackets })
    let end: PassEnd
    for (let next = await pass.next(); ; next = await pass.next()) {
      if (next.done === true) {
        end = next.value
        break
      }
      // Returned early, this generator ends the pass by itself.
      let isYielded = false
      try {
        yield next.value
        isYielded = true
      } finally {
        if (!isYielded) await pass.return('done')
      }
      skip += 1
    }
    if (end === 'done') return
    if (end === 'tell-packets') {
      tellsPackets = true
    } else {
      isPlanned = false
      tellsPackets = false
      given = plan?.takenNumbers ?? []
    }
  }
  if (info.fault !== null) throw frameFault(info.fault.frame, info.fault.details)
}

interface Pass {
  readonly source: MediaSource
  readonly info: VideoInfo
  readonly settings: FrameSettings
  readonly options: ExtractOptions
  /** Of the keyframes where nothing else is decoded. */
  readonly plan: KeyframePlan | null
  /** For the keyframes where everything is decoded. */
  readonly search: KeyframeSearch | null
  /** The log tells of each packet. */
  readonly tellsPackets: boolean
}

/**
 * `tell-packets` where only a pass that tells the packets can find out which frame is bad;
 * `decode-all` where the decoder, given the keyframes alone, gave others than are due.
 */
type PassEnd = 'done' | 'tell-packets' | 'decode-all'

async function* onePass(pass: Pass): AsyncGenerator<ExtractedFrame, PassEnd, void> {
  const { source, info, settings, options, plan, search } = pass
  let decoder: DecoderProcess | null = null
  const log = new FrameLog({
    info,
    plan,
    search,
    container: source.container,
    skip: options.skip,
    isScored: settings.mode === 'scene-changes',
    tellsPackets: pass.tellsPackets,
    couldTellPackets: holdsFramesBack.test(info.codec) && logsInOrder(source.ffmpeg),
    isInOrder: logsInOrder(source.ffmpeg),
    words: () => decoder?.lastWords ?? [],
  })
  try {
    decoder = await DecoderProcess.start(source, frameArguments(pass), options, (line) =>
      log.readLine(line),
    )
    for await (const { jpeg, expected } of pairs(decoder, log, options)) {
      yield { ...jpeg, ...expected }
    }
    if (log.needsPackets) return 'tell-packets'
    if (log.fault !== null) throw frameFault(log.fault.frame, log.fault.details)
    if (log.isAstray) return 'decode-all'
    const dueUntil = info.fault?.frame ?? info.frames
    const lacksKeyframes = plan !== null && plan.nextSourceFrame < dueUntil
    if (lacksKeyframes && !decoder.hasFailed) return 'decode-all'
    if (log.decoded === 0) throw unrecognised('video that can be decoded', decoder.lastWords)
    decoder.checkExit()
    options.onPosition(info.frames)
    if (info.fault !== null) throw frameFault(info.fault.frame, info.fault.details)
    const details = search?.fault ?? null
    if (details !== null) {
      const message = 'Failed to find every keyframe of the video'
      throw new MediaError('ATOMIZATION_ERROR', message, details, log.decoded)
    }
    return 'done'
  } catch (error) {
    throw withPosition(error, log.position)
  } finally {
    await decoder?.stop()
  }
}

/** A deadline tells how far the decoder came. */
function withPosition(error: unknown, position: number): unknown {
  if (!(error instanceof MediaError) || error.position !== null) return error
  const { code, message, details } = error
  return new MediaError(code, message, `${details}; ${position} frames were worked off`, position)
}

/** Each image with what the log tells of it, until the end or the first fault. */
async function* pairs(
  decoder: DecoderProcess,
  log: FrameLog,
  { onPosition }: ExtractOptions,
): AsyncGenerator<{ jpeg: SplitJpeg; expected: TakenFrame }, void, void> {
  const splitter = new JpegSplitter()
  let toldAt = performance.now()
  for (;;) {
    for (let jpeg = splitter.next(); jpeg !== null; jpeg = splitter.next()) {
      while (log.expected.length === 0 && !log.isOver) {
        if ((await decoder.readLog()) === null) break
      }
      const expected = log.expected.shift()
      if (expected === undefined) {
        if (log.isOver) return
        throw new MediaError(
          'DECODER_FAILED',
          'ffmpeg wrote a frame too many',
          'no line tells of it',
        )
      }
      if (expected !== 'drop') yield { jpeg, expected }
    }
    if (log.isOver && log.expected.length === 0) return
    const now = performance.now()
    if (now - toldAt >= limits.mediaChunkDelayMs) {
      toldAt = now
      onPosition(log.position)
    }
    const chunk = await decoder.read()
    if (chunk === null) break
    splitter.push(chunk)
  }
  log.end()
  if (log.expected.length > 0 || !splitter.isEmpty) decoder.checkExit()
  if (log.expected.length > 0) {
    throw new MediaError('DECODER_FAILED', 'ffmpeg wrote a frame too few', 'its output ended early')
  }
}

/** `-q:v` of the MJPEG encoder: 31, the worst, for a quality of 1; 2, the best, for 100. */
export function qscaleOf(quality: number | null): number {
  const share = ((quality ?? limits.compressionQualityDefault) - 1) / 99
  return Math.round(31 - 29 * share)
}

function frameArguments(pass: Pass): string[] {
  const { source, info, settings, plan, tellsPackets } = pass
  return composeArguments(source, {
    input: [
      ...['-err_detect:v', holdsFramesBack.test(info.codec) ? 'crccheck' : 'crccheck+explode'],
      ...['-reinit_filter', '0'],
      ...(plan === null ? [] : ['-skip_frame', 'nokey']),
    ],
    output: [
      ...(tellsPackets ? ['-debug_ts'] : []),
      ...['-map', '0:V:0', '-an', '-sn', '-dn'],
      ...['-vf', filters(pass)],
      ...[frameRateOption(source.ffmpeg), 'passthrough', '-c:v', 'mjpeg'],
      // The encoder refuses times that do not rise, and those of the file need not.
      ...['-enc_time_base', '1:1000'],
      ...['-q:v', `${qscaleOf(settings.compressionQuality)}`, '-f', 'image2pipe'],
    ],
    target: 'pipe:1',
  })
}

/**
 * The filter chain. `print` of ffmpeg's expressions writes a number to the log for each frame: at info
 * each decoded frame's time, at warning the score of each that is taken. What counts frames does so from
 * the first one on, so that skipping changes nothing but what is encoded.
 */
function filters({ info, settings, options, plan, search }: Pass): string {
  const isOfKeyframes = plan !== null || search !== null
  const size = fitInside(info, settings.resolution)
  return [
    `select='${thinned(isOfKeyframes ? null : settings.frameRateFps)}'`,
    ...modeFilters(settings, plan, search),
    // Which keyframes a rate leaves is not known here, so a search drops those of before itself.
    ...(!isOfKeyframes && options.skip > 0 ? [`select='gte(n,${options.skip})'`] : []),
    `scale=${size.width}:${size.height}:flags=bicubic,format=yuvj420p,setsar=1`,
    'settb=1/1000,setpts=N',
  ].join(',')
}

function modeFilters(
  settings: FrameSettings,
  plan: KeyframePlan | null,
  search: KeyframeSearch | null,
): string[] {
  const told = '1+0*print(0,24)'
  if (plan !== null) return [`select='if(gte(pts,${plan.firstPts}),${told})'`]
  if (search !== null) return [`select='if(key,${told})'`]
  if (settings.mode === 'interval') return [`select='if(not(mod(n,${settings.interval})),${told})'`]
  if (settings.mode !== 'scene-changes') return [`select='${told}'`]
  // In RGB, because scenes that differ only in their hue have the same luma.
  const isNew = `gt(scene,${settings.sceneThreshold})`
  return ['format=rgb24', `select='if(${isNew},1+0*print(scene,24))'`]
}

/**
 * Takes a frame that is the first of its slot, where the slots are as long as a frame at this rate. Of two
 * recordings that were joined the times go back, so a slot is another one and not only a later one.
 */
function thinned(frameRateFps: number | null): string {
  if (frameRateFps === null) return '1+0*print(pts)'
  const slot = `floor((pts-start_pts)*TB*${frameRateFps}+0.05)`
  return `print(pts)*0+if(eq(n,0)+not(eq(${slot},ld(0))),1+0*st(0,${slot}))`
}

function fitInside(
  { width, height }: VideoInfo,
  resolution: FrameSettings['resolution'],
): { width: number; height: number } {
  if (resolution === null) return { width, height }
  const factor = Math.min(1, resolution.width / width, resolution.height / height)
  const side = (length: number): number => Math.max(1, Math.round(length * factor))
  return { width: side(width), height: side(height) }
}
