import { resolve } from 'node:path'
import fluent from 'fluent-ffmpeg'
import { limits } from '../../limits.ts'
import type { MediaSource } from './source.ts'

/**
 * What ffmpeg may decode: codecs that real files are made of. Its other decoders, some four hundred
 * for games, fonts and texts of decades ago, are where its faults are found, and no camera needs them.
 */
const decoders = [
  ...['h264', 'hevc', 'mpeg4', 'mpeg1video', 'mpeg2video', 'mjpeg', 'h263', 'msmpeg4', 'msmpeg4v2'],
  ...['msmpeg4v1', 'wmv1', 'wmv2', 'wmv3', 'vc1', 'flv', 'vp6', 'vp6f', 'vp8', 'vp9', 'libvpx'],
  ...[
    'libvpx-vp9',
    'libdav1d',
    'libaom-av1',
    'av1',
    'theora',
    'dvvideo',
    'prores',
    'dnxhd',
    'ffv1',
  ],
  ...['huffyuv', 'ffvhuff', 'utvideo', 'rawvideo', 'png', 'svq3', 'cinepak', 'qtrle', 'vvc'],
  ...['mp3', 'mp3float', 'mp2', 'mp2float', 'mp1', 'mp1float', 'aac', 'aac_latm', 'ac3', 'eac3'],
  ...[
    'flac',
    'alac',
    'vorbis',
    'libvorbis',
    'opus',
    'libopus',
    'speex',
    'libspeex',
    'wavpack',
    'tta',
  ],
  ...['dca', 'truehd', 'mlp', 'wmav1', 'wmav2', 'amrnb', 'amrwb', 'gsm', 'gsm_ms', 'adpcm_ms'],
  ...['adpcm_ima_wav', 'adpcm_ima_qt', 'adpcm_g726', 'pcm_s8', 'pcm_u8', 'pcm_s16le', 'pcm_s16be'],
  ...['pcm_s24le', 'pcm_s24be', 'pcm_s32le', 'pcm_s32be', 'pcm_f32le', 'pcm_f32be', 'pcm_f64le'],
  ...['pcm_f64be', 'pcm_alaw', 'pcm_mulaw', 'pcm_dvd', 'pcm_bluray'],
].join(',')

export interface Command {
  /** Of the decoder, before the input. */
  readonly input: readonly string[]
  readonly output: readonly string[]
  readonly target: string
}

/**
 * ffmpeg's arguments for one pass over a spooled file. Only the file protocol and the one demuxer may
 * be opened, pixels, streams and allocations are bounded. One thread decodes: no slower, because
 * encoding the JPEGs takes longest, and errors come at the same place in each run. fluent-ffmpeg only
 * composes the list; its own ways to start a process are never called.
 */
export function composeArguments(source: MediaSource, command: Command): string[] {
  // The method is named as if it were private, but is the one way to the list without a process.
  const composed = fluent() as fluent.FfmpegCommand & { _getArguments(): string[] }
  composed
    .input(`file:${resolve(source.path)}`)
    .inputOptions(...safeguards(source), ...command.input)
    .output(command.target)
    .outputOptions(...command.output)
  return [...globals, ...composed._getArguments()]
}

const globals = [
  ...['-nostdin', '-hide_banner', '-nostats', '-loglevel', 'repeat+level+info'],
  ...['-max_alloc', `${limits.ffmpegAllocationBytesMax}`],
]

function safeguards({ container }: MediaSource): string[] {
  return [
    ...['-protocol_whitelist', 'file', '-f', container, '-format_whitelist', container],
    ...['-codec_whitelist', decoders, '-max_streams', `${limits.mediaStreamsMax}`],
    ...['-max_pixels', `${limits.imagePixelsMax}`, '-threads', '1', '-copyts'],
  ]
}
