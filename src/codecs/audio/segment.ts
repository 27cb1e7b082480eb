import type { SegmentationMode } from '../../contracts/media.ts'
import type { AudioCut, MediaItem } from '../../contracts/tasks.ts'
import { formatInstant } from '../telemetry/timestamp.ts'
import { frameBytesOf, type SampleFormat } from './sample-format.ts'
import { levelsOf, type SegmentLevels, segmentHeaderBytes, writeHeader } from './segment-wav.ts'
import type { SegmentCut } from './segmenter.ts'

/** A segment as it becomes an atom. */
export interface Segment {
  /** A WAV file. If it fills its buffer it may be moved; else it is gone with the next segment. */
  readonly bytes: Uint8Array<ArrayBuffer>
  readonly metadata: MediaItem['metadata']
  /** The sample of the run that the next segment begins with. */
  readonly endSample: number
}

/**
 * A cut with its place in the session or file: the run's number, and when its first sample was
 * taken.
 */
export function audioCut(
  cut: SegmentCut,
  run: number,
  { sampleRate }: SampleFormat,
  beganAtMs: number,
): AudioCut {
  const at = (sample: number) => beganAtMs + (sample * 1000) / sampleRate
  return { ...cut, run, fromMs: at(cut.startSample), toMs: at(cut.endSample) }
}

/** One segment whose samples stand in `bytes` where its WAV file has them; the header is written. */
export function cutSegment(
  mode: SegmentationMode,
  format: SampleFormat,
  cut: AudioCut,
  bytes: Uint8Array<ArrayBuffer>,
): Segment {
  const pcmBytes = (cut.endSample - cut.startSample) * frameBytesOf(format)
  writeHeader(bytes, format, pcmBytes)
  const headerBytes = segmentHeaderBytes(format)
  const levels = levelsOf(format, [bytes.subarray(headerBytes, headerBytes + pcmBytes)])
  const metadata = segmentMetadata(mode, format, cut, levels)
  return { bytes, metadata, endSample: cut.endSample }
}

/** Why it was cut, where it lies, how loud it is and how it is written. */
export function segmentMetadata(
  mode: SegmentationMode,
  { format: encoding, sampleRate, channels, bitDepth }: SampleFormat,
  cut: AudioCut,
  { levelDbfs, peakDbfs }: SegmentLevels,
): MediaItem['metadata'] {
  const { run, startSample, endSample, reason, score, threshold, silence, fromMs, toMs } = cut
  return {
    timestamp: formatInstant(fromMs),
    endTimestamp: formatInstant(toMs),
    mode,
    reason,
    score,
    threshold,
    run,
    startSample,
    endSample,
    silenceStartSample: silence?.startSample ?? null,
    silenceEndSample: silence?.endSample ?? null,
    levelDbfs,
    peakDbfs,
    format: 'wav',
    encoding,
    sampleRate,
    channels,
    bitDepth,
    durationMs: ((endSample - startSample) * 1000) / sampleRate,
  }
}
