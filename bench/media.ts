import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { FfmpegBinary, SegmentationMode } from '../src/contracts/media.ts'
import { Api } from './api.ts'
import { makeAudio, makeVideo } from './media-files.ts'
import {
  type AudioRun,
  type MediaFigure,
  type MediaRun,
  measureAllFrames,
  measureAudio,
  measureCancel,
  measureKeyframes,
  type VideoRun,
} from './media-rows.ts'
import { anonBytes, childrenOf } from './processes.ts'
import { seededRandom } from './random.ts'
import { formatFigure, plainOutcome, type RowOutcome } from './report.ts'
import { ServerProcess } from './server-process.ts'
import type { ServersMemory } from './servers-memory.ts'
import { judgeAtMost } from './verdict.ts'

/** What the table needs of the run of the bench that it is part of. */
export interface MediaBench {
  readonly options: { readonly quick: boolean }
  readonly folder: string
  readonly apiKey: string
  /** Every server whose memory is bound is watched by it. */
  readonly memory: ServersMemory
  readonly signal: AbortSignal
  readonly progress: (text: string) => void
  readonly selects: (id: string) => boolean
}

interface RowBase {
  readonly id: string
  readonly label: string
  readonly unit: string
}
type MediaRow =
  | (RowBase & { readonly kind: 'video'; readonly run: (run: VideoRun) => Promise<MediaFigure> })
  | (RowBase & { readonly kind: 'audio'; readonly run: (run: AudioRun) => Promise<MediaFigure> })

const segmentationModes: readonly SegmentationMode[] = [
  'fixed-duration',
  'silence',
  'energy',
  'speech-detection',
]

const rows: readonly MediaRow[] = [
  {
    kind: 'video',
    id: 'media/keyframes',
    label: 'keyframes of a video, over bare ffmpeg',
    unit: '×',
    run: measureKeyframes,
  },
  {
    kind: 'video',
    id: 'media/all-frames',
    label: 'all frames of a video, over bare ffmpeg',
    unit: '×',
    run: measureAllFrames,
  },
  ...segmentationModes.map(
    (mode): MediaRow => ({
      kind: 'audio',
      id: `media/audio-${mode}`,
      label: `an audio file, ${mode}`,
      unit: '× real time',
      run: (run) => measureAudio(run, mode),
    }),
  ),
  {
    kind: 'video',
    id: 'media/cancel',
    label: 'cancel of a job, to its reply and the end of ffmpeg',
    unit: 'ms',
    run: measureCancel,
  },
]

const memory = {
  id: 'media/memory',
  table: 'media',
  label: 'anonymous memory (RssAnon) above idle, through these rows',
  unit: 'MiB',
} as const

export const mediaRowIds: readonly string[] = [...rows.map(({ id }) => id), memory.id]

const MiB = 2 ** 20
const anonBytesAllowed = 200 * MiB
const hourSeconds = 3_600
const quickSeconds = 60
const idleMs = 1_000
const sampleMs = 100
const seed = 4

/** What rows of a kind are run on; a text where they cannot be, and why. */
interface Prepared {
  readonly video: Pick<VideoRun, 'ffmpeg' | 'files'> | string
  readonly audio: Pick<AudioRun, 'file'>
}

/**
 * The rows on media files that are selected, on a server of their own that has done nothing before.
 * Without ffmpeg those that need it are not run. Rejects where the server cannot be started, dies or
 * does not stop.
 */
export async function benchMedia(
  bench: MediaBench,
  ffmpeg: FfmpegBinary | null,
): Promise<RowOutcome[]> {
  const wantsMemory = bench.selects(memory.id)
  const named = rows.filter((row) => bench.selects(row.id))
  // The memory is selected by its own name too, and then needs all that it is measured through.
  const selected = named.length === 0 && wantsMemory ? rows : named
  if (selected.length === 0) return []
  const prepared = await prepare(bench, selected, ffmpeg)
  const { video } = prepared
  if (typeof video === 'string' && selected.every(({ kind }) => kind === 'video')) {
    const outcomes = selected.map((row) => notRun(row, video))
    return wantsMemory ? [...outcomes, notRun(memory, video)] : outcomes
  }
  const dataDir = join(bench.folder, 'media-data')
  const options = { dataDir, apiKey: bench.apiKey, command: 'node' } as const
  const server = await ServerProcess.start(options, bench.signal)
  const decoders = new DecoderMemory(server.pid)
  try {
    await sleep(idleMs, undefined, { signal: bench.signal })
    const idleBytes = server.anonBytes
    bench.memory.watch('media', server)
    const outcomes = await runRows(bench, server, selected, prepared)
    if (!wantsMemory) return outcomes
    const most = { idleBytes, serverBytes: server.anonBytesMax, decoderBytes: decoders.bytesMax }
    return [...outcomes, memoryRow(bench, most, outcomes)]
  } finally {
    decoders.close()
    await server.stop()
  }
}

async function prepare(
  { options: { quick }, folder, signal }: MediaBench,
  selected: readonly MediaRow[],
  ffmpeg: FfmpegBinary | null,
): Promise<Prepared> {
  const seconds =
    selected.some(({ kind }) => kind === 'audio') && !quick ? hourSeconds : quickSeconds
  const audio = { file: makeAudio(folder, seconds) }
  if (ffmpeg === null) return { video: 'there is no ffmpeg', audio }
  try {
    return { video: { ffmpeg, files: await makeVideo(folder, ffmpeg, quick, signal) }, audio }
  } catch (error) {
    signal.throwIfAborted()
    return { video: `no clip could be made: ${firstLine(error)}`, audio }
  }
}

async function runRows(
  bench: MediaBench,
  server: ServerProcess,
  selected: readonly MediaRow[],
  { video, audio }: Prepared,
): Promise<RowOutcome[]> {
  const { signal, apiKey, options, progress } = bench
  const api = new Api(server.url, apiKey, signal)
  const common: MediaRun = { server, api, signal, quick: options.quick, random: seededRandom(seed) }
  const outcomes: RowOutcome[] = []
  for (const row of selected) {
    signal.throwIfAborted()
    let outcome: RowOutcome
    if (row.kind === 'audio') {
      outcome = await attempt(bench, server, row, () => row.run({ ...common, ...audio }))
    } else if (typeof video === 'string') {
      outcome = notRun(row, video)
    } else {
      outcome = await attempt(bench, server, row, () => row.run({ ...common, ...video }))
    }
    const figure = outcome.measured === null ? '-' : formatFigure(outcome.measured)
    progress(`${row.id}: ${figure} ${outcome.unit}, ${outcome.verdict}; ${outcome.note}`)
    outcomes.push(outcome)
  }
  return outcomes
}

async function attempt(
  { signal, progress }: MediaBench,
  server: ServerProcess,
  { id, label, unit }: RowBase,
  run: () => Promise<MediaFigure>,
): Promise<RowOutcome> {
  const row = { id, table: 'media', label, unit } as const
  server.takeAnonBytesMax()
  try {
    const figure = await run()
    return plainOutcome({ ...row, serverAnonBytesMax: server.takeAnonBytesMax(), ...figure })
  } catch (error) {
    // A row may fail; without a server, or after an interrupt, the rest would fail for nothing.
    await server.assertAlive()
    signal.throwIfAborted()
    progress(server.logTail)
    return plainOutcome({ ...row, verdict: 'missed', note: firstLine(error) })
  }
}

function notRun({ id, label, unit }: RowBase, note: string): RowOutcome {
  return plainOutcome({ id, table: 'media', label, unit, verdict: 'not run', note })
}

function firstLine(error: unknown): string {
  return (error as Error).message.split('\n')[0] as string
}

interface MostMemory {
  readonly idleBytes: number
  readonly serverBytes: number
  readonly decoderBytes: number
}

function memoryRow(
  { options }: MediaBench,
  { idleBytes, serverBytes, decoderBytes }: MostMemory,
  outcomes: readonly RowOutcome[],
): RowOutcome {
  if (serverBytes === 0) {
    return plainOutcome({ ...memory, verdict: 'not run', note: 'this system does not tell' })
  }
  const measured = Math.max(0, serverBytes - idleBytes) / MiB
  const skipped = outcomes.filter(({ verdict }) => verdict === 'not run').length
  const note =
    `idle, before the first job: ${Math.round(idleBytes / MiB)} MiB; ` +
    `ffmpeg apart: ${Math.round(decoderBytes / MiB)} MiB at most` +
    (skipped > 0 ? `; ${skipped} rows were not run` : '')
  const judgement = judgeAtMost(measured, anonBytesAllowed / MiB)
  if (skipped > 0) return plainOutcome({ ...memory, measured, verdict: 'not run', note })
  if (options.quick) return plainOutcome({ ...memory, measured, verdict: 'not judged', note })
  return plainOutcome({ ...memory, measured, ...judgement, note })
}

/** Anonymous memory of all processes that the server has started, added up ten times a second. */
class DecoderMemory {
  readonly #timer: NodeJS.Timeout
  #bytesMax = 0

  constructor(server: number) {
    this.#timer = setInterval(() => {
      const bytes = childrenOf(server).reduce((total, pid) => total + anonBytes(pid), 0)
      this.#bytesMax = Math.max(this.#bytesMax, bytes)
    }, sampleMs)
  }

  get bytesMax(): number {
    return this.#bytesMax
  }

  close(): void {
    clearInterval(this.#timer)
  }
}
