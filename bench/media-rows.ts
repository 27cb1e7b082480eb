import { createHash } from 'node:crypto'
import { closeSync, openSync, readSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import type { AtomRow } from '../src/contracts/http.ts'
import type { FfmpegBinary, FrameMode, SegmentationMode } from '../src/contracts/media.ts'
import type { Api } from './api.ts'
import { type BareMode, bareHashes, timeBareFfmpeg } from './ffmpeg.ts'
import {
  type AudioFile,
  audioType,
  type VideoFile,
  type VideoFiles,
  videoType,
} from './media-files.ts'
import { runJob, uploadFile, workMs } from './media-job.ts'
import type { ReadBack } from './messages.ts'
import { childrenOf, isThere, tellsOfProcesses } from './processes.ts'
import { Differences, listAtoms, sample } from './read-back.ts'
import type { RowOutcome } from './report.ts'
import type { ServerProcess } from './server-process.ts'
import { median } from './statistics.ts'
import { judgeAtMost, judgeThroughput } from './verdict.ts'

const keyframesOverBare = 2
const allFramesOverBare = 1.3
const timesRealTime = 200
const cancelMsAllowed = 1_000

/** What rows on media files work with. */
export interface MediaRun {
  readonly server: ServerProcess
  readonly api: Api
  readonly signal: AbortSignal
  readonly random: () => number
  /** Counts alone decide, of short files. */
  readonly quick: boolean
}

export interface VideoRun extends MediaRun {
  readonly ffmpeg: FfmpegBinary
  readonly files: VideoFiles
}

export interface AudioRun extends MediaRun {
  readonly file: AudioFile
}

export type MediaFigure = Pick<RowOutcome, 'measured' | 'verdict' | 'note' | 'required'> &
  Partial<RowOutcome>

const comparedBlobs = 16

/**
 * Server and bare command by turns, so that what else happens on the machine meets both; who begins
 * changes, because a processor that was busy is slower.
 */
async function byTurns(
  pairs: number,
  server: () => Promise<number>,
  bare: () => Promise<number>,
): Promise<{ serverMs: number[]; bareMs: number[] }> {
  const serverMs: number[] = []
  const bareMs: number[] = []
  for (let pair = 0; pair < pairs; pair++) {
    if (pair % 2 === 1) bareMs.push(await bare())
    serverMs.push(await server())
    if (pair % 2 === 0) bareMs.push(await bare())
  }
  return { serverMs, bareMs }
}

const keyframePairs = 3

/** From the start of the upload to the job's completion, over the bare command's time: medians. */
export async function measureKeyframes(run: VideoRun): Promise<MediaFigure> {
  const job = new VideoJobs(run, 'keyframes')
  await job.prepare()
  // The first of each meets cold files and, in the server, a thread that has not started.
  const coldMs = await job.viaServer()
  await job.viaFfmpeg()
  const pairs = run.quick ? 1 : keyframePairs
  const { serverMs, bareMs } = await byTurns(pairs, job.viaServer, job.viaFfmpeg)
  const figures = { serverMs: median(serverMs), bareMs: median(bareMs) }
  const how = `medians of ${pairs}; the first job took ${Math.round(coldMs)} ms`
  return job.figure(figures, keyframesOverBare, how)
}

/** As for keyframes, but once: each takes half a minute, over which noise evens out. */
export async function measureAllFrames(run: VideoRun): Promise<MediaFigure> {
  const job = new VideoJobs(run, 'all-frames')
  await job.prepare()
  const figures = { serverMs: await job.viaServer(), bareMs: await job.viaFfmpeg() }
  return job.figure(figures, allFramesOverBare, 'once each, no warm-up')
}

/** Jobs on one file in one mode, and the bare command on it, with what was read back of them. */
class VideoJobs {
  readonly #run: VideoRun
  readonly #mode: BareMode
  readonly #file: VideoFile
  readonly #differences = new Differences()
  /** Of one round of the file. */
  #expected: readonly string[] = []
  #counted = 0
  #compared = 0

  constructor(run: VideoRun, mode: BareMode) {
    this.#run = run
    this.#mode = mode
    this.#file = run.quick ? run.files.clip : run.files.looped
  }

  async prepare(): Promise<void> {
    const { ffmpeg, files, signal } = this.#run
    this.#expected = await bareHashes(ffmpeg, this.#mode, files.clip.path, signal)
    const known = atomsOf(files.clip, this.#mode)
    this.#differences.expect('JPEGs that ffmpeg wrote of the clip', this.#expected.length, known)
  }

  readonly viaFfmpeg = (): Promise<number> =>
    timeBareFfmpeg(this.#run.ffmpeg, this.#mode, this.#file.path, this.#run.signal)

  readonly viaServer = async (): Promise<number> => {
    const { api, signal } = this.#run
    const sessionId = await startVideo(api, this.#mode)
    const file = { path: this.#file.path, type: videoType }
    const { status, totalMs } = await runJob(api, sessionId, file, signal)
    const count = atomsOf(this.#file, this.#mode)
    this.#differences.expect('atoms of the job', status.result?.atomsCreated, count)
    const atoms = await listAtoms(api, sessionId)
    this.#differences.expect('atoms listed', atoms.length, count)
    atoms.forEach(({ hash }, index) => {
      const expected = this.#expected[index % this.#expected.length]
      this.#differences.expect(`hash of atom ${index}`, hash, expected)
    })
    this.#counted += atoms.length
    await this.#compareBlobs(atoms)
    await api.end(sessionId)
    return totalMs
  }

  /** The listed hash is the one of ffmpeg's JPEG: what is read has to have it too. */
  async #compareBlobs(atoms: readonly AtomRow[]): Promise<void> {
    const { api, random } = this.#run
    for (const { hash } of sample(atoms, comparedBlobs, random)) {
      const read = createHash('sha256')
        .update(await api.blob(hash))
        .digest('hex')
      this.#differences.expect('hash of the bytes of an atom', read, hash)
      this.#compared++
    }
  }

  figure(
    { serverMs, bareMs }: { serverMs: number; bareMs: number },
    required: number,
    how: string,
  ): MediaFigure {
    const figure = (ms: number) => `${Math.round(ms).toLocaleString('en')} ms`
    const note = `${figure(serverMs)} over ${figure(bareMs)}, ${how}; ${this.#file.source}`
    return judged(this.#run, judgeAtMost(serverMs / bareMs, required), {
      measured: serverMs / bareMs,
      note,
      readBack: {
        recordsCounted: this.#counted,
        recordsCompared: this.#counted,
        blobsCompared: this.#compared,
        mismatches: this.#differences.list(),
      },
    })
  }
}

function atomsOf(file: VideoFile, mode: BareMode): number {
  return mode === 'keyframes' ? file.keyframes : file.frames
}

async function startVideo(api: Api, frameExtractionMode: FrameMode): Promise<string> {
  const settings = { sessionType: 'video', frameExtraction: { frameExtractionMode } }
  return (await api.start(settings)).sessionId
}

/** How many times faster than it plays a file becomes segments, from when it is there. */
export async function measureAudio(
  run: AudioRun,
  segmentationMode: SegmentationMode,
): Promise<MediaFigure> {
  const { api, file, signal } = run
  const session = { sessionType: 'audio', segmentation: { segmentationMode } }
  const { sessionId } = await api.start(session)
  const upload = { path: file.path, type: audioType }
  const { status, totalMs } = await runJob(api, sessionId, upload, signal)
  const atoms = await listAtoms(api, sessionId)
  const readBack = await compareSegments(run, atoms, status.result?.atomsCreated)
  await api.end(sessionId)
  const playMs = (file.samples * 1_000) / file.sampleRate
  const measured = playMs / workMs(status)
  const note =
    `${Math.round(playMs / totalMs).toLocaleString('en')} × from the start of the upload; ` +
    `${atoms.length} segments; ${playMs / 60_000} min of ${file.source} with pauses`
  const bound = { published: timesRealTime, factor: 1, disk: null }
  return judged(run, judgeThroughput(measured, bound), { measured, note, readBack })
}

/** The segments tile the file, and a sample of them hold just its bytes. */
async function compareSegments(
  { api, file, random }: AudioRun,
  atoms: readonly AtomRow[],
  atomsCreated: number | undefined,
): Promise<ReadBack> {
  const differences = new Differences()
  differences.expect('atoms listed', atoms.length, atomsCreated)
  let end = 0
  for (const [index, { metadata }] of atoms.entries()) {
    differences.expect(`start of segment ${index}`, metadata.startSample, end)
    end = Number(metadata.endSample)
  }
  differences.expect('end of the last segment', end, file.samples)
  const picked = sample(atoms, comparedBlobs, random)
  const handle = openSync(file.path, 'r')
  try {
    for (const { hash, metadata } of picked) {
      const start = Number(metadata.startSample) * file.bytesPerSample
      const length = Number(metadata.endSample) * file.bytesPerSample - start
      const expected = Buffer.alloc(length)
      readSync(handle, expected, 0, length, file.headerBytes + start)
      const blob = await api.blob(hash)
      const isEqual = blob.subarray(-length).equals(expected)
      differences.expect(`samples from ${metadata.startSample} on are equal`, isEqual, true)
    }
  } finally {
    closeSync(handle)
  }
  return {
    recordsCounted: atoms.length,
    recordsCompared: atoms.length,
    blobsCompared: picked.length,
    mismatches: differences.list(),
  }
}

const cancels = 5
/** Of a job that takes twenty times as long. */
const cancelAfterMsMax = 2_000
const decoderTimeoutMs = 10_000
const pollMs = 2

/** The longest that a cancel takes to its reply or to the end of the decoder, whichever is later. */
export async function measureCancel(run: VideoRun): Promise<MediaFigure> {
  const differences = new Differences()
  const count = run.quick ? 1 : cancels
  let replyMs = 0
  let goneMs = 0
  let kept = 0
  for (let i = 0; i < count; i++) {
    const cancelled = await cancelOnce(run, differences)
    replyMs = Math.max(replyMs, cancelled.replyMs)
    goneMs = Math.max(goneMs, cancelled.goneMs)
    kept += cancelled.kept
  }
  const decoder = tellsOfProcesses ? `decoder gone in ${Math.round(goneMs)} ms` : 'decoder not seen'
  const note = `worst of ${count}: reply in ${Math.round(replyMs)} ms, ${decoder}; ${kept} atoms kept`
  const measured = Math.max(replyMs, goneMs)
  const mismatches = differences.list()
  return judged(run, judgeAtMost(measured, cancelMsAllowed), {
    measured,
    note,
    readBack: { recordsCounted: kept, recordsCompared: 0, blobsCompared: 0, mismatches },
    ...(tellsOfProcesses ? {} : { verdict: 'not run' }),
  })
}

async function cancelOnce(
  { api, server, files, random, signal }: VideoRun,
  differences: Differences,
): Promise<{ replyMs: number; goneMs: number; kept: number }> {
  const sessionId = await startVideo(api, 'all-frames')
  const file = { path: files.looped.path, type: videoType }
  const jobId = await uploadFile(api, sessionId, file, signal)
  await sleep(random() * cancelAfterMsMax, undefined, { signal })
  const decoders = await decodersOf(server, signal)
  const begin = performance.now()
  const gone = untilGone(decoders, signal)
  const reply = await api.cancelJob(jobId)
  const replyMs = performance.now() - begin
  await gone
  const goneMs = performance.now() - begin
  differences.expect('status of a cancelled job', reply.status, 'cancelled')
  const atoms = await listAtoms(api, sessionId)
  differences.expect('atoms kept', atoms.length, reply.partialResult.atomsCreated)
  await api.end(sessionId)
  return { replyMs, goneMs, kept: atoms.length }
}

/** Between two of its steps a job may have no decoder for a moment. */
async function decodersOf(server: ServerProcess, signal: AbortSignal): Promise<number[]> {
  if (!tellsOfProcesses) return []
  const deadline = performance.now() + decoderTimeoutMs
  for (;;) {
    const decoders = childrenOf(server.pid)
    if (decoders.length > 0) return decoders
    if (performance.now() > deadline) throw new Error('a job without a decoder')
    await sleep(pollMs, undefined, { signal })
  }
}

async function untilGone(processes: readonly number[], signal: AbortSignal): Promise<void> {
  const deadline = performance.now() + decoderTimeoutMs
  while (processes.some(isThere)) {
    if (performance.now() > deadline)
      throw new Error('the decoder of a cancelled job is still there')
    await sleep(pollMs, undefined, { signal })
  }
}

/** What was read back decides first; a quick run judges no more. */
function judged(
  { quick }: MediaRun,
  judgement: { readonly required: number; readonly verdict: RowOutcome['verdict'] },
  figure: Partial<RowOutcome> & { readonly measured: number; readonly note: string },
): MediaFigure {
  if ((figure.readBack?.mismatches.length ?? 0) > 0) {
    const note = `what was read back differs; ${figure.note}`
    return { ...figure, required: judgement.required, note, verdict: 'missed' }
  }
  if (quick) return { ...figure, required: null, verdict: 'not judged' }
  return { required: judgement.required, verdict: judgement.verdict, ...figure }
}
