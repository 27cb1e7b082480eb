import { spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { frameRateOption } from '../src/codecs/ffmpeg/binary.ts'
import { qscaleOf } from '../src/codecs/ffmpeg/video.ts'
import type { FfmpegBinary } from '../src/contracts/media.ts'

/** What the bare command does as well as the server. */
export type BareMode = 'keyframes' | 'all-frames'

const runTimeoutMs = 180_000
const errorCharsMax = 2_000

/** Runs ffmpeg, hands on each line that it writes, and rejects where it does not end with 0. */
async function runFfmpeg(
  ffmpeg: FfmpegBinary,
  parameters: readonly string[],
  signal: AbortSignal,
  onLine?: (line: string) => void,
): Promise<void> {
  const child = spawn(ffmpeg.path, ['-nostdin', '-v', 'error', ...parameters], {
    stdio: ['ignore', 'pipe', 'pipe'],
    signal: AbortSignal.any([signal, AbortSignal.timeout(runTimeoutMs)]),
    killSignal: 'SIGKILL',
  })
  let errors = ''
  child.stderr.on('data', (chunk: Buffer) => {
    errors = `${errors}${chunk}`.slice(0, errorCharsMax)
  })
  if (onLine === undefined) child.stdout.resume()
  else createInterface({ input: child.stdout }).on('line', onLine)
  let failure: Error | null = null
  child.once('error', (error) => {
    failure = error
  })
  // Also after an abort, because what it writes to must not be removed before it has gone.
  const code = await new Promise<number | null>((resolve) => child.once('close', resolve))
  if (failure !== null) throw failure
  if (code !== 0) throw new Error(`ffmpeg ended with ${code}: ${errors}`)
}

/**
 * The bare command's arguments: JPEGs of the same quality as the server's, as many threads as ffmpeg
 * itself sees fit.
 */
function bareArguments(ffmpeg: FfmpegBinary, mode: BareMode, path: string): string[] {
  return [
    ...(mode === 'keyframes' ? ['-skip_frame', 'nokey'] : []),
    ...['-i', path, frameRateOption(ffmpeg), 'passthrough'],
    ...['-q:v', `${qscaleOf(null)}`, '-c:v', 'mjpeg'],
  ]
}

/** Milliseconds that the bare command takes; what it writes is read and dropped. */
export async function timeBareFfmpeg(
  ffmpeg: FfmpegBinary,
  mode: BareMode,
  path: string,
  signal: AbortSignal,
): Promise<number> {
  const begin = performance.now()
  const target = ['-f', 'image2pipe', '-']
  await runFfmpeg(ffmpeg, [...bareArguments(ffmpeg, mode, path), ...target], signal)
  return performance.now() - begin
}

/** SHA-256 of each JPEG that the bare command writes, hex, told by ffmpeg itself. */
export async function bareHashes(
  ffmpeg: FfmpegBinary,
  mode: BareMode,
  path: string,
  signal: AbortSignal,
): Promise<string[]> {
  const hashes: string[] = []
  const target = ['-f', 'framehash', '-hash', 'sha256', '-']
  // Stream, dts, pts, duration, size, hash, and what of side data there is.
  await runFfmpeg(ffmpeg, [...bareArguments(ffmpeg, mode, path), ...target], signal, (line) => {
    const hash = /^0(?:, *-?\d+){4}, *([0-9a-f]{64})/.exec(line)?.[1]
    if (hash !== undefined) hashes.push(hash)
  })
  return hashes
}

/** Writes a file; rejects where ffmpeg lacks what the arguments ask for. */
export function makeWithFfmpeg(
  ffmpeg: FfmpegBinary,
  parameters: readonly string[],
  path: string,
  signal: AbortSignal,
): Promise<void> {
  return runFfmpeg(ffmpeg, ['-y', ...parameters, path], signal)
}
