import { type Static, Type } from '@sinclair/typebox'
import { limits } from '../limits.ts'

/** How frames are taken out of a video, and how audio is cut: what a client sets, and what holds then. */

export const FrameMode = Type.Union([
  Type.Literal('all-frames'),
  Type.Literal('keyframes'),
  Type.Literal('interval'),
  Type.Literal('scene-changes'),
])
export type FrameMode = Static<typeof FrameMode>

const Side = Type.Integer({ minimum: 16, maximum: limits.imageSideMax })

export const FrameExtraction = Type.Object(
  {
    frameExtractionMode: Type.Optional(FrameMode),
    frameRateFps: Type.Optional(
      Type.Number({
        exclusiveMinimum: 0,
        maximum: limits.frameRateFpsMax,
        title: 'at most so many frames a second of the source are looked at; none is repeated',
      }),
    ),
    resolution: Type.Optional(
      Type.Object(
        { width: Side, height: Side },
        { additionalProperties: false, title: 'a frame is shrunk to fit inside' },
      ),
    ),
    compressionQuality: Type.Optional(
      Type.Integer({ minimum: 1, maximum: 100, title: 'of the JPEGs' }),
    ),
    interval: Type.Optional(
      Type.Integer({
        minimum: 1,
        maximum: limits.frameIntervalMax,
        title: 'with "interval": every so many frames one, the first included',
      }),
    ),
    sceneThreshold: Type.Optional(
      Type.Number({ minimum: 0, maximum: 1, title: 'with "scene-changes"' }),
    ),
  },
  { additionalProperties: false },
)
export type FrameExtraction = Static<typeof FrameExtraction>

/** FrameExtraction with the defaults filled in. */
export interface FrameSettings {
  readonly mode: FrameMode
  /** Null: every frame of the source is looked at. */
  readonly frameRateFps: number | null
  /** Null: as large as the source. */
  readonly resolution: { readonly width: number; readonly height: number } | null
  /** Null: a pushed frame stays as it is unless it has to be shrunk; frames of a file get the default. */
  readonly compressionQuality: number | null
  readonly interval: number
  /** A frame whose score is above it begins a scene. */
  readonly sceneThreshold: number
}

/** Whether a `select` task has to see the frames themselves: it scores pictures, or encodes frames anew. */
export function selectNeedsBytes(settings: FrameSettings): boolean {
  const { mode, resolution, compressionQuality } = settings
  return mode === 'scene-changes' || resolution !== null || compressionQuality !== null
}

export const SegmentationMode = Type.Union([
  Type.Literal('fixed-duration'),
  Type.Literal('silence'),
  Type.Literal('energy'),
  Type.Literal('speech-detection'),
])
export type SegmentationMode = Static<typeof SegmentationMode>

const Decibels = Type.Number({ minimum: -120, maximum: 0 })
const SegmentDuration = Type.Integer({ minimum: 20, maximum: limits.segmentDurationMsMax })

export const Segmentation = Type.Object(
  {
    segmentationMode: Type.Optional(SegmentationMode),
    silenceThresholdDb: Type.Optional(Decibels),
    minSilenceDurationMs: Type.Optional(
      Type.Integer({ minimum: 10, maximum: limits.segmentDurationMsMax }),
    ),
    minSegmentDurationMs: Type.Optional(SegmentDuration),
    maxSegmentDurationMs: Type.Optional(SegmentDuration),
    energyThresholdDb: Type.Optional(
      Type.Number({
        minimum: 1,
        maximum: 60,
        title: 'with "energy": the change of level that begins a segment',
      }),
    ),
    speechAggressiveness: Type.Optional(
      Type.Integer({
        minimum: 0,
        maximum: 3,
        title: 'with "speech-detection": 3 takes the least for speech',
      }),
    ),
  },
  { additionalProperties: false },
)
export type Segmentation = Static<typeof Segmentation>

/** Segmentation with the defaults filled in. `fixed-duration` cuts every `maxSegmentDurationMs`. */
export interface SegmentSettings {
  readonly mode: SegmentationMode
  readonly silenceThresholdDb: number
  readonly minSilenceDurationMs: number
  readonly minSegmentDurationMs: number
  readonly maxSegmentDurationMs: number
  readonly energyThresholdDb: number
  readonly speechAggressiveness: number
}

/** Why a segment ends where it does. */
export type CutReason =
  | 'fixed-duration'
  | 'silence'
  | 'energy'
  | 'speech'
  /** No better place came within `maxSegmentDurationMs`, or within the bytes that a segment may have. */
  | 'max-duration'
  | 'max-bytes'
  /** The next buffer is of another format, or its time is not where this one's audio ends. */
  | 'format-change'
  | 'gap'
  /** The end of the session or file. */
  | 'end'

/** Containers that are taken as files, by what ffmpeg's demuxers are called. */
export type MediaContainer =
  | 'mov'
  | 'matroska'
  | 'mpegts'
  | 'mjpeg'
  | 'avi'
  | 'wav'
  | 'mp3'
  | 'aac'
  | 'ogg'
  | 'flac'

export interface MediaType {
  readonly kind: 'video' | 'audio'
  readonly container: MediaContainer
}

/** Content types of media files. The bytes must be what the type says. */
export const mediaTypes: Readonly<Record<string, MediaType>> = {
  'video/mp4': { kind: 'video', container: 'mov' },
  'video/x-m4v': { kind: 'video', container: 'mov' },
  'video/quicktime': { kind: 'video', container: 'mov' },
  'video/x-matroska': { kind: 'video', container: 'matroska' },
  'video/matroska': { kind: 'video', container: 'matroska' },
  'video/webm': { kind: 'video', container: 'matroska' },
  'video/mp2t': { kind: 'video', container: 'mpegts' },
  'video/x-motion-jpeg': { kind: 'video', container: 'mjpeg' },
  'video/x-msvideo': { kind: 'video', container: 'avi' },
  'video/avi': { kind: 'video', container: 'avi' },
  'video/vnd.avi': { kind: 'video', container: 'avi' },
  'audio/wav': { kind: 'audio', container: 'wav' },
  'audio/x-wav': { kind: 'audio', container: 'wav' },
  'audio/wave': { kind: 'audio', container: 'wav' },
  'audio/vnd.wave': { kind: 'audio', container: 'wav' },
  'audio/mpeg': { kind: 'audio', container: 'mp3' },
  'audio/mp3': { kind: 'audio', container: 'mp3' },
  'audio/aac': { kind: 'audio', container: 'aac' },
  'audio/mp4': { kind: 'audio', container: 'mov' },
  'audio/x-m4a': { kind: 'audio', container: 'mov' },
  'audio/ogg': { kind: 'audio', container: 'ogg' },
  'audio/opus': { kind: 'audio', container: 'ogg' },
  'audio/flac': { kind: 'audio', container: 'flac' },
  'audio/x-flac': { kind: 'audio', container: 'flac' },
  'audio/webm': { kind: 'audio', container: 'matroska' },
  'audio/x-matroska': { kind: 'audio', container: 'matroska' },
}

/**
 * Why a media job failed, as the status shows it. `details` is what the decoder or parser said.
 * MEDIA_NOT_RECOGNISED: not the container that the content type says, or nothing to decode in it.
 * MEDIA_LIMIT_EXCEEDED: past a bound of ours (pixels, channels, frames, duration).
 * ATOMIZATION_ERROR: a frame or sample cannot be decoded, or the file ends before its end.
 * MEDIA_TIMEOUT: the decoder hung or took longer than a job may.
 * DECODER_MISSING: there is no ffmpeg. DECODER_FAILED: ffmpeg ended by itself without a reason of the file's.
 * SPOOL_MISSING: the file is no longer there.
 */
export type MediaErrorCode =
  | 'MEDIA_NOT_RECOGNISED'
  | 'MEDIA_LIMIT_EXCEEDED'
  | 'ATOMIZATION_ERROR'
  | 'MEDIA_TIMEOUT'
  | 'DECODER_MISSING'
  | 'DECODER_FAILED'
  | 'SPOOL_MISSING'

export class MediaError extends Error {
  constructor(
    readonly code: MediaErrorCode,
    message: string,
    readonly details: string,
    /** Source frames (from 0) or samples of each channel that were good before it; null where unknown. */
    readonly position: number | null = null,
  ) {
    super(message)
    this.name = 'MediaError'
  }
}

/** ffmpeg as it was found at start. */
export interface FfmpegBinary {
  readonly path: string
  /** As it prints it: `5.1.9-0+deb12u1`, or of a build by day `N-47683-g0e8eb07980-static`. */
  readonly version: string
  /** Year of the build where its banner tells. */
  readonly year: number | null
}

/**
 * Where a job goes on after a restart: stored with the atoms that were made up to it. What of the
 * source has been worked off is decoded again, but neither encoded nor stored.
 */
export interface MediaCheckpoint {
  /** Atoms stored so far. */
  readonly emitted: number
  /** Source frames or samples worked off. */
  readonly position: number
}
